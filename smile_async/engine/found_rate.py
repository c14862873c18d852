"""The rate of a server that refuses what is too much and does not say how much that is.

Between two refusals a limit is empty at both ends, so what was admitted between them is what it lets through: the
first refusal shows that there is a limit, the second what it is. After a refusal the server is approached from below,
one request, then twice as many every half second: whether it is the number in flight that it minds, or the rate, shows
in where it refuses again. A server that admits nothing until a minute has passed counts a minute's window: then it is
what went in the minute before.

Pure: the caller hands in the time.
"""

import math
from collections import deque

RAMP = 0.5  # seconds in which the number that may be in flight after a refusal doubles
WELL_BELOW = 0.7  # of the places that the server is known to have: refused there, it is the rate that it minds
MARGIN = 0.98  # of what was measured
SMALLEST_STEP, LARGEST_STEP = 1.02, 1.3  # growth of the rate, a try
QUIET_FIRST, QUIET_MOST = 8.0, 120.0  # seconds without refusal before more is tried; doubles when a try is refused
ENOUGH = 4  # requests admitted between two refusals that measure a rate
STUCK = 5.0  # seconds without one admission: a window, not a refill
WINDOW = 60.0  # seconds: the period of most limits
BURST = 0.1  # seconds of the rate that may go at once


class FoundRate:
    """`rate` in requests a second; None as long as nothing shows that the server has one."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self._bins: deque[list[float]] = deque()  # [second, admitted in it], of the last minute
        self._since: float | None = None  # the last episode of refusals began
        self._first = -math.inf  # so did the first
        self._admitted = 0  # since the last
        self._before = 0.0  # admitted in the minute before the first refusal
        self._ramp_from: float | None = None
        self._due = -math.inf  # when the pace lets the next one go
        self._bound = False  # the pace has held somebody back since the last step
        self._step = SMALLEST_STEP
        self._quiet = QUIET_FIRST
        self._tried = False  # the present rate is a try
        self._last_step = SMALLEST_STEP
        self._next_try = math.inf

    def __repr__(self) -> str:
        return f"<FoundRate [{'none' if self.rate is None else f'{self.rate:.2f} a second'}]>"

    def wait(self, now: float, in_flight: int) -> float:
        """Seconds until one more may go, for the pace and for the slow approach after a refusal."""
        wait = 0.0
        if self._ramp_from is not None:
            rounds = (now - self._ramp_from) / RAMP
            if rounds < 0:
                return -rounds * RAMP
            if in_flight + 1 > 2.0 ** min(rounds, 20):
                wait = (math.ceil(math.log2(in_flight + 1)) - rounds) * RAMP
        if self.rate is not None and self._due > now:
            self._bound = True
            wait = max(wait, self._due - now)
        return wait

    def started(self, now: float, in_flight: int, places: int) -> None:
        """One goes, as the `in_flight`-th; `places` are allowed in flight."""
        if not self._bins or now - self._bins[-1][0] >= 1.0:
            self._bins.append([now, 0.0])
            while self._bins[0][0] < now - WINDOW - 1:
                self._bins.popleft()
        self._bins[-1][1] += 1
        self._admitted += 1
        if self._ramp_from is not None and in_flight >= places:
            self._ramp_from = None
        if self.rate is not None:
            self._grow(now)
            assert self.rate is not None
            self._due = max(self._due, now - BURST) + 1 / self.rate

    def refused(self, now: float, in_flight: int, places: int, *, fresh: bool, hold: float) -> str:
        """One came back refused while `in_flight` others were not, of `places` that the server was seen to hold.

        `fresh`: it left after the last refusal was known. `hold`: seconds that everybody waits now. Returns what was
        learned: `places`, `rate`, or nothing new.
        """
        self._admitted -= 1
        if self._bins:
            self._bins[-1][1] -= 1
        if not fresh:
            return "places" if self.rate is None and self._since == self._first else ""
        admitted, began = max(self._admitted, 0), self._since
        if began is None:
            self._before, self._first = self._last_minute(now), now
        learned = "places"
        if self.rate is not None or (began is not None and in_flight + 1 <= WELL_BELOW * places):
            learned = "rate" if self._measure(now, admitted, began) else ""
        self._since, self._admitted = now, 0
        self._ramp_from = now + hold
        return learned

    def replied(self, now: float) -> None:
        """An answer. After a long time without one it shows that a window has passed."""
        stuck = self._since is not None and self.rate is None and now - self._since > STUCK
        if stuck and self._admitted <= 1 and self._before > 0:
            self._set(self._before / WINDOW, now)

    def _measure(self, now: float, admitted: int, began: float | None) -> bool:
        if self._tried:  # back to what held, and longer until the next try
            self._quiet = min(self._quiet * 2, QUIET_MOST)
        self._step = SMALLEST_STEP
        if began is None or admitted < ENOUGH:
            if self.rate is not None:
                self._set(self.rate / (self._last_step if self._tried else 1.1), now)
                return True
            return False
        measured = admitted / max(now - began, 1e-3) * MARGIN
        self._set(measured if self.rate is None else min(measured, self.rate * 0.99), now)
        return True

    def _set(self, rate: float, now: float) -> None:
        self.rate = rate
        self._tried = self._bound = False
        self._next_try = now + self._quiet

    def _grow(self, now: float) -> None:
        """Nobody has refused for a while, and the pace was what held requests back: a little more."""
        if now < self._next_try or self.rate is None or not self._bound:
            return
        if self._tried:  # the last try held
            self._step = min(1 + (self._step - 1) * 1.5, LARGEST_STEP)
        quiet, step = self._quiet, self._step
        self._set(self.rate * step, now)
        self._last_step, self._tried = step, True
        self._next_try = now + quiet

    def _last_minute(self, now: float) -> float:
        return sum(count for second, count in self._bins if second > now - WINDOW)
