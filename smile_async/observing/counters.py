"""What a run has done since this process began, counted from its events, by endpoint. Knows no exporter.

Counting happens for each row, so it is a few additions; exporters read when they are asked.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from smile_async.engine import events

BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 240.0, 600.0)  # seconds


@dataclass(slots=True)
class Durations:
    """How long requests took: how many within each bucket (the last: longer than any), and seconds in all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class Counters:
    """A listener. Another thread may read it meanwhile, if it copies each mapping first."""

    def __init__(self) -> None:
        self.rows: defaultdict[tuple[str, str], int] = defaultdict(int)
        """By state and reason."""
        self.attempts: defaultdict[tuple[str, str], int] = defaultdict(int)
        """By endpoint and outcome: accepted, a rule's code or a kind of failure, as in the ledger."""
        self.tokens: defaultdict[tuple[str, str], int] = defaultdict(int)
        """By endpoint and kind: prompt, completion."""
        self.spend_usd: defaultdict[str, float] = defaultdict(float)
        self.perhaps_usd: defaultdict[str, float] = defaultdict(float)
        self.durations: defaultdict[str, Durations] = defaultdict(Durations)
        self.requeued: defaultdict[str, int] = defaultdict(int)
        """Rows that were to be asked again, by reason."""
        self.holds: defaultdict[str, int] = defaultdict(int)
        """Cooldowns by endpoint."""
        self.rests: defaultdict[str, int] = defaultdict(int)
        self.changes: defaultdict[tuple[str, str], int] = defaultdict(int)
        """Changes of limits by endpoint and what."""
        self.before = {"accepted": 0, "set-aside": 0}
        """Rows that had ended when this process began, by state."""
        self.total: int | None = None
        self.pulse: events.Pulse | None = None
        self._hear: dict[type[events.Event], Callable[..., None]] = {
            events.RowAccepted: self._accepted,
            events.ReplyRejected: self._rejected,
            events.AttemptFailed: self._failed,
            events.RowSetAside: self._set_aside,
            events.JobRequeued: self._requeued,
            events.Held: self._held,
            events.EndpointRested: self._rested,
            events.LimitChanged: self._changed,
            events.RunStarted: self._started,
            events.SourceRead: self._read,
            events.Pulse: self._pulse,
        }

    def __repr__(self) -> str:
        return f"<Counters [{sum(self.rows.values())} rows, {sum(self.attempts.values())} attempts]>"

    def __call__(self, event: events.Event) -> None:
        hear = self._hear.get(type(event))
        if hear is not None:
            hear(event)

    def _accepted(self, event: events.RowAccepted) -> None:
        self.rows["accepted", ""] += 1
        self._replied(event, "accepted")

    def _rejected(self, event: events.ReplyRejected) -> None:
        self._replied(event, event.code)

    def _replied(self, event: events.RowAccepted | events.ReplyRejected, outcome: str) -> None:
        endpoint, usage = event.endpoint, event.usage
        self.attempts[endpoint, outcome] += 1
        self.spend_usd[endpoint] += event.cost_usd
        self.durations[endpoint].add(event.took)
        if usage is not None:
            self.tokens[endpoint, "prompt"] += usage.prompt_tokens
            self.tokens[endpoint, "completion"] += usage.completion_tokens

    def _failed(self, event: events.AttemptFailed) -> None:
        self.attempts[event.endpoint, event.kind] += 1
        self.perhaps_usd[event.endpoint] += event.perhaps_usd
        self.durations[event.endpoint].add(event.took)

    def _set_aside(self, event: events.RowSetAside) -> None:
        self.rows["set-aside", event.reason] += 1

    def _requeued(self, event: events.JobRequeued) -> None:
        self.requeued[event.reason] += 1

    def _held(self, event: events.Held) -> None:
        self.holds[event.endpoint] += 1

    def _rested(self, event: events.EndpointRested) -> None:
        self.rests[event.endpoint] += 1

    def _changed(self, event: events.LimitChanged) -> None:
        self.changes[event.endpoint, event.what] += 1

    def _started(self, event: events.RunStarted) -> None:
        self.before = {"accepted": event.accepted, "set-aside": event.set_aside}

    def _read(self, event: events.SourceRead) -> None:
        self.total = event.rows

    def _pulse(self, event: events.Pulse) -> None:
        self.pulse = event
