"""Two or more sets side by side: Table 1, their statistics, Figures 4 and 5 with vectors, Table 2 with topics."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smile_async.analysis.digests import ByText, Fate, told
from smile_async.analysis.distribution import Distribution
from smile_async.analysis.labels import Labels
from smile_async.analysis.lexical import Lexical, distinct
from smile_async.analysis.pairs import pair_cosines
from smile_async.analysis.semantic import Vectors, described, line, other_cosines, own_cosines, share_below
from smile_async.analysis.sets import TextSet
from smile_async.analysis.tokenization import Tokenizer
from smile_async.analysis.topic_entropy import TopicTable, topic_table
from smile_async.analysis.topics import read_annotation
from smile_async.analysis.vectors import Vectors as VectorsHeld
from smile_async.analysis.vectors import load_vectors
from smile_async.corpus.statistics import CorpusStatistics, corpus_statistics
from smile_async.errors import UsageError

UNEQUAL = 1.2  # times the tokens: at 1.5 times, distinct-2 of one and the same corpus differs by 23 % (SMILECHAT)
PAIR = 2  # texts that it takes to set one beside another


@dataclass(frozen=True, slots=True)
class SetVectors:
    """Of one set. `texts` has a row for each dialogue (or QA, where the set is of QAs). Row i of `questions` is the QA
    from which the dialogue in row i of `dialogues` was made, or beside which it is laid; None where there are no QAs.
    `lacking`: members of the set without a vector; `fates`: what became of all of them."""

    texts: Vectors
    questions: Vectors | None = None
    dialogues: Vectors | None = None
    lacking: int = 0
    fates: Mapping[Fate, int] = field(default_factory=dict)


Notify = Callable[[str], None]


def vectors_of(
    sets: Sequence[TextSet], folders: Mapping[str, str | Path], notify: Notify = lambda _text: None
) -> dict[str, SetVectors]:
    """Of the sets whose names have a folder that `smile embed` wrote; `notify` is told of vectors that are of other
    texts. `UsageError` for a name that is none of them."""
    _check_names([one.name for one in sets], {"vectors": folders})
    found = {}
    for one in sets:
        if one.name in folders:
            found[one.name] = laid_beside(one, load_vectors(folders[one.name]))
            _tell(notify, found[one.name].fates, "vectors", folders[one.name], f"smile embed {one.path}")
    return found


def topics_of(
    sets: Sequence[TextSet], folders: Mapping[str, str | Path], notify: Notify = lambda _text: None
) -> dict[str, TopicTable]:
    """Likewise of folders that `smile topics annotate` wrote: Table 2 over the members that have labels."""
    _check_names([one.name for one in sets], {"topics": folders})
    found = {}
    for one in sets:
        if one.name in folders:
            annotation, own, fates = read_annotation(folders[one.name]), list[Labels](), Counter[Fate]()
            for _, labels, fate in annotation.of(one.records(), one.roles):
                own += labels[-1:]
                fates[fate] += 1
            if not own:
                raise _of_others("topics", one, "smile topics annotate")
            _tell(notify, fates, "labels", folders[one.name], f"smile topics annotate {one.path}")
            found[one.name] = topic_table(own, annotation.topics)
    return found


def _tell(notify: Notify, fates: Mapping[Fate, int], what: str, folder: str | Path, command: str) -> None:
    for one in told(fates, what, folder, f"{command} {folder}"):
        notify(one)


def laid_beside(members: TextSet, held: VectorsHeld) -> SetVectors:
    """The vectors of a set's members out of a folder of vectors.

    A member may lack its vector (a filter refused its text, the text has changed): it is left out and counted.
    `UsageError` when none is left: then the vectors must be of other texts.
    """
    rows = {kind: _rows_by_text(held, kind) for kind in ("qa", "dialogue")}
    fates = Counter[Fate]()
    found, both = list[int](), list[tuple[int, int]]()
    for ident, digest, asked in members.known():
        there, fate = rows["qa" if members.single_turn else "dialogue"].of(ident, digest)
        fates[fate] += 1
        if not there:
            continue
        found.append(there[-1])
        if not members.single_turn and (beside := _questions(rows["qa"], ident, asked)):
            both.append((beside[-1], there[-1]))
    if not found:
        raise _of_others("vectors", members, "smile embed")
    lacking, array = fates["missing"] + fates["changed"], held.array
    if len(both) < PAIR:
        return SetVectors(array[found], lacking=lacking, fates=fates)
    questions, dialogues = ([pair[side] for pair in both] for side in (0, 1))
    return SetVectors(array[found], array[questions], array[dialogues], lacking, fates)


def _rows_by_text(held: VectorsHeld, kind: str) -> ByText[int]:
    digests = held.digests or ("",) * len(held.ids)
    each = zip(held.ids, held.what, digests, strict=True)
    return ByText((ident, digest, row) for row, (ident, what, digest) in enumerate(each) if what == kind)


def _questions(rows: ByText[int], ident: str, asked: str) -> Sequence[int]:
    """A member whose set does not hold its QA (an export of dialogues alone) is laid beside whatever QA it had."""
    return rows.of(ident, asked)[0] if asked else rows.any_of(ident)


@dataclass(frozen=True, slots=True)
class Compared:
    """One set's side. `statistics` is None for QAs; `pairs` (Figure 5) without vectors; `own` and `other` (Figure 4:
    each QA with its own dialogue, with a random other one) without those of its QAs. `lacking`: texts without a vector.
    `topics`: Table 2, of the dialogues that were annotated. `changed`: those of `lacking` whose id has a vector, of
    another text."""

    name: str
    lexical: Lexical
    statistics: CorpusStatistics | None = None
    pairs: Distribution | None = None
    own: Distribution | None = None
    other: Distribution | None = None
    lacking: int = 0
    topics: TopicTable | None = None
    changed: int = 0

    @property
    def line(self) -> float | None:
        """Mean - 3 deviations of its own cosines."""
        return None if self.own is None else line(self.own)

    def as_json(self) -> dict[str, object]:
        parts = {
            "lexical": self.lexical,
            "statistics": self.statistics,
            "pairs": self.pairs,
            "own": self.own,
            "other": self.other,
            "topics": self.topics,
        }
        measured = {name: part.as_json() for name, part in parts.items() if part is not None}
        lacking = {"lacking_vectors": self.lacking, "changed_texts": self.changed}
        return {"name": self.name, **measured, "line": self.line, **lacking}


@dataclass(frozen=True, slots=True)
class Beyond:
    """The shares of `of`'s cosines below the line of `line_of`: of QAs with their own dialogues, with others."""

    of: str
    line_of: str
    own: float
    other: float


