"""Where an answer ends whose model goes on for the other side: a base model never learnt to stop.

A model without a chat template of its own is asked in lines of `Client:` and `Counselor:` (`data/plain_chat.jinja`); a
line that begins so is no part of the answer.
"""

from dataclasses import dataclass

LABELS = ("\nClient:", "\nCounselor:")


def own_turn(text: str) -> str:
    """The answer alone."""
    return text[: _end(text)]


def has_ended(text: str) -> bool:
    return _end(text) < len(text)


def _end(text: str) -> int:
    return min((place for label in LABELS if (place := text.find(label)) >= 0), default=len(text))


@dataclass(slots=True)
class OwnTurn:
    """The answer as it comes in pieces: what may be the beginning of a label is held back until it is told apart."""

    over: bool = False
    _held: str = ""

    def feed(self, piece: str) -> str:
        text = self._held + piece
        self.over = has_ended(text)
        begun = 0 if self.over else _begun(text)
        self._held = text[len(text) - begun :]
        return own_turn(text)[: len(text) - begun]

    def end(self) -> str:
        """What was held back and was no label."""
        held, self._held = self._held, ""
        return held


def _begun(text: str) -> int:
    """How many characters at the end may be the beginning of a label."""
    lengths = range(1, max(map(len, LABELS)))
    return max((n for n in lengths if any(len(text) >= n and one.startswith(text[-n:]) for one in LABELS)), default=0)
