"""Sets of texts to be measured and compared: a corpus of dialogues, or single-turn QAs (PsyQA*); whole, or a sample."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

from smile_async.analysis.digests import dialogue_text as spoken_text
from smile_async.analysis.digests import qa_text, text_digest
from smile_async.analysis.lexical import dialogue_text, pair_text
from smile_async.corpora import open_corpus
from smile_async.corpus.formats import PAPER_ROLES, Record, RoleMap
from smile_async.dialogue.model import QAPair
from smile_async.errors import CorpusError, SourceError, UsageError
from smile_async.source.readers import open_source
from smile_async.source.rows import SourceRow
from smile_async.source.sample import PAPER_FIRST, sample

Item = TypeVar("Item")
Member = Record | QAPair


@dataclass(frozen=True, slots=True)
class TextSet:
    """`read` gives its members in their order, as often as it is called: dialogues as records, or QAs."""

    name: str
    path: Path
    read: Callable[[], Iterator[Member]] = field(repr=False)
    roles: RoleMap = PAPER_ROLES
    single_turn: bool = False
    whole: bool = True

    def texts(self) -> Iterator[str]:
        """One string each, without speakers (Equation 2)."""
        for one in self.read():
            yield pair_text(one) if isinstance(one, QAPair) else dialogue_text(one.dialogue)

    def ids(self) -> Iterator[str]:
        """What vectors and topics know the members by: a row's id, of a QA its source's with the answer's number, or
        its place where the source has none. `UsageError` where a sample has lost its places."""
        for place, one in enumerate(self.read()):
            if isinstance(one, Record):
                yield one.row_id
                continue
            if not (one.source_id or self.whole):
                raise UsageError(
                    f"The QAs of {self.path} have no ids, so that a sample of them cannot be told from the others.",
                    hint="Write the sample into a file (smile sample), and use that one throughout.",
                )
            yield f"{one.source_id or place}" + (f"/{one.answer_index}" if one.answer_index else "")

    def known(self) -> Iterator[tuple[str, str, str]]:
        """Id, digest of the text and of the QA (empty: there is none), of each member: what vectors know it by."""
        for ident, one in zip(self.ids(), self.read(), strict=True):
            pair = one if isinstance(one, QAPair) else one.pair
            asked = "" if pair is None else text_digest(qa_text(pair))
            yield ident, asked if isinstance(one, QAPair) else text_digest(spoken_text(one.dialogue)), asked

    def records(self) -> Iterator[Record]:
        """The dialogues; none of single-turn QAs."""
        return (one for one in self.read() if isinstance(one, Record))

    def responses(self) -> Iterator[str]:
        """What counselors say, an utterance each; of QAs the answers."""
        for one in self.read():
            if isinstance(one, QAPair):
                yield one.answer
            else:
                yield from (said.content for said in one.dialogue.utterances if said.role == self.roles.assistant)


def open_set(path: str | Path, *, name: str | None = None, roles: RoleMap | None = None) -> TextSet:
    """What `open_corpus` opens, else what `open_source` does. `name` None: that of the file.

    `CorpusError` when it is neither.
    """
    try:
        corpus = open_corpus(path, roles=roles)
    except CorpusError as no_corpus:
        source = _source(path, no_corpus)
        return TextSet(name or Path(path).stem, Path(path), source, single_turn=True)
    return TextSet(name or corpus.name, corpus.path, corpus.read, corpus.roles)


def _source(path: str | Path, no_corpus: CorpusError) -> Callable[[], Iterator[QAPair]]:
    if not Path(path).is_file():
        raise no_corpus
    try:
        source = open_source(path)
    except SourceError:
        raise no_corpus from None
    return lambda: (row.pair for row in source if isinstance(row, SourceRow))


def sampled(whole: TextSet, n: int, *, seed: int) -> TextSet:
    """`n` members drawn at random, in the set's order, held in memory; of QAs as section 4.1 draws PsyQA*: distinct
    questions out of the first 5,000 QAs, one answer each.

    The same seed draws the same on every machine. `UsageError` when there are fewer.
    """
    if n < 1:
        raise UsageError(f"Cannot draw {n} texts.", hint="It takes one at least.")
    drawn: Sequence[Member]
    if whole.single_turn:
        drawn = sample(open_source(whole.path), n=n, first=max(n, PAPER_FIRST), seed=seed)
    else:
        drawn = draw(whole.read(), n, seed=seed)
    if len(drawn) < n:
        raise UsageError(f"{whole.path} holds {len(drawn):,} texts, fewer than {n:,}.", hint="Draw fewer, or take all.")
    return TextSet(whole.name, whole.path, lambda: iter(drawn), whole.roles, whole.single_turn, whole=False)


def draw(items: Iterable[Item], n: int, *, seed: int) -> Sequence[Item]:
    """`n` of them (all, when there are fewer) in one pass, in their order: a reservoir."""
    chance = Random(seed)
    kept: list[tuple[int, Item]] = []
    for place, item in enumerate(items):
        if place < n:
            kept.append((place, item))
        elif (taken := chance.randrange(place + 1)) < n:
            kept[taken] = (place, item)
    return [item for _, item in sorted(kept, key=lambda one: one[0])]
