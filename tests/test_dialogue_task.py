"""The dialogue task: what it makes of replies that break a rule, and what it asks then."""

from typing import Any

import pytest

from smile_async.dialogue.model import QAPair
from smile_async.dialogue_task import dialogue_task
from smile_async.engine.job import Reply, Request
from smile_async.engine.task import Accepted, Rejected
from smile_async.prompt.re_ask import re_ask_text
from smile_async.prompt.recipe import load_recipe
from smile_async.rows import Seed

SEED = Seed(QAPair(question="总失眠怎么办？", description="两周了。", answer="先固定起床时间。"))
EXCHANGE = "求助者: 我还是{n}睡不着。\n支持者: 第{n}天再试试看。"
FIVE = "\n".join(EXCHANGE.format(n=n) for n in range(5))
FOUR = "\n".join(EXCHANGE.format(n=n) for n in range(4))
PREFACED = "好的，以下是对话：\n" + FIVE
CUT = FIVE + "\n求助者: 我"


def verdict(text: str, steps: str, finish_reason: str = "stop") -> Accepted[Any] | Rejected:
    return dialogue_task(load_recipe("smile").salvaging(steps)).accept(SEED, Reply(text, finish_reason))


def test_a_mended_reply_is_accepted_and_says_so() -> None:
    good = verdict(PREFACED, "all")
    assert isinstance(good, Accepted)
    assert (good.flags, good.mended, len(good.value) // 2) == (("salvaged:preface",), True, 5)
    cut = verdict(CUT, "all", "length")
    assert isinstance(cut, Accepted)
    assert cut.flags == ("salvaged:tail",)


def test_a_reply_that_breaks_no_rule_is_not_touched() -> None:
    good = verdict(FIVE + "\n求助者: 谢谢", "all")
    assert isinstance(good, Accepted)
    assert (good.flags, good.mended, len(good.value)) == ((), False, 11)


def test_what_cannot_be_mended_is_rejected_by_the_rule_that_it_broke() -> None:
    assert verdict("好的：\n" + FOUR, "all") == Rejected(
        "bad-start", "line 1 of 9 does not begin with client or counselor"
    )
    assert isinstance(verdict(PREFACED, "none"), Rejected)


@pytest.mark.parametrize("steps", ["none", "free"])
def test_where_no_step_asks_again_nobody_looks_for_another_request(steps: str) -> None:
    assert dialogue_task(load_recipe("smile").salvaging(steps)).amend is None


def amended(reply: Reply, code: str, steps: str, max_tokens: int | None = None) -> tuple[Request, str] | None:
    task = dialogue_task(load_recipe("smile").salvaging(steps), max_tokens=max_tokens)
    assert task.amend is not None
    found = task.amend(SEED, reply, Rejected(code))
    return None if found is None else (found.request, found.step)


def test_a_re_ask_hands_the_answer_back_and_names_the_rule() -> None:
    own = dialogue_task(load_recipe("smile")).render(SEED)
    found = amended(Reply(FOUR, "stop"), "too-few-turns", "re-ask", 900)
    assert found is not None
    request, step = found
    assert step == "re-ask"
    assert request.max_tokens == 900
    assert request.messages[:-2] == own.messages
    assert [(each.role, each.content) for each in request.messages[-2:]] == [
        ("assistant", FOUR),
        ("user", re_ask_text("too-few-turns", load_recipe("smile"))),
    ]
    assert request.characters > own.characters + len(FOUR), "estimates and ceilings follow"


@pytest.mark.parametrize(
    ("reply", "code", "steps"),
    [
        (Reply(FOUR, "stop"), "too-few-turns", "free,more-tokens"),  # the step is off
        (Reply("  ", "stop"), "empty", "all"),  # nothing to hand back
        (Reply("抱歉，我无法继续。", "stop"), "refused", "all"),  # no text for this rule
        (Reply(CUT, "length"), "truncated", "more-tokens"),  # the request named no ceiling to raise
    ],
)
def test_otherwise_the_row_is_asked_as_before(reply: Reply, code: str, steps: str) -> None:
    assert amended(reply, code, steps) is None


@pytest.mark.parametrize("text", [CUT, ""])
def test_an_answer_that_was_cut_off_is_given_twice_the_room(text: str) -> None:
    """Empty: a reasoning model may spend it all on thinking."""
    own = dialogue_task(load_recipe("smile")).render(SEED)
    found = amended(Reply(text, "length"), "truncated", "all", 900)
    assert found == (Request(own.messages, 1_800), "more-tokens")


def test_where_the_server_set_the_ceiling_a_shorter_answer_is_asked_for() -> None:
    found = amended(Reply(CUT, "length"), "truncated", "all")
    assert found is not None
    assert found[1] == "re-ask"
