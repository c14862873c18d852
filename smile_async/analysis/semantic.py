"""How near texts are in meaning, from their embeddings: a QA to its dialogue (Figure 4), all pairs of a set (Figure 5).

Vectors are float arrays of shape (texts, dimensions); what is returned are cosines, from -1 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from smile_async.analysis.arrays import NDArray, np
from smile_async.analysis.distribution import QUANTILES, Distribution, Histogram
from smile_async.errors import UsageError

EDGES = tuple(step / 200 for step in range(-200, 201))  # bins of 0.005, for figures
LINE_DEVIATIONS = 3  # Figure 4: the line is the mean less so many standard deviations
_ROWS = 8192  # rows worked on at once where a pass is linear

Vectors = NDArray[np.floating]
Cosines = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Transformation:
    """Figure 4 for one set: each QA beside its own dialogue, and beside that of a random other QA."""

    own: Distribution
    other: Distribution
    own_below_line: float
    """Share of `own` below the set's own line: 0.00135 where cosines are normally distributed."""
    other_below_line: float
    """Share of `other` below it: 1.0 where language transformation tells the two apart without overlap."""

    @property
    def line(self) -> float:
        return line(self.own)

    def as_json(self) -> dict[str, object]:
        return {
            "own": self.own.as_json(),
            "other": self.other.as_json(),
            "line": self.line,
            "own_below_line": self.own_below_line,
            "other_below_line": self.other_below_line,
        }


def transformation(questions: Vectors, dialogues: Vectors, *, seed: int) -> Transformation:
    """Row i of `dialogues` was made from the QA in row i of `questions`; two rows at least."""
    own, other = own_cosines(questions, dialogues), other_cosines(questions, dialogues, seed=seed)
    own_told = described(own)
    at = line(own_told)
    return Transformation(own_told, described(other), share_below(own, at), share_below(other, at))


def line(own: Distribution) -> float:
    """Figure 4's 0.9312: mean - 3 standard deviations of a set's cosines with its own QAs."""
    return own.mean - LINE_DEVIATIONS * own.deviation


def share_below(cosines: Cosines, at: float) -> float:
    """Share of `cosines` that lie on the side of the line where QAs and dialogues are strangers: strictly less."""
    return float(np.count_nonzero(cosines < at) / cosines.size) if cosines.size else float("nan")


def own_cosines(questions: Vectors, dialogues: Vectors) -> Cosines:
    """Of row i with row i, in float64."""
    return _rowwise(questions, dialogues, range(len(dialogues)))


def other_cosines(questions: Vectors, dialogues: Vectors, *, seed: int) -> Cosines:
    """Of row i of `questions` with another row of `dialogues`: each dialogue is taken once and none by its own QA."""
    return _rowwise(questions, dialogues, derangement(len(dialogues), seed))


def derangement(n: int, seed: int) -> Sequence[int]:
    """A permutation of range(n) without a fixed point, uniform over them, the same on every machine."""
    if n < 2:
        raise UsageError("There is no other dialogue to compare with.", hint="It takes at least two.")
    chance, order = Random(seed), list(range(n))
    while True:  # a shuffle has no fixed point once in e times
        chance.shuffle(order)
        if all(place != one for place, one in enumerate(order)):
            return order


def lengths(vectors: Vectors, what: str = "vectors") -> NDArray[np.float64]:
    """Of each row. `UsageError` for what is no set of vectors, naming the first row that has no direction."""
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        shape = "x".join(map(str, vectors.shape))
        raise UsageError(
            f"{what}: an array of {vectors.dtype}, {shape}, is no set of vectors.",
            hint="It takes floating point numbers, one row a text.",
        )
    found = np.empty(len(vectors), np.float64)
    for start in range(0, len(vectors), _ROWS):
        part = vectors[start : start + _ROWS].astype(np.float64)
        found[start : start + _ROWS] = np.sqrt(np.einsum("ij,ij->i", part, part))
    wrong = ~np.isfinite(found) | (found == 0)
    if wrong.any():
        place = int(wrong.argmax())
        kind = "is zero" if found[place] == 0 else "holds numbers that are not finite"
        raise UsageError(f"{what}: row {place + 1:,} {kind}.", hint="Have this text embedded again.")
    return found


def described(cosines: Cosines, edges: Sequence[float] = EDGES) -> Distribution:
    """As `distribution`, of an array. Nothing is lost at the ends: rounding beyond 1 counts as 1."""
    values = np.sort(np.clip(cosines, -1.0, 1.0))
    if not values.size:
        nan = float("nan")
        empty = Histogram(tuple(edges), (0,) * (len(edges) - 1))
        return Distribution(0, nan, nan, nan, nan, (nan,) * len(QUANTILES), empty)
    counts = np.histogram(values, np.asarray(edges))[0]
    return Distribution(
        count=values.size,
        mean=float(values.mean()),
        deviation=float(values.std()),
        least=float(values[0]),
        most=float(values[-1]),
        quantiles=tuple(np.quantile(values, QUANTILES).tolist()),
        histogram=Histogram(tuple(edges), tuple(counts.tolist())),
    )


def _rowwise(questions: Vectors, dialogues: Vectors, partners: Sequence[int]) -> Cosines:
    long, wide = lengths(questions, "QAs"), lengths(dialogues, "dialogues")
    if questions.shape != dialogues.shape:
        raise UsageError(
            f"{questions.shape[0]:,} QAs of {questions.shape[1]} dimensions cannot be set beside "
            f"{dialogues.shape[0]:,} dialogues of {dialogues.shape[1]}.",
            hint="Embed both with the same model, a row for each.",
        )
    found = np.empty(len(long), np.float64)
    for start in range(0, len(long), _ROWS):
        here, there = slice(start, start + _ROWS), np.asarray(partners[start : start + _ROWS], np.intp)
        a, b = questions[here].astype(np.float64), dialogues[there].astype(np.float64)
        found[here] = np.einsum("ij,ij->i", a, b) / (long[here] * wide[there])
    return found
