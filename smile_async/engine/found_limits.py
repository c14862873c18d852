"""The limit of a server that refuses what is too much and does not say how much that is.

One refusal says little: that too many were in flight, that the rate was too high, or nothing (gateways refuse at
random). So each is kept with all that it could be about: how many were in flight, how many had been admitted in the
last second, ten seconds, minute. After a refusal the server is approached from one request on, twice as many every
half second, until it refuses again. What the refusals have in common is what it minds:
- the same number in flight, never exceeded otherwise: places (`Concurrency` takes it from there);
- the same count of a period, never exceeded otherwise: a window;
- the same rate between one refusal and the next: a bucket, which is empty at both;
- spells in which nothing was admitted, of which each began at the same count and ended as a clock says: a counter that
  begins anew (`counters`). One such spell that is long suggests a period, until the next shows it.
What was found is tried a little higher now and then. A server may refuse at random, too, beside any limit or none: one
here and there, while a limit that is met refuses whatever comes next. One that refuses again and again whatever is kept
to is thought to do so: what was found is given up, nobody waits for a single refusal but its row, and only several
close together count, until there are too many for chance.

Pure: the caller hands in the time.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from smile_async.engine.admitted import Admitted, Sent
from smile_async.engine.counters import Counter, DrySpells, guess_counter

RAMP = 0.5  # seconds in which the number that may be in flight after a refusal doubles
SLOWER = 4  # times so many, where it has admitted nothing for a while: a long window, which empties all at once
PERIODS = (1.0, 2.0, 5.0, 6.0, 10.0, 15.0, 20.0, 30.0, 60.0)  # seconds of windows that are thought of
MEMORY = 180.0  # seconds: refusals that are compared
MOST = 5  # of them
SHARE = 1.0  # admitted though it should have been refused, for each refusal: more speaks against an explanation
SURE = 3  # refusals that agree
LARGE = 50  # requests: two that agree about so many are enough
ALIKE = 0.15  # rates that differ by less are one
ENOUGH = 4  # requests admitted between two refusals that measure a rate
MARGIN = 0.98  # of a rate that was measured
RATE_COUNT = 60.0  # requests: a rate is kept to over so many
STEP, STEP_MOST = 1.02, 1.1  # growth of what was found, a try; its rest doubles while nobody refuses
SHORT = 20.0  # seconds: what is wrong about a longer window costs little, and trying it out shows only a period later
LOOK_AGAIN = 8  # requests later
QUIET, QUIET_MOST = 60.0, 1_000.0  # requests before a try; doubles when one is refused, which costs one or two
QUIET_EXACT = 300.0  # of a count that was exact: there is little to be found above it
ROUNDED = 1.1  # seconds: a server that tells a wait rounds it up
LOWEST = 0.95  # of a count: so far below it is tried what keeps the server from refusing
SAME = 0.02  # of a limit: two that differ by less are one
NEAR = 0.85  # of what was found: refused there, it is a little less than was thought
CLOSE, TOGETHER = 4, 8  # so many refused of so many that left one after the other: no chance
SENSELESS = 4  # refusals in spite of what was found, each soon after the one before: it refuses at random
MANY = 0.1  # of requests: so many refusals are not random
SHARE_FIRST, FADING = 0.03, 1 / 100  # of requests, at first; weight of one
STRIKES = 1.5  # refusals more than are expected at random: what is tried is too much
FORGOTTEN = 1_000  # requests without a refusal: it does so no more
CUT, CUT_MOST = 0.93, 0.7  # of a rate that did not keep the server from refusing: so much is tried next
BINDING = 0.85  # of what was found must have been used, or a little more says nothing
HOLDS = 200  # requests: what keeps the server from refusing for so long is true


@dataclass(frozen=True, slots=True)
class Finding:
    """What refusals showed: `what` is places (it holds no more than `value`), window or rate (so many in `period`
    seconds) or free (what was found before does not keep the server from refusing). What was sent before `since` is
    not counted any more."""

    what: Literal["places", "window", "rate", "free"]
    value: float
    period: float = 0.0
    since: float = -math.inf


@dataclass(slots=True)
class _Refusal:
    """The first of some at once: when it had left, how many others were in flight then; once all of them are known,
    how many had been admitted until then, and in each period before. `others`: when those had left; until `told` there
    will be no room, the server said."""

    at: float
    in_flight: int
    told: float = -math.inf
    others: list[float] = field(default_factory=list)
    total: int = 0
    counts: tuple[int, ...] = ()


@dataclass(slots=True)
class _Found:
    kind: str
    limit: float
    period: float
    quiet: float = QUIET
    step: float = STEP
    met: float = math.inf  # refused at so much, in a try
    tried: bool = False
    since: int = 0  # requests since it was last changed
    strikes: int = 0  # single refusals of a try
    exact: int = 0  # that was counted


@dataclass(slots=True)
class FoundLimits:
    """See the module. A window that was found is the lane's to keep: `window` is what it should hold."""

    at_random: bool = False  # it refuses some of whatever is sent: waiting for these does not help
    _log: Admitted = field(default_factory=lambda: Admitted(PERIODS, PERIODS[-1] + MEMORY))
    _refusals: deque[_Refusal] = field(default_factory=lambda: deque(maxlen=MOST))
    _spells: DrySpells = field(default_factory=lambda: DrySpells(MEMORY))
    _open: _Refusal | None = None  # others may still come back refused with it
    _ramp_from: float | None = None
    _found: _Found | None = None
    _empty: bool = False  # nothing was admitted between the last two refusals
    _baffled: bool = False  # the same, and nothing since
    _quietly: int = 0  # requests since the last refusal
    number: int = 0  # requests, ever
    _lately: deque[int] = field(default_factory=lambda: deque(maxlen=CLOSE - 1))  # which were refused
    _share: float = 0.0  # refused at random, fading
    _in_vain: int = 0  # refusals in a row in spite of what had been found
    _senseless: int = SENSELESS
    _random_from: int = 0  # which request was the first, when it began

    def __repr__(self) -> str:
        found = self._found
        return f"<FoundLimits [{'none' if found is None else f'{found.limit:.1f} in {found.period:g} s'}]>"

    @property
    def window(self) -> tuple[float, float] | None:
        """Limit and period in seconds."""
        return None if self._found is None else (self._found.limit, self._found.period)

    @property
    def admits_nothing(self) -> bool:
        """It refused twice in a row, and nothing between: whoever is asked next should be another row, for it may be
        these that it minds, not their number."""
        return self._baffled and self._ramp_from is not None

    @property
    def by_chance(self) -> bool:
        """What is refused now is so by chance, as far as is known."""
        return self.at_random and self._is_single(self.number)

    def answered(self, sent: Sent) -> Finding | None:
        """One that had left with `sent` was answered: since the last refusal something has been admitted."""
        if self._baffled and self._refusals and sent.at > self._refusals[-1].at:
            self._baffled = False
        return self._count() if self._open is None and self._spells.ended(sent.at) else None

    def wait(self, now: float, in_flight: int) -> float:
        """Seconds until one more may go in the slow approach after a refusal."""
        if self._ramp_from is None:
            return 0.0
        since = now - self._ramp_from
        if since < 0:
            return -since
        ramp = RAMP * SLOWER if self._empty else RAMP
        if in_flight + 1 > 2.0 ** min(since / ramp, 20):
            return math.log2(in_flight + 1) * ramp - since + 1e-3
        return 0.0

    def started(self, now: float, in_flight: int, places: int) -> tuple[Sent, Finding | None]:
        """One goes, as the `in_flight`-th; `places` are allowed in flight. Beside what `refused` wants to know of it
        stands what the refusals before it showed."""
        finding = self._close() if self._open is not None else None
        if finding is not None and finding.what == "free":
            self._ramp_from = now  # not all at once: perhaps it is not so
        self.number += 1
        sent = self._log.add(now, in_flight)
        self._quietly += 1
        if self._found is not None:
            self._found.since += 1
        if self.at_random and (self._found is None or not self._found.tried):
            self._share -= self._share * FADING
        if self._ramp_from is not None and in_flight >= places:
            self._ramp_from = None
        return sent, finding

    def not_admitted(self, sent: Sent, in_flight: int) -> None:
        """One that had left with `sent`, beside `in_flight` others, was refused, for whatever reason."""
        self._log.take_back(sent, in_flight)

    def refused(
        self, now: float, sent: Sent, in_flight: int, *, number: int, fresh: bool, hold: float, told: bool = False
    ) -> None:
        """That one was refused because it was too much, the server says; it was the `number`-th.

        `fresh`: it left after the last refusal was known. `hold`: seconds that everybody waits now, `told` by
        it or not.
        """
        single = self._is_single(number)
        if self._lately and number - self._lately[-1] > FORGOTTEN:
            self.at_random = False
        self._lately.append(number)
        if self._open is not None or not fresh:
            if self._open is not None:  # of the first that was refused: the others had left after it
                self._open.in_flight = min(self._open.in_flight, in_flight)
                self._open.others.append(sent.at)
            if (fresh or told) and self._ramp_from is not None:  # everybody waits longer than the first one said
                self._ramp_from = max(self._ramp_from, now + hold)
            return
        if self.at_random and single and self._is_chance(in_flight):
            return
        self._open = _Refusal(sent.at, in_flight, now + hold - ROUNDED if told else -math.inf)
        found = self._found
        if found is None or not (found.tried or found.kind == "places" or found.since >= HOLDS):
            self._ramp_from = now + hold

    def grow(self, now: float) -> Finding | None:
        """Nobody has refused for a while, and what was found is what holds requests back: a little more."""
        found = self._found
        if found is None or found.kind == "places" or self._open is not None:
            return None
        if found.since < max(found.quiet, found.limit * (2 if found.period > SHORT else 1)):
            return None
        if self._log.within(found.period, now) < BINDING * found.limit:  # it is something else that holds them back
            found.since -= LOOK_AGAIN
            return None
        if found.tried:  # and nobody refused: more
            found.step, found.quiet = (
                min(1 + (found.step - 1) * 2, STEP_MOST),
                max(found.quiet / 2, QUIET),
            )
        if found.limit * found.step >= found.met:
            found.step = STEP
        found.tried, found.since, found.strikes = True, 0, 0
        found.limit *= found.step
        return Finding("window", found.limit, found.period)

    def recent(self, period: float, now: float) -> list[tuple[float, int]]:
        """What was admitted in the last `period` seconds: when, how much. For a window that was found."""
        return self._log.recent(period, now)

    # ------------------------------------------------------------------------------------------------------------------

    def _is_single(self, number: int) -> bool:
        return sum([number - other < TOGETHER for other in self._lately]) < CLOSE - 1

    def _is_chance(self, in_flight: int) -> bool:
        """Whether a single refusal of a server that refuses at random says nothing of limits."""
        found = self._found
        if found is not None and found.kind == "places" and in_flight >= found.limit:
            found.strikes += 1
            if found.strikes >= 2:  # more were in flight than it holds, as far as is known
                found.strikes = 0
                return False
        if found is not None and found.tried:
            found.strikes += 1
            expected = self._share * found.since
            return found.strikes <= expected + 2 * math.sqrt(expected) + STRIKES
        self._share += FADING
        if self._share <= MANY:
            return True
        if self.number - self._random_from < HOLDS:  # it was not so: be slower to believe it
            self._senseless += 2
        self.at_random, self._found = False, None
        self._refusals.clear()
        return False

    def _give_up(self) -> Finding:
        """It refuses at random: what was found was by chance."""
        self.at_random, self._share, self._in_vain, self._found = True, SHARE_FIRST, 0, None
        self._random_from = self.number
        self._refusals.clear()
        return Finding("free", math.inf)

    def _close(self) -> Finding | None:
        """All that were refused at once are known: what does it show?"""
        refusal, self._open = self._open, None
        assert refusal is not None
        refusal.total = self._log.until(refusal.at)
        refusal.counts = tuple([self._log.within(period, refusal.at) for period in PERIODS])
        refusals, again = self._refusals, False
        while refusals and refusals[0].at < refusal.at - MEMORY:
            refusals.popleft()
        if refusals and refusals[-1].total >= refusal.total:  # nothing was admitted meanwhile: it is still the same
            refusal.counts = tuple(map(min, refusals[-1].counts, refusal.counts))
            refusal.in_flight = min(refusal.in_flight, refusals.pop().in_flight)
            again = True
        refusals.append(refusal)
        self._empty = self._baffled = again
        self._spells.note([refusal.at, *refusal.others], refusal.told, self._log)
        if (finding := self._count()) is not None:
            return finding
        if again:
            return None
        return self._explain() if self._found is None else self._again(refusal)

    def _count(self) -> Finding | None:
        """A counter that begins anew on the clock explains what was refused, and is not what was found already."""
        counter, found, quiet = self._spells.counter(self._log, PERIODS), self._found, QUIET_EXACT
        spell = self._spells.newest
        if counter is None and (found is None or found.period < spell.last - spell.first):
            counter, quiet = guess_counter(spell, self._log, PERIODS), QUIET
        if counter is None or (found is not None and found.kind == "window" and _alike(found, counter)):
            return None
        self._found = _Found("window", counter.limit, counter.period, quiet=quiet)
        self._found.exact = counter.limit if quiet == QUIET_EXACT else 0
        self._in_vain = 0
        return Finding("window", counter.limit, counter.period, since=spell.last)

    def _explain(self) -> Finding | None:
        """What the refusals have in common and the admitted had not; the rate between the last two, where there is no
        such thing."""
        refusals, before = self._refusals, self._found
        if len(refusals) < 2:
            return None
        held = min(refusal.in_flight for refusal in refusals)
        least = float(self._log.beside(held + 1 + held // 20)) if held else math.inf
        finding = Finding("places", max(1, held))
        counts = [min(same) for same in zip(*[refusal.counts for refusal in refusals], strict=True)]
        far = self._log.exceeded([count + count // 2 + 1 for count in counts], -math.inf)
        over = self._log.exceeded([count + 1 for count in counts], refusals[0].at)
        for period, count, far_more, against in zip(PERIODS, counts, far, over, strict=True):
            if count >= ENOUGH and not far_more and against < least:
                least, finding = against, Finding("window", count - count // 200, period)
        sure = not self.at_random or before is not None or len(refusals) >= SURE
        if least > SHARE * len(refusals):
            if not sure or (rate := self._rate()) is None:
                return None
            if before is not None and before.kind == "rate":
                was = before.limit / before.period
                rate = min(max(rate * MARGIN, was * CUT_MOST), was * CUT) / MARGIN
            elif self.at_random and not self._is_steady():
                return None
            period = max(1.0, RATE_COUNT / rate)
            finding = Finding("rate", rate * MARGIN * period, period)
        elif not (sure or self._is_exact(finding)):
            return None
        self._found = _Found(finding.what, finding.value, finding.period)
        if before is not None:
            self._found.quiet = before.quiet
        return finding

    def _rates(self) -> list[tuple[float, int]]:
        """The rate from each refusal to the next, and the number that it was measured with."""
        found = []
        for before, after in pairwise(self._refusals):
            passed, admitted = after.at - before.at, after.total - before.total
            if passed > 0:
                found.append((admitted / passed, admitted))
        return found

    def _rate(self) -> float | None:
        """The rate between the last two refusals; None where one was too long ago to be remembered."""
        rates = self._rates()
        return rates[-1][0] if rates and rates[-1][1] >= ENOUGH else None

    def _is_steady(self) -> bool:
        """The last two rates are one, as a bucket's are."""
        rates = self._rates()[-2:]
        if len(rates) < 2:  # refused at one instant, in groups that came back apart: no time has passed between them
            return False
        (before, many), (after, more) = rates
        return abs(before - after) <= (ALIKE + 1 / max(1, many) + 1 / max(1, more)) * max(before, after)

    def _is_exact(self, finding: Finding) -> bool:
        """Two refusals at the same count, and a large one: that is no chance."""
        if finding.what != "window":
            return False
        counts = [refusal.counts[PERIODS.index(finding.period)] for refusal in self._refusals]
        return min(counts) >= LARGE and max(counts) - min(counts) <= max(1, min(counts) // 100)

    def _again(self, refusal: _Refusal) -> Finding | None:
        """Refused in spite of what was found."""
        found = self._found
        assert found is not None
        since, found.since, self._quietly = self._quietly, 0, 0
        if found.kind == "places" and refusal.in_flight >= NEAR * found.limit:
            return Finding("places", refusal.in_flight)
        if since >= HOLDS:
            self._in_vain = 0
        if found.tried:
            found.met, found.quiet = found.limit, min(found.quiet * 2, QUIET_MOST)
            found.limit = max(found.limit / found.step, 1.0)
            if (
                found.kind == "rate" and not self.at_random and (rate := self._rate())
            ):  # the bucket was empty at both: so much it lets through
                found.limit = min(found.limit, max(rate * MARGIN * found.period, found.limit * CUT))
            found.tried, found.step = False, STEP
            if found.exact:
                found.limit = min(found.limit, found.exact)
            return Finding("window", found.limit, found.period)
        self._in_vain += 1
        if self._in_vain >= self._senseless and not self.at_random:
            return self._give_up()
        counted = found.exact and found.limit > found.exact * LOWEST
        if since >= HOLDS or counted:  # it has been true for long, or is no guess
            found.limit = max(found.limit * MARGIN, 1.0)
            return Finding("window" if found.period else "places", found.limit, found.period)
        finding = self._explain()
        return Finding("free", math.inf) if finding is None and self._found is None else finding


def _alike(found: _Found, counter: Counter) -> bool:
    return found.period == counter.period and abs(found.limit - counter.limit) <= max(1.0, SAME * counter.limit)
