"""Counters that begin anew on the clock (fixed windows), found in what a server refused.

A dry spell is a time in which all was refused. If it was such a counter, it was full at the beginning of each spell, at
the same count, and began anew between the last that was refused and the first that was admitted afterwards: a time that
repeats with the period. Every period that is thought of is tried with beginnings that fit all spells. Several spells
agree by chance, too, and more easily on a small count than on a large one: how easily is reckoned, and what chance
explains is no finding.

Pure: the caller hands in the times.
"""

import math
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from smile_async.engine.admitted import Admitted

AT_ONCE = 0.03  # seconds by which requests may be later at the server than others that left with them
INEXACT = 100  # of so many, or fewer, one may have been counted on the other side of the beginning
CHANCE = 0.15  # that as many spells agree so well, whatever the reason of each
LOOKS = 24  # beginnings that are tried in each stretch of time where they may be
SPELLS = 12  # that are compared
LONG = 6.0  # seconds: a dry spell that alone says something
MOSTLY = 0.5  # of what may have been counted must have been, whenever the counter began
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


class DrySpells:
    """Those of one server in the last `memory` seconds."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._spells: deque[Dry] = deque(maxlen=SPELLS)
        self._lasts = False  # nothing that left after it was answered yet

    def __repr__(self) -> str:
        return f"<DrySpells [{len(self._spells)}]>"

    @property
    def newest(self) -> Dry:
        return self._spells[-1]

    def note(self, refused: Sequence[float], told: float, log: Admitted) -> None:
        """Some were refused that had left at these times; until `told` there is no room, the server said. One more
        spell, or more of the last one where nothing was admitted since."""
        first, spells = min(refused), self._spells
        total = log.until(first)
        last = max([told, *(at for at in refused if log.until(at) == total)])
        while spells and spells[0].first < first - self._memory:
            spells.popleft()
        if spells and log.until(spells[-1].first) == total:
            first = min(spells.pop().first, first)
        spells.append(Dry(first, last))
        self._lasts = True

    def ended(self, at: float) -> bool:
        """Whether one that left then and was answered is the first since the newest spell."""
        ended = self._lasts and at > self._spells[-1].last
        self._lasts = self._lasts and not ended
        return ended

    def counter(self, log: Admitted, periods: Sequence[float]) -> Counter | None:
        return find_counter(self._spells, log, periods)


def find_counter(spells: Sequence[Dry], log: Admitted, periods: Sequence[float]) -> Counter | None:
    """The counter that the spells agree on, the oldest of them first; None if there is no such one. Of several the
    one that allows most: if it is too much, that will soon be seen.

    `log` knows what was admitted since the first of them at least, and before it for a period.
    """
    if len(spells) < 2:
        return None
    ends = [log.next_after(spell.last) for spell in spells]
    found = [fit for period in periods if (fit := _fitting(spells, ends, log, period)) is not None]
    found += _sliding(spells, ends, log, periods)
    counters = [counter for counter, chance in found if chance * len(periods) < CHANCE]
    return max(counters, key=lambda counter: counter.limit / counter.period, default=None)


def guess_counter(spell: Dry, log: Admitted, periods: Sequence[float]) -> Counter | None:
    """What one long dry spell, which is over, suggests: the shortest period that explains it, by a counter that begins
    anew on the clock or by a sliding one."""
    end = log.next_after(spell.last)
    if spell.last - spell.first < LONG or math.isinf(end):
        return None
    total = log.until(spell.first)
    for period in periods:
        since = [total - log.until(at - period) for at in (spell.first, spell.last, (spell.last + end) / 2, end)]
        full, still, middle, left = since
        if full >= LEAST and still >= full - max(1, full // INEXACT) and left < full:
            return Counter(full, period)
        if still >= LEAST and left >= MOSTLY * still and spell.last - period < spell.first:
            return Counter(middle, period)  # most of it had been admitted since it began, whenever that was
    return None


def _sliding(
    spells: Sequence[Dry], ends: Sequence[float], log: Admitted, periods: Sequence[float]
) -> Iterator[tuple[Counter, float]]:
    """Limits of any so many seconds that explain all spells, and the chance that they agree so well by accident."""
    found: list[tuple[int, float, Counter | None]] = []
    between = [log.until(after.first) - log.until(before.first) for before, after in pairwise(spells)]
    for period in periods:
        counts = [log.within(period, spell.first) for spell in spells]
        least, most = min(counts), max(counts)
        inexact = max(1, most // INEXACT)
        fits = least >= LEAST and most - least <= inexact
        if fits and all(
            log.within(period, spell.last) >= least - inexact and (math.isinf(end) or log.within(period, end) <= most)
            for spell, end in zip(spells, ends, strict=True)
        ):
            found.append((most + inexact, _alike(counts, between), Counter(least, period)))
        else:
            found.append((sys.maxsize, 1.0, None))
    exceeded = log.exceeded([limit for limit, _, _ in found], -math.inf)
    yield from [
        (counter, chance) for (_, chance, counter), over in zip(found, exceeded, strict=True) if counter and not over
    ]


def _alike(counts: Sequence[int], between: Sequence[int]) -> float:
    """The chance that so many counts are so nearly the same; of each less than it counts, where little was admitted
    `between` them."""
    most, spread = max(counts), max(counts) - min(counts)
    return math.prod([min(1.0, (2 * spread + 1) / max(1, min(most, new))) for new in between])


def _fitting(
    spells: Sequence[Dry], ends: Sequence[float], log: Admitted, period: float
) -> tuple[Counter, float] | None:
    """A counter that begins anew and explains all spells, and the chance that they agree by accident."""
    if any(spell.last - spell.first > period for spell in spells):
        return None
    gaps = [(spell.last, min(end, spell.last + period)) for spell, end in zip(spells, ends, strict=True)]
    luck = math.prod(sorted([min(1.0, (end - last + AT_ONCE) / period) for last, end in gaps])[1:])  # one is free
    beginnings, found = _beginnings(gaps, period), []
    between = [log.until(after.first) - log.until(before.first) for before, after in pairwise(spells)]
    for began in beginnings:
        counts = [_since_beginning(spell, log, began, period) for spell in spells]
        least, most = min(counts), max(counts)
        inexact = max(1, most // INEXACT)
        if least >= LEAST and most - least <= inexact and not _exceeded(log, began, period, most + inexact):
            found.append((Counter(least, period), luck * _alike(counts, between) * len(beginnings)))
    return min(found, key=lambda fit: fit[1], default=None)


def _beginnings(gaps: Sequence[tuple[float, float]], period: float) -> list[float]:
    """Times that lie, a number of periods away, in every gap: some of each stretch that is left."""
    edges = sorted({edge % period for gap in gaps for edge in gap})
    found = []
    for before, after in pairwise([*edges, edges[0] + period]):
        middle = (before + after) / 2
        if all((middle - last) % period <= end - last for last, end in gaps):
            looks = min(LOOKS, 1 + int((after - before) / AT_ONCE))
            found += [before + (after - before) * (number + 0.5) / looks for number in range(looks)]
    return found


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
