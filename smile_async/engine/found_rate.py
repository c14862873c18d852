"""The limit of a server that refuses what is too much and does not say how much that is.

One refusal says little: that too many were in flight, that the rate was too high, or nothing (gateways refuse at
random). What tells them apart is where the server refuses again when it is approached from below, one request, then
twice as many every half second:
- at about as many in flight as before: it is places that it minds (`Concurrency` takes it from there);
- with fewer, and as much admitted in the last minute as at the refusal before: it counts a minute's window;
- with fewer, otherwise: it is a rate. Between two refusals such a limit is empty at both ends, so what was admitted
  between them is what it lets through.
What was found is tried again a little above now and then, and given up when it does not keep the server from refusing.

Pure: the caller hands in the time.
"""

import math
from collections import deque
from dataclasses import dataclass

RAMP = 0.5  # seconds in which the number that may be in flight after a refusal doubles
WELL_BELOW = 0.7  # of the places that the server was seen to hold: refused there, it is not places that it minds
MARGIN = 0.98  # of a rate that was measured
SAME = 0.03  # two counts of a minute that differ by less are the same
STEP = 1.02  # growth of what was found, a try
QUIET_RATE, QUIET_WINDOW, QUIET_MOST = 10.0, 60.0, 300.0  # seconds before a try; doubles when one is refused
TELLING = 2.0  # seconds between two refusals, after which the same count of a minute means a window
ENOUGH = 4  # requests admitted between two refusals that measure a rate
FORGOTTEN = 120.0  # seconds after which a refusal is a first one again
AGREE = 0.15  # two measures of a rate that differ by less
IN_VAIN = 2  # refusals well below what was found: it is not that
WINDOW = 60.0  # seconds: the period of most limits
BURST = 0.1  # seconds of the rate that may go at once


@dataclass(frozen=True, slots=True)
class Finding:
    """What a refusal showed: `what` is places (it holds no more), rate, window (so many a minute) or free (what was
    found before does not keep the server from refusing). `value` in flight, a second, or a minute."""

    what: str
    value: float


