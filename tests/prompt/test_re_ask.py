"""What a re-ask says: the broken rule, in the recipe's language, or what the recipe puts in its place."""

from typing import Any

import pytest

from smile_async.dialogue.rules import Code
from smile_async.prompt.re_ask import re_ask_text
from smile_async.prompt.recipe import Recipe, load_recipe

NAMED = sorted(set(Code) - {Code.REFUSED, Code.EMPTY, Code.REPETITION})


def recipe(language: str = "zh", **form: Any) -> Recipe:
    roles = {"client": ["求助者"], "counselor": ["支持者"]} if language == "zh" else {"c": ["Client"], "l": ["Lawyer"]}
    values = {"name": "test", "language": language, "template": "{QA}", "format": {"roles": roles, **form}}
    return Recipe.model_validate(values)


@pytest.mark.parametrize("language", ["zh", "en", "fr"])
@pytest.mark.parametrize("code", NAMED)
def test_each_rule_that_can_be_mended_has_a_text_whose_slots_are_filled(language: str, code: str) -> None:
    text = re_ask_text(code, recipe(language))
    assert text
    assert not set("{}") & set(text)
    assert any("\u4e00" <= letter <= "\u9fff" for letter in text) == (language == "zh")


@pytest.mark.parametrize("code", ["refused", "empty", "repetition", "content-filter"])
def test_what_telling_does_not_mend_has_none(code: str) -> None:
    assert re_ask_text(code, recipe()) == ""


def test_the_slots_hold_the_recipes_own_labels_and_turns() -> None:
    text = re_ask_text("too-few-turns", recipe(min_turns=7))
    assert "至少7个来回" in text
    assert '"求助者: "、"支持者: "' in text
    assert '"Client: " / "Lawyer: "' in re_ask_text("no-separator", recipe("en"))
    assert '"求助者: "' in re_ask_text("bad-start", recipe())
    assert '"支持者: "' in re_ask_text("bad-start", recipe(opener="counselor"))


def test_a_recipe_may_say_it_otherwise_or_not_at_all() -> None:
    own = recipe(salvage={"texts": {"bad-start": "从{first}开始。", "no-separator": ""}})
    assert re_ask_text("bad-start", own) == '从"求助者: "开始。'
    assert re_ask_text("no-separator", own) == ""
    assert re_ask_text("bad-speaker", own) == re_ask_text("bad-speaker", recipe())


@pytest.mark.parametrize("name", ["smile", "standard", "standardT", "smile-local"])
def test_salvage_is_off_where_the_papers_numbers_are_reproduced(name: str) -> None:
    assert load_recipe(name).format.salvage.steps == ()


def test_salvage_is_no_part_of_what_shapes_a_request() -> None:
    smile = load_recipe("smile")
    assert smile.salvaging("all").digest == smile.digest
    assert smile.salvaging("all").rules_digest != smile.rules_digest
    assert smile.salvaging(None) is smile
