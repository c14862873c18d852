"""Salvage: what is mended, by which step, what is left alone, and that nothing is ever invented."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from smile_async.dialogue.model import Dialogue, QAPair, Utterance
from smile_async.dialogue.parse import Valid, judge, render
from smile_async.dialogue.rules import DialogueFormat
from smile_async.dialogue.salvage import Salvaged, salvage
from smile_async.dialogue.steps import ASKING, GROUPS, SalvageSettings, Step, read_steps

ROLES = {"client": ("求助者",), "counselor": ("支持者",)}
SYNONYMS = {"client": ["来访者"], "counselor": ["咨询师", "心理咨询师"]}
SAID = (("client", "我睡不着。"), ("counselor", "多久了？"))
PLAIN = "求助者: 我睡不着。\n支持者: 多久了？"


def form(steps: Any = "free", **others: Any) -> DialogueFormat:
    settings = {"steps": steps, "synonyms": SYNONYMS}
    return DialogueFormat.model_validate({"roles": ROLES, "min_turns": 1, "salvage": settings} | others)


def said(saved: Salvaged | None) -> tuple[tuple[str, str], ...] | None:
    return None if saved is None else tuple((one.role, one.content) for one in saved.valid.dialogue.utterances)


DAMAGED = [
    ("**求助者**：我睡不着。\n**支持者**：多久了？", "markup"),
    ("**求助者：** 我睡不着。\n**支持者：** 多久了？", "markup"),
    ("**求助者：我睡不着。**\n__支持者：多久了？__", "markup"),
    ("- 求助者：我睡不着。\n* 支持者：多久了？", "markup"),
    ("> 求助者：我睡不着。\n> 支持者：多久了？", "markup"),
    ("### 求助者：我睡不着。\n### 支持者：多久了？", "markup"),
    ("1. 求助者：我睡不着。\n2. 支持者：多久了？", "numbering"),
    ("1、求助者：我睡不着。\n2、支持者：多久了？", "numbering"),
    ("（1）求助者：我睡不着。\n（2）支持者：多久了？", "numbering"),
    ("①求助者：我睡不着。\n②支持者：多久了？", "numbering"),
    ("第一轮 求助者：我睡不着。\n第一轮：支持者：多久了？", "numbering"),
    ("求助者1：我睡不着。\n支持者 1：多久了？", "numbering"),
    ("【求助者】：我睡不着。\n[支持者]: 多久了？", "brackets"),
    ("求助者（叹气）：我睡不着。\n支持者(点头): 多久了？", "brackets"),
    ("【求助者】我睡不着。\n「支持者」多久了？", "brackets colon"),
    ("求助者 ：我睡不着。\n支持者\u3000:多久了？", "colon"),
    ("求助者；我睡不着。\n支持者﹕多久了？", "colon"),
    ("求助者 我睡不着。\n支持者\t多久了？", "colon"),
    ("来访者：我睡不着。\n咨询师：多久了？", "synonyms"),
    ("来访者：我睡不着。\n心理咨询师：多久了？", "synonyms"),
    ("求助者：\n我睡不着。\n支持者：\n\n多久了？", "own-line"),
    ("求助者\n我睡不着。\n支持者\n多久了？", "own-line"),
    ("**求助者**\n我睡不着。\n**支持者**\n多久了？", "markup own-line"),
    ("好的，以下是改写后的对话：\n\n求助者：我睡不着。\n支持者：多久了？", "preface"),
    ("Sure! Here is the dialogue:\n求助者：我睡不着。\n支持者：多久了？", "preface"),
    ("好的。\n## 失眠\n---\n求助者：我睡不着。\n支持者：多久了？", "preface"),
    ("```\n求助者：我睡不着。\n支持者：多久了？\n```", "fences"),
    ("```text\n求助者：我睡不着。\n支持者：多久了？\n```", "fences"),
    ("求助者：我睡不着。\n### 第一轮\n**过渡**\n---\n支持者：多久了？", "headings"),
    ("求助者：我睡不着。\n支持者：多久了？\n\n（注：以上为虚构对话。）", "afterword"),
    ("求助者：我睡不着。\n支持者：多久了？\n---\nI hope this helps you.", "afterword"),
    ("求助者：我睡不着。\n支持者：多久了？ Note: this is fiction.", "afterword"),
    ("求助者：我睡不着。\n支持者：多久了？(Note: this is fiction.)", "afterword"),
    ("好的：\n**求助者**：我睡不着。\n**支持者**：多久了？\nNote: this is fiction.", "markup preface afterword"),
    ("<think>求助者：草稿</think>\n好的：\\n求助者：我睡不着。\\n支持者：多久了？", "preface"),
]


@pytest.mark.parametrize(("text", "steps"), DAMAGED)
def test_each_way_of_writing_it_otherwise_is_mended_by_the_steps_of_its_name(text: str, steps: str) -> None:
    assert not isinstance(judge(text, form=form()), Valid), "else there is nothing to mend"
    saved = salvage(text, form=form())
    assert saved is not None
    assert (said(saved), saved.text) == (SAID, PLAIN)
    assert [str(step) for step in saved.steps] == steps.split()
    assert saved.flags == tuple(f"salvaged:{step}" for step in steps.split())


@pytest.mark.parametrize(("text", "steps"), DAMAGED)
def test_without_one_of_its_steps_it_stays_broken(text: str, steps: str) -> None:
    for step in steps.split():
        rest = [each for each in GROUPS["free"] if each != step]
        assert salvage(text, form=form(rest)) is None
        assert said(salvage(text, form=form(steps.split()))) == SAID, "and no other step is needed"


def test_one_line_is_parted_at_its_labels() -> None:
    text = "求助者：我睡不着。支持者：多久了？ 求助者：两周。支持者：嗯。"
    saved = salvage(text, form=form())
    assert said(saved) == (*SAID, ("client", "两周。"), ("counselor", "嗯。"))
    assert saved is not None
    assert saved.steps == (Step.SEPARATORS,)


HOPELESS = [
    ("我睡不着。\n支持者：多久了？\n求助者：两周。\n支持者：嗯。", "the first label is lost: no preface"),
    ("求助者：我睡不着。\n多久了？\n求助者：两周。\n支持者：嗯。", "a label in the middle is lost"),
    ("求助者：我睡不着。\n支持者：嗯。\n求助者：两周。\n多久了？", "the last label is lost"),
    ("求助者：我睡不着。\n旁白：夜深了。\n支持者：嗯。", "somebody else speaks"),
    ("求助者的心情很差。\n支持者的回答很好。", "a sentence that begins with the word"),
    ("小林：我睡不着。\n医生：多久了？", "other speakers, which no recipe lists"),
    ("抱歉，我无法生成这样的对话。", "a refusal"),
    ("", "nothing"),
    ("```\n```", "an empty block"),
    ("求助者：我睡不着。支持者：多久了？", "two labels on one line may be a quotation"),
    ("求助者：我睡不着。\n支持者：Please see a doctor soon.", "an utterance in English alone"),
    ("求助者：我睡不着。\n支持者：试试 Google Play app store please", "English inside a sentence"),
]


@pytest.mark.parametrize(("text", "why"), HOPELESS)
def test_what_is_not_known_for_certain_is_left_alone(text: str, why: str) -> None:
    assert salvage(text, form=form()) is None, why


def test_a_refusal_field_and_a_filter_are_final() -> None:
    assert salvage("好的：\n" + PLAIN, form=form(), refusal="No.") is None
    assert salvage("好的：\n" + PLAIN, form=form(), finish_reason="content_filter") is None


FOUR = "求助者: 我睡不着。\n支持者: 多久了？\n求助者: 两周。\n支持者: 嗯。"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (FOUR + "\n求助者: 我觉得", 4),  # inside an utterance of the client
        (FOUR + "\n求助者: 好。\n支持者: 那就试", 4),  # of the counselor: the client's goes too
        (FOUR + "\n求助者: 好。\n支持者: 那就试试。", 4),  # perhaps whole, perhaps not: nothing follows it
        (FOUR + "\n求助者: 好。\n支持者: 那就试试。\n", 6),  # a separator followed
        (FOUR + "\n求助", 4),  # inside a label
        (FOUR + "\n求助者:", 4),  # before its words
        (FOUR + "\n求助者: 好。\n支", 4),
        (FOUR + "\n\n注：以上", 4),  # inside an afterword: the dialogue was whole
        (FOUR + "\n多行的第二", 2),  # goes on with the last utterance, which is as unfinished
    ],
)
def test_a_cut_answer_is_trimmed_to_its_last_whole_exchange(text: str, kept: int) -> None:
    saved = salvage(text, form=form(), finish_reason="length")
    assert saved is not None
    assert Step.TAIL in saved.steps
    assert len(saved.valid.dialogue.utterances) == kept
    assert text.startswith(saved.text)
    assert salvage(text, form=form("speakers"), finish_reason="length") is None, "the step is off"


def test_a_trimmed_dialogue_has_enough_turns_or_stays_broken() -> None:
    text = FOUR + "\n求助者: 我觉得"
    assert salvage(text, form=form(min_turns=2), finish_reason="length") is not None
    assert salvage(text, form=form(min_turns=3), finish_reason="length") is None


@pytest.mark.parametrize(
    ("finish_reason", "kept"),
    [("length", 2), (None, 2), ("stop", None)],
)
def test_without_a_word_of_the_server_an_open_sentence_counts_as_cut_off(
    finish_reason: str | None, kept: int | None
) -> None:
    """The last line has no speaker: it went on with the utterance before it."""
    saved = said(salvage(FOUR + "\n那么我", form=form(), finish_reason=finish_reason))
    assert (None if saved is None else len(saved)) == kept


def test_a_stump_is_trimmed_also_where_the_server_does_not_say_that_it_cut() -> None:
    saved = salvage(FOUR + "\n求助", form=form(), finish_reason=None)
    assert (saved and saved.text, saved and saved.steps) == (FOUR, (Step.TAIL,))


def test_what_is_mended_is_judged_by_every_rule() -> None:
    text = "好的：\n" + PLAIN
    source = QAPair(question="问", answer="多久了？" * 30)
    copied = text.replace("多久了？", source.answer)
    gates = {"copied-answer": True}
    assert salvage(copied, form=form(rules=gates), source=None) is not None
    assert salvage(copied, form=form(rules=gates), source=source) is None
    assert salvage(text, form=form(min_turns=2)) is None
    assert salvage(text, form=form(opener="counselor")) is None


def test_nothing_is_done_unless_a_recipe_says_so() -> None:
    assert SalvageSettings().steps == ()
    assert salvage(DAMAGED[0][0], form=form([])) is None


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ("none", ()),
        ("all", tuple(Step)),
        ("tail,re-ask", (Step.TAIL, Step.RE_ASK)),
        (["re-ask", "tail", "tail"], (Step.TAIL, Step.RE_ASK)),
        (" preface , tail", (Step.PREFACE, Step.TAIL)),
        ("speakers", tuple(step for step in Step if step not in ASKING and step is not Step.TAIL)),
    ],
)
def test_steps_are_given_by_name_or_group_and_kept_in_their_order(given: Any, steps: tuple[Step, ...]) -> None:
    assert read_steps(given) == steps


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": "tial"}, "'tial' is no step of salvage: there are none, all, free, speakers, fences"),
        ({"steps": 3}, "list of steps"),
        ({"synonyms": {"doctor": ["医生"]}}, "'doctor' is not a role"),
        ({"synonyms": {"client": ["支持者"]}}, "'支持者' is a label already"),
        ({"synonyms": {"client": ["某人"], "counselor": ["某人"]}}, "'某人' is a label already"),
        ({"texts": {"too-short": "..."}}, "'too-short' is no rule's code"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DialogueFormat.model_validate({"roles": ROLES, "salvage": settings})


# What never happens ---------------------------------------------------------------------------------------------------

WORDS = st.text("我你睡不着了多久。！？，ab1 (*:：\\n", min_size=1, max_size=12).map(str.strip).filter(bool)
CLEAN = st.text("我你睡不着了多久。！？，ab1 (", min_size=1, max_size=12).map(str.strip).filter(bool)
PIECES = st.sampled_from(
    ["求助者", "支持者", "来访者", "：", ": ", "**", "\n", "\\n", "- ", "1. ", "【", "】", "```", "我", "好。", "Note: this is",
     "以下是对话：", "### ", "（", "）", " ", "求助者: 我睡。\n支持者: 好。\n"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30).map("".join), st.sampled_from([None, "stop", "length"]))
def test_nothing_is_invented_and_the_order_is_kept(text: str, finish_reason: str | None) -> None:
    """Each utterance stands in the reply, after the one before it."""
    saved = salvage(text, form=form(min_turns=0), finish_reason=finish_reason)
    at = 0
    for _, words in said(saved) or ():
        found = text.find(words, at)
        assert found >= at, "not in the reply, or not after the last"
        at = found + len(words)


@given(
    st.lists(CLEAN, min_size=4, max_size=12), st.sampled_from([": ", "：", ":"]), st.sampled_from(["\n", "\\n", "\n\n"])
)
def test_a_valid_dialogue_is_not_changed(contents: list[str], colon: str, separator: str) -> None:
    utterances = [Utterance(role=list(ROLES)[n % 2], content=words) for n, words in enumerate(contents)]
    whole = form()
    text = render(Dialogue(utterances=tuple(utterances)), whole, colon=colon, separator=separator)
    verdict = judge(text, form=whole, finish_reason="stop")
    saved = salvage(text, form=whole, finish_reason="stop")
    assert isinstance(verdict, Valid)
    assert saved is not None
    assert (saved.valid, saved.steps) == (verdict, ())


@given(st.lists(CLEAN, min_size=4, max_size=10), st.data())
def test_a_cut_dialogue_keeps_a_beginning_of_itself(contents: list[str], data: st.DataObject) -> None:
    pairs = [(list(ROLES)[n % 2], words) for n, words in enumerate(contents)]
    text = "\n".join(f"{ROLES[role][0]}: {words}" for role, words in pairs)
    at = data.draw(st.integers(0, len(text)))
    saved = salvage(text[:at], form=form(), finish_reason="length")
    if saved is not None:
        got = list(said(saved) or ())
        assert got == pairs[: len(got)]
        assert got[-1][0] == "counselor"


@given(st.text(max_size=200), st.sampled_from([None, "length"]))
def test_no_text_makes_it_raise(text: str, finish_reason: str | None) -> None:
    saved = salvage(text, form=form(min_turns=0), finish_reason=finish_reason)
    assert saved is None or isinstance(judge(saved.text, form=form(min_turns=0)), Valid)


@pytest.mark.parametrize(
    "piece", ["*", "- ", "#", "`", "（", "1", "求助者", "A ", "求助者：", "**求助者**：我\n", " \t"]
)
def test_a_long_answer_costs_time_in_proportion_to_its_length(piece: str) -> None:
    """Ten times the text costs less than thirty times the time; with backtracking it would be a hundred, or no end."""
    from time import process_time

    def took(times: int) -> float:
        best = float("inf")
        for _ in range(3):
            began = process_time()
            salvage(piece * times, form=form())
            best = min(best, process_time() - began)
        return best

    assert took(20_000) < 30 * max(took(2_000), 0.002)
