"""A conversation as a value: what was said, how much of it the model sees, what a terminal may show of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from smile_async.chatbot.sessions import Turn
from smile_async.engine.job import Message

HISTORY = 20  # client utterances that the model sees


@dataclass(frozen=True, slots=True)
class Conversation:
    """`turns` alternate, client first. `system` goes before them; the model sees the last `most` client utterances."""

    system: str = ""
    turns: tuple[Turn, ...] = ()
    most: int = HISTORY

    def said(self, text: str) -> "Conversation":
        """With what the client says next, in place of what got no answer."""
        return replace(self, turns=(*(self.turns[:-1] if self.waits else self.turns), ("user", text)))

    @property
    def waits(self) -> bool:
        """Whether what the client said last has no answer."""
        return self.turns[-1:] != () and self.turns[-1][0] == "user"

    def answered(self, text: str) -> "Conversation":
        """With the answer, also a part of one; without any it still waits for one."""
        if not text.strip():
            return self
        return replace(self, turns=(*self.turns, ("assistant", text.strip())))

    def unanswered(self) -> "Conversation":
        """Without the last answer, to be asked for again."""
        return replace(self, turns=self.turns[:-1]) if self.turns[-1:] and self.turns[-1][0] == "assistant" else self

    def emptied(self) -> "Conversation":
        return replace(self, turns=())

    def asked(self) -> tuple[Turn, ...]:
        """What goes to the model."""
        head: tuple[Turn, ...] = (("system", self.system),) if self.system else ()
        return (*head, *self.turns[-(2 * self.most - 1) :])


def messages_of(turns: Sequence[Turn]) -> tuple[Message, ...]:
    return tuple(Message(role, text) for role, text in turns)


_SEQUENCE = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # an operating system command: titles, the clipboard, links
    r"|\x1b[PX^_][^\x1b]*\x1b\\"  # strings for devices
    r"|\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|\x1b(?![\[\]PX^_])[ -/]*[0-~]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]")
_BEGUN = re.compile(r"(?:\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?|\x9b[0-?]*[ -/]*)\Z")
MOST_HELD = 4096  # characters of a sequence that has no end


class TerminalText:
    """Model text without what a terminal would obey: escape sequences, control characters, changes of direction.

    Pieces may break off inside a sequence: what may be the beginning of one is held back until it is told apart.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        text = _SEQUENCE.sub("", self._held + piece)
        begun = _BEGUN.search(text)
        self._held = begun[0] if begun and len(begun[0]) <= MOST_HELD else ""
        return _CONTROL.sub("", text[: len(text) - len(self._held)])

    def end(self) -> str:
        """What was held back, harmless."""
        held, self._held = self._held, ""
        return _CONTROL.sub("", held)


def shown(text: str) -> str:
    """A whole text for a terminal."""
    filtered = TerminalText()
    return filtered.feed(text) + filtered.end()
