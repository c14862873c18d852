"""The gates beyond the paper, at their edges."""

import pytest

from smile_async.dialogue.quality import copied_answer, known_languages, repetition, script_of, wrong_language


def distinct(length: int, start: int = 0) -> str:
    """Chinese text in which no character comes twice."""
    return "".join(chr(0x4E00 + start + at) for at in range(length))


@pytest.mark.parametrize(
    ("repeats", "utterances", "loops"),
    [(0, 10, False), (1, 4, False), (2, 10, True), (2, 11, False), (3, 12, True)],  # 2/10 is 0.2, 2/11 is 0.18
)
def test_a_fifth_of_the_utterances_said_again_is_a_loop(repeats: int, utterances: int, loops: bool) -> None:
    said = [distinct(10, 10 * at) for at in range(utterances - repeats)]
    detail = repetition(said + said[:1] * repeats)
    assert detail == (f"{repeats} of {utterances} utterances repeat an earlier one" if loops else None)


def test_short_thanks_may_be_said_again() -> None:
    assert repetition(["谢谢。", distinct(10), "谢谢。", distinct(10, 50), "谢谢。"]) is None


def test_an_utterance_that_runs_in_circles_is_a_loop() -> None:
    # a period of 9 characters over 90: (90 - 8) / 2 + 1 = 42 n-grams, 9 of them different
    assert repetition([distinct(60), distinct(9, 100) * 10]) == "utterance 2 of 2: only 21% of its n-grams differ"


def test_a_question_asked_twice_in_one_breath_is_no_loop() -> None:
    assert repetition([distinct(50) * 2, distinct(40, 100)]) is None


def test_the_same_long_passage_in_most_utterances_is_a_loop() -> None:
    said = [distinct(40) + distinct(8, 100 + 8 * at) for at in range(8)]
    # each utterance has 6 n-grams at stride 8, of which the first 5 are the same: 5 + 8 of 48 differ
    assert repetition(said) == "only 27% of the dialogue's n-grams differ"


@pytest.mark.parametrize("said", [[], [""], ["啊"], ["啊啊啊啊啊啊啊啊啊啊啊啊"]])
def test_too_little_text_is_never_a_loop(said: list[str]) -> None:
    assert repetition(said) is None


def test_the_answer_in_one_utterance_is_a_copy_even_with_a_greeting() -> None:
    answer = distinct(100)
    assert copied_answer(["你好。", f"你好，{answer}希望能帮到你。"], answer) == (
        "utterance 2 of 2 holds 100% of the source's answer"
    )


def test_the_answer_spread_over_utterances_is_what_the_method_asks_for() -> None:
    answer = distinct(100)
    assert copied_answer([answer[:50], "嗯。", answer[50:]], answer) is None


def test_a_copy_with_a_changed_word_is_still_a_copy_and_half_a_copy_is_none() -> None:
    answer = distinct(200)
    changed = answer[:100] + "改" + answer[101:]
    assert copied_answer([changed], answer) is not None
    assert copied_answer([answer[:100] + distinct(100, 500)], answer) is None


def test_a_short_answer_may_be_said_in_one_breath() -> None:
    assert copied_answer([distinct(59)], distinct(59)) is None
    assert copied_answer([distinct(60)], distinct(60)) is not None


def test_an_utterance_in_another_script_is_the_wrong_language() -> None:
    chinese, english = "我最近总是睡不着，不知道怎么办。", "You should talk to someone you trust."
    assert wrong_language([chinese, english], "zh") == "utterance 2 of 2: 30 of 30 letters are not of language 'zh'"
    assert wrong_language([english, chinese * 3], "en") == "utterance 2 of 2: 42 of 42 letters are not of language 'en'"
    assert wrong_language([english], "en-GB") is None


def test_names_and_abbreviations_are_no_other_language() -> None:
    assert wrong_language(["我在做 MBTI 测试，还有 CBT。", "OK，Thank you very much！"], "zh") is None


def test_japanese_may_use_chinese_characters_and_chinese_no_kana() -> None:
    japanese = "最近眠れなくて、どうすればいいのかわからないです。仕事も大変です。"
    assert wrong_language([japanese], "ja") is None
    assert wrong_language([japanese], "zh") is not None


def test_an_unknown_language_is_not_judged() -> None:
    assert script_of("tlh") is None
    assert wrong_language(["nuqneH"], "tlh") is None
    assert {"zh", "en"} <= set(known_languages())
