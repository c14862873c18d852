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
from collections.abc import Callable
from heapq import merge

from smile_async.engine.others import Less, Others
from smile_async.engine.pacer import Pacer
from smile_async.engine.told_period import MINUTE, SHORTER, SURE, Bucket, Guess, Signs, Word
from smile_async.engine.window_log import Entry, WindowLog

LEAD = (
    1.15  # pace above the limit's mean while less than the mean was used: time lost (first request alone) is caught up
)
SLACK = 0.3  # seconds: a request may reach the server that much later than it left
SLACK_SHARE = 0.005  # of the period: shorter windows get less slack, else they could not be used
LEAST_SLACK = 0.03  # seconds
BURST = 0.25  # seconds of the limit that may go at once
SURE_FOR = 2.0  # seconds between the first and the last of words that only a bucket can have said
TELLING = 0.7  # of the period: a limit that is nearly used up says the same whether it is a bucket or a window
DOUBT = 0.01  # of the limit: difference between the server's word and ours that says nothing
GRAIN = 0.002  # of a bucket that is left in it: what is under way to the server is refilled there a little later
FOR_OTHERS = 0.015  # of a shared limit stays free for what others take before it is heard of
JUST_NOW = 0.1  # seconds: a refusal and the word that came with it
ONE_STRIKE = 1.0  # second: refusals of a guess so close are one
SAME = 0.001  # of a limit: two that differ by less are one
SURE_OF_MORE = 20  # words in a row, or all of a period: a larger limit is believed
STRIKES = 3  # refusals after which a bucket, or a guessed period, is not believed any more


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
        self.noted = period  # what the period was when somebody was told of it last
        self.slack = min(SLACK, max(LEAST_SLACK, period * SLACK_SHARE))
        self.bucket = False
        self._clock = clock
        self._log = WindowLog(period, self.slack)
        self._credit = 0.0  # estimates taken from the pacer and not used, to be taken less next time
        self._level = self._level_at = 0.0  # of the bucket
        self._signs = Signs()
        self._strikes = 0
        self._shared = False  # with others
        self._others = Others()
        self._heard = (-math.inf, 0.0)  # the server's last word: when, and what remains
        self._guess = Guess() if guessed else None
        self._may_be_bucket = True
        self._struck_at = -math.inf
        self._more, self._more_from, self._more_least = 0, 0.0, math.inf  # words in a row that named a larger limit
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
        self._log.forget(now)
        return self._log.used + self._others.amount(now)

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
        return self._add(now, amount, boarding=True)

    def remember(self, at: float, amount: float) -> Entry:
        """Count `amount` as let through at the clock's time `at`, no earlier than the last that was counted."""
        return self._add(at, amount)

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
        self._log.departed(entry, at)

    def correct(self, entry: Entry, amount: float) -> None:
        """Say what the admission really took, once it is known; 0 gives it back (a refused request is not charged)."""
        difference = self._log.correct(entry, amount, self._clock())
        self._credit = min(self.limit / 10, max(self._credit - difference, -self.limit))  # more leaves within a period
        if self.bucket:
            self._level = min(self.limit, self._level - difference)

    def named(self, limit: float) -> float | None:
        """The limit to keep to now that the server named this one; None: it stays. Less is believed at once, more when
        it has been said for a while: behind one address there may be several keys that answer in turn."""
        limit, now = min(limit, self.most), self._clock()
        if limit <= self.limit * (1 + SAME):
            self._more, self._more_least = 0, math.inf
            return limit if limit < self.limit * (1 - SAME) else None
        if self._more == 0:
            self._more_from = now
        self._more += 1
        self._more_least = min(self._more_least, limit)
        if self._more < SURE_OF_MORE and now - self._more_from < self.period:
            return None
        limit, self._more, self._more_least = self._more_least, 0, math.inf
        return limit

    def resize(self, limit: float) -> None:
        """The server allows less than was thought, or more."""
        self._level = min(self._level, limit)
        self.limit = limit
        self._pacer = self._paced()

    def hear(self, entry: Entry, remaining: float, reset: float | None) -> None:
        """What the server said remains, in its answer to the admission of `entry`; `reset`: seconds until it is full.

        It may have looked at any time since the request left, so that what was sent after it may be in it or not.
        """
        now, was_bucket = self._clock(), self.bucket
        self._heard = now, remaining
        sent_since = self._log.taken - entry.taken
        own = self.limit - self.used()
        freed = self.rate * (now - entry.at)  # meanwhile, at most
        sure = max(DOUBT * self.limit, 1.0)
        least, most = own - max(0.0, freed - sent_since), own + sent_since
        if remaining < least - (0.0 if was_bucket else 1.0 if self._shared else sure):
            self._hear_less(entry, Less(now, remaining, reset, self.limit, self.period), least, sure)
        elif remaining > most + sure:
            if was_bucket:  # at least so much is left, whenever it looked, in whatever order what left together arrived
                self._level = min(self.limit, max(self._level, remaining - self._log.since(entry.at - JUST_NOW)))
            self._weigh(now, entry, remaining, reset)
        if remaining >= 1:
            self._others.has_some()
        if (guess := self._guess) is not None:
            if was_bucket:
                all_left = remaining >= self.limit and self._filled(now) < self.limit / 2
                self._set_period(guess.all_left(self.limit, self.period, so=all_left))
            if reset is not None:
                self._set_period(guess.reset_told(now, reset, self.limit, self.period, bucket=self.bucket))

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
            assert self._guess is not None
            self._set_period(self._guess.refused(self.period))
        if self.guessed:
            self._strikes = 0

    @property
    def is_told(self) -> bool:
        """The server has said what remains of it."""
        return self._heard[0] > -math.inf

    @property
    def guessed(self) -> bool:
        """Nobody said what the period is."""
        return self._guess is not None

    @property
    def _is_short(self) -> bool:
        return self.guessed and self.period < MINUTE

    # ------------------------------------------------------------------------------------------------------------------

    def _add(self, at: float, amount: float, *, boarding: bool = False) -> Entry:
        entry = self._log.add(at, amount, boarding=boarding)
        if self.bucket:
            self._level = self._filled(at) - amount
        return entry

    def _hear_less(self, entry: Entry, word: Less, least: float, sure: float) -> None:
        """Others share the limit, or more is charged than we count: it is used all the same."""
        less, requests = least - word.remaining, self.what == "requests"  # which are counted exactly
        if self.bucket:
            self._level -= less
            self._shared = self._shared or (requests and less > sure)
        elif self._others.heard(word, entry.at, less):
            self._log.taken += less
            self._signs = Signs()
            self._shared = requests  # from now on each one is believed

    def _weigh(self, now: float, entry: Entry, remaining: float, reset: float | None) -> None:
        """More remains than a sliding window of this period would leave: it is a bucket, or the period is shorter."""
        guess, log = self._guess, self._log
        if guess is None:
            full_in = (self.limit - remaining) / self.rate
            if self.bucket or reset is None or not 0 < full_in <= TELLING * self.period:
                return
        signs, since = self._signs, now - entry.at
        gone = max(log.since(entry.at) - log.since(entry.at + since / 2), 1.0)
        gap = now - log.newest(entry.at)
        signs.add(now, Word(self.limit, remaining, reset or 0.0, gap, since, gone), self.period)
        if signs.count < SURE or now - signs.first < min(SURE_FOR, self.period / 10):
            return
        self._signs = Signs()
        level = remaining - (log.taken - entry.taken)
        if guess is not None:
            self._adopt(guess.found_in(signs, self.limit), now, level, telling=signs.telling > 0)
        elif signs.steady == signs.count and self._strikes < STRIKES:
            self._be_bucket(now, level)

    def _adopt(self, found: Bucket | float, now: float, level: float, *, telling: bool) -> None:
        """What words have shown of a guessed period. `level`: what remains in it; `telling`: some of it was used."""
        period = found.period if isinstance(found, Bucket) else found
        is_shorter = period < SHORTER * self.period
        if is_shorter:
            self.bucket = False
            self._set_period(period)
        if isinstance(found, Bucket) and self._may_be_bucket and (is_shorter or telling):
            self._be_bucket(now, level)

    def _be_bucket(self, now: float, level: float) -> None:
        self.bucket = True
        self._level, self._level_at = level, now

    def _set_period(self, period: float | None) -> None:
        """None: it stays."""
        if period is None:
            return
        self.period = period
        self.slack = min(SLACK, max(LEAST_SLACK, period * SLACK_SHARE))
        self._log.keep(period, self.slack)
        self._credit = 0.0
        self._pacer = self._paced()
        if self._guess is not None:
            self._guess.changed()

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
        log, others = self._log, self._others.amount(now)
        log.forget(now)
        excess = log.used + others + amount - max(self.limit - reserve, self.limit / 2)
        if excess <= 0:
            return 0.0
        last: float | None = None
        for leaves, gone in merge(log.leaving(now), self._others) if others else log.leaving(now):
            last = leaves
            excess -= gone
            if excess <= 0:
                break
        return 0.0 if last is None else max(last - now, 0.001)  # nothing in its way: it is larger than the limit

    def _behind(self, amount: float, now: float) -> bool:
        """Less has been let through than the mean rate allowed, in the last period or since the first."""
        began = self._log.began
        elapsed = 0.0 if began is None else min(now - began, self.period)
        return self._log.used + self._others.amount(now) + amount < self.limit * elapsed / self.period
