"""What an endpoint has admitted in the last minutes: when, how much at once, beside how many others.

Kept for those who ask what a refusal could be about. What left within an instant is one entry, with the number admitted
before it, so that the count of any period is a difference of two. Of a second that is over only the highest counts are
kept: with them it is answered whether a limit was ever exceeded, without another look at each request. So a question
costs a millisecond, however much was admitted.

Pure: the caller hands in the time.
"""

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import pairwise

GRAIN = 0.01  # seconds: what left within them is one entry
SECOND = 1.0  # what is over is summed up by
OPEN = 5.0  # seconds: until then refusals are expected back, which change the counts
HIGHEST = 6  # of a second, in flight: more of them say no more
LOOKS = 200  # a period: so often its count is looked at, an error of a 200th at most


class Sent:
    """Requests that left within an instant and were not refused: how many, how many had been admitted before them, and
    the most that were in flight then."""

    __slots__ = ("at", "before", "count", "most")

    def __init__(self, at: float, before: int) -> None:
        self.at = at
        self.before = before
        self.count = 0
        self.most = 0


@dataclass(frozen=True, slots=True)
class _Second:
    """What was admitted in about a second from `began` on: how many, the `HIGHEST` that there were in flight, and the
    highest count of each period."""

    began: float
    admitted: int
    in_flight: Sequence[int]
    counts: Sequence[int]


class Admitted:
    """`periods` (seconds, growing) are those that will be asked about, for `memory` seconds."""

    def __init__(self, periods: Sequence[float], memory: float) -> None:
        self.total = 0  # ever
        self._periods = periods
        self._memory = memory
        self._entries: list[Sent] = []
        self._times: list[float] = []  # theirs
        self._summed = 0  # of the entries are in `_seconds`
        self._seconds: deque[_Second] = deque()
        self._asked = False  # somebody was refused
        self._due = -math.inf  # when the next second is over

    def __repr__(self) -> str:
        return f"<Admitted [{self.total} in all]>"

    def add(self, now: float, in_flight: int) -> Sent:
        """One leaves, as the `in_flight`-th."""
        entries = self._entries
        if not entries or now - entries[-1].at > GRAIN:
            if now > self._due:
                self._sum_up(now)
            entries.append(Sent(now, self.total))
            self._times.append(now)
        sent = entries[-1]
        sent.count += 1
        sent.most = max(sent.most, in_flight)
        self.total += 1
        return sent

    def take_back(self, sent: Sent, in_flight: int) -> None:
        """One was refused that had left with `sent`, beside `in_flight` others."""
        self._asked = True
        for entry in reversed(self._entries):
            if entry.at <= sent.at:
                break
            entry.before -= 1
        sent.count -= 1
        sent.most = min(sent.most, in_flight)  # with the others of that instant that it refused
        self.total -= 1

    def until(self, at: float) -> int:
        """Admitted until then, ever."""
        after = bisect_right(self._times, at)
        return self._entries[after].before if after < len(self._entries) else self.total

    def within(self, period: float, until: float) -> int:
        """Admitted in the `period` seconds before then."""
        return self.until(until) - self.until(until - period)

    def recent(self, period: float, now: float) -> list[tuple[float, int]]:
        """What was admitted in the last `period` seconds: when, how much."""
        first = bisect_right(self._times, now - period)
        return [(sent.at, sent.count) for sent in self._entries[first:] if sent.count > 0]

    def next_after(self, at: float) -> float:
        """When the first left that was admitted after that time; infinite: none yet."""
        first = bisect_right(self._times, at)
        return next((sent.at for sent in self._entries[first:] if sent.count > 0), math.inf)

    def span(self) -> tuple[float, float]:
        """The oldest and the newest time of which single requests are known."""
        times = self._times
        return (times[0], times[-1]) if times else (0.0, 0.0)

    def beside(self, in_flight: int) -> int:
        """About how many were admitted though more were in flight than that."""
        now = sum([sent.count for sent in self._entries[self._summed :] if sent.most > in_flight])
        return now + sum([sum([most > in_flight for most in each.in_flight]) for each in self._seconds])

    def exceeded(self, counts: Sequence[int], since: float) -> list[int]:
        """About how many were admitted since then though the counts of the periods were above these already."""
        first = bisect_right(self._times, since, lo=self._summed)
        found, times = [], self._times
        before_them = self._entries[first].before if first < len(times) else self.total
        for number, (period, count) in enumerate(zip(self._periods, counts, strict=True)):
            looks = [*self._looks(period, first, len(times)), (0, before_them)]
            now = sum(
                [min(inside - count, end - before) for (inside, end), (_, before) in pairwise(looks) if inside > count]
            )
            seconds = [each for each in self._seconds if each.counts[number] > count and each.began > since]
            found.append(now + sum([min(each.counts[number] - count, each.admitted) for each in seconds]))
        return found

    def _sum_up(self, now: float) -> None:
        """A second that is over; as long as nobody was refused, nobody will ask about more than the last minute."""
        times = self._times
        self._due = now + SECOND
        if self._asked and self._summed < len(times) and times[self._summed] < now - OPEN - SECOND:
            end = bisect_left(times, times[self._summed] + SECOND, lo=self._summed)
            self._seconds.append(self._sum(self._summed, end))
            self._summed = end
            self._due = times[end] + OPEN + SECOND if end < len(times) else self._due
        while self._seconds and self._seconds[0].began < now - self._memory:
            self._seconds.popleft()
        kept = self._memory if self._asked else self._periods[-1] + 2 * (OPEN + SECOND)
        gone = bisect_left(times, now - kept)
        del self._entries[:gone], times[:gone]
        self._summed = max(0, self._summed - gone)

    def _sum(self, first: int, end: int) -> _Second:
        """The entries from `first` to `end`."""
        entries, times = self._entries, self._times
        if first >= end:
            return _Second(math.inf, 0, [], [0] * len(self._periods))
        in_flight = [sent.most for sent in entries[first:end] for _ in range(min(sent.count, HIGHEST))]
        after = entries[end].before if end < len(entries) else self.total
        looks = [self._looks(period, first, end) for period in self._periods]
        counts = [max([inside for inside, _ in each], default=0) for each in looks]
        return _Second(times[first], after - entries[first].before, nlargest(HIGHEST, in_flight), counts)

    def _looks(self, period: float, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Every so often one of those entries, the newest first: the count of the period that it ended, and how many
        had been admitted with it, ever."""
        entries, times = self._entries, self._times
        apart, last, oldest = period / LOOKS, math.inf, end
        for number in range(end - 1, first - 1, -1):
            at = times[number]
            if last - at >= apart:
                last = at
                oldest = bisect_right(times, at - period, hi=oldest)
                sent = entries[number]
                total = sent.before + sent.count
                yield total - entries[oldest].before, total
