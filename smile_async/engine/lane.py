"""One endpoint as the gate sees it: what it allows, what is under way there, how it is doing.

A run has one lane or several: keys, regions, replicas. Each has its own limits, cooldown, concurrency and patience.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from smile_async.engine.admitted import Sent
from smile_async.engine.concurrency import FIRST, TOLD_FROM, Change, Concurrency
from smile_async.engine.estimate import Expected
from smile_async.engine.events import Gauge
from smile_async.engine.found_limits import Finding, FoundLimits
from smile_async.engine.job import LimitWord, ServerPace, Usage
from smile_async.engine.retry import Again
from smile_async.engine.silence import Silence
from smile_async.engine.task import Provider
from smile_async.engine.window import RateWindow
from smile_async.engine.window_log import Entry
from smile_async.settings import Prices, Quota

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0  # seconds
SAME_PERIOD = 0.3  # of a period: two that differ by less are one
FIRST_PACED = 64  # requests in flight to begin with where a limit paces them
RESERVE_MOST = 1 / 20  # of a token limit stays free for answers longer than expected, at most

LONGEST_HOLD, RECENT = 20.0, 120.0  # seconds: of a hold that nobody told, where the last reply is so recent

IN_FLIGHT, FIRST_REPLY = "in flight", "first reply"

Wait = tuple[float, str]
"""Seconds until a request may go, and what it waits for; 0 and nothing: now."""


@dataclass(frozen=True, slots=True)
class Served:
    """Who answers, under which name and quota. `quota` and `prices` None: the run's."""

    provider: Provider
    name: str = ""
    quota: Quota | None = None
    prices: Prices | None = None
    weight: float = 1.0


@dataclass(slots=True, eq=False)
class Taken:
    """What one attempt took of a lane. `stamp` is the limit in flight that it was admitted under, `beside` how many
    others were in flight then, `number` which of the lane's it is."""

    windows: tuple[tuple[RateWindow, Entry], ...]
    stamp: int
    sent: Sent
    beside: int
    number: int


AMOUNTS: Mapping[str, Callable[[Expected], float]] = {
    "requests": lambda _expected: 1.0,
    "tokens": lambda expected: expected.prompt + expected.completion,
    "input_tokens": lambda expected: expected.prompt,
    "output_tokens": lambda expected: expected.completion,
}
"""What a request takes of each kind of limit."""


def windows_of(quota: Quota, clock: Callable[[], float]) -> Iterator[RateWindow]:
    """The limits that a quota names."""
    share = quota.window / MINUTE
    for what in AMOUNTS:
        if (limit := getattr(quota, f"{what}_per_minute")) is not None:
            yield RateWindow(limit * share, quota.window, clock=clock, what=what)
        if (limit := getattr(quota, f"{what}_per_day", None)) is not None:
            yield RateWindow(limit, DAY, clock=clock, what=what)


