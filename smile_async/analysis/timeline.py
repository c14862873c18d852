"""A run over time: what was sent, brought home and refused, beside the limits that held. Plain functions over attempts.

Time is the run's own: stretches in which nothing was under way (a run that was stopped for the night) are cut out, and
the places are told.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from smile_async.engine.account import ACCEPTED, LimitChange
from smile_async.engine.history import Attempted
from smile_async.settings import Quota

MINUTE, DAY = 60.0, 86_400.0  # seconds
LONGEST_PAUSE = 120.0  # seconds without anything under way that are shown as they were
BINS = 120  # at most: some three pixels each on a telephone, and no more noise than must be
WIDTHS = (
    *(0.5, 1, 2, 3, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600),
    *(7_200, 14_400, 43_200, 86_400),
)  # seconds
MOST_STEPS = 400  # changes of limits that are drawn and listed, the last ones

REQUESTS_DAY, TOKENS_DAY = "requests-day", "tokens-day"
A_DAY = {REQUESTS_DAY: "requests a day", TOKENS_DAY: "tokens a day"}  # as changes of limits call them

Attempts = Callable[[], Iterable[Attempted]]
"""Reads the attempts anew, by the time at which they were sent."""


@dataclass(frozen=True, slots=True)
class Pace:
    """A minute's worth in each bin: `mean` is what the bin held, scaled to a minute; `peak` the most that any 60
    seconds which end in the bin held, which is what a limit a minute speaks of."""

    mean: tuple[float, ...]
    peak: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A limit that changed at `at` seconds of the run's own time; `before` None: none was known."""

    at: float
    what: str
    before: float | None
    after: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class EndpointTime:
    """`tokens` are those of prompt (`input`) and completion (`output`) together. `in_flight` is the most in each bin;
    `limits` what was told beforehand: a minute (`requests`, `tokens`, `input`, `output`), at any one time (`in-flight`)
    and a day (`requests-day`, `tokens-day`). `days` has, for the limits a day that are known, the most that any 24
    hours of the wall clock held which ended in the bin."""

    name: str
    requests: Pace
    tokens: Pace
    input: Pace
    output: Pace
    in_flight: tuple[int, ...]
    limits: Mapping[str, float]
    steps: tuple[Step, ...]
    days: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timeline:
    """`started` is the wall clock's time of the first request, `width` the seconds of a bin, `seconds` the run's own
    time; `cuts` are places in it and how many seconds are left out there. The three counts are attempts by the bin in
    which they ended: accepted, replies that were rejected, no reply."""

    started: float
    seconds: float
    width: float
    cuts: tuple[tuple[float, float], ...]
    accepted: tuple[int, ...]
    rejected: tuple[int, ...]
    failed: tuple[int, ...]
    endpoints: tuple[EndpointTime, ...]

    @property
    def bins(self) -> int:
        return len(self.accepted)


def timeline(
    attempts: Attempts, quotas: Mapping[str, Quota], changes: Sequence[LimitChange], *, now: float
) -> Timeline | None:
    """`quotas` by endpoint. `now` ends what is under way. None where nothing was sent."""
    clock = _clock(attempts(), now)
    if clock is None:
        return None
    width = next((width for width in WIDTHS if clock.seconds / width <= BINS), clock.seconds / BINS)
    bins = int(clock.seconds / width) + 1
    tracks: dict[str, _Track] = {}
    ends: dict[str, list[int]] = {name: [0] * bins for name in ("accepted", "rejected", "failed")}
    for one in attempts():
        sent = clock.at(one.sent_at)
        ended = clock.at(min(one.sent_at + one.took, now) if one.took is not None else now)
        track = tracks.setdefault(one.endpoint, _Track(width, bins))
        track.add(sent, max(ended, sent), one)
        if one.took is not None:
            kind = "accepted" if one.verdict == ACCEPTED else "rejected" if one.paid else "failed"
            ends[kind][min(int(ended / width), bins - 1)] += 1
    steps = _steps(changes, clock)
    endpoints = tuple(
        _told(name, track, _limits(quotas.get(name)), tuple(steps.get(name, ())))
        for name, track in sorted(tracks.items())
    )
    counts = {name: tuple(values) for name, values in ends.items()}
    return Timeline(clock.started, clock.seconds, width, clock.cuts, **counts, endpoints=endpoints)


def _told(name: str, track: "_Track", limits: Mapping[str, float], steps: tuple[Step, ...]) -> EndpointTime:
    return EndpointTime(
        name,
        track.requests.pace(),
        track.tokens.pace(),
        track.input.pace(),
        track.output.pace(),
        track.flying(),
        limits,
        steps,
        {what: track.days[what].most() for what in _a_day(limits, steps)},
    )


def _limits(quota: Quota | None) -> dict[str, float]:
    if quota is None:
        return {}
    told = {
        "requests": quota.requests_per_minute,
        "tokens": quota.tokens_per_minute,
        "input": quota.input_tokens_per_minute,
        "output": quota.output_tokens_per_minute,
        "in-flight": quota.concurrency,
        REQUESTS_DAY: quota.requests_per_day,
        TOKENS_DAY: quota.tokens_per_day,
    }
    return {name: float(limit) for name, limit in told.items() if limit is not None}


def _a_day(limits: Mapping[str, float], steps: Sequence[Step]) -> tuple[str, ...]:
    """The limits a day that were told beforehand or by the server."""
    told = {step.what for step in steps}
    return tuple(what for what, word in A_DAY.items() if what in limits or word in told)


def _steps(changes: Sequence[LimitChange], clock: "_Clock") -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for one in changes[-MOST_STEPS:]:
        found.setdefault(one.endpoint, []).append(Step(clock.at(one.at), one.what, one.before, one.after, one.reason))
    return found


