"""A run in numbers, kept up with its events: what the display and the plain lines read. Knows no terminal.

An event costs it a few additions and no memory: of the last minute it keeps sums by second.
"""

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from smile_async.engine import events

WINDOW = 60  # seconds over which rates are taken
RECENT = 10.0  # seconds over which it is told what was waited for


class LastMinute:
    """Sums by second; what is older than a minute is overwritten."""

    __slots__ = ("_ended", "_replies", "_seconds", "_tokens")

    def __init__(self) -> None:
        self._seconds = [-1] * WINDOW
        self._replies = [0] * WINDOW
        self._tokens = [0] * WINDOW
        self._ended = [0] * WINDOW

    def add(self, now: float, *, replies: int = 0, tokens: int = 0, ended: int = 0) -> None:
        second = int(now)
        at = second % WINDOW
        if self._seconds[at] != second:
            self._seconds[at] = second
            self._replies[at] = self._tokens[at] = self._ended[at] = 0
        self._replies[at] += replies
        self._tokens[at] += tokens
        self._ended[at] += ended

    def sums(self, now: float) -> tuple[int, int, int]:
        """Replies, tokens and rows that ended, in this second and the 59 before it."""
        recent = [at for at, second in enumerate(self._seconds) if second > int(now) - WINDOW]
        return (
            sum([self._replies[at] for at in recent]),
            sum([self._tokens[at] for at in recent]),
            sum([self._ended[at] for at in recent]),
        )


@dataclass(frozen=True, slots=True)
class Rest:
    """An endpoint where nothing starts until `until` (by the tally's clock; infinite: never again)."""

    until: float
    reason: str
    cooldown: bool


class Tally:
    """`clock` gives seconds."""

    def __init__(self, clock: Callable[[], float], expected: int | None = None) -> None:
        self.clock = clock
        self.expected = expected
        self.accepted = self.set_aside = self.pending = 0
        self.total: int | None = None
        self.reasons: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.prompt_tokens = self.completion_tokens = 0
        self.cost_usd = 0.0
        self.started = clock()
        self.pulse: events.Pulse | None = None
        self.trouble = ""
        self.draining = ""
        self.rests: dict[str, Rest] = {}
        self._minute = LastMinute()
        self._waited: deque[tuple[float, dict[str, float]]] = deque()
        self._hear: dict[type[events.Event], Callable[..., None]] = {
            events.RunStarted: self._started,
            events.SourceRead: self._read,
            events.RowAccepted: self._accepted,
            events.ReplyRejected: self._replied,
            events.RowSetAside: self._aside,
            events.AttemptFailed: self._failed,
            events.Held: self._held,
            events.EndpointRested: self._rested,
            events.Draining: self._drains,
            events.Pulse: self._pulsed,
        }

    def hear(self, event: events.Event) -> None:
        """Count an event."""
        hear = self._hear.get(type(event))
        if hear is not None:
            hear(event)

    def _started(self, event: events.RunStarted) -> None:
        self.accepted, self.set_aside, self.pending = event.accepted, event.set_aside, event.pending
        self.started = self.clock()
        self.reasons.update(event.reasons)

    def _read(self, event: events.SourceRead) -> None:
        self.total = event.rows

    def _accepted(self, event: events.RowAccepted) -> None:
        self.accepted += 1
        self._replied(event, ended=1)

    def _replied(self, event: events.RowAccepted | events.ReplyRejected, ended: int = 0) -> None:
        usage, tokens = event.usage, 0
        if usage is not None:
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens
            tokens = usage.prompt_tokens + usage.completion_tokens
        self.cost_usd += event.cost_usd
        self._minute.add(self.clock(), replies=1, tokens=tokens, ended=ended)
        if self.rests:
            self.rests.pop(event.endpoint, None)

    def _aside(self, event: events.RowSetAside) -> None:
        self.set_aside += 1
        self.reasons[event.reason] += 1
        self._minute.add(self.clock(), ended=1)

    def _failed(self, event: events.AttemptFailed) -> None:
        self.failures[event.kind] += 1
        self.trouble = f"row {event.row[:8]}: {event.kind}" + (f" ({event.detail})" if event.detail else "")

    def _held(self, event: events.Held) -> None:
        self.rests[event.endpoint] = Rest(self.clock() + event.seconds, event.reason, cooldown=True)

    def _rested(self, event: events.EndpointRested) -> None:
        self.rests[event.endpoint] = Rest(self.clock() + event.seconds, event.reason, cooldown=False)
        self.trouble = f"{event.endpoint}: {event.reason}"

    def _drains(self, event: events.Draining) -> None:
        self.draining = event.reason

    def _pulsed(self, event: events.Pulse) -> None:
        now = self.clock()
        self.pulse = event
        self._waited.append((now, dict(event.waited)))
        while len(self._waited) > 2 and self._waited[1][0] <= now - RECENT:
            self._waited.popleft()

    @property
    def done(self) -> int:
        return self.accepted + self.set_aside

    @property
    def goal(self) -> int | None:
        """Rows in all: exact once the source has been read, else as expected; never less than is done."""
        known = self.total if self.total is not None else self.expected
        return None if known is None else max(known, self.done)

    def rates(self) -> tuple[float, float, float]:
        """Replies, tokens and ended rows a minute, over the last minute or since the start."""
        now = self.clock()
        span = min(WINDOW - 1 + now - math.floor(now), now - self.started)
        minutes = max(span, 1.0) / 60
        replies, tokens, ended = self._minute.sums(now)
        return replies / minutes, tokens / minutes, ended / minutes

    def seconds_left(self) -> float | None:
        """From the rate of the last minute; None while nothing can be said."""
        rows_a_minute = self.rates()[2]
        if self.goal is None or not rows_a_minute:
            return None
        return (self.goal - self.done) / rows_a_minute * 60

    def waits(self) -> list[tuple[str, float]]:
        """What was waited for over the last seconds and for what share of them, the longest first."""
        if len(self._waited) < 2:
            return []
        (since, before), (now, after) = self._waited[0], self._waited[-1]
        shares = [(what, (seconds - before.get(what, 0.0)) / max(now - since, 1e-9)) for what, seconds in after.items()]
        return sorted([(what, share) for what, share in shares if share >= 0.01], key=lambda wait: -wait[1])

    def rest(self, endpoint: str) -> Rest | None:
        """Whether an endpoint rests now."""
        found = self.rests.get(endpoint)
        return found if found is not None and found.until > self.clock() else None


def plain_line(tally: Tally) -> dict[str, object]:
    """The fields of the line that is logged every few seconds where there is no terminal."""
    requests, tokens, _ = tally.rates()
    left, pulse = tally.seconds_left(), tally.pulse
    return {
        "done": tally.done,
        "of": tally.goal,
        "accepted": tally.accepted,
        "set_aside": tally.set_aside,
        "failed_attempts": sum(tally.failures.values()),
        "in_flight": pulse.in_flight if pulse else 0,
        "replies_per_minute": round(requests),
        "tokens_per_minute": round(tokens),
        "binding": binding(tally),
        "spent_usd": round(tally.cost_usd, 4),
        "left_s": None if left is None else round(left),
    }


def binding(tally: Tally) -> str:
    """What the run waits for most just now; empty: nothing."""
    if tally.pulse is not None and tally.pulse.paused:
        return "paused"
    waits = tally.waits()
    return waits[0][0] if waits else ""
