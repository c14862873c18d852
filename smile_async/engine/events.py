"""What happened, as frozen values: the progress display, the log and tests read the same ones.

A row's events are sent when its commit is done, so that what they say survives a crash.
"""

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import ClassVar

from smile_async.engine.job import Usage
from smile_async.values import light


@light(frozen=True, slots=True)
class Event:
    """`name` is the dotted fact that the log prints."""

    name: ClassVar[str] = "event"


@light(frozen=True, slots=True)
class RunStarted(Event):
    """`accepted`, `set_aside`, `pending`: rows, as an earlier part of the run left them; `reasons`: those set aside."""

    name: ClassVar[str] = "run.started"
    accepted: int
    set_aside: int
    pending: int
    reasons: Mapping[str, int] = field(default_factory=dict)


@light(frozen=True, slots=True)
class SourceRead(Event):
    """The source is exhausted: `rows` is the exact number of rows of the run."""

    name: ClassVar[str] = "source.read"
    rows: int


@light(frozen=True, slots=True)
class AttemptFailed(Event):
    """An attempt brought no reply. `kind` is unknown when nobody waited for the answer; `took` in seconds from when it
    left; `perhaps_usd` is the most that it may have cost."""

    name: ClassVar[str] = "attempt.failed"
    row: str
    attempt: int
    kind: str
    status: int | None
    detail: str
    took: float
    endpoint: str = ""
    perhaps_usd: float = 0.0


@light(frozen=True, slots=True)
class ReplyRejected(Event):
    """A reply that was paid for broke a rule. `took` in seconds from when the request left; `model` as the server
    named it."""

    name: ClassVar[str] = "reply.rejected"
    row: str
    attempt: int
    code: str
    detail: str
    usage: Usage | None
    cost_usd: float
    endpoint: str = ""
    took: float = 0.0
    model: str | None = None


@light(frozen=True, slots=True)
class JobRequeued(Event):
    """The row will be asked again, `wait_s` seconds from now."""

    name: ClassVar[str] = "job.requeued"
    row: str
    wait_s: float
    reason: str


@light(frozen=True, slots=True)
class RowAccepted(Event):
    """A reply kept every rule. `took` and `model` as in `ReplyRejected`."""

    name: ClassVar[str] = "row.accepted"
    row: str
    attempt: int
    flags: tuple[str, ...]
    usage: Usage | None
    cost_usd: float
    endpoint: str = ""
    took: float = 0.0
    model: str | None = None


@light(frozen=True, slots=True)
class RowSetAside(Event):
    name: ClassVar[str] = "row.set-aside"
    row: str
    reason: str
    detail: str


@light(frozen=True, slots=True)
class Held(Event):
    """Nobody starts at `endpoint` for `seconds`."""

    name: ClassVar[str] = "run.held"
    seconds: float
    reason: str
    endpoint: str = ""


@light(frozen=True, slots=True)
class Paused(Event):
    """Somebody paused the run, or let it go on: while `paused` nothing starts."""

    name: ClassVar[str] = "run.paused"
    paused: bool


@light(frozen=True, slots=True)
class LimitChanged(Event):
    """A limit of an endpoint is another one now: `what` is in-flight, rate (requests a second) or a limit's name.

    `before` is infinite where none was known.
    """

    name: ClassVar[str] = "limit.changed"
    endpoint: str
    what: str
    before: float
    after: float
    reason: str


@light(frozen=True, slots=True)
class EndpointRested(Event):
    """An endpoint brings no replies: its rows go elsewhere, and it is tried again in `seconds` (infinite: never)."""

    name: ClassVar[str] = "endpoint.rested"
    endpoint: str
    seconds: float
    reason: str


@light(frozen=True, slots=True)
class Gauge:
    """One limit of one endpoint and how much of it is in use. `period` in seconds; None: at any one time."""

    endpoint: str
    what: str
    used: float
    limit: float
    period: float | None


@light(frozen=True, slots=True)
class Pulse(Event):
    """The gauges, read now and then for a display. `binding` is what the next request waits for (empty: nothing yet),
    `waited` seconds by what was waited for so far, `held` the seconds that everybody still waits."""

    name: ClassVar[str] = "run.pulse"
    in_flight: int
    concurrency: int
    gauges: tuple[Gauge, ...]
    binding: str
    waited: Mapping[str, float]
    spent_usd: float
    reserved_usd: float
    perhaps_usd: float
    budget_usd: float | None
    held: float
    paused: bool = False


@light(frozen=True, slots=True)
class Draining(Event):
    """No new request starts; `in_flight` are waited for."""

    name: ClassVar[str] = "run.draining"
    reason: str
    in_flight: int


@light(frozen=True, slots=True)
class RunEnded(Event):
    """`state` is done or stopped; `reason` is empty when done."""

    name: ClassVar[str] = "run.ended"
    state: str
    reason: str
    accepted: int
    set_aside: int
    pending: int


Listener = Callable[[Event], None]
"""Called on the event loop: it must be quick and must not raise."""
