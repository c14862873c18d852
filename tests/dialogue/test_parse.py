"""The parser and its verdicts: what the paper counts as a violation, and what is harmless white space."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smile_async.dialogue.model import Dialogue, QAPair, Utterance
from smile_async.dialogue.parse import Valid, judge, render, violations
from smile_async.dialogue.rules import Code, DialogueFormat, RuleSwitches, Violation

SMILE = DialogueFormat(roles={"client": ("求助者",), "counselor": ("支持者",)})
SHORT = SMILE.model_copy(update={"min_turns": 1})
TWO = "求助者: 我睡不着。\n支持者: 多久了？"

PREFIXES = ("{}: ", "{}:", "{}：", "{}： ")
SEPARATORS = ("\n", "\r\n", "\r", "\n\n", "\\n", "\\n\n", "\n \t\n", "\\n\\n", " \\n\r\n ", "\\\\n")


def said(verdict: Valid | Violation) -> list[tuple[str, str]]:
    assert isinstance(verdict, Valid), verdict
    return [(utterance.role, utterance.content) for utterance in verdict.dialogue.utterances]


def code(text: str, form: DialogueFormat = SHORT) -> str:
    verdict = judge(text, form=form)
    assert isinstance(verdict, Violation), verdict
    return verdict.code.value


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_four_prefixes_and_every_separator_give_the_same_dialogue(prefix: str, separator: str) -> None:
    text = separator.join((prefix.format("求助者") + "我睡不着。", prefix.format("支持者") + "多久了？"))
    assert said(judge(text, form=SHORT)) == [("client", "我睡不着。"), ("counselor", "多久了？")]


@pytest.mark.parametrize(
    "text",
    [
        f"\n\n {TWO} \n",
        f"\ufeff{TWO}",
        f"\\n{TWO}\\n",
        TWO.replace("\n", "\n\u3000\n"),
        TWO.replace(": ", ":  \u3000"),
        f"<think>先想一想\n求助者: 草稿</think>\n{TWO}",
        f"想一想</think>{TWO}",
    ],
)
def test_outer_white_space_a_byte_order_mark_and_thoughts_are_harmless(text: str) -> None:
    assert judge(text, form=SHORT) == judge(TWO, form=SHORT)


def test_inner_white_space_stays() -> None:
    assert said(judge("求助者: 我  真的\t累\n支持者: 嗯", form=SHORT))[0] == ("client", "我  真的\t累")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        (" \ufeff\n\\n \r\n", "empty"),
        ("<think>还没想完", "empty"),
        (f"好的，以下是对话：\n{TWO}", "bad-start"),
        ("来访者: 我睡不着。\n咨询师: 多久了？", "bad-start"),
        ("求助者: 我睡不着。", "no-separator"),
        ("求助者: 我睡不着。 支持者: 多久了？", "no-separator"),
        ("求助者 我睡不着。\n支持者: 多久了？", "bad-speaker"),  # rule 1 asks for the label only, rule 3 for the colon
        ("求助者 : 我睡不着。\n支持者: 多久了？", "bad-speaker"),
        (f"{TWO}\n旁白：沉默。", "bad-speaker"),
        (f"{TWO}\n（完）", "bad-speaker"),
        ("求助者: 我睡不着。\n支持者:\n求助者: 在吗？", "bad-speaker"),
        ("求助者: 我睡不着。\n支持者:\\n多久了？", "bad-speaker"),
        ("求助者: 公式是\\nabla 吗？\n支持者: 是。", "bad-speaker"),  # the two characters are always a separator
        ("**求助者:** 我睡不着。\n**支持者:** 多久了？", "bad-start"),
        (f"{TWO} Note: this is a fictional dialogue.", "english-tail"),
        ("抱歉，我无法提供这类内容。", "refused"),
        ("I'm sorry, but I can't assist with that.", "refused"),
        ("作为一个人工智能助手，我不能参与这个话题的讨论。", "refused"),
    ],
)
def test_each_broken_rule_has_its_code(text: str, expected: str) -> None:
    assert code(text) == expected


def test_turns_are_utterances_halved() -> None:
    nine = "\n".join(["求助者: 嗯。", "支持者: 好。"] * 4 + ["求助者: 谢谢。"])  # 9 // 2 = 4
    assert code(nine, SMILE) == "too-few-turns"
    ten = nine + "\n支持者: 再见。"
    assert len(said(judge(ten, form=SMILE))) == 10


@pytest.mark.parametrize(
    ("last", "is_english"),
    [
        ("好的。This is the end.", True),
        ("好的。 (End of dialogue)", True),
        ("Thank you so much！", True),
        ("Note: “this is fictional”.", True),
        ("OK，就这样。", False),
        ("Thank you！", False),  # two words
        ("可以试试 Google Play Store 里的软件。", False),  # a name
        ("看看 https://www.example.com/some-long/page.html 吧。", False),
        ("WHO、CBT、MBTI 都可以查。", False),
        ("vitamin，sleep，sport 都重要。", False),  # no white space: a list, not a sentence
        ("o(≧v≦)o", False),
    ],
)
def test_english_tail_is_a_run_of_latin_words(last: str, is_english: bool) -> None:
    verdict = judge(f"{TWO}\n求助者: {last}", form=SHORT)
    assert (isinstance(verdict, Violation) and verdict.code == Code.ENGLISH_TAIL) is is_english


def test_english_before_the_last_utterance_is_no_tail() -> None:
    assert isinstance(judge(f"求助者: I can not sleep.\n{TWO}", form=SHORT), Valid)


@pytest.mark.parametrize("language", ["en", "de", "xx"])
def test_english_tail_means_nothing_in_latin_or_unknown_languages(language: str) -> None:
    form = DialogueFormat(roles={"a": ("A",), "b": ("B",)}, language=language, min_turns=1)
    assert isinstance(judge("A: I can not sleep.\nB: How long has it been?", form=form), Valid)


def test_what_the_server_said_comes_before_the_text() -> None:
    cut = judge(TWO, form=SHORT, finish_reason="length")
    assert cut == Violation(Code.TRUNCATED, "cut off at the token limit after 2 lines")
    assert judge("", form=SHORT, finish_reason="length").code is Code.TRUNCATED  # type: ignore[union-attr]
    assert judge(TWO, form=SHORT, refusal="no").code is Code.REFUSED  # type: ignore[union-attr]
    assert judge("", form=SHORT, finish_reason="content_filter").code is Code.REFUSED  # type: ignore[union-attr]
    assert isinstance(judge(TWO, form=SHORT, finish_reason="stop", refusal=""), Valid)


def test_an_apology_within_a_dialogue_is_no_refusal() -> None:
    text = "求助者: 帮我写检讨。\n支持者: 抱歉，我无法提供代写。"
    assert isinstance(judge(text, form=SHORT), Valid)


def test_one_verdict_is_the_first_of_all_in_the_order_of_the_codes() -> None:
    text = "旁白\n支持者: Note: this is fictional."
    broken = violations(text, form=SMILE)
    # (no speaker in line 1: rules 1 and 3; a tail of four words; 1 utterance is 0 turns)
    assert [each.code.value for each in broken] == ["bad-start", "bad-speaker", "english-tail", "too-few-turns"]
    assert judge(text, form=SMILE) == broken[0]


def test_details_hold_places_and_counts_and_no_text() -> None:
    text = "求助者: 甲甲甲\n乙乙乙\n支持者:\n丙丙丙"
    (violation,) = violations(text, form=SHORT)
    assert violation.detail == "line 2 of 4 has no speaker, and 2 more lines are wrong"


def test_flags_remark_and_do_not_reject() -> None:
    twice = judge("求助者: 我累。\n求助者: 真的。\n支持者: 嗯。支持者：我在。", form=SHORT)
    assert isinstance(twice, Valid)
    assert twice.flags == ("non-alternating", "speaker-inside")
    assert len(twice.dialogue.utterances) == 3


def test_opener_says_who_must_begin_and_none_lets_anyone() -> None:
    text = "支持者: 你好。\n求助者: 我睡不着。"
    assert isinstance(judge(text, form=SHORT), Valid)
    client_first = SHORT.model_copy(update={"opener": "client"})
    assert code(text, client_first) == "bad-start"


def test_each_rule_can_be_switched_off() -> None:
    def off(**rules: bool) -> DialogueFormat:
        return DialogueFormat(roles=SMILE.roles, min_turns=1, rules=RuleSwitches(**rules))

    assert isinstance(judge(TWO, form=off(truncated=False), finish_reason="length"), Valid)
    assert isinstance(judge(TWO, form=off(refused=False), refusal="no"), Valid)
    assert isinstance(judge("求助者: 一个人。", form=off(no_separator=False, too_few_turns=False)), Valid)
    assert isinstance(judge(f"{TWO} This is the end.", form=off(english_tail=False)), Valid)


def test_without_bad_speaker_a_line_goes_on_with_what_was_said_before_it() -> None:
    form = DialogueFormat(roles=SMILE.roles, min_turns=1, rules=RuleSwitches(bad_speaker=False, bad_start=False))
    text = "以下是对话：\n求助者: 怎么办？\n支持者:\n一、先睡觉。\n二、再说。\n求助者:"
    assert said(judge(text, form=form)) == [("client", "怎么办？"), ("counselor", "一、先睡觉。\n二、再说。")]
    assert code("没有人说话。\n真的没有。", form) == "bad-start"


def test_bold_labels_are_read_where_the_recipe_says_so() -> None:
    form = SHORT.model_copy(update={"bold_labels": True})
    text = "**求助者:** 我睡不着。\n**支持者**： **多久**了？\n求助者: 两周。"
    assert said(judge(text, form=form)) == [
        ("client", "我睡不着。"),
        ("counselor", "**多久**了？"),
        ("client", "两周。"),
    ]


def test_a_role_may_have_several_labels() -> None:
    form = DialogueFormat(roles={"client": ("咨询者", "咨询者甲"), "lawyer": ("律师",)}, min_turns=1)
    text = "咨询者甲：房东不退押金。\n律师：有合同吗？\n咨询者：有。"
    assert [role for role, _ in said(judge(text, form=form))] == ["client", "lawyer", "client"]


def test_gates_beyond_the_paper_are_off_unless_asked_for() -> None:
    answer = "先照顾好自己的作息，然后和家里人好好谈一次，最后如果还是难受就去医院看看。" * 2
    pair = QAPair(question="怎么办？", answer=answer)
    text = f"求助者: 怎么办？\n支持者: {answer}"
    assert isinstance(judge(text, form=SHORT, source=pair), Valid)
    gated = SHORT.model_copy(update={"rules": RuleSwitches(copied_answer=True)})
    assert judge(text, form=gated, source=pair).code is Code.COPIED_ANSWER  # type: ignore[union-attr]
    assert isinstance(judge(text, form=gated), Valid)  # without the source there is nothing to compare with


# An utterance as a model writes one: no line break, no backslash, no white space at its ends.
contents = (
    st.text(st.characters(exclude_characters="\\\r\n\ufeff", exclude_categories=["Cs"]), min_size=1, max_size=40)
    .map(str.strip)
    .filter(lambda said: said and "</think>" not in said)
)
dialogues = st.lists(st.builds(Utterance, role=st.sampled_from(["client", "counselor"]), content=contents), min_size=2)
LENIENT = DialogueFormat(roles=SMILE.roles, min_turns=1, rules=RuleSwitches(english_tail=False))


@given(st.data(), dialogues)
def test_any_dialogue_in_any_mixture_of_separators_and_prefixes_comes_back_equal(
    data: st.DataObject, utterances: list[Utterance]
) -> None:
    dialogue = Dialogue(utterances=tuple(utterances))
    text = ""
    for utterance in utterances:
        prefix = data.draw(st.sampled_from(PREFIXES)).format(LENIENT.roles[utterance.role][0])
        text += prefix + utterance.content + data.draw(st.sampled_from(SEPARATORS))
    verdict = judge(text, form=LENIENT)
    assert isinstance(verdict, Valid)
    assert verdict.dialogue == dialogue


@given(dialogues, st.sampled_from((": ", ":", "：", "： ")), st.sampled_from(SEPARATORS))
def test_render_is_the_reverse_of_judge(utterances: list[Utterance], colon: str, separator: str) -> None:
    dialogue = Dialogue(utterances=tuple(utterances))
    verdict = judge(render(dialogue, LENIENT, colon=colon, separator=separator), form=LENIENT)
    assert isinstance(verdict, Valid)
    assert verdict.dialogue == dialogue


fragments = st.lists(
    st.sampled_from(
        ["求助者", "支持者", ":", "：", " ", "\n", "\\n", "\\", "\r", "**", "<think>", "</think>", "a b c d"]
    )
    | st.text(max_size=5)
).map("".join)
ALL_ON = DialogueFormat(
    roles=SMILE.roles,
    opener="client",
    bold_labels=True,
    rules=RuleSwitches(repetition=True, copied_answer=True, wrong_language=True),
)
ALL_OFF = DialogueFormat(roles=SMILE.roles, rules=RuleSwitches(**dict.fromkeys(RuleSwitches.model_fields, False)))


@given(
    fragments, st.sampled_from([None, "stop", "length", "content_filter"]), st.sampled_from([SMILE, ALL_ON, ALL_OFF])
)
def test_judge_never_raises_and_agrees_with_the_list_of_violations(
    text: str, finish_reason: str | None, form: DialogueFormat
) -> None:
    pair = QAPair(question="q", answer=text or "a")
    verdict = judge(text, form=form, finish_reason=finish_reason, source=pair)
    broken = violations(text, form=form, finish_reason=finish_reason, source=pair)
    assert broken == tuple(sorted(broken, key=lambda each: list(Code).index(each.code)))
    if isinstance(verdict, Valid):
        assert not broken
        assert verdict.dialogue.utterances
        assert all(utterance.content for utterance in verdict.dialogue.utterances)
    else:
        assert broken[0] == verdict


@pytest.mark.parametrize("text", ["求助者:", "求助者:\n支持者："])
def test_speakers_without_any_words_are_no_dialogue_even_where_rule_3_is_off(text: str) -> None:
    assert code(text, ALL_OFF) == "empty"
    assert code(text) == ("no-separator" if "\n" not in text else "bad-speaker")


LENIENT_LINES = SHORT.model_copy(
    update={"rules": RuleSwitches(bad_speaker=False, bad_start=False, no_separator=False, too_few_turns=False)}
)
PLAIN = [
    f"{TWO}\n{TWO}",
    f"\n\n{TWO}\\n\\n{TWO}",
    f"{TWO}\n求助者:\n{TWO}",
    f"{TWO}\n求助者: 支持者: 嗯\n没有人",
    f"{TWO}\n 求助者: 我累。 \n{TWO}",
    f"前言\n{TWO}",
    f"{TWO}\n支持者: 嗯 this is the end",
    "求助者: 一个人。",
    "求助者",
    "",
]


@pytest.mark.parametrize("text", PLAIN)
@pytest.mark.parametrize("lenient", [True, False])
def test_the_glance_that_passes_most_answers_agrees_with_the_rules_one_by_one(text: str, lenient: bool) -> None:
    """`violations` never takes the short way: what it finds first, `judge` says; where it finds none, `judge` agrees."""
    form = LENIENT_LINES if lenient else SHORT
    found = violations(text, form=form, finish_reason="stop")
    verdict = judge(text, form=form, finish_reason="stop")
    assert verdict == found[0] if found else isinstance(verdict, Valid)


def test_a_label_inside_is_flagged_beside_lines_without_any_colon() -> None:
    """Two colons and two lines: counting alone would miss it."""
    verdict = judge("求助者: 支持者: 嗯\n没有人", form=LENIENT_LINES)
    assert isinstance(verdict, Valid)
    assert verdict.flags == ("speaker-inside",)