@dataclass(slots=True)
class Lane:
    """See the module. Every `take` is followed by exactly one `settle`."""

    served: Served
    quota: Quota
    prices: Prices
    clock: Callable[[], float]
    silence: Silence = field(default_factory=Silence)
    in_flight: int = 0
    held_until: float = -math.inf
    alone: bool = False  # one request at a time, while nothing shows that the server answers
    models: set[str] = field(default_factory=set)  # that its replies have named
    retired: str = ""  # why nothing more is asked here: a wrong key, say
    windows: list[RateWindow] = field(init=False)
    concurrency: Concurrency = field(init=False)
    found: FoundLimits = field(default_factory=FoundLimits)
    changes: list[Change] = field(default_factory=list)  # not yet told
    _found_window: RateWindow | None = None

    def __post_init__(self) -> None:
        self.windows = list(windows_of(self.quota, self.clock))
        fixed, first = self.quota.concurrency is not None, FIRST_PACED if self.windows else FIRST
        self.concurrency = Concurrency(self.quota.most_in_flight, fixed=fixed, first=first)

    def __repr__(self) -> str:
        return f"<Lane {self.name} [{self.in_flight} of {self.concurrency.limit} in flight, {self.windows}]>"

    @property
    def name(self) -> str:
        return self.served.name

    @property
    def load(self) -> float:
        """What of two lanes with room goes first: the one with the smaller load."""
        return (self.in_flight + 1) / self.served.weight

    def named(self) -> dict[str, float]:
        """The limits that the user named, by what changes call them."""
        in_flight = {"in-flight": float(self.quota.concurrency)} if self.quota.concurrency is not None else {}
        return in_flight | {_label(window): window.limit for window in windows_of(self.quota, self.clock)}

    def wait_to_start(self, now: float) -> Wait:
        """Until there is a place, and no cooldown is on; infinite where only an answer can bring that about."""
        if self.retired:
            return math.inf, "retired"
        if self.in_flight >= (1 if self.alone else self.concurrency.limit):
            return math.inf, FIRST_REPLY if self.alone else IN_FLIGHT
        if self.held_until > now:
            return self.held_until - now, "cooldown"
        wait = self.found.wait(now, self.in_flight)
        return (wait, "slow approach") if wait > 0 else (0.0, "")

    def wait(self, expected: Expected, doubt: float, now: float) -> Wait:
        """Until every limit admits a request of so many tokens; `doubt`: by how much what is in flight may be more."""
        longest = self.wait_to_start(now)
        for window in self.windows:
            reserve = min(doubt, window.limit * RESERVE_MOST) if window.what in ("tokens", "output_tokens") else 0.0
            wait = window.wait(AMOUNTS[window.what](expected), reserve=reserve)
            if wait > longest[0]:
                longest = wait, _label(window)
        return longest

    async def take(self, expected: Expected) -> Taken:
        """Count a request in. Follow a `wait` of 0 with it."""
        self.in_flight += 1
        taken: tuple[tuple[RateWindow, Entry], ...] = ()
        if self.windows:
            taken = tuple([(window, await window.take(AMOUNTS[window.what](expected))) for window in self.windows])
        sent, finding = self.found.started(self.clock(), self.in_flight, self.concurrency.limit)
        if finding is not None:
            self._act_on(finding, "refused")
        return Taken(taken, self.concurrency.admitted(self.in_flight), sent, self.in_flight - 1, self.found.number)

    def departed(self, taken: Taken) -> None:
        """It leaves now, when it has been noted on the disk."""
        now = self.clock()
        for window, entry in taken.windows:
            window.departed(entry, now)

    def withdraw(self, taken: Taken) -> None:
        """It never left."""
        self.in_flight -= 1
        self.found.not_admitted(taken.sent, taken.beside)
        for window, entry in taken.windows:
            window.correct(entry, 0.0)

    def settle(self, taken: Taken, usage: Usage | None, *, refused: bool) -> None:
        """Count it out, and its true amounts in; one that was refused gives its tokens back."""
        self.in_flight -= 1
        if refused:
            self.found.not_admitted(taken.sent, taken.beside)
        if usage is None and not refused:
            return
        true = Expected(0.0, 0.0) if usage is None else Expected(usage.prompt_tokens, usage.completion_tokens)
        for window, entry in taken.windows:
            if window.what != "requests":
                window.correct(entry, AMOUNTS[window.what](true))

    def replied(self, taken: Taken, latency: float) -> None:
        now = self.clock()
        self.concurrency.answered(taken.stamp, latency, now)
        if (finding := self.found.answered(taken.sent)) is not None:
            self._act_on(finding, "refused")
        if (finding := self.found.grow(now)) is not None:
            self._act_on(finding, "nobody refused for a while: a little more is tried")
        if self.concurrency.changes:
            self._note()

    def refused(self, taken: Taken, *, fresh: bool, hold: float, told: bool) -> None:
        """The server says: too much (429), and everybody waits `hold` seconds, `told` by it or not."""
        now = self.clock()
        for window, _ in taken.windows:
            window.refuted()
            self._note_period(window, "refused")
        if any(window.is_told for window in self.windows):
            return  # the server tells its limits: nothing is to be found out
        if told and self.windows and self._found_window is None:
            return  # a limit that is known, and the server says when it has room
        self.found.refused(now, taken.sent, taken.beside, number=taken.number, fresh=fresh, hold=hold, told=told)

    @property
    def admits_nothing(self) -> bool:
        """It has not answered for a while, or refuses one after the other."""
        return self.silence.deep or self.found.admits_nothing

    def reconsider(self, decision: Again, *, told: bool) -> Again:
        """How long one waits that was refused for rate: for itself alone, where the server refuses at random."""
        if self.found.by_chance:
            return Again(decision.wait)
        if decision.everybody and not told and self.clock() - self.silence.newest < RECENT:
            return Again(min(decision.wait, LONGEST_HOLD), everybody=True)  # a window of a minute soon has room
        return decision

    def overloaded(self) -> None:
        """The server says: not now (503, 529). While it answers others, that is a number in flight that it holds."""
        self.concurrency.troubled()
        if not self.silence.deep:
            self.concurrency.refused(self.in_flight, self.clock(), "overloaded")
            self._note()

    def _act_on(self, finding: Finding, reason: str) -> None:
        """What was found of a limit that nobody had named."""
        now, window, before = self.clock(), self._found_window, math.inf
        if finding.what == "places":
            if window is not None:  # it was thought to be one: nobody would look after it any more
                self.windows.remove(window)
                self._found_window = None
                self.changes.append(Change(now, _label(window), window.limit, math.inf, "it is the number in flight"))
            self.concurrency.met(int(finding.value), now)
            self._note()
            return
        self.concurrency.release()
        what = "requests" if window is None else _label(window)
        if window is not None and window.period == finding.period:
            before = window.limit
            window.resize(finding.value)
        else:
            if window is not None:
                before = window.limit
                self.windows.remove(window)
                self._found_window = None
            if finding.period:
                self._found_window = window = self._find_window(finding, now)
                what = _label(window)
        self.changes.append(Change(now, what, before, finding.value, reason))

    def _find_window(self, finding: Finding, now: float) -> RateWindow:
        window = RateWindow(finding.value, finding.period, clock=self.clock, what="requests")
        for at, count in self.found.recent(finding.period, now):
            if at > finding.since:
                window.remember(at, count)
        self.windows.append(window)
        return window

    def hear(self, pace: ServerPace, taken: Taken) -> None:
        """What the headers of an answer said of the server's limits."""
        for word in pace.limits:
            if word.what not in AMOUNTS or (word.limit is not None and word.limit <= 0):
                continue
            period = word.period or period_of(word)
            for window, entry in taken.windows:
                if _meant(window, word, period):
                    if word.limit is not None:
                        self._follow(window, word.limit)
                    if word.remaining is not None:  # of more than is to be used it says nothing about how ours refills
                        more = word.limit is not None and word.limit > window.limit * 1.001
                        window.hear(entry, word.remaining, None if more else word.reset)
                        self._note_period(window, "the server's words")
                    break
            else:
                self._learn(word, period)

    def _follow(self, window: RateWindow, limit: float) -> None:
        """The server's word about how much it allows, where that is less than was named; it may take it back."""
        if (kept := window.named(limit)) is not None:
            self.changes.append(Change(self.clock(), _label(window), window.limit, kept, "the server's headers"))
            window.resize(kept)

    def _note_period(self, window: RateWindow, reason: str) -> None:
        """The period was found to be another than was thought; one much like it is no news."""
        before = window.noted
        if window.period != before and not before / TOLD_FROM < window.period < before * TOLD_FROM:
            why = f"{reason}: not {_every(before)}"
            self.changes.append(Change(self.clock(), _label(window), window.limit, window.limit, why))
            window.noted = window.period

    def _learn(self, word: LimitWord, period: float) -> None:
        """A limit that nobody had named. What is under way is counted as soon as the next answer tells what remains."""
        if word.limit is None:
            return
        if any(_meant(window, word, period) for window in self.windows):
            return  # already heard, by an answer to a request that left before
        guessed = word.period is None and period == MINUTE
        window = RateWindow(word.limit, period, clock=self.clock, what=word.what, guessed=guessed)
        window.most = math.inf
        if word.remaining is not None and word.remaining < word.limit:
            window.used_before(word.remaining, word.reset)
        self.windows.append(window)
        self.changes.append(Change(self.clock(), _label(window), math.inf, word.limit, "the server's headers"))

    def remember(self, at: float, prompt: float, completion: float) -> None:
        """Count what an earlier process sent, the oldest first."""
        for window in self.windows:
            if at > self.clock() - window.period:
                window.remember(at, AMOUNTS[window.what](Expected(prompt, completion)))

    def gauges(self) -> Iterator[Gauge]:
        """Each limit's use."""
        yield Gauge(self.name, "in flight", self.in_flight, self.concurrency.limit, None)
        for window in self.windows:
            yield Gauge(self.name, window.what.replace("_", " "), window.used(), window.limit, window.period)

    def _note(self) -> None:
        """Changes of the limit in flight, to be told."""
        self.changes.extend(self.concurrency.changes)
        self.concurrency.changes.clear()


