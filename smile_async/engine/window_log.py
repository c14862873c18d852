"""What one limit let through, and when it leaves the limit's period: an exact count, corrected when more is known.

Pure: the caller hands in the time.
"""

from collections import deque
from collections.abc import Iterator

BINS = 2_000  # a period: what went within one is counted as one, so that a day's log is no longer than a minute's


class _Bin:
    """What went within an instant. `at` is when the last of it left; `boarding` have not left yet."""

    __slots__ = ("amount", "at", "began", "boarding", "gone")

    def __init__(self, at: float) -> None:
        self.began = self.at = at
        self.amount = 0.0
        self.boarding = 0
        self.gone = False


class Entry:
    """What one admission took of one window; corrected in place. `taken` is all that the window had let through;
    `boarding`: it has not left yet."""

    __slots__ = ("amount", "at", "bin", "boarding", "taken")

    def __init__(self, at: float, amount: float, bin_: _Bin, taken: float) -> None:
        self.at = at
        self.amount = amount
        self.bin = bin_
        self.boarding = False
        self.taken = taken


class WindowLog:
    """What went counts until it has left, however long that takes, and `period` and `slack` seconds after that.

    `used` is what is in it, as `forget` left it; `taken` all that was ever let through, as it was admitted.
    """

    __slots__ = ("_bins", "_grain", "began", "kept", "taken", "used")

    def __init__(self, period: float, slack: float) -> None:
        self.used = self.taken = 0.0
        self.began: float | None = None  # when the first amount was let through
        self._bins: deque[_Bin] = deque()
        self.keep(period, slack)

    def keep(self, period: float, slack: float) -> None:
        """From now on for so long."""
        self.kept = period + slack
        self._grain = period / BINS

    def add(self, at: float, amount: float, *, boarding: bool = False) -> Entry:
        """Count `amount` as let through at `at`, no earlier than the last that was counted; `boarding`: it leaves
        later."""
        if self.began is None:
            self.began = at
        if not self._bins or at - self._bins[-1].began > self._grain:
            self._bins.append(_Bin(at))
        last = self._bins[-1]
        last.at = max(last.at, at)
        last.amount += amount
        self.used += amount
        self.taken += amount
        entry = Entry(at, amount, last, self.taken)
        if boarding:
            entry.boarding = True
            last.boarding += 1
        return entry

    def departed(self, entry: Entry, at: float) -> None:
        """It left at `at`, later than it was admitted."""
        entry.at = at
        entry.bin.at = max(entry.bin.at, at)
        self._has_left(entry)

    def correct(self, entry: Entry, amount: float, now: float) -> float:
        """It really took `amount`. Returns how much more that is."""
        difference = amount - entry.amount
        self._has_left(entry)
        self.forget(now)
        if not entry.bin.gone:  # what has left the window was taken off as it stood then
            self.used += difference
            entry.bin.amount += difference
        entry.amount = amount
        return difference

    def forget(self, now: float) -> None:
        """What has been in it for long enough is in it no more."""
        bins, horizon = self._bins, now - self.kept
        while bins and bins[0].at <= horizon and not bins[0].boarding:
            gone = bins.popleft()
            gone.gone = True
            self.used -= gone.amount
        if not bins:
            self.used = 0.0  # no drift from sums of floats

    def leaving(self) -> Iterator[tuple[float, float]]:
        """When what is in it leaves it, and how much, the first to leave first."""
        kept = self.kept
        for bin_ in self._bins:
            yield bin_.at + kept, bin_.amount

    def since(self, at: float) -> float:
        """What was let through since then."""
        sent = 0.0
        for bin_ in reversed(self._bins):
            if bin_.at < at:
                break
            sent += bin_.amount
        return sent

    def newest(self, otherwise: float) -> float:
        """When the last of it left."""
        return self._bins[-1].at if self._bins else otherwise

    def _has_left(self, entry: Entry) -> None:
        if entry.boarding:
            entry.boarding = False
            entry.bin.boarding -= 1
