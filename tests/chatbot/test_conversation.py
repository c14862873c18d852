"""What the model sees of a conversation, and what a terminal sees of the model."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smile_async.chatbot.conversation import Conversation, TerminalText, shown


def test_the_model_sees_the_system_prompt_and_the_last_turns() -> None:
    talk = Conversation("S", most=2)
    for n in range(3):
        talk = talk.said(f"q{n}").answered(f"a{n}")
    talk = talk.said("q3")
    assert talk.asked() == (("system", "S"), ("user", "q2"), ("assistant", "a2"), ("user", "q3"))
    assert Conversation().said("q").asked() == (("user", "q"),)


def test_a_question_without_an_answer_waits_for_one_and_gives_its_place_to_the_next() -> None:
    talk = Conversation().said("q0").answered("a0").said("q1").answered(" \n")
    assert talk.waits
    assert talk.unanswered() == talk
    assert talk.asked()[-1] == ("user", "q1")
    assert talk.said("q2").turns == (("user", "q0"), ("assistant", "a0"), ("user", "q2"))
    assert talk.answered("a1").unanswered() == talk
    assert talk.emptied().turns == ()


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]52;c;c2VjcmV0\x1b\\x", "x"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$r\x1b\\x", "x"),
        ("\x9b2Jx", "x"),
        ("good\rbad\x08\x7f", "goodbad"),
        ("left\u202eright\u2066", "leftright"),
        ("a\x1b", "a"),
        ("a\x1b[12;", "a[12;"),
        ("行一\n\t行二，🙂", "行一\n\t行二，🙂"),
    ],
)
def test_nothing_that_a_terminal_would_obey_comes_through(hostile: str, harmless: str) -> None:
    assert shown(hostile) == harmless


TORN = st.text(st.sampled_from("\x1b[]P1;m\x07\\\x9b\n\u202e\r你"))
WHOLE = st.lists(
    st.sampled_from(
        ["a", "你", "\n", "\x1b[1;31m", "\x1b]0;x\x07", "\x1b]8;;\x1b\\", "\x1bM", "\x1bPq\x1b\\", "\x9b2J"]
    )
)


def streamed(text: str) -> str:
    """Fed character by character."""
    filtered = TerminalText()
    return "".join(filtered.feed(one) for one in text) + filtered.end()


@given(TORN)
@settings(max_examples=500)
def test_no_control_character_comes_through_however_torn(text: str) -> None:
    for told in (streamed(text), shown(text)):
        assert all(one == "\n" or unicodedata.category(one) not in {"Cc", "Cf"} for one in told)


@given(WHOLE)
def test_whole_sequences_vanish_wherever_the_pieces_break(parts: list[str]) -> None:
    text = "".join(parts)
    assert streamed(text) == shown(text) == "".join(part for part in parts if part in "a你\n")
