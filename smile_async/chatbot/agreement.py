"""How far raters agree, how sure a share is, whether the place of a response sways them: plain functions over counts.

numpy and statsmodels stand behind the extra `metrics`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smile_async.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 2_000
FLIPS = 10_000
ALL_AGREE = "all votes fall into one category: 1 by definition, where the formula divides 0 by 0"
ONE_RATER = "agreement takes at least two raters"
NO_CASE = "no case has the votes of all raters"


@dataclass(frozen=True, slots=True)
class Interval:
    """95 percent, by bootstrap over cases (percentiles)."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """`kappa` is None where it is not defined; `note` says why, or why it is what it is."""

    kappa: float | None
    interval: Interval | None = None
    note: str = ""


def fleiss_kappa(table: Sequence[Sequence[int]]) -> float:
    """Fleiss' kappa of a table with a row a case and a column a category, each row the same number of votes (two or
    more). 1.0 where all votes fall into one category: statsmodels' formula is 0/0 there."""
    np, inter_rater = _libraries()
    return _kappa(np.asarray(table, dtype=float), inter_rater)


def agreement(table: Sequence[Sequence[int]], *, seed: int = 0, resamples: int = RESAMPLES) -> Agreement:
    """Fleiss' kappa with its interval: cases are drawn again with replacement, `resamples` times."""
    if not table:
        return Agreement(None, note=NO_CASE)
    if sum(table[0]) < 2:
        return Agreement(None, note=ONE_RATER)
    np, inter_rater = _libraries()
    counts = np.asarray(table, dtype=float)
    value = _kappa(counts, inter_rater)
    interval = bootstrap(counts, lambda drawn: _kappa(drawn, inter_rater), seed=seed, resamples=resamples)
    return Agreement(value, interval, ALL_AGREE if _in_one_category(counts) else "")


def bootstrap(
    rows: Any, statistic: Callable[["np.ndarray[Any, Any]"], float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Of a statistic of the rows of an array."""
    np, _ = _libraries()
    array, chance = np.asarray(rows), np.random.default_rng(seed)
    found = [statistic(array[chance.integers(0, len(array), len(array))]) for _ in range(resamples)]
    low, high = np.quantile(found, (0.025, 0.975))
    return Interval(float(low), float(high))


def flip_test(sums: Sequence[int], *, seed: int = 0, flips: int = FLIPS) -> float:
    """How often chance alone leans as far to one side: two-sided p value of a sum whose terms may as well have had the
    other sign.

    A term is a case: votes for the response that stood earlier less those for the later. The opposite order was as
    likely to be drawn, and would have given the opposite sum if only the responses counted; so raters who agree, and
    systems that differ, are no evidence of a bias.
    """
    np, _ = _libraries()
    terms, chance = np.asarray(sums, dtype=np.int64), np.random.default_rng(seed)
    signs = chance.integers(0, 2, (flips, len(terms)), dtype=np.int8) * 2 - 1
    as_far = int((abs(signs @ terms) >= abs(terms.sum())).sum())
    return (as_far + 1) / (flips + 1)


def _kappa(table: "np.ndarray[Any, Any]", inter_rater: Any) -> float:
    return 1.0 if _in_one_category(table) else float(inter_rater.fleiss_kappa(table, method="fleiss"))


def _in_one_category(table: "np.ndarray[Any, Any]") -> bool:
    return int((table.sum(axis=0) > 0).sum()) == 1


def _libraries() -> tuple[Any, Any]:
    try:
        import numpy as np
        from statsmodels.stats import inter_rater
    except ImportError as error:
        raise MissingExtraError("Agreement between raters", "metrics") from error
    return np, inter_rater
