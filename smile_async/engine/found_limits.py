"""The limit of a server that refuses what is too much and does not say how much that is.

One refusal says little: that too many were in flight, that the rate was too high, or nothing (gateways refuse at
random). So each is kept with all that it could be about: how many were in flight, how many had been admitted in the
last second, ten seconds, minute. After a refusal the server is approached from one request on, twice as many every
half second, until it refuses again. What the refusals have in common is what it minds:
- the same number in flight, never exceeded otherwise: places (`Concurrency` takes it from there);
- the same count of a period, never exceeded otherwise: a window;
- the same rate between one refusal and the next: a bucket, which is empty at both.
What was found is tried a little higher now and then, and given up when the server refuses well below it. One that
refuses again and again whatever is kept to does so at random: then nobody waits for it but the refused row.

Pure: the caller hands in the time.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from smile_async.engine.admitted import Admitted, Sent

RAMP = 0.5  # seconds in which the number that may be in flight after a refusal doubles
SLOWER = 4  # times so many, where it has admitted nothing for a while: a long window, which empties all at once
PERIODS = (1.0, 2.0, 5.0, 6.0, 10.0, 15.0, 20.0, 30.0, 60.0)  # seconds of windows that are thought of
MEMORY = 180.0  # seconds: refusals that are compared
MOST = 5  # of them
SHARE = 1.0  # admitted though it should have been refused, for each refusal: more speaks against an explanation
ENOUGH = 4  # requests admitted between two refusals that measure a rate
MARGIN = 0.98  # of a rate that was measured
RATE_COUNT = 60.0  # requests: a rate is kept to over so many
STEP, STEP_MOST = 1.02, 1.1  # growth of what was found, a try; its rest doubles while nobody refuses
SHORT = 20.0  # seconds: what is wrong about a longer window costs little, and trying it out shows only a period later
LOOK_AGAIN = 8  # requests later
QUIET, QUIET_MOST = 60.0, 1_000.0  # requests before a try; doubles when one is refused, which costs one or two
NEAR = 0.85  # of what was found: refused there, it is a little less than was thought
SENSELESS = 4  # refusals in spite of what was found, each soon after the one before: it refuses at random
CUT, CUT_MOST = 0.93, 0.7  # of a rate that did not keep the server from refusing: so much is tried next
BINDING = 0.85  # of what was found must have been used, or a little more says nothing
HOLDS = 200  # requests: what keeps the server from refusing for so long is true
FADING = 1 / 50  # weight of one request in the share of refusals
MANY = 0.15  # of requests: so many refusals are not random


@dataclass(frozen=True, slots=True)
class Finding:
    """What refusals showed: `what` is places (it holds no more than `value`), window or rate (so many in `period`
    seconds) or free (what was found before does not keep the server from refusing)."""

    what: Literal["places", "window", "rate", "free"]
    value: float
    period: float = 0.0


@dataclass(slots=True)
class _Refusal:
    """The first of some at once: when it had left, how many others were in flight then; once all of them are known,
    how many had been admitted until then, and in each period before."""

    at: float
    in_flight: int
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


@dataclass(slots=True)
class FoundLimits:
    """See the module. A window that was found is the lane's to keep: `window` is what it should hold."""

    at_random: bool = False  # it refuses whatever is sent: waiting does not help
    _log: Admitted = field(default_factory=lambda: Admitted(PERIODS, PERIODS[-1] + MEMORY))
    _refusals: deque[_Refusal] = field(default_factory=lambda: deque(maxlen=MOST))
    _open: _Refusal | None = None  # others may still come back refused with it
    _ramp_from: float | None = None
    _found: _Found | None = None
    _empty: bool = False  # nothing was admitted between the last two refusals
    _baffled: bool = False  # the same, and nothing since
    _quietly: int = 0  # requests since the last refusal
    _in_vain: int = 0  # refusals in a row in spite of what had been found
    _senseless: int = SENSELESS
    _random_from: int = 0  # requests ever admitted, when it began
    _share: float = 0.0  # of refusals, fading

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

    def answered(self, sent: Sent) -> None:
        """One that had left with `sent` was answered: since the last refusal something has been admitted."""
        if self._baffled and self._refusals and sent.at > self._refusals[-1].at:
            self._baffled = False

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
        if finding is not None and self.at_random:
            self._ramp_from = now  # not all at once: perhaps it is not so
        sent = self._log.add(now, in_flight)
        self._share -= self._share * FADING
        self._quietly += 1
        if self._found is not None:
            self._found.since += 1
        if self._ramp_from is not None and in_flight >= places:
            self._ramp_from = None
        return sent, finding

    def refused(self, now: float, sent: Sent, in_flight: int, *, fresh: bool, hold: float) -> None:
        """One came back refused that had left with `sent`, as one beside `in_flight` others.

        `fresh`: it left after the last refusal was known. `hold`: seconds that everybody waits now.
        """
        self._log.take_back(sent, in_flight)
        self._share += FADING
        if self.at_random:
            if self._share <= MANY:
                return
            self._start_over()
        if self._open is not None or not fresh:
            if self._open is not None and in_flight < self._open.in_flight:
                self._open.in_flight = in_flight  # of the first that was refused: the others had left after it
            return
        self._open = _Refusal(sent.at, in_flight)
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
        found.tried, found.since = True, 0
        found.limit *= found.step
        return Finding("window", found.limit, found.period)

    def recent(self, period: float, now: float) -> list[tuple[float, int]]:
        """What was admitted in the last `period` seconds: when, how much. For a window that was found."""
        return self._log.recent(period, now)

    # ------------------------------------------------------------------------------------------------------------------

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
        if again:
            return None
        return self._explain() if self._found is None else self._again(refusal)

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
        if least > SHARE * len(refusals):
            if (rate := self._rate()) is None:
                return None
            if before is not None and before.kind == "rate":
                was = before.limit / before.period
                rate = min(max(rate * MARGIN, was * CUT_MOST), was * CUT) / MARGIN
            period = max(1.0, RATE_COUNT / rate)
            finding = Finding("rate", rate * MARGIN * period, period)
        self._found = _Found(finding.what, finding.value, finding.period)
        if before is not None:
            self._found.quiet = before.quiet
        return finding

    def _rate(self) -> float | None:
        """The rate between the last two refusals; None where one was too long ago to be remembered."""
        if len(self._refusals) < 2:
            return None
        before, after = list(self._refusals)[-2:]
        passed, admitted = after.at - before.at, after.total - before.total
        return admitted / passed if passed > 0 and admitted >= ENOUGH else None

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
            if found.kind == "rate" and (rate := self._rate()):  # the bucket was empty at both: so much it lets through
                found.limit = min(found.limit, max(rate * MARGIN * found.period, found.limit * CUT))
            found.tried, found.step = False, STEP
            return Finding("window", found.limit, found.period)
        self._in_vain += 1
        if self._in_vain >= self._senseless and self._share < MANY:
            self._found, self.at_random = None, True
            self._refusals.clear()
            self._random_from = self._log.total
            return Finding("free", math.inf)
        if since >= HOLDS:  # it has been true for long
            found.limit = max(found.limit * MARGIN, 1.0)
            return Finding("window" if found.period else "places", found.limit, found.period)
        finding = self._explain()
        return Finding("free", math.inf) if finding is None and self._found is None else finding

    def _start_over(self) -> None:
        if self._log.total - self._random_from < HOLDS:  # it was not so: be slower to believe it
            self._senseless += 2
        self.at_random, self._found, self._open, self._in_vain = False, None, None, 0
        self._refusals.clear()
