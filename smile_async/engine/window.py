"""One limit of so much a period, kept true under concurrency: paced by aiolimiter, proved by an exact own count.

aiolimiter alone is not enough: its bucket lets twice the limit through in the first window, it cannot take back an
estimate that was too high, and its waiters are served smallest first. So it only sets the pace, in a bucket of a
fraction of a second, and one caller waits at it; a log of what was let through in the last period has the last word,
as a server with sliding windows has, and is corrected when the true amount is known.
"""

from collections import deque
from collections.abc import Callable

from aiolimiter import AsyncLimiter

LEAD = (
    1.15  # pace above the limit's mean while less than the mean was used: time lost (first request alone) is caught up
)
SLACK = 0.3  # seconds: a request may reach the server that much later than it left
BURST = 0.25  # seconds of the limit that may go at once


class Entry:
    """What one admission took of one window; corrected in place."""

    __slots__ = ("amount", "at")

    def __init__(self, at: float, amount: float) -> None:
        self.at = at
        self.amount = amount


class RateWindow:
    """At most `limit` in any `period` seconds (plus `SLACK`), smoothly. For one waiter at a time: the dispatcher."""

    def __init__(self, limit: float, period: float, *, clock: Callable[[], float]) -> None:
        self.limit = limit
        self.period = period
        self._clock = clock
        self._capacity = max(1.0, limit / period * BURST)
        self._pacer = AsyncLimiter(self._capacity, self._capacity / (limit / period * LEAD))
        self._log: deque[Entry] = deque()
        self._used = 0.0
        self._credit = 0.0  # estimates taken from the pacer and not used, to be taken less next time
        self._began: float | None = None  # when the first amount was let through

    def __repr__(self) -> str:
        return f"<RateWindow [{self.used():.0f} of {self.limit:g} in {self.period:g} s]>"

    def used(self) -> float:
        """What was let through in the last period."""
        self._forget(self._clock())
        return self._used

    async def pace(self, amount: float) -> None:
        """Wait for the amount's turn at the limit's mean rate. Follow with `wait` and `record`."""
        used_credit = min(self._credit, amount)
        self._credit -= used_credit
        left = (amount - used_credit) * (1.0 if self._behind(amount) else LEAD)
        while left > 0:  # in slices: the bucket is smaller than a large request
            slice_ = min(left, self._capacity)
            await self._pacer.acquire(slice_)
            left -= slice_

    def wait(self, amount: float, *, reserve: float = 0.0) -> float:
        """Seconds until `amount` fits into the window; 0: it fits now.

        `reserve` of the limit stays unused, for estimates that may prove too low. An amount above the whole limit
        fits when the window is empty: it could never go otherwise.
        """
        now = self._clock()
        self._forget(now)
        excess = self._used + amount - max(self.limit - reserve, self.limit / 2)
        if excess <= 0 or not self._log:
            return 0.0
        for entry in self._log:
            excess -= entry.amount
            if excess <= 0:
                break
        return max(entry.at + self.period + SLACK - now, 0.001)

    def record(self, amount: float) -> Entry:
        """Count `amount` as let through now."""
        return self.remember(self._clock(), amount)

    def remember(self, at: float, amount: float) -> Entry:
        """Count `amount` as let through at the clock's time `at`, no earlier than the last that was counted."""
        entry = Entry(at, amount)
        if self._began is None:
            self._began = entry.at
        self._log.append(entry)
        self._used += amount
        return entry

    def correct(self, entry: Entry, amount: float) -> None:
        """Say what the admission really took, once it is known; 0 gives it back (a refused request is not charged)."""
        difference = amount - entry.amount
        self._forget(self._clock())
        if self._log and entry.at >= self._log[0].at:  # what has left the window was taken off as it stood then
            self._used += difference
        entry.amount = amount
        self._credit = min(self.limit / 10, self._credit - difference)

    def _behind(self, amount: float) -> bool:
        """Less has been let through than the mean rate allowed, in the last period or since the first."""
        now = self._clock()
        elapsed = min(now - (now if self._began is None else self._began), self.period)
        return self.used() + amount < self.limit * elapsed / self.period

    def _forget(self, now: float) -> None:
        horizon = now - self.period - SLACK
        while self._log and self._log[0].at <= horizon:
            self._used -= self._log.popleft().amount
        if not self._log:
            self._used = 0.0  # no drift from sums of floats
