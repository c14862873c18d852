"""What the server counts of a limit that we did not use: others share it, or more is charged than is counted here.

Known only from what it says remains. A server that has nothing left, answers what is sent all the same, and has nothing
left again, time after time, does not count: its word holds nobody back until it refuses.

Pure: the caller hands in the time.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

STUCK, STUCK_MOST = 3, 100  # times in a row; doubles when a refusal shows that it does count
PARTS = 20  # in which what nobody told the end of is thought to leave
GRAIN = 1 / 2_000  # of the period: what leaves within it is one


@dataclass(frozen=True, slots=True)
class Less:
    """The word at `at` that less remains than was thought, of `limit` a `period`, and all of it in `reset` seconds."""

    at: float
    remaining: float
    reset: float | None
    limit: float
    period: float


@dataclass(slots=True)
class Others:
    """Amounts with the time at which each leaves the window, the first to leave first."""

    _leaving: list[tuple[float, float]] = field(default_factory=list)
    _empty_until: float = 0.0  # as the last word said that left nothing
    _again: int = 0  # it had nothing left though it had answered what was sent after that
    _stuck: int = STUCK

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(self._leaving)

    def amount(self, now: float) -> float:
        """What is in the window."""
        leaving = self._leaving
        if not leaving:
            return 0.0
        if leaving[0][0] <= now:
            del leaving[: bisect_right(leaving, (now, float("inf")))]
        return sum([amount for _, amount in leaving])

    def heard(self, word: Less, sent_at: float, amount: float) -> bool:
        """So much more is used than was known, says the answer to what was sent then; whether it is believed."""
        now, reset, limit, period = word.at, word.reset, word.limit, word.period
        if word.remaining >= 1:
            self._add(now + period, amount, period)
            return True
        if sent_at >= self._empty_until:
            self._again += 1
            self._empty_until = now + (min(reset, period) if reset is not None else period / limit)
        if self._again > self._stuck:
            self._leaving.clear()
            return False
        if reset is not None:  # then all of it is free, it says
            latest = now + min(reset, period)
            self._leaving = [(min(leaves, latest), each) for leaves, each in self._leaving]
            self._add(latest, amount, period)
            return True
        whole = self.amount(now) + amount
        self._leaving.clear()
        for part in range(1, PARTS + 1):
            self._add(now + min(whole / limit, 1.0) * period * part / PARTS, whole / PARTS, period)
        return True

    def has_some(self) -> None:
        """It had something left: it counts."""
        self._again = 0

    def refused(self) -> None:
        """It counts, whatever it says."""
        if self._again > self._stuck:
            self._stuck = min(self._stuck * 2, STUCK_MOST)
        self._again = 0

    def _add(self, leaves: float, amount: float, period: float) -> None:
        if self._leaving and abs(self._leaving[-1][0] - leaves) <= GRAIN * period:
            self._leaving[-1] = (self._leaving[-1][0], self._leaving[-1][1] + amount)
        else:
            insort(self._leaving, (leaves, amount))
