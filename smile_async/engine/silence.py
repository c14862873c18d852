"""What a run knows about a server that brings no replies, and when that is no longer the rows' fault.

Until the first reply, and after a streak of failures, one request is in flight at a time and no row is charged for a
failure. The run's patience ends a lasting silence: it stops, resumable, with the reason.
"""

from dataclasses import dataclass

from smile_async.engine.job import Failure, FailureKind
from smile_async.engine.retry import ROW_FINAL, Again, Decision, SetAside, StopRun
from smile_async.settings import RetryPolicy

SILENT_AFTER = 8  # failures in a row, of any rows
BAD_REQUESTS = 3  # rows refused as bad requests before any reply: then the settings are wrong, not the rows
ALIVE = frozenset({FailureKind.RATE_LIMITED, FailureKind.OVERLOADED})  # answers of a server that will answer later


@dataclass(slots=True)
class Silence:
    """Counts since the last reply. `since` and `held_at` are the clock's times of the first failure and last hold."""

    failures: int = 0
    since: float | None = None
    held_at: float = float("-inf")
    bad_requests: int = 0
    replied: bool = False  # at least once, in this process
    deep: bool = True  # nothing shows that the server answers

    def end(self) -> None:
        """A reply arrived."""
        self.failures = self.bad_requests = 0
        self.since = None
        self.replied = True
        self.deep = False

    def note(self, failure: Failure, now: float, *, fresh: bool) -> None:
        """Count a failure. `fresh`: its attempt started after the last hold, so that it says something new."""
        if fresh:
            self.failures += 1
        if self.since is None:
            self.since = now
        if self.failures >= SILENT_AFTER and failure.kind not in {FailureKind.RATE_LIMITED, *ROW_FINAL}:
            self.deep = True

    def overrule(self, decision: Decision, failure: Failure, now: float, policy: RetryPolicy) -> Decision:
        """What the state of the whole run changes about the decision for one row."""
        if isinstance(decision, SetAside) and failure.kind is FailureKind.BAD_REQUEST and not self.replied:
            self.bad_requests += 1
            if self.bad_requests < BAD_REQUESTS:
                return Again(policy.first_wait)  # other rows first: perhaps it is only this one
            return StopRun(str(failure.kind), f"The server refuses every request: {failure.detail}")
        if isinstance(decision, Again) and decision.everybody:
            silent_for = now - (self.since if self.since is not None else now)
            patient = policy.patience if self.replied or failure.kind in ALIVE else policy.first_patience
            if silent_for + decision.wait > patient:
                return StopRun(
                    str(failure.kind),
                    f"{failure.detail or failure.kind}\n  No reply for {silent_for:.0f} s, {decision.wait:.0f} s more"
                    f" to wait, and patience ends at {patient:.0f} s: go on later with `smile resume`.",
                )
        return decision
