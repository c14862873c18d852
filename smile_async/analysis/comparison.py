"""Two or more sets side by side: Table 1, their statistics, Figures 4 and 5 with vectors, Table 2 with topics."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smile_async.analysis.distribution import Distribution
from smile_async.analysis.lexical import Lexical, distinct
from smile_async.analysis.pairs import pair_cosines
from smile_async.analysis.semantic import Vectors, described, line, other_cosines, own_cosines, share_below
from smile_async.analysis.sets import TextSet
from smile_async.analysis.tokenization import Tokenizer
from smile_async.analysis.topic_entropy import TopicTable, topic_table
from smile_async.analysis.topics import read_annotation
from smile_async.analysis.vectors import load_vectors
from smile_async.corpus.statistics import CorpusStatistics, corpus_statistics
from smile_async.errors import UsageError


@dataclass(frozen=True, slots=True)
class SetVectors:
    """Of one set. `texts` has a row for each dialogue (or QA, where the set is of QAs). Row i of `questions` is the QA
    from which the dialogue in row i of `dialogues` was made, or beside which it is laid; None where there are no QAs.
    `lacking`: members of the set without a vector."""

    texts: Vectors
    questions: Vectors | None = None
    dialogues: Vectors | None = None
    lacking: int = 0


def vectors_of(sets: Sequence[TextSet], folders: Mapping[str, str | Path]) -> dict[str, SetVectors]:
    """Of the sets whose names have a folder that `smile embed` wrote. `UsageError` for a name that is none of them."""
    _check_names([one.name for one in sets], {"vectors": folders})
    found = {}
    for one in sets:
        if one.name in folders:
            held = load_vectors(folders[one.name])
            found[one.name] = laid_beside(one, held.ids, held.what, held.array)
    return found


def topics_of(sets: Sequence[TextSet], folders: Mapping[str, str | Path]) -> dict[str, TopicTable]:
    """Likewise of folders that `smile topics annotate` wrote: Table 2 over the members that have labels."""
    _check_names([one.name for one in sets], {"topics": folders})
    found = {}
    for one in sets:
        if one.name in folders:
            annotation = read_annotation(folders[one.name])
            labelled = dict(annotation.rows)
            own = [labelled[ident] for ident in one.ids() if ident in labelled]
            if not own:
                raise _of_others("topics", one, "smile topics annotate")
            found[one.name] = topic_table(own, annotation.topics)
    return found


def laid_beside(members: TextSet, ids: Sequence[str], what: Sequence[str], array: Vectors) -> SetVectors:
    """The vectors of a set's members out of a folder of vectors: row n of `array` is that of `what[n]` (`qa` or
    `dialogue`) of the record `ids[n]`.

    A member may lack its vector (a filter refused its text): it is left out and counted. `UsageError` when so few are
    left that the vectors must be of other texts.
    """
    rows = {key: row for row, key in enumerate(zip(ids, what, strict=True))}
    own = list(members.ids())
    text_rows = [rows.get((one, "qa" if members.single_turn else "dialogue")) for one in own]
    found = [row for row in text_rows if row is not None]
    if len(found) < 2:
        raise _of_others("vectors", members, "smile embed")
    both = [
        (asked, told)
        for one, told in zip(own, text_rows, strict=True)
        if told is not None and (asked := rows.get((one, "qa"))) is not None
    ]
    lacking = len(own) - len(found)
    if members.single_turn or len(both) < 2:
        return SetVectors(array[found], lacking=lacking)
    questions, dialogues = ([pair[side] for pair in both] for side in (0, 1))
    return SetVectors(array[found], array[questions], array[dialogues], lacking)


@dataclass(frozen=True, slots=True)
class Compared:
    """One set's side. `statistics` is None for QAs; `pairs` (Figure 5) without vectors; `own` and `other` (Figure 4:
    each QA with its own dialogue, with a random other one) without those of its QAs. `lacking`: texts without a vector.
    `topics`: Table 2, of the dialogues that were annotated."""

    name: str
    lexical: Lexical
    statistics: CorpusStatistics | None = None
    pairs: Distribution | None = None
    own: Distribution | None = None
    other: Distribution | None = None
    lacking: int = 0
    topics: TopicTable | None = None

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
        told = {name: part.as_json() for name, part in parts.items() if part is not None}
        return {"name": self.name, **told, "line": self.line, "lacking_vectors": self.lacking}


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

    def as_json(self) -> dict[str, object]:
        beyond = [{"of": one.of, "line_of": one.line_of, "own": one.own, "other": one.other} for one in self.beyond]
        return {"sets": [one.as_json() for one in self.sets], "beyond": beyond}


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
                None if held is None else pair_cosines(held.texts),
                own,
                other,
                0 if held is None else held.lacking,
                topics.get(one.name),
            )
        )
    beyond = tuple(
        Beyond(name, one.name, share_below(own, one.line), share_below(other, one.line))
        for one in compared
        if one.line is not None
        for name, (own, other) in cosines.items()
    )
    return Comparison(tuple(compared), beyond)


def _of_others(what: str, members: TextSet, command: str) -> UsageError:
    return UsageError(
        f"The {what} of {members.name} are of other texts: their ids are not those in {members.path}.",
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
