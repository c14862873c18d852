"""One limit of so much a period, kept true under concurrency: paced by aiolimiter, proved by an exact own count.

aiolimiter alone is not enough: its bucket lets twice the limit through in the first window, it cannot take back an
estimate that was too high, and its waiters are served smallest first. So it only sets the pace, in a bucket of a
fraction of a second, and one caller waits at it; a log of what was let through in the last period has the last word,
as a server with sliding windows has, and is corrected when the true amount is known.

What the server's headers say is heard beside it. A server that has less left than we could have used shares its limit
with others: what they took is counted as ours. One that has more left than a sliding window would, and says that it is
full again as soon as a steady refill makes it, holds a bucket: then the window is counted as that bucket, whose burst
is what the server said remains.
"""

import math
from collections import deque
from collections.abc import Callable
from heapq import merge

from smile_async.engine.others import Less, Others
from smile_async.engine.pacer import Pacer
from smile_async.engine.told_period import SHORTEST, SURE, Bucket, Signs, Word, found_in

LEAD = (
    1.15  # pace above the limit's mean while less than the mean was used: time lost (first request alone) is caught up
)
SLACK = 0.3  # seconds: a request may reach the server that much later than it left
SLACK_SHARE = 0.005  # of the period: shorter windows get less slack, else they could not be used
LEAST_SLACK = 0.03  # seconds
BURST = 0.25  # seconds of the limit that may go at once
BINS = 2_000  # a period: what went within one is counted as one, so that a day's log is no longer than a minute's
SHORTER = 0.8  # of a guessed period: a smaller difference is none
TRIED, TRY_AFTER = 1.5, 20  # times shorter a period that may be too long is tried, after so many words
SURE_FOR = 2.0  # seconds between the first and the last of words that only a bucket can have said
TELLING = 0.7  # of the period: a limit that is nearly used up says the same whether it is a bucket or a window
DOUBT = 0.01  # of the limit: difference between the server's word and ours that says nothing
GRAIN = 0.002  # of a bucket that is left in it: what is under way to the server is refilled there a little later
FOR_OTHERS = 0.015  # of a shared limit stays free for what others take before it is heard of
MINUTE = 60.0  # seconds
JUST_NOW = 0.1  # seconds: a refusal and the word that came with it
LONGER = 1.02  # a reset so much longer than the guessed period shows that the period is longer
ONE_STRIKE = 1.0  # second: refusals of a guess so close are one
STRIKES = 3  # refusals after which a bucket, or a guessed period, is not believed any more


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