@dataclass(frozen=True, slots=True)
class Comparison:
    sets: tuple[Compared, ...]
    beyond: tuple[Beyond, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the tables has to know."""
        return size_notes([one.lexical for one in self.sets], [one.name for one in self.sets])

    def as_json(self) -> dict[str, object]:
        beyond = [{"of": one.of, "line_of": one.line_of, "own": one.own, "other": one.other} for one in self.beyond]
        return {"sets": [one.as_json() for one in self.sets], "beyond": beyond, "notes": self.notes}


def compare(
    sets: Sequence[TextSet],
    *,
    tokenizer: Tokenizer | None = None,
    vectors: Mapping[str, SetVectors] | None = None,
    topics: Mapping[str, TopicTable] | None = None,
    seed: int = 0,
) -> Comparison:
    """Measure each set. `vectors` and `topics` by the sets' names; `seed` is that of Figure 4's random partners."""
    vectors, topics = vectors or {}, topics or {}
    _check_names([one.name for one in sets], {"vectors": vectors, "topics": topics})
    cosines = {
        name: (own_cosines(held.questions, held.dialogues), other_cosines(held.questions, held.dialogues, seed=seed))
        for name, held in vectors.items()
        if held.questions is not None and held.dialogues is not None
    }
    compared = []
    for one in sets:
        held = vectors.get(one.name)
        own, other = (described(each) for each in cosines[one.name]) if one.name in cosines else (None, None)
        compared.append(
            Compared(
                one.name,
                distinct(one.texts(), tokenizer),
                None if one.single_turn else corpus_statistics(one.records(), one.roles),
                None if held is None or len(held.texts) < PAIR else pair_cosines(held.texts),
                own,
                other,
                0 if held is None else held.lacking,
                topics.get(one.name),
                0 if held is None else held.fates.get("changed", 0),
            )
        )
    beyond = tuple(
        Beyond(name, one.name, share_below(own, one.line), share_below(other, one.line))
        for one in compared
        if one.line is not None
        for name, (own, other) in cosines.items()
    )
    return Comparison(tuple(compared), beyond)


def size_notes(sets: Sequence[Lexical], names: Sequence[str]) -> tuple[str, ...]:
    """Where distinct-n of the sets cannot be set side by side: types grow more slowly than tokens (Heaps' law), so that
    the larger set has the lower share by its size alone."""
    if not sets:
        return ()
    tokens = [one.ngrams[0].total for one in sets]
    least, most = tokens.index(min(tokens)), tokens.index(max(tokens))
    if tokens[most] < UNEQUAL * max(tokens[least], 1):
        return ()
    ratio = tokens[most] / max(tokens[least], 1)
    size = (
        f"Distinct-n falls as a set grows: {names[most]} has {ratio:,.1f} times the tokens of {names[least]}, which by "
        "itself makes its share lower."
    )
    texts = [one.texts for one in sets]
    fewest = min(texts)
    remedy = (
        f"Draw as many of each: --sample {fewest}."
        if max(texts) > fewest
        else "They have as many texts, of other lengths: compare distinct-n of texts of one kind only."
    )
    return (f"{size} {remedy}",)


def _of_others(what: str, members: TextSet, command: str) -> UsageError:
    return UsageError(
        f"The {what} of {members.name} are of other texts: none is of one in {members.path}.",
        hint=f"Make them of this very corpus ({command}), or name the folder that was made of it.",
    )


def _check_names(names: Sequence[str], given: Mapping[str, Iterable[str]]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"Two sets are called {twice!r}.", hint="Give each a name of its own: NAME=CORPUS.")
    for what, theirs in given.items():
        stranger = next((name for name in theirs if name not in names), None)
        if stranger is not None:
            raise UsageError(
                f"There are {what} of {stranger!r}, which is none of the sets.", hint=f"The sets: {', '.join(names)}."
            )
