"""Formats are checked when they are made: a recipe's mistake is named before a request is paid for."""

import time

import pytest
from pydantic import ValidationError

from smile_async.dialogue.parse import judge
from smile_async.dialogue.rules import Code, DialogueFormat, RuleSwitches
from smile_async.prompt.recipe import load_recipe

ROLES = {"client": ("求助者",), "counselor": ("支持者",)}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"roles": {"client": ["求助者"]}}, "at least 2"),
        ({"roles": {"client": ["求助者"], "counselor": []}}, "at least 1"),
        ({"roles": {"client": ["A"], "counselor": ["A"]}}, "'A' belongs to two speakers"),
        ({"roles": {"client": ["求助者："], "counselor": ["B"]}}, "pattern"),
        ({"roles": {"client": [" A"], "counselor": ["B"]}}, "pattern"),
        ({"opener": "lawyer"}, "choose one of client, counselor"),
        ({"min_turns": -1}, "greater than or equal to 0"),
        ({"max_turns": 5}, "Extra inputs"),
        ({"rules": {"english-tale": False}}, "Extra inputs"),
        ({"language": "tlh", "rules": {"wrong-language": True}}, "cannot judge language 'tlh'"),
    ],
)
def test_a_format_that_contradicts_itself_is_refused(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        DialogueFormat.model_validate({"roles": ROLES, **fields})


def test_every_rule_but_empty_has_a_switch_of_its_code() -> None:
    switches = RuleSwitches().model_dump()
    assert list(switches) == [code.value for code in Code if code is not Code.EMPTY]


def test_only_the_rules_beyond_the_paper_are_off_at_first() -> None:
    off = [code for code, on in RuleSwitches().model_dump().items() if not on]
    assert off == ["repetition", "copied-answer", "wrong-language"]


def test_a_format_comes_back_from_its_json() -> None:
    form = DialogueFormat(roles=ROLES, opener="client", rules=RuleSwitches(repetition=True))
    assert form.prefixes["求助者："] == "client"  # derived values are no part of its identity
    assert DialogueFormat.model_validate_json(form.model_dump_json()) == form


def test_the_order_of_roles_is_kept() -> None:
    assert list(DialogueFormat(roles={"z": ("Z",), "a": ("A",)}).roles) == ["z", "a"]


def test_no_answer_takes_the_rules_more_than_a_moment() -> None:
    """20,000 characters that a careless pattern walks through once for each of them (3.6 s before)."""
    spoken = "求助者: 好\n支持者: 好\n" * 5 + "支持者: "
    for trap in ("a'" * 10_000, "a-" * 10_000, "a " * 10_000, "A." * 10_000):
        began = time.perf_counter()
        judge(spoken + trap, form=load_recipe("smile").format)
        assert time.perf_counter() - began < 0.5