@dataclass(frozen=True, slots=True)
class _Clock:
    """The wall clock's time -> the run's own. `pieces`: where each stretch began, by both clocks."""

    pieces: tuple[tuple[float, float], ...]
    seconds: float
    cuts: tuple[tuple[float, float], ...]

    @property
    def started(self) -> float:
        return self.pieces[0][0]

    def at(self, wall: float) -> float:
        """What lies in a cut is taken for the cut's place."""
        for number in range(len(self.pieces) - 1, -1, -1):
            began, own = self.pieces[number]
            if wall >= began:
                end = self.cuts[number][0] if number < len(self.cuts) else self.seconds
                return min(own + wall - began, end)
        return 0.0


def _clock(attempts: Iterable[Attempted], now: float) -> _Clock | None:
    pieces: list[tuple[float, float]] = []
    cuts: list[tuple[float, float]] = []
    last = 0.0  # wall clock: until when something is known to have been under way
    for one in attempts:
        ended = one.sent_at + one.took if one.took is not None else now
        if not pieces:
            pieces.append((one.sent_at, 0.0))
            last = one.sent_at
        elif one.sent_at - last > LONGEST_PAUSE:
            began, own = pieces[-1]
            place = own + last - began
            cuts.append((place, one.sent_at - last))
            pieces.append((one.sent_at, place))
        last = max(last, min(ended, max(now, one.sent_at)), one.sent_at)
    if not pieces:
        return None
    began, own = pieces[-1]
    return _Clock(tuple(pieces), max(own + last - began, 1e-3), tuple(cuts))


@dataclass(slots=True)
class _Window:
    """What was sent, by bin and in the last minute."""

    width: float
    sums: list[float]
    peaks: list[float]
    recent: deque[tuple[float, float]] = field(default_factory=deque)
    total: float = 0.0

    def add(self, at: float, amount: float) -> None:
        self.until(at)
        place = min(int(at / self.width), len(self.sums) - 1)
        self.sums[place] += amount
        self.recent.append((at, amount))
        self.total += amount
        self.peaks[place] = max(self.peaks[place], self.total)

    def until(self, at: float) -> None:
        """Let go of what is a minute old at `at`; a bin that begins meanwhile has what is left at its beginning."""
        while self.recent and self.recent[0][0] <= at - MINUTE:
            gone, amount = self.recent.popleft()
            self._carry(gone + MINUTE)
            self.total = self.total - amount if self.recent else 0.0
        self._carry(at)

    def _carry(self, at: float) -> None:
        """The bins that begin before `at` and after the last entry hold at least what the minute held then."""
        place = min(int(at / self.width), len(self.sums) - 1)
        while self._seen < place:
            self._seen += 1
            self.peaks[self._seen] = max(self.peaks[self._seen], self.total)

    _seen: int = 0

    def pace(self) -> Pace:
        self.until(len(self.sums) * self.width)
        return Pace(tuple(one * MINUTE / self.width for one in self.sums), tuple(self.peaks))


class _Day:
    """What the last 24 hours of the wall clock held, by bin: pauses that are cut out count, and a minute is the least
    that is told apart, so that a day's memory is bounded."""

    def __init__(self, bins: int) -> None:
        self._most: list[float | None] = [None] * bins
        self._recent: deque[list[float]] = deque()
        self._total = 0.0

    def add(self, place: int, wall: float, amount: float) -> None:
        while self._recent and self._recent[0][0] <= wall - DAY:
            self._total -= self._recent.popleft()[1]
        if self._recent and wall - self._recent[-1][0] < MINUTE:
            self._recent[-1][1] += amount
        else:
            self._recent.append([wall, amount])
        self._total += amount
        self._most[place] = max(self._most[place] or 0.0, self._total)

    def most(self) -> tuple[float, ...]:
        """A bin in which nothing was sent has what the one before it had."""
        held, last = list[float](), 0.0
        for one in self._most:
            last = last if one is None else one
            held.append(last)
        return tuple(held)


class _Track:
    """One endpoint while its attempts go by."""

    def __init__(self, width: float, bins: int) -> None:
        self.requests, self.tokens, self.input, self.output = (
            _Window(width, [0.0] * bins, [0.0] * bins) for _ in range(4)
        )
        self.days = {REQUESTS_DAY: _Day(bins), TOKENS_DAY: _Day(bins)}
        self._width, self._bins = width, bins
        self._most = [0] * bins
        self._began, self._ended = [0] * (bins + 1), [0] * (bins + 1)
        self._flying: list[float] = []

    def add(self, sent: float, ended: float, one: Attempted) -> None:
        tokens = one.prompt_tokens + one.completion_tokens
        for window, amount in (
            (self.requests, 1),
            (self.tokens, tokens),
            (self.input, one.prompt_tokens),
            (self.output, one.completion_tokens),
        ):
            window.add(sent, float(amount))
        for what, amount in ((REQUESTS_DAY, 1), (TOKENS_DAY, tokens)):
            self.days[what].add(self._place(sent), one.sent_at, float(amount))
        while self._flying and self._flying[0] <= sent:
            heapq.heappop(self._flying)
        heapq.heappush(self._flying, ended)
        place = self._place(sent)
        self._most[place] = max(self._most[place], len(self._flying))
        self._began[place] += 1
        self._ended[self._place(ended)] += 1

    def _place(self, at: float) -> int:
        return min(int(at / self._width), self._bins - 1)

    def flying(self) -> tuple[int, ...]:
        """The most in each bin: at its beginning, or when something was sent in it."""
        return tuple(max(most, held) for most, held in zip(self._most, self._held(), strict=True))

    def _held(self) -> Iterator[int]:
        """In flight when each bin begins."""
        held = 0
        for place in range(self._bins):
            yield held
            held += self._began[place] - self._ended[place]
