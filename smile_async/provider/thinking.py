"""What reasoning models think aloud before they answer, where a server leaves it in the answer's text."""

OPEN_THINKING, CLOSE_THINKING = "<think>", "</think>"


def without_thinking(text: str) -> str:
    """`text` without the thoughts before it; their opening tag may be missing (vLLM's chat templates swallow it).

    Thoughts that were cut off before they ended leave nothing.
    """
    if "<" not in text:  # what nearly always is so costs a fifth of looking for the whole tag
        return text
    thoughts, closing, rest = text.partition(CLOSE_THINKING)
    if closing:
        return rest.lstrip()
    return "" if thoughts.lstrip().startswith(OPEN_THINKING) else text


class AnswerStream:
    """The same of an answer that comes in pieces: what `feed` and at last `end` give is, in the end, the answer.

    Thoughts without an opening tag are known as such when their closing one comes. Until then they were handed on, and
    `retracted` turns true: what was given before is void. With `hold` nothing is handed on before that is known, for
    an answer without thoughts at its end.
    """

    def __init__(self, *, hold: bool = False) -> None:
        self._hold = hold
        self._held = ""
        self._given = False
        self.thought = False
        """Whether there were thoughts."""
        self.retracted = False
        self._answers = False  # all thoughts are over

    def feed(self, piece: str) -> str:
        if self._answers:
            return piece
        self._held += piece
        _, closing, rest = self._held.partition(CLOSE_THINKING)
        if closing:
            self.thought = self._answers = True
            self.retracted = self._given
            return rest
        if self._hold or self._thinks():
            return ""
        kept = next(n for n in range(len(CLOSE_THINKING) - 1, -1, -1) if self._held.endswith(CLOSE_THINKING[:n]))
        given, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        self._given = self._given or bool(given.strip())
        return given

    def end(self) -> str:
        """What was held back; thoughts that have no end are no answer."""
        if self._answers or self.thought:
            return ""
        held, self._held = self._held, ""
        self.thought = not self._given and held.lstrip().startswith(OPEN_THINKING)
        return "" if self.thought else held

    def _thinks(self) -> bool:
        """Whether the answer begins with thoughts, or may still turn out to."""
        if self._given or self.thought:
            return self.thought
        begun = self._held.lstrip()
        self.thought = begun.startswith(OPEN_THINKING)
        return OPEN_THINKING.startswith(begun[: len(OPEN_THINKING)])
