"""Lines for a terminal: nothing is lost, nothing is too long, words and Chinese signs stay whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smile_async.chatbot.wrapping import Wrapping, width_of, wrapped


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("abcdefghijkl", ["abcdefgh", "ijkl"]),
        ("  a\n  bcdefg h", ["  a", "  bcdefg", "h"]),
        ("我听到你说很累", ["我听到你", "说很累"]),  # 4 signs of 2 columns
        ("我听到你，说", ["我听到你，", "说"]),  # a comma begins no line
        ("on, two, three", ["on, two,", "three"]),
        ("OK，我在。", ["OK，我在。"]),
    ],
)
def test_lines_of_eight_columns(text: str, lines: list[str]) -> None:
    assert wrapped(text, 10).split("\n") == lines


@given(st.lists(st.text(alphabet="ab ，。我你\n,", max_size=6)), st.integers(3, 12))
def test_pieces_change_nothing_and_no_sign_is_lost(pieces: list[str], columns: int) -> None:
    wrapping = Wrapping(columns)
    told = "".join(map(wrapping.feed, pieces)) + wrapping.end()
    assert told == wrapped("".join(pieces), columns)
    assert "".join(told.split()) == "".join("".join(pieces).split())


@given(st.text(alphabet="ab 我你", max_size=60), st.integers(4, 12))
def test_no_line_is_wider_than_the_terminal(text: str, columns: int) -> None:
    assert all(sum(map(width_of, line)) <= columns - 2 for line in wrapped(text, columns).split("\n"))