class FoundRate:
    """`rate`: requests a second, None while none was found. A window that was found is the lane's to keep: `window` is
    what it should hold."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self.window: float | None = None
        self._bins: deque[list[float]] = deque()  # [second, admitted in it], of the last minute
        self._since = -math.inf  # the last burst of refusals began
        self._admitted = 0  # since then
        self._minute = 0.0  # admitted in the minute before it
        self._held = 0  # in flight, that the server was seen to hold
        self._ramp_from: float | None = None
        self._due = -math.inf  # when the pace lets the next one go
        self._quiet = QUIET_RATE
        self._next_try = math.inf
        self._tried = False  # what is in force is a try
        self._in_vain = 0
        self._at_random = 0  # refusals after which it took as many as before
        self._last_measure = 0.0  # of the rate
        self._agreed = 0  # measures in a row
        self._needed = 2  # of these, to believe it

    def __repr__(self) -> str:
        return f"<FoundRate [{'none' if self.rate is None else f'{self.rate:.2f} a second'}]>"

    def wait(self, now: float, in_flight: int) -> float:
        """Seconds until one more may go, for the pace and for the slow approach after a refusal."""
        wait = 0.0
        if self._ramp_from is not None:
            since, ramp = now - self._ramp_from, RAMP / 2.0**self._at_random
            if since < 0:
                return -since
            if in_flight + 1 > 2.0 ** min(since / ramp, 20):
                wait = math.log2(in_flight + 1) * ramp - since + 1e-3
        return wait if self.rate is None else max(wait, self._due - now)

    def started(self, now: float, in_flight: int, places: int) -> None:
        """One goes, as the `in_flight`-th; `places` are allowed in flight."""
        if not self._bins or now - self._bins[-1][0] >= 1.0:
            self._bins.append([now, 0.0])
            while self._bins[0][0] < now - WINDOW - 1:
                self._bins.popleft()
        self._bins[-1][1] += 1
        self._admitted += 1
        if self._ramp_from is not None and in_flight >= places:
            self._ramp_from = None  # it takes as many as before: perhaps it refuses at random
            self._at_random = min(self._at_random + 1, 4)
        if self.rate is not None:
            self._due = max(self._due, now - BURST) + 1 / self.rate

    def held(self, in_flight: int) -> None:
        """So many were under way, none of them refused, when an answer came."""
        self._held = max(self._held, in_flight)

    def refused(self, now: float, in_flight: int, *, fresh: bool, hold: float) -> Finding | None:
        """One came back refused while `in_flight` others are under way.

        `fresh`: it left after the last refusal was known. `hold`: seconds that everybody waits now.
        """
        self._admitted -= 1
        if self._bins:
            self._bins[-1][1] -= 1
        if not fresh:
            return None
        passed, admitted, minute = now - self._since, max(self._admitted, 0), self._last_minute(now)
        before, self._minute = self._minute, minute
        self._since, self._admitted, self._ramp_from = now, 0, now + hold
        if self.rate is not None or self.window is not None:
            return self._again(now, admitted, passed, minute)
        if self._ramp_from is not None and self._at_random:
            self._at_random -= 1
        if passed > FORGOTTEN:  # the first
            return None
        held = self._held
        if in_flight + 1 > WELL_BELOW * held:
            self._held = max(in_flight, int(held * 0.9))
            if in_flight + 1 >= held:  # where it was met before: nothing is to be approached
                self._ramp_from = None
            return Finding("places", in_flight)
        if passed >= TELLING and minute >= 2 * ENOUGH and abs(minute - before) <= SAME * before:
            return self._find_window(now, minute)
        return self._measured(now, admitted / passed) if admitted >= ENOUGH else None

    def grow(self, now: float) -> Finding | None:
        """Nobody has refused for a while, and what was found is what holds requests back: a little more."""
        if now < self._next_try:
            return None
        if self._tried:
            self._in_vain = 0
        self._tried, self._next_try = True, now + self._quiet
        if self.rate is not None:
            self.rate *= STEP
            return Finding("rate", self.rate)
        if self.window is not None:
            self.window *= STEP
            return Finding("window", self.window)
        return None

    def _again(self, now: float, admitted: int, passed: float, minute: float) -> Finding | None:
        """Refused in spite of what was found."""
        self._next_try = now + self._quiet
        if self._tried:  # back to what held, and longer until the next try
            self._tried = False
            self._quiet = min(self._quiet * 2, QUIET_MOST)
            if self.window is not None:  # what went since a lull says nothing
                held = self.window / STEP
                return self._find_window(now, min(minute, held) if minute >= 0.9 * held else held)
            assert self.rate is not None
            return self._find_rate(now, self.rate / STEP)
        if self.window is not None and minute >= 0.9 * self.window:
            return self._find_window(now, min(minute, self.window * 0.99))
        if self.rate is not None and admitted >= ENOUGH and admitted / passed >= 0.85 * self.rate:
            return self._find_rate(now, min(admitted / passed * MARGIN, self.rate * 0.99))
        self._in_vain += 1
        if self._in_vain < IN_VAIN:
            return None
        self.rate = self.window = None
        self._in_vain, self._since, self._next_try = 0, -math.inf, math.inf
        self._agreed, self._last_measure, self._needed = 0, 0.0, self._needed + 1
        return Finding("free", math.inf)

    def _measured(self, now: float, rate: float) -> Finding | None:
        """A rate is believed when it was measured again, and after a false one only when it was so more often."""
        agrees = self._last_measure > 0 and abs(rate - self._last_measure) <= AGREE * rate
        self._agreed = self._agreed + 1 if agrees else 1
        self._last_measure = rate
        return self._find_rate(now, rate * MARGIN) if self._agreed >= self._needed else None

    def _find_rate(self, now: float, rate: float) -> Finding:
        self.rate, self._tried = rate, False
        self._next_try = now + self._quiet
        return Finding("rate", rate)

    def _find_window(self, now: float, limit: float) -> Finding:
        self.window, self._tried = limit, False
        self._quiet = max(self._quiet, QUIET_WINDOW)
        self._next_try = now + self._quiet
        return Finding("window", limit)

    def minute(self) -> list[tuple[float, float]]:
        """What was admitted in the last minute: at which second, how much. For a window that was found."""
        return [(second, count) for second, count in self._bins if count > 0]

    def _last_minute(self, now: float) -> float:
        return sum(count for second, count in self._bins if second > now - WINDOW)