def _label(window: RateWindow) -> str:
    """As a person says it: tokens a minute."""
    return f"{window.what.replace('_', ' ')} {_every(window.period)}"


def _every(period: float) -> str:
    names = {1.0: "second", MINUTE: "minute", HOUR: "hour", DAY: "day"}
    return f"a {names.get(period) or f'{round(period, 2):g} s'}"


def _meant(window: RateWindow, word: LimitWord, period: float) -> bool:
    """Whether the word is about the window: the same kind, and the same period, or the same limit where the word names
    no period (a server that enforces a minute's limits in shorter windows tells what is left of those)."""
    if window.what != word.what:
        return False
    if word.period is None and (window.guessed or _alike(window.limit, word.limit)):
        return True
    return abs(window.period - period) <= SAME_PERIOD * period


def _alike(known: float, told: int | None) -> bool:
    return told is not None and abs(known - told) <= 0.01 * known


def period_of(word: LimitWord) -> float:
    """The period of a limit whose header does not name it: a minute, unless it says that it is full again later than
    a minute's limit ever is (OpenAI's and Groq's requests a day)."""
    if word.reset is None or word.reset <= 2 * MINUTE:
        return MINUTE
    if word.limit is not None and word.remaining is not None:
        used = word.limit - word.remaining
        for period in (HOUR, DAY):
            if abs(word.reset - used * period / word.limit) <= 0.05 * word.reset:
                return period
    return HOUR if word.reset <= HOUR else DAY
