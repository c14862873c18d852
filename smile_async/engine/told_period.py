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
SHORTEST, MINUTE = 0.1, 60.0  # seconds
SHORTER, LONGER = 0.8, 1.02  # times the period that is kept to: what is between them is no other
TIGHTER = 0.95  # likewise, where no reset of many words has reached the period
TRIED, TRY_AFTER = 1.5, 20  # times shorter a period that may be too long is tried, after so many words


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


@dataclass(slots=True)
class Guess:
    """The period of a window is looked for. What is returned is the one to keep to from now on; None: it stays."""

    longest: float = 0.0  # seconds: of all resets that were told
    refused_at: float = 0.0  # that one was too short
    _full: int = 0  # words in a row that left all of it
    _words: int = 0
    _words_from: float = 0.0
    _longest_now: float = 0.0  # of their resets

    def found_in(self, signs: Signs, limit: float) -> Bucket | float:
        """What the signs show."""
        return found_in(signs, limit, max(self.longest, self.refused_at))

    def reset_told(self, now: float, reset: float, limit: float, period: float, *, bucket: bool) -> float | None:
        """A reset that is longer than the period shows that it is too short. One that was shortened with what was under
        way counted as used may still be too long: no reset of many words reaches it."""
        self.longest = max(self.longest, reset)
        if reset > LONGER * period:
            return min(reset, MINUTE)
        if bucket or period >= MINUTE:
            return None
        if self._words == 0:
            self._words_from, self._longest_now = now, 0.0
        self._words += 1
        self._longest_now = max(self._longest_now, reset)
        if self._words < max(TRY_AFTER, limit) or now - self._words_from < 2 * period:
            return None
        self._words = 0
        tighter = max(self._longest_now, self.refused_at, SHORTEST)
        return tighter if self._longest_now > 0 and tighter < TIGHTER * period else None

    def all_left(self, limit: float, period: float, *, so: bool) -> float | None:
        """All of it remains whenever the server answers, though all that the period allows is used (`so`): it looks
        when it answers, and answers take longer than the period. A shorter one is tried."""
        self._full = self._full + 1 if so else 0
        shorter = max(period / TRIED, self.refused_at * TRIED, self.longest, SHORTEST)
        if self._full < max(TRY_AFTER, limit) or shorter >= period:
            return None
        self._full = 0
        return shorter

    def changed(self) -> None:
        """Another period is kept to."""
        self._words = 0

    def refused(self, period: float) -> float:
        """It was too short."""
        self.refused_at = period
        return min(period * 2, MINUTE)
