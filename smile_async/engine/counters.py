"""Counters that begin anew on the clock (fixed windows), found in what a server refused.

A dry spell is a time in which all was refused. If it was such a counter, it was full at the beginning of each spell, at
the same count, and began anew between the last that was refused and the first that was admitted afterwards: a time that
repeats with the period. Every period that is thought of is tried with beginnings that fit all spells. Several spells
agree by chance, too, and more easily on a small count than on a large one: how easily is reckoned, and what chance
explains is no finding.

Pure: the caller hands in the times.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from smile_async.engine.admitted import Admitted

AT_ONCE = 0.03  # seconds by which requests may be later at the server than others that left with them
INEXACT = 100  # of so many one may have been counted on the other side of the beginning
CHANCE = 0.1  # that as many spells agree so well, whatever the reason of each
LONG = 6.0  # seconds: a dry spell that alone says something
MOSTLY = 0.75  # of what may have been counted must have been, whenever the counter began
LEAST = 4  # requests a window: fewer are no count


@dataclass(frozen=True, slots=True)
class Dry:
    """Nothing that left from `first` to `last` (seconds) was admitted."""

    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Counter:
    """`limit` requests in `period` seconds."""

    limit: int
    period: float


def find_counter(spells: Sequence[Dry], log: Admitted, periods: Sequence[float]) -> Counter | None:
    """The counter that the spells agree on, the oldest of them first; None if there is no such one.

    `log` knows what was admitted since the first of them at least, and before it for a period.
    """
    if len(spells) < 2:
        return None
    ends = [log.next_after(spell.last) for spell in spells]
    counters = [
        (chance, Counter(limit, period))
        for period in periods
        for limit, chance in _fitting(spells, ends, log, period)
        if chance * len(periods) * len(spells) < CHANCE
    ]
    return min(counters, key=lambda found: (found[0], -found[1].period))[1] if counters else None


def guess_counter(spell: Dry, log: Admitted, periods: Sequence[float]) -> Counter | None:
    """What one long dry spell, which is over, suggests: the shortest period in which all that had been admitted before
    is likely to have been counted."""
    end = log.next_after(spell.last)
    if spell.last - spell.first < LONG or math.isinf(end):
        return None
    for period in periods:
        least, most = spell.last - period, min(end, spell.last + period) - period  # when it had begun
        total = log.until(spell.first)
        limit = total - log.until(least)
        if limit >= LEAST and total - log.until(most) >= MOSTLY * limit:
            return Counter(limit, period)
    return None


def _fitting(
    spells: Sequence[Dry], ends: Sequence[float], log: Admitted, period: float
) -> Iterator[tuple[int, float]]:
    """Limits that explain all spells, and the chance that they agree so well by accident."""
    if any(spell.last - spell.first > period for spell in spells):
        return
    gaps = [(spell.last, min(end, spell.last + period)) for spell, end in zip(spells, ends, strict=True)]
    luck = math.prod(sorted((end - last + AT_ONCE) / period for last, end in gaps)[1:])  # the first gap is free
    for began in _beginnings(gaps, period):
        counts = [_since_beginning(spell, log, began, period) for spell in spells]
        least, most = min(counts), max(counts)
        inexact = most // INEXACT
        if least < LEAST or most - least > inexact or _exceeded(log, began, period, most + inexact):
            continue
        alike = min(1.0, (2 * inexact + 1) / most)
        yield most, luck * alike ** (len(spells) - 1)


def _beginnings(gaps: Sequence[tuple[float, float]], period: float) -> Iterator[float]:
    """Times that lie, a number of periods away, in every gap: the middle of what is left of each."""
    edges = sorted({edge % period for gap in gaps for edge in gap})
    if not edges:
        return
    for before, after in pairwise([*edges, edges[0] + period]):
        middle = (before + after) / 2
        if all((middle - last) % period <= end - last for last, end in gaps):
            yield from (middle, before + AT_ONCE / 2, after - AT_ONCE / 2) if after - before > AT_ONCE else (middle,)


def _since_beginning(spell: Dry, log: Admitted, began: float, period: float) -> int:
    begin = began + (spell.first - began) // period * period
    return log.until(spell.first) - log.until(begin)


def _exceeded(log: Admitted, began: float, period: float, most: int) -> bool:
    """Whether more was admitted in any of its windows."""
    oldest, newest = log.span()
    first, last = math.ceil((oldest - began) / period), math.floor((newest - began) / period)
    totals = [log.until(began + number * period) for number in range(first, last + 1)]
    totals.append(log.total)
    return any(after - before > most for before, after in pairwise(totals))
