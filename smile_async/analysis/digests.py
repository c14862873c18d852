"""By what vectors and labels know the texts they were made of: an id may come again in another corpus, or its text may
have changed; the digest of the text says so."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, Literal, TypeVar

from smile_async.dialogue.model import Dialogue, QAPair

T = TypeVar("T")

SIZE = 12  # bytes: two of a million texts have one digest once in 10**17 corpora
Fate = Literal["same", "unchecked", "changed", "missing"]
"""What became of a text that was looked for: found; found by its id in a file without digests; there is its id, with
another text; there is nothing of it."""


def dialogue_text(dialogue: Dialogue) -> str:
    """The utterances without any speaker tokens, one after another (section 4.1, d_s). Where the paper concatenates,
    a line break stands between them: it keeps apart the words of languages that have spaces."""
    return "\n".join(utterance.content for utterance in dialogue.utterances)


def qa_text(pair: QAPair) -> str:
    """The single-turn dialogue: question, description, answer, one after another likewise."""
    return "\n".join(part for part in (pair.question, pair.description, pair.answer) if part)


def text_digest(text: str) -> str:
    """24 hexadecimal digits, the same on every machine."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=SIZE).hexdigest()


class ByText(Generic[T]):
    """What was made of texts, found again by id and digest. Rows of a file from before there were digests have an empty
    one, and are found by their ids alone."""

    def __init__(self, rows: Iterable[tuple[str, str, T]]) -> None:
        self._found: dict[str, list[tuple[str, T]]] = {}
        for ident, digest, one in rows:
            self._found.setdefault(ident, []).append((digest, one))

    def any_of(self, ident: str) -> Sequence[T]:
        """What was made under this id, of whatever text."""
        return [one for _, one in self._found.get(ident, ())]

    def of(self, ident: str, *digests: str) -> tuple[Sequence[T], Fate]:
        """All that was made of this text, which has one of the `digests`; of several records of one id, those with it.
        Nothing when it has changed."""
        there = self._found.get(ident)
        if there is None:
            return (), "missing"
        if same := [one for own, one in there if own in digests]:
            return same, "same"
        if undated := [one for own, one in there if not own]:
            return undated, "unchecked"
        return (), "changed"


def told(fates: Mapping[Fate, int], what: str, folder: object, command: str) -> list[str]:
    """What a person should know of how `what` (labels, vectors) in `folder` go with the texts: nothing where all of
    them were made of these very texts. `command` makes them anew."""
    fates = Counter(fates)
    total, lines = sum(fates.values()), list[str]()
    if changed := fates["changed"]:
        lines.append(
            f"{changed:,} of {total:,} texts are others than those that the {what} in {folder} were made of, under the "
            f"same ids: left out. Make them anew: {command}"
        )
    if unchecked := fates["unchecked"]:
        lines.append(
            f"The {what} in {folder} are from before texts had digests: {unchecked:,} of {total:,} were matched by id "
            f"alone. {command} writes the digests and asks nobody, where nothing has changed."
        )
    return lines
