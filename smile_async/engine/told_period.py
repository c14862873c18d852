"""The period of a limit whose server tells what remains and does not tell of which period.

A minute is the custom. Words that leave more than a sliding minute would show that it is shorter, or that a bucket is
refilled; what they say of the reset shows which. `remaining` holds all the while, so that a period that is still too
long or too short costs time, not refusals.

Pure: the caller hands in the time.
"""

import math
from dataclasses import dataclass

SURE = 5  # words in a row that a window of the period that is kept to cannot have said
STEADY = 1.5  # periods that a bucket's words imply differ by no more
TELLING = 3  # words that show a bucket at least
RECENT = 0.25  # of the reset: so long ago the newest request may have left, or the word may be older than that
SHORTEST = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Word:
    """What an answer said: `remaining` of `limit`, all of it again in `reset` seconds. `gap`: seconds since the last
    request left; `gone`: how many had surely left `since` seconds ago, this one among them."""

    limit: float
    remaining: float
    reset: float
    gap: float
    since: float
    gone: float

    @property
    def used(self) -> float:
        return self.limit - self.remaining

    @property
    def bucket(self) -> float | None:
        """The period of a bucket that says so."""
        return self.reset * self.limit / self.used if self.used > 0 and self.reset > 0 else None

    @property
    def refilled_in(self) -> float:
        """The period is no longer than that, for what had left is there again."""
        again = self.gone - self.used
        return self.limit * self.since / again if again > 0 else math.inf

    @property
    def whole(self) -> float:
        """The period of a window that says so. A server that looks when it answers, not when it is asked, counts from
        the newest request, which may have left that long ago."""
        return self.reset if self.gap <= RECENT * self.reset else self.reset + self.gap


@dataclass(slots=True)
class Signs:
    """Words that leave more than a sliding window would: how many, how many of them as a bucket of the period that is
    kept to, which periods they imply."""

    count: int = 0
    first: float = 0.0
    steady: int = 0
    telling: int = 0
    least: float = math.inf
    most: float = 0.0
    longest: float = 0.0
    used_least: float = math.inf
    used_most: float = 0.0
    refilled_in: float = math.inf
    clock: bool = False  # more was used and it is full again sooner: no bucket is
    before: Word | None = None

    def add(self, now: float, word: Word, period: float) -> None:
        if self.count == 0:
            self.first = now
        self.count += 1
        full_in = word.used * period / word.limit
        self.steady += word.used > 0 and abs(word.reset - full_in) <= 0.25 * full_in + 0.01 * period
        if (implied := word.bucket) is not None:
            self.telling += 1
            self.least, self.most = min(self.least, implied), max(self.most, implied)
            self.used_least, self.used_most = min(self.used_least, word.used), max(self.used_most, word.used)
        if word.reset > 0:
            self.longest = max(self.longest, word.whole)
        self.refilled_in = min(self.refilled_in, word.refilled_in)
        if (before := self.before) is not None:
            self.clock |= (word.used - before.used) * (word.reset - before.reset) < 0
        self.before = word

    def is_bucket(self, limit: float) -> bool:
        """Resets grow with what was used, and are of one period. Nearly empty, a window says the same."""
        telling = self.used_most <= limit / 2 or self.used_most >= STEADY * self.used_least
        return self.telling >= TELLING and not self.clock and telling and self.most <= STEADY * self.least


@dataclass(frozen=True, slots=True)
class Bucket:
    """It is one, which is full after `period` seconds."""

    period: float


def found_in(signs: Signs, limit: float, longest: float) -> Bucket | float:
    """What the signs show: a bucket, or a window of so many seconds. `longest`: seconds, the longest reset that was
    ever told."""
    if signs.is_bucket(limit):
        return Bucket(max(signs.most, longest, SHORTEST))
    if signs.longest > 0:
        return max(signs.longest, longest, SHORTEST)
    return Bucket(max(signs.refilled_in, longest, SHORTEST))  # full again whenever it answers: so quickly, or quicker
