"""How many requests an endpoint is given at once, and how fast, found from its answers where nobody said it.

Two things may be full: places (a server refuses, or lets wait, what is above so many in flight) and a rate (it refuses
what is above so many a minute). `Concurrency` finds the places, `FoundRate` the rate. Both are decisions over numbers:
no clock, no waiting; the caller hands in the time.

The ideas are those of inspect_ai (slow start, growth only when the limit was really used), DataDesigner (an answer
carries the limit that it was admitted under, so that one burst of stale refusals cuts once) and TCP.
"""

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

FIRST = 8  # requests in flight to begin with, where none were named
GROWTH = 1.05  # after slow start
SATURATED = 0.8  # of the limit must have been in flight at once, or there is no sign that more would help
WORTH = 0.25  # of the growth must come back as more answers a second, else it is the server's queue that grew
LEAST_ROUND = 8  # answers: fewer say too little about speed
PATIENT_ROUNDS = 64  # rounds between two tries at most, where growing did not pay
QUIET_FIRST, QUIET_MOST = 10.0, 120.0  # seconds without a refusal before more is tried; doubles with each refused try
HISTORY = 200  # changes kept in memory


@dataclass(frozen=True, slots=True)
class Change:
    """A limit that was changed: `at` by the clock, `what` is in-flight or rate (requests a second), and why."""

    at: float
    what: str
    before: float
    after: float
    reason: str


class Concurrency:
    """The most requests in flight: slow start, then growth by a twentieth, as long as it pays and nobody refuses.

    `most` is never exceeded. `fixed`: the caller named the number; it is used from the start, and only refusals make
    it smaller for a while. A round is as many answers as the limit, all admitted under it. At its end the limit grows
    if it was really used; if the last growth brought (by Little's law: limit / median latency) less than `WORTH` of
    itself in speed, it is taken back.
    """

    def __init__(self, most: int, *, fixed: bool = False) -> None:
        self.most = most
        self.limit = most if fixed else min(FIRST, most)
        self.changes: deque[Change] = deque(maxlen=HISTORY)
        self._slow_start = True
        self._latencies: list[float] = []
        self._peak = 0
        self._troubled = False
        self._before: tuple[int, float] | None = None  # limit and speed of the round before the last growth
        self._rounds_to_wait = 0
        self._patience = 2  # rounds
        self._refused_at = -math.inf
        self._quiet = QUIET_FIRST

    def __repr__(self) -> str:
        return f"<Concurrency [{self.limit} of at most {self.most}]>"

    def admitted(self, in_flight: int) -> int:
        """One more is in flight, `in_flight` in all; returns the limit that it was admitted under, for its answer."""
        self._peak = max(self._peak, in_flight)
        return self.limit

    def answered(self, stamp: int, latency: float, now: float) -> None:
        """An answer, `latency` seconds after its request left; `stamp` is what `admitted` had returned."""
        if stamp != self.limit or self.limit >= self.most:
            return
        self._latencies.append(latency)
        if len(self._latencies) >= max(self.limit, LEAST_ROUND):
            self._end_round(now)

    def troubled(self) -> None:
        """The server failed (5xx, timeout): no growth this round."""
        self._troubled = True

    def refused(self, stamp: int, in_flight: int, now: float, reason: str = "refused") -> None:
        """Too many: the server holds the `in_flight` that it did not refuse, and no more.

        Only a request that was admitted under the present limit, or a lower one, says something new.
        """
        if stamp > self.limit:
            return
        again = now - self._refused_at < 2 * self._quiet
        self._quiet = min(self._quiet * 2, QUIET_MOST) if again else QUIET_FIRST
        self._refused_at = now
        self._slow_start = False
        self._set(max(1, min(self.limit, in_flight)), now, reason)

    def set(self, most: int, now: float, reason: str) -> None:
        """From now on at most so many: somebody said it."""
        self.most = most
        self._set(most, now, reason)

    def _end_round(self, now: float) -> None:
        speed = self.limit / max(median(self._latencies), 1e-6)
        used, troubled = self._peak >= SATURATED * self.limit, self._troubled
        before, self._before = self._before, None
        self._latencies, self._peak, self._troubled = [], 0, False
        if before is not None and used:
            limit, slower = before
            if self.limit > limit and speed < slower * (1 + WORTH * (self.limit / limit - 1)):
                self._slow_start = False
                self._rounds_to_wait, self._patience = self._patience, min(self._patience * 2, PATIENT_ROUNDS)
                self._set(limit, now, "more in flight made answers slower, not more")
                return
            self._patience = 2
        if self._rounds_to_wait > 0:
            self._rounds_to_wait -= 1
        elif used and not troubled and now - self._refused_at >= self._quiet:
            self._before = (self.limit, speed)
            step = self.limit * 2 if self._slow_start else max(self.limit + 1, int(self.limit * GROWTH))
            self._set(min(step, self.most), now, "slow start" if self._slow_start else "all places used, none refused")

    def _set(self, limit: int, now: float, reason: str) -> None:
        if limit != self.limit:
            self.changes.append(Change(now, "in-flight", self.limit, limit, reason))
            self.limit = limit
            self._latencies, self._peak, self._troubled = [], 0, False
