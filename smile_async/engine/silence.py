"""What a run knows about a server that brings no replies, and when that is no longer the rows' fault.

Until the first reply, and after a streak of failures, one request is in flight at a time and no row is charged for a
failure. The run's patience ends a lasting silence: it stops, resumable, with the reason.
"""

from dataclasses import dataclass, field

from smile_async.engine.job import Failure, FailureKind
from smile_async.engine.retry import ROW_FINAL, Again, Decision, SetAside, StopRun
from smile_async.settings import RetryPolicy

SILENT_AFTER = 8  # failures in a row, of any rows
BAD_REQUESTS = 3  # rows refused as bad requests before any reply ever: then the settings are wrong, not the rows
ALIVE = frozenset({FailureKind.RATE_LIMITED, FailureKind.OVERLOADED})  # answers of a server that will answer later


@dataclass(slots=True)
class Silence:
    """Counts since the last reply. `since` and `held_at` are the clock's times of the first failure and last hold.

    `proven`: an earlier part of the run had replies with the same settings.
    """

    proven: bool = False
    failures: int = 0
    since: float | None = None
    held_at: float = float("-inf")
    refused: set[str] = field(default_factory=set)  # rows that were bad requests before any reply
    replies: int = 0  # in this process
    failures_before: int = 0  # those that showed that the server is silent: waits double from then on
    newest: float = float("-inf")  # when the latest of the requests that were answered was admitted
    spent: bool = False  # patience has ended
    deep: bool = True  # nothing shows that the server answers

    @property
    def answered(self) -> bool:
        """The server has replied to this run, in this process or in an earlier one."""
        return self.proven or self.replies > 0

    @property
    def streak(self) -> int:
        """Failures in a row that say how long to wait: a burst of them at once is one."""
        return self.failures - self.failures_before

    def end(self, admitted: float) -> None:
        """A reply arrived, to a request that was admitted then."""
        self.newest = max(self.newest, admitted)
        self.failures = self.failures_before = 0
        self.refused.clear()
        self.since = None
        self.spent = False
        self.replies += 1
        self.deep = False

    def paused(self, seconds: float) -> None:
        """Nobody was asked for so long: that was no silence of the server's."""
        if self.since is not None:
            self.since += seconds

    def note(self, failure: Failure, now: float, *, fresh: bool) -> None:
        """Count a failure. `fresh`: its attempt started after the last hold, so that it says something new."""
        if failure.kind in ROW_FINAL:  # an answer, about this row: the server is there
            self.failures = self.failures_before = 0
            self.since = None
            return
        if fresh:
            self.failures += 1
        if self.since is None:
            self.since = now
        if self.failures >= SILENT_AFTER and failure.kind is not FailureKind.RATE_LIMITED and not self.deep:
            self.deep = True
            self.failures_before = self.failures - 1

    def overrule(
        self, decision: Decision, failure: Failure, row: str, now: float, policy: RetryPolicy, *, last: bool
    ) -> Decision:
        """What the state of the whole run changes about the decision for one row.

        `last`: no row is left that has not been asked, so that no other can show whose fault it is.
        """
        if self.replies == 0 and failure.status is not None and 300 <= failure.status < 400:
            self.spent = True  # a wrong address, which a resume may bring too; later it is a proxy's mood
            return StopRun(str(failure.kind), failure.detail or "The server sends us elsewhere.")
        if isinstance(decision, SetAside) and failure.kind is FailureKind.BAD_REQUEST and not self.answered:
            return self._whose_fault(failure, row, policy, last=last)
        if isinstance(decision, Again) and decision.everybody:
            silent_for = now - (self.since if self.since is not None else now)
            there = (
                self.replies > 0 or failure.kind in ALIVE or (self.proven and failure.kind is not FailureKind.CONNECT)
            )
            patient = policy.patience if there else policy.first_patience
            if silent_for + decision.wait > patient:
                self.spent = True
                return StopRun(
                    str(failure.kind),
                    f"{failure.detail or failure.kind}\n  No reply for {silent_for:.0f} s, {decision.wait:.0f} s more"
                    f" to wait, and patience ends at {patient:.0f} s: go on later with `smile resume`.",
                )
        return decision

    def _whose_fault(self, failure: Failure, row: str, policy: RetryPolicy, *, last: bool) -> Decision:
        self.refused.add(row)
        if last or len(self.refused) >= BAD_REQUESTS:
            self.spent = True
            return StopRun(str(failure.kind), f"The server refuses every request: {failure.detail or failure.kind}")
        return Again(policy.first_wait)  # other rows first: perhaps it is only this one
