"""How many requests an endpoint is given at once, found from its answers where nobody said it.

The ideas are TCP's (slow start, a ceiling that is approached carefully once it was met), inspect_ai's (growth only when
the limit was really used) and DataDesigner's (an answer carries the limit that it was admitted under, so that answers
from before a change do not judge it). A decision over numbers: no clock, no waiting; the caller hands in the time.
"""

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

FIRST = 8  # requests in flight to begin with, where no number was named
GROWTH = 0.05  # a round, after slow start
SATURATED = 0.8  # of the limit must have been in flight at once, or there is no sign that more would help
DOUBLING = 0.7  # seconds: slow start is no faster, else a quick server has refused hundreds before the news is back
WORTH = 0.25  # of the growth must come back as more answers a second, else it is the server's queue that grew
LEAST_GROWTH = 1.5  # of a limit: a smaller change says nothing about speed
LEAST_ROUND = 16  # answers: fewer say too little
PATIENT_ROUNDS = 64  # rounds between two tries at most, where growing did not pay
QUIET_FIRST, QUIET_MOST = 3, 12  # rounds without a refusal before more is tried; doubles when a try is refused
TRY_AFTER = 150  # answers at least, likewise
BURST = 1.0  # seconds: refusals so close are one piece of news
ABOUT, NEARLY = 0.1, 0.95  # of a number in flight: about the same, and nearly as many
FADING = 1 / 64  # weight of one answer in the share of refusals
MANY = 0.08  # of answers: so many refusals are not random
TOLD_FROM = 1.25  # a limit that has grown or shrunk by so much is a change worth telling


@dataclass(frozen=True, slots=True)
class Change:
    """A limit that was changed: `at` by the clock, `what` is in-flight or the limit's name, and why."""

    at: float
    what: str
    before: float
    after: float
    reason: str


