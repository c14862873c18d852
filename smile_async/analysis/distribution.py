"""Many numbers as a few: moments, quantiles and a histogram, as figures and tables need them."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum, sqrt

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts[i]` numbers lie in [edges[i], edges[i + 1]); the last bin holds its upper edge, too."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """`deviation` is the population's (divided by n); `quantiles` are those of `QUANTILES`, linear between two numbers
    (numpy's default). No number at all: `count` is 0 and the rest nan."""

    count: int
    mean: float
    deviation: float
    least: float
    most: float
    quantiles: tuple[float, ...]
    histogram: Histogram

    @property
    def median(self) -> float:
        return self.quantiles[QUANTILES.index(0.5)]

    def as_json(self) -> dict[str, object]:
        """For programs: quantiles by their names (`q05`), the histogram as edges and counts."""
        named = {f"q{round(share * 100):02}": value for share, value in zip(QUANTILES, self.quantiles, strict=True)}
        return {
            "count": self.count,
            "mean": self.mean,
            "deviation": self.deviation,
            "least": self.least,
            "most": self.most,
            **named,
            "histogram": {"edges": list(self.histogram.edges), "counts": list(self.histogram.counts)},
        }


def distribution(numbers: Iterable[float], edges: Sequence[float]) -> Distribution:
    """Of numbers that fit into memory. A number beyond the edges is in no bin, and in all else."""
    values = sorted(numbers)
    nan = float("nan")
    if not values:
        none = (nan,) * len(QUANTILES)
        return Distribution(0, nan, nan, nan, nan, none, Histogram(tuple(edges), (0,) * (len(edges) - 1)))
    mean = fsum(values) / len(values)
    deviation = sqrt(fsum((value - mean) ** 2 for value in values) / len(values))
    quantiles = tuple(quantile(values, share) for share in QUANTILES)
    return Distribution(len(values), mean, deviation, values[0], values[-1], quantiles, histogram(values, edges))


def quantile(values: Sequence[float], share: float) -> float:
    """Of sorted `values`, linear between the two nearest."""
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def histogram(values: Sequence[float], edges: Sequence[float]) -> Histogram:
    """Of sorted `values`."""
    below = [bisect_left(values, edge) for edge in edges[:-1]] + [bisect_right(values, edges[-1])]
    return Histogram(tuple(edges), tuple(after - before for before, after in pairwise(below)))
