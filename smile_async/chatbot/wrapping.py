"""Lines for a terminal, broken between words, and between Chinese characters."""

from unicodedata import category, east_asian_width

HANGS = frozenset("，。、；：！？）》」』】”’…,.;:!?)]}")  # stand at a line's end, not at the next one's beginning
MARGIN = 2  # columns left free: there a sign may hang


class Wrapping:
    """Breaks text that comes in pieces to lines of `columns`. A word is held until it is whole; one that is longer
    than a line is broken anywhere."""

    def __init__(self, columns: int) -> None:
        self._width = max(columns - MARGIN, 1)
        self._column = 0
        self._gap = ""
        self._word = ""

    def feed(self, piece: str) -> str:
        return "".join(map(self._sign, piece))

    def end(self) -> str:
        return self._flushed()

    def _sign(self, sign: str) -> str:
        if sign == "\n":
            done, self._column, self._gap = self._flushed() + sign, 0, ""
            return done
        if sign.isspace():
            done, self._gap = self._flushed(), self._gap + sign
            return done
        if width_of(sign) == 2:
            before = self._flushed()
            return before + (self._hung(sign) if sign in HANGS else self._put(sign))
        self._word += sign
        return self._flushed() if len(self._word) >= self._width else ""

    def _flushed(self) -> str:
        word, self._word = self._word, ""
        return (self._hung(word) if word in HANGS else self._put(word)) if word else ""

    def _hung(self, sign: str) -> str:
        if self._gap:
            return self._put(sign)
        self._column += width_of(sign)
        return sign

    def _put(self, word: str) -> str:
        wide, gap, self._gap = sum(map(width_of, word)), self._gap, ""
        if self._column + len(gap) + wide > self._width:
            broken, self._column = "\n" if self._column else "", wide
            return broken + word
        self._column += len(gap) + wide
        return gap + word


def wrapped(text: str, columns: int) -> str:
    """A whole text."""
    wrapping = Wrapping(columns)
    return wrapping.feed(text) + wrapping.end()


def width_of(sign: str) -> int:
    """Columns of one character in a terminal."""
    if category(sign) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if east_asian_width(sign) in {"W", "F"} else 1