class Concurrency:
    """The most requests in flight at one endpoint; `most` is never exceeded.

    Slow start adds one for each answer, so that a round (as many answers as the limit) doubles it, until a refusal or
    a round that did not pay: if by Little's law (limit / latency) the server gave less than `WORTH` of the growth back
    as speed, the growth is taken back. After that a round adds a twentieth. A number at which the server refused twice
    is a ceiling, above which one more is tried now and then. `fixed`: the caller named the number; it
    is used from the start, and only refusals make it smaller for a while. `first` is where slow start begins.
    """

    def __init__(self, most: int, *, fixed: bool = False, first: int = FIRST) -> None:
        self.most = most
        self.limit = most if fixed else min(first, most)
        self._first = first
        self.changes: deque[Change] = deque()  # not yet told
        self._told = self.limit
        self._slow_start = True
        self._began: float | None = None  # the first answer came
        self._speeds: list[float] = []  # of this round, in answers a second
        self._stamps = 0  # their sum
        self._peak = 0
        self._troubled = False
        self._last_round: tuple[float, float] | None = None  # mean limit and speed
        self._pause = 0  # rounds until more is tried
        self._patience = 2  # rounds, doubles
        self._ceiling: int | None = None  # what the server is known to hold
        self._suspect: int | None = None  # what it held when it refused for the first time
        self._before = 0  # the limit before that
        self._tried = False  # the ceiling is `_step` more than what was met, for a try
        self._step = 1
        self._refusals = 0.0  # share of answers that were refusals, fading
        self._burst_at = -math.inf
        self._cutting = False
        self._quiet = QUIET_FIRST
        self._since_refusal = 0  # answers

    def __repr__(self) -> str:
        return f"<Concurrency [{self.limit} of at most {self.most}]>"

    def admitted(self, in_flight: int) -> int:
        """One more is in flight, `in_flight` in all; returns the limit that it was admitted under, for its answer."""
        self._peak = max(self._peak, in_flight)
        return self.limit

    def answered(self, stamp: int, latency: float, now: float) -> None:
        """An answer, `latency` seconds after its request left; `stamp` is what `admitted` had returned."""
        self._since_refusal += 1
        self._refusals -= self._refusals * FADING
        if self.limit >= self.most or stamp > self.limit:
            return
        if self._suspect is not None and self._since_refusal >= self.limit:
            if self.limit >= self._before:  # it holds as many as ever: what it refused, it refused at random
                self._suspect = None
            else:
                self._set(self.limit + 1, now, "approached again")
            return
        if self._slow_start and not self._troubled and self._used and self._in_time(now):
            self._set(self.limit + 1, now, "slow start")
        self._speeds.append(stamp / max(latency, 1e-6))
        self._stamps += stamp
        if len(self._speeds) >= max(self.limit if not self._slow_start else self.limit // 2, LEAST_ROUND):
            self._end_round(now)

    def troubled(self) -> None:
        """The server failed (5xx, timeout): no growth this round."""
        self._troubled = True

    def refused(self, in_flight: int, now: float, reason: str = "refused: it holds no more") -> None:
        """Too many, says the server, and `in_flight` others are under way there.

        It may refuse at random, too. What it minds is the number if it refuses again at about the same one, after it
        was approached once more; a refusal well below a number that it was seen to hold is ignored, unless there are
        many.
        """
        self._refusals += (1 - self._refusals) * FADING
        self._slow_start = False
        level, burst = max(1, in_flight), now - self._burst_at < BURST
        if burst:  # the same news: what is left when all of it has come is what the server holds
            if self._cutting and level < self.limit:
                self._cut(level, now, reason)
            return
        self._burst_at, self._cutting = now, False
        many = self._refusals > MANY
        if self._ceiling is not None:
            if level >= NEARLY * self._ceiling:
                self._met_again(now, reason)
            elif many:
                self._meet(level, now, reason)
        elif self._suspect is not None and (abs(level - self._suspect) <= ABOUT * self._suspect or many):
            self._meet(level, now, reason)
        else:
            self._before = max(self.limit, self._before)
            self._cutting = True
            self._cut(level, now, reason)

    def met(self, in_flight: int, now: float, reason: str = "refused: it holds no more") -> None:
        """The server was found to hold so many and no more."""
        self._slow_start = False
        if self._ceiling is not None and in_flight >= NEARLY * self._ceiling:
            self._met_again(now, reason)
        else:
            self._meet(max(1, in_flight), now, reason)

    def release(self) -> None:
        """It was not the number that the server minded."""
        if self._ceiling is not None:
            self._ceiling = self._suspect = self._last_round = None
            self._slow_start = True

    def _cut(self, level: int, now: float, reason: str) -> None:
        """For now; it is approached again after a round."""
        self._suspect, self._since_refusal = min(level, self.limit), 0
        self._set(self._suspect, now, reason)

    def _meet(self, level: int, now: float, reason: str) -> None:
        """What the server holds is known now."""
        self._ceiling, self._suspect, self._tried = min(level, self.limit), None, False
        self._since_refusal, self._quiet = 0, QUIET_FIRST
        self._set(self._ceiling, now, reason)

    def _met_again(self, now: float, reason: str) -> None:
        assert self._ceiling is not None
        fewer = self._step if self._tried else max(1, self._ceiling // 100)  # what was on its way was counted in
        self._ceiling, self._tried = max(1, self._ceiling - fewer), False
        again = self._since_refusal < 2 * self._quiet * self.limit
        self._quiet = min(self._quiet * 2, QUIET_MOST) if again else QUIET_FIRST
        self._since_refusal = 0
        self._set(min(self.limit, self._ceiling), now, reason)

    def set(self, most: int, now: float, reason: str) -> None:
        """From now on exactly so many, if the server takes them: somebody said it."""
        self.most = most
        self._ceiling = self._suspect = None
        self._set(most, now, reason)
        if self.limit != self._told:  # however small a change: somebody asked for it
            self._note(now, reason)

    def _in_time(self, now: float) -> bool:
        if self._began is None:
            self._began = now
        doublings: float = min(1 + (now - self._began) / DOUBLING, 30)
        return self.limit < self._first * math.pow(2, doublings)

    @property
    def _used(self) -> bool:
        return self._peak >= SATURATED * self.limit

    def _end_round(self, now: float) -> None:
        mean, speed = self._stamps / len(self._speeds), median(self._speeds)
        used, troubled, before = self._used, self._troubled, self._last_round
        self._speeds, self._stamps, self._peak, self._troubled = [], 0, 0, False
        if not used:
            return
        if before is not None and mean >= LEAST_GROWTH * before[0]:
            if speed < before[1] * (1 + WORTH * (mean / before[0] - 1)):
                self._slow_start, self._last_round = False, None
                self._pause, self._patience = self._patience, min(self._patience * 2, PATIENT_ROUNDS)
                self._set(max(1, round(before[0])), now, "more in flight made answers slower, not more")
                return
            self._patience = 2
            self._last_round = mean, speed
        elif before is None or mean < before[0]:
            self._last_round = mean, speed
        if self._slow_start:
            return
        if self._pause > 0:
            self._pause -= 1
        elif not troubled:
            self._grow(now)

    def _grow(self, now: float) -> None:
        """A twentieth more; at a ceiling that was met, one more, after so many answers without a refusal."""
        if self._ceiling is None or self.limit < self._ceiling:
            self._set(self.limit + max(1, int(self.limit * GROWTH)), now, "all places used, none refused")
        elif self._since_refusal >= max(self._quiet * self.limit, TRY_AFTER * self._quiet // QUIET_FIRST):
            self._step = self._step * 2 if self._tried else 1
            self._ceiling, self._tried, self._since_refusal = self.limit + self._step, True, 0
            self._set(self._ceiling, now, "more tried")

    def _set(self, limit: int, now: float, reason: str) -> None:
        self.limit = min(limit, self.most)
        ratio = self.limit / self._told
        if self.limit != self._told and (not 1 / TOLD_FROM < ratio < TOLD_FROM or self.limit < self._told):
            self._note(now, reason)

    def _note(self, now: float, reason: str) -> None:
        self.changes.append(Change(now, "in-flight", self._told, self.limit, reason))
        self._told = self.limit
