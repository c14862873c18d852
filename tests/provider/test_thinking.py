"""Thoughts before an answer, whole and in pieces."""

from hypothesis import given
from hypothesis import strategies as st

from smile_async.provider.thinking import AnswerStream, without_thinking

PIECES = st.lists(
    st.sampled_from(["<think>", "</think>", "<th", "ink>", "</", "think>", "<", ">", "a", " ", "\n", "我"])
)


def said(pieces: list[str], *, hold: bool) -> str:
    stream, told, retracted = AnswerStream(hold=hold), "", False
    for piece in pieces:
        found = stream.feed(piece)
        if stream.retracted and not retracted:
            told, retracted = "", True
        told += found
    return told + stream.end()


@given(PIECES, st.booleans())
def test_an_answer_in_pieces_is_the_same_as_a_whole_one(pieces: list[str], hold: bool) -> None:
    assert said(pieces, hold=hold).strip() == without_thinking("".join(pieces)).strip()


@given(PIECES)
def test_what_is_held_is_never_taken_back(pieces: list[str]) -> None:
    stream = AnswerStream(hold=True)
    for piece in pieces:
        stream.feed(piece)
        assert not stream.retracted


def test_an_answer_is_handed_on_as_it_comes_but_for_what_may_become_a_tag() -> None:
    stream = AnswerStream()
    assert [stream.feed(piece) for piece in ("ok", " 1 <", " 2", "</thi")] == ["ok", " 1 ", "< 2", ""]
    assert stream.end() == "</thi"
    assert not stream.thought
