"""The cosines of all n(n - 1)/2 pairs within a set (Figure 5), for sets whose pairs do not fit into memory, too.

55,165 dialogues are 1.5 billion pairs. They are computed block by block, each once, and counted into a million bins;
mean and deviation do not come from the bins but from sums that need no pair at all.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import sqrt

from smile_async.analysis.arrays import NDArray, np
from smile_async.analysis.distribution import QUANTILES, Distribution, Histogram
from smile_async.analysis.semantic import EDGES, Vectors, described, lengths
from smile_async.errors import UsageError

EXACT_ROWS = 3000  # up to here all pairs are held and sorted: 4.5 million numbers of 8 bytes
RESOLUTION = 2e-6  # beyond: a quantile is right to this
_BINS = round(2 / RESOLUTION)
_BLOCK = 2048  # rows and columns of a block: 4 million cosines, 48 MB with their bins
_MOST_WORKERS = 4  # each holds a block

Units = NDArray[np.float32]


def pair_cosines(vectors: Vectors, edges: Sequence[float] = EDGES) -> Distribution:
    """Of all pairs of different rows.

    Up to `EXACT_ROWS` rows: in float64, every number exact. Beyond: cosines in float32 (right to 1e-6), mean and
    deviation from all of them, least and most of them, quantiles and the histogram's bounds right to `RESOLUTION`.
    """
    long = lengths(vectors)
    if len(vectors) < 2:
        raise UsageError("There are no pairs in a set of fewer than two texts.", hint="It takes at least two.")
    if len(vectors) <= EXACT_ROWS:
        exact = vectors.astype(np.float64) / long[:, None]
        return described((exact @ exact.T)[np.triu_indices(len(exact), 1)], edges)
    units = np.empty(vectors.shape, np.float32)
    for start in range(0, len(units), _BLOCK):
        rows = slice(start, start + _BLOCK)
        units[rows] = vectors[rows] / long[rows, None]
    return _in_blocks(units, edges)


def _in_blocks(units: Units, edges: Sequence[float]) -> Distribution:
    tally = _Tally()
    workers = min(os.cpu_count() or 1, _MOST_WORKERS)
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda block: tally.add(units, *block), _upper_blocks(len(units))):
            pass
    mean, deviation = _moments(units)
    centres = (np.arange(_BINS) + 0.5) * RESOLUTION - 1
    counts = np.histogram(centres, np.asarray(edges), weights=tally.counts)[0]
    return Distribution(
        count=len(units) * (len(units) - 1) // 2,
        mean=mean,
        deviation=deviation,
        least=tally.least,
        most=tally.most,
        quantiles=_quantiles(tally.counts, QUANTILES),
        histogram=Histogram(tuple(edges), tuple(int(count) for count in counts)),
    )


def _upper_blocks(rows: int) -> Iterator[tuple[slice, slice]]:
    starts = range(0, rows, _BLOCK)
    for down in starts:
        for right in range(down, rows, _BLOCK):
            yield slice(down, min(down + _BLOCK, rows)), slice(right, min(right + _BLOCK, rows))


@dataclass(slots=True)
class _Tally:
    """How many cosines fell into each bin. Threads add to it: numpy lets go of the interpreter while it multiplies and
    converts, so that one multiplies while the other counts."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    least: float = 1.0
    most: float = -1.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    own: threading.local = field(default_factory=threading.local)

    def add(self, units: Units, down: slice, right: slice) -> None:
        cosines, bins = self._room((down.stop - down.start) * (right.stop - right.start))
        block = cosines.reshape(down.stop - down.start, right.stop - right.start)
        np.matmul(units[down], units[right].T, out=block)
        if down == right:  # a pair once, and none with itself
            chosen = block[np.triu_indices(len(block), 1)]
            cosines, bins = chosen, bins[: chosen.size]
        if not cosines.size:
            return
        np.clip(cosines, -1.0, 1.0, out=cosines)
        least, most = float(cosines.min()), float(cosines.max())
        cosines += np.float32(1)
        cosines *= np.float32(1 / RESOLUTION)
        np.copyto(bins, cosines, casting="unsafe")  # cut off, to whole bins
        np.minimum(bins, _BINS - 1, out=bins)
        counts = np.bincount(bins, minlength=_BINS)
        with self.lock:
            self.counts += counts
            self.least, self.most = min(self.least, least), max(self.most, most)

    def _room(self, size: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """This thread's arrays: fresh memory for each block would cost more than the counting."""
        if not hasattr(self.own, "cosines"):
            self.own.cosines, self.own.bins = np.empty(_BLOCK**2, np.float32), np.empty(_BLOCK**2, np.intp)
        return self.own.cosines[:size], self.own.bins[:size]


def _moments(units: Units) -> tuple[float, float]:
    """Mean and deviation over all pairs without any: with s the sum of the rows and G the d x d matrix of their
    products, the cosines of all ordered pairs and of each row with itself sum to s.s, their squares to G**2 summed."""
    n, selves, selves2 = len(units), 0.0, 0.0
    sums = np.zeros(units.shape[1])
    gram = np.zeros((units.shape[1], units.shape[1]))
    for start in range(0, n, _BLOCK):
        part = units[start : start + _BLOCK].astype(np.float64)
        sums += part.sum(axis=0)
        gram += part.T @ part
        own = np.einsum("ij,ij->i", part, part)
        selves += float(own.sum())
        selves2 += float((own**2).sum())
    total, products = float(sums @ sums) - selves, float((gram**2).sum()) - selves2
    pairs = n * (n - 1)
    mean = total / pairs
    return mean, sqrt(max(products / pairs - mean**2, 0.0))


def _quantiles(counts: NDArray[np.int64], shares: Sequence[float]) -> tuple[float, ...]:
    """Linear within the bin in which the share is reached."""
    reached = np.cumsum(counts)
    found = []
    for share in shares:
        rank = share * (int(reached[-1]) - 1) + 0.5
        at = int(np.searchsorted(reached, rank))
        before = int(reached[at - 1]) if at else 0
        found.append((at + (rank - before) / int(counts[at])) * RESOLUTION - 1)
    return tuple(found)