class RateWindow:
    """At most `limit` in any `period` seconds (plus slack), smoothly. For one waiter at a time: the dispatcher.

    `what` names what is counted. `bucket`: the server has shown that it refills steadily. `guessed`: nobody said what
    the period is, and the server's words may show that it is shorter.
    """

    def __init__(
        self, limit: float, period: float, *, clock: Callable[[], float], what: str = "", guessed: bool = False
    ) -> None:
        self.what = what
        self.limit = limit
        self.most = limit  # it is never more, whatever the server says
        self.period = period
        self.guessed = guessed
        self.slack = min(SLACK, max(LEAST_SLACK, period * SLACK_SHARE))
        self.bucket = False
        self._clock = clock
        self._log: deque[_Bin] = deque()
        self._used = 0.0
        self._taken = 0.0  # ever, as it was admitted
        self._credit = 0.0  # estimates taken from the pacer and not used, to be taken less next time
        self._began: float | None = None  # when the first amount was let through
        self._level = self._level_at = 0.0  # of the bucket
        self._signs = Signs()
        self._strikes = 0
        self._shared = False  # with others
        self._others = Others()
        self._heard = (-math.inf, 0.0)  # the server's last word: when, and what remains
        self._longest = 0.0  # seconds: of all resets that were told
        self._full = 0  # words in a row that left all of it
        self._words, self._words_from, self._longest_now = 0, 0.0, 0.0  # heard since then; the longest reset of them
        self._refused_at = 0.0  # a guessed period that was too short
        self._may_be_bucket = True
        self._struck_at = -math.inf
        self._pacer = self._paced()

    def __repr__(self) -> str:
        return f"<RateWindow [{self.used():.0f} of {self.limit:g} in {self.period:g} s]>"

    @property
    def rate(self) -> float:
        """The limit's mean, a second."""
        return self.limit / self.period

    def used(self) -> float:
        """What was let through in the last period; of a bucket what is out of it."""
        if self.bucket:
            return self.limit - self._filled(self._clock())
        now = self._clock()
        self._forget(now)
        return self._used + self._others.amount(now)

    def wait(self, amount: float, *, reserve: float = 0.0) -> float:
        """Seconds until `amount` may go; 0: now.

        `reserve` of the limit stays unused, for estimates that may prove too low. An amount above the whole limit
        fits when the window is empty: it could never go otherwise.
        """
        now = self._clock()
        if self._shared:
            reserve = max(reserve, FOR_OTHERS * self.limit)
        if self.bucket:
            missing = min(amount + reserve + GRAIN * self.limit, self.limit) - self._filled(now)
            return max(missing / self.rate, 0.001) if missing > 0 else 0.0
        room = self._wait_for_room(now, amount, reserve)
        return room if self.period > MINUTE else max(room, self._pacer.wait(self._share(amount, now)))

    async def take(self, amount: float) -> Entry:
        """Count `amount` as let through now. Follow a `wait` of 0 with it, and it with `departed` or `correct`."""
        now = self._clock()
        if not self.bucket and self.period <= MINUTE:  # an hour's limit, or a day's, may go as fast as others let it
            share = self._share(amount, now)
            self._credit -= min(self._credit, amount)
            await self._pacer.take(share)
        entry = self.remember(now, amount)
        entry.boarding = True  # it counts until it has left, however long that takes, and a period after that
        entry.bin.boarding += 1
        return entry

    def remember(self, at: float, amount: float) -> Entry:
        """Count `amount` as let through at the clock's time `at`, no earlier than the last that was counted."""
        if self._began is None:
            self._began = at
        if not self._log or at - self._log[-1].began > self.period / BINS:
            self._log.append(_Bin(at))
        last = self._log[-1]
        last.at = max(last.at, at)
        last.amount += amount
        self._used += amount
        self._taken += amount
        if self.bucket:
            self._level = self._filled(at) - amount
        return Entry(at, amount, last, self._taken)

    def used_before(self, remaining: float, reset: float | None) -> None:
        """So much remains, says the server's first word of it: what else is used was so before anybody counted."""
        now, used = self._clock(), self.limit - remaining
        if remaining >= 1 or reset is not None:
            leaves = self.period if reset is None else min(reset, self.period)  # then it is full again, it says
            self.remember(now - self.period + leaves, used)
        else:
            self._others.heard(Less(now, remaining, reset, self.limit, self.period), now, used)

    def departed(self, entry: Entry, at: float) -> None:
        """It left at `at`, later than it was admitted."""
        entry.at = at
        entry.bin.at = max(entry.bin.at, at)
        self._has_left(entry)

    def correct(self, entry: Entry, amount: float) -> None:
        """Say what the admission really took, once it is known; 0 gives it back (a refused request is not charged)."""
        difference = amount - entry.amount
        self._has_left(entry)
        self._forget(self._clock())
        if not entry.bin.gone:  # what has left the window was taken off as it stood then
            self._used += difference
            entry.bin.amount += difference
        entry.amount = amount
        self._credit = min(self.limit / 10, self._credit - difference)
        if self.bucket:
            self._level = min(self.limit, self._level - difference)

    def resize(self, limit: float) -> None:
        """The server allows less than was thought, or more."""
        self._level = min(self._level, limit)
        self.limit = limit
        self._pacer = self._paced()

    def hear(self, entry: Entry, remaining: float, reset: float | None) -> None:
        """What the server said remains, in its answer to the admission of `entry`; `reset`: seconds until it is full.

        It may have looked at any time since the request left, so that what was sent after it may be in it or not.
        """
        now = self._clock()
        self._heard = now, remaining
        sent_since = self._taken - entry.taken
        own = self.limit - self.used()
        freed = self.rate * (now - entry.at)  # meanwhile, at most
        sure = max(DOUBT * self.limit, 1.0)
        least, most = own - max(0.0, freed - sent_since), own + sent_since
        if self.bucket:
            self._hear_bucket(entry, remaining, reset, (least, most, sure))
        elif remaining < least - (1.0 if self._shared else sure):
            # Others share the limit, or more is charged than we count: it is used all the same.
            word = Less(now, remaining, reset, self.limit, self.period)
            if self._others.heard(word, entry.at, least - remaining):
                self._taken += least - remaining
                self._signs = Signs()
                self._shared = self.what == "requests"  # which are counted exactly: from now on each one is believed
        elif remaining > most + sure:
            self._weigh(now, entry, remaining, reset)
        if remaining >= 1:
            self._others.has_some()
        if self.guessed and reset is not None:
            self._follow_resets(now, reset)

    def refuted(self) -> None:
        """The server refused what its bucket should have held, or what a guessed period allows: it is empty, and after
        some strikes it is not believed any more."""
        self._others.refused()
        if not (self.bucket or self._is_short):
            return
        at, remaining = self._heard
        if self._clock() - at < JUST_NOW and remaining >= DOUBT * self.limit:
            return  # with the refusal it said that enough remains: this is not why
        if self.bucket:
            self._level = min(self._filled(self._clock()), 0.0)
        if self.guessed and self._clock() - self._struck_at < ONE_STRIKE:
            return
        self._strikes, self._struck_at = self._strikes + 1, self._clock()
        if self._strikes < STRIKES:
            return
        if self.bucket:
            self.bucket = self._may_be_bucket = False
        else:
            self._refused_at = self.period
            self._set_period(min(self.period * 2, MINUTE))
        if self.guessed:
            self._strikes = 0

    @property
    def is_told(self) -> bool:
        """The server has said what remains of it."""
        return self._heard[0] > -math.inf

    @property
    def _is_short(self) -> bool:
        return self.guessed and self.period < MINUTE

    # ------------------------------------------------------------------------------------------------------------------

    def _has_left(self, entry: Entry) -> None:
        if entry.boarding:
            entry.boarding = False
            entry.bin.boarding -= 1

    def _hear_bucket(
        self, entry: Entry, remaining: float, reset: float | None, bounds: tuple[float, float, float]
    ) -> None:
        """`bounds`: the least and the most that it should hold, and the difference that says nothing."""
        least, most, sure = bounds
        if remaining < least:
            self._level -= least - remaining
            self._shared = self._shared or (self.what == "requests" and remaining < least - sure)
        elif remaining > most + sure:
            # At least so much is left, whenever it looked, and in whatever order what left together has arrived.
            self._level = min(self.limit, max(self._level, remaining - self._sent_from(entry.at - JUST_NOW)))
            if self.guessed:
                self._weigh(self._clock(), entry, remaining, reset)
        if self.guessed:
            self._try_shorter(remaining)

    def _weigh(self, now: float, entry: Entry, remaining: float, reset: float | None) -> None:
        """More remains than a sliding window of this period would leave: it is a bucket, or the period is shorter."""
        full_in = (self.limit - remaining) / self.rate
        if not self.guessed and (reset is None or not 0 < full_in <= TELLING * self.period):
            return
        signs = self._signs
        since = (now - entry.at) / 2 + entry.at
        gone = self._sent_from(entry.at) - self._sent_from(since)
        newest = self._log[-1].at if self._log else entry.at
        signs.add(
            now, Word(self.limit, remaining, reset or 0.0, now - newest, now - entry.at, max(gone, 1.0)), self.period
        )
        if signs.count < SURE or now - signs.first < min(SURE_FOR, self.period / 10):
            return
        self._signs = Signs()
        level = remaining - (self._taken - entry.taken)
        if not self.guessed:
            if signs.steady == signs.count and self._strikes < STRIKES:
                self._be_bucket(now, level)
            return
        found = found_in(signs, self.limit, max(self._longest, self._refused_at))
        period = found.period if isinstance(found, Bucket) else found
        is_shorter = period < SHORTER * self.period
        if is_shorter:
            self.bucket = False
            self._set_period(period)
        if isinstance(found, Bucket) and self._may_be_bucket and (is_shorter or signs.telling):
            self._be_bucket(now, level)

    def _follow_resets(self, now: float, reset: float) -> None:
        """A reset that is longer than the period shows that it is too short. One that was shortened with what was under
        way counted as used may still be too long: no reset of many words reaches it."""
        self._longest = max(self._longest, reset)
        if reset > LONGER * self.period:
            self._set_period(min(reset, MINUTE))
        if self.bucket or not self._is_short:
            return
        if self._words == 0:
            self._words_from, self._longest_now = now, 0.0
        self._words += 1
        self._longest_now = max(self._longest_now, reset)
        if self._words >= max(TRY_AFTER, self.limit) and now - self._words_from >= 2 * self.period:
            self._words = 0
            period = max(self._longest_now, self._refused_at, SHORTEST)
            if self._longest_now > 0 and period < 0.95 * self.period:
                self._set_period(period)

    def _try_shorter(self, remaining: float) -> None:
        """All of it remains whenever the server answers, though all that the period allows is used: it looks when it
        answers, and answers take longer than the period. A shorter one is tried."""
        self._full = self._full + 1 if remaining >= self.limit and self._filled(self._clock()) < self.limit / 2 else 0
        shorter_one = max(self.period / TRIED, self._refused_at * TRIED, self._longest, SHORTEST)
        if self._full >= max(TRY_AFTER, self.limit) and shorter_one < self.period:
            self._full = 0
            self._set_period(shorter_one)

    def _be_bucket(self, now: float, level: float) -> None:
        self.bucket = True
        self._level, self._level_at = level, now

    def _set_period(self, period: float) -> None:
        self.period = period
        self.slack = min(SLACK, max(LEAST_SLACK, period * SLACK_SHARE))
        self._credit = 0.0
        self._words = 0
        self._pacer = self._paced()

    def _sent_from(self, at: float) -> float:
        """What was let through since then."""
        sent = 0.0
        for bin_ in reversed(self._log):
            if bin_.at < at:
                break
            sent += bin_.amount
        return sent

    def _filled(self, now: float) -> float:
        """How much is in the bucket."""
        self._level = min(self.limit, self._level + (now - self._level_at) * self.rate)
        self._level_at = now
        return self._level

    def _paced(self) -> Pacer:
        return Pacer(self.rate * LEAD, max(1.0, self.rate * min(BURST, self.period / 20)), clock=self._clock)

    def _share(self, amount: float, now: float) -> float:
        """What of the amount is taken from the pacer: less what earlier ones took too much, more when ahead."""
        left = amount - min(self._credit, amount)
        return left * (1.0 if self._behind(amount, now) else LEAD)

    def _wait_for_room(self, now: float, amount: float, reserve: float) -> float:
        self._forget(now)
        excess = self._used + self._others.amount(now) + amount - max(self.limit - reserve, self.limit / 2)
        if excess <= 0:
            return 0.0
        kept = self.period + self.slack
        last: float | None = None
        for leaves, gone in merge([(bin_.at + kept, bin_.amount) for bin_ in self._log], self._others):
            last = leaves
            excess -= gone
            if excess <= 0:
                break
        return 0.0 if last is None else max(last - now, 0.001)  # nothing in its way: it is larger than the limit

    def _behind(self, amount: float, now: float) -> bool:
        """Less has been let through than the mean rate allowed, in the last period or since the first."""
        elapsed = min(now - (now if self._began is None else self._began), self.period)
        return self._used + self._others.amount(now) + amount < self.limit * elapsed / self.period

    def _forget(self, now: float) -> None:
        horizon = now - self.period - self.slack
        while self._log and self._log[0].at <= horizon and not self._log[0].boarding:
            gone = self._log.popleft()
            gone.gone = True
            self._used -= gone.amount
        if not self._log:
            self._used = 0.0  # no drift from sums of floats
