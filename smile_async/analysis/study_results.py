"""What a study found, computed from its folder: Tables 1 to 3, Figures 4 and 5, topics. Asks nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smile_async.analysis import study_places as there
from smile_async.analysis.comparison import Comparison, SetVectors, compare, laid_beside, topics_of
from smile_async.analysis.distribution import Distribution
from smile_async.analysis.semantic import Vectors, described, line, other_cosines, own_cosines, share_below
from smile_async.analysis.sets import TextSet, open_set
from smile_async.analysis.study_places import METHODS, PAIRS
from smile_async.analysis.tokenization import Tokenizer
from smile_async.analysis.topic_entropy import TopicTable
from smile_async.analysis.vectors import load_vectors
from smile_async.corpus.formats import Record
from smile_async.dialogue.model import QAPair
from smile_async.errors import UsageError

SMILE = "smile"
FEWEST = 2  # dialogues of a method: cosines need pairs


@dataclass(frozen=True, slots=True)
class Transformed:
    """One curve of Figure 4: cosines of QAs of PsyQA* with the dialogues of `method`; `own`: with those made from
    them, else with those of a random partner, each dialogue taken once. `below`: the share below smile's line."""

    method: str
    own: bool
    cosines: Distribution
    below: float

    def as_json(self) -> dict[str, object]:
        return {"method": self.method, "own": self.own, "below_line": self.below, "cosines": self.cosines.as_json()}


@dataclass(frozen=True, slots=True)
class StudyResults:
    """`comparison` holds Tables 1 and 3 and Figure 5 of the four sets (PsyQA* first), `line` is Figure 4's mean - 3
    standard deviations of smile's cosines with its own QAs, `topics` has Table 2 and the distribution by method."""

    comparison: Comparison
    transformed: tuple[Transformed, ...]
    line: float
    topics: Mapping[str, TopicTable]

    def as_json(self) -> dict[str, object]:
        return {
            "sets": [one.as_json() for one in self.comparison.sets],
            "transformation": {"line": self.line, "curves": [one.as_json() for one in self.transformed]},
            "topics": {name: one.as_json() for name, one in self.topics.items()},
        }


def study_sets(out: str | Path) -> list[TextSet]:
    """PsyQA* and the three methods' dialogues, by their names."""
    out = Path(out)
    methods = [open_set(there.dialogues_of(out, method), name=method) for method in METHODS]
    return [open_set(there.pairs_file(out), name=PAIRS), *methods]


def study_vectors(out: str | Path, sets: Sequence[TextSet]) -> dict[str, SetVectors]:
    """Of the study's sets; smile's dialogues lie beside the QAs they were made from, the baselines' beside none."""
    out = Path(out)
    found = {}
    for one in sets:
        found[one.name] = laid_beside(one, load_vectors(there.vectors_of(out, one.name)))
    smile = next((one for one in sets if one.name == SMILE), None)
    if smile is not None:
        found[SMILE] = _beside_their_pairs(out, smile, found[SMILE])
    return found


def study_topics(out: str | Path, sets: Sequence[TextSet]) -> dict[str, TopicTable]:
    """Table 2 of the study's sets of dialogues."""
    return topics_of(sets, {one.name: there.topics_of(Path(out), one.name) for one in sets if one.name in METHODS})


def _beside_their_pairs(out: Path, smile: TextSet, own: SetVectors) -> SetVectors:
    """A row for each dialogue whose QA has a vector, too: a filter may have refused one of the two."""
    pairs, told = load_vectors(there.vectors_of(out, PAIRS)), load_vectors(there.vectors_of(out, SMILE))
    row_of_pair = {ident: row for row, ident in enumerate(pairs.ids)}
    row_of_told = {ident: row for row, ident in enumerate(told.ids)}
    both = [
        (row_of_pair[pair_id(one.pair)], row_of_told[one.row_id])
        for one in smile.read()
        if isinstance(one, Record)
        and one.pair is not None
        and one.row_id in row_of_told
        and pair_id(one.pair) in row_of_pair
    ]
    asked, answered = [pair for pair, _ in both], [row for _, row in both]
    return SetVectors(own.texts, pairs.array[asked], told.array[answered], own.lacking)


def pair_id(pair: QAPair) -> str:
    """By what `smile embed` knows a QA that has an id."""
    return pair.source_id + (f"/{pair.answer_index}" if pair.answer_index else "")


def measure(out: str | Path, *, tokenizer: Tokenizer | None = None, seed: int = 0) -> StudyResults:
    """All of a study whose steps are done. `tokenizer` None: characters; `seed` draws Figure 4's random partners.

    Raises `UsageError` when a method has too few dialogues, `RunNotFoundError` when a step was not done.
    """
    out = Path(out)
    sets = study_sets(out)
    _check_enough(sets)
    vectors = study_vectors(out, sets)
    comparison = compare(sets, tokenizer=tokenizer, vectors=vectors, seed=seed)
    transformed, at = _transformed(vectors, seed)
    return StudyResults(comparison, transformed, at, study_topics(out, sets))


def _transformed(vectors: Mapping[str, SetVectors], seed: int) -> tuple[tuple[Transformed, ...], float]:
    smile = vectors[SMILE]
    assert smile.questions is not None
    assert smile.dialogues is not None
    own = own_cosines(smile.questions, smile.dialogues)
    at = line(described(own))
    curves = [Transformed(SMILE, True, described(own), share_below(own, at))]
    others = {method: (vectors[PAIRS].texts, vectors[method].texts) for method in METHODS if method != SMILE}
    for method, (questions, dialogues) in {**others, SMILE: (smile.questions, smile.dialogues)}.items():
        cosines = other_cosines(*_as_many(questions, dialogues), seed=seed)
        curves.append(Transformed(method, False, described(cosines), share_below(cosines, at)))
    return tuple(curves), at


def _as_many(questions: Vectors, dialogues: Vectors) -> tuple[Vectors, Vectors]:
    rows = min(len(questions), len(dialogues))
    return questions[:rows], dialogues[:rows]


def _check_enough(sets: Sequence[TextSet]) -> None:
    for one in sets:
        if (held := sum(1 for _ in one.read())) < FEWEST:
            raise UsageError(
                f"The set {one.name} holds {held} texts: there is nothing to compare.",
                hint=f"See why in {one.path}: smile status {one.path}; then --retry.",
            )
