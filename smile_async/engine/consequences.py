"""What follows from an answer, or from none: the row ends, is asked again (when, where, after whom), or the run stops.

The runner sends and records; here is decided. Whoever is held, rested or told so is the gate's lanes' business, and who
comes next the queue's.
"""

import math
from collections.abc import Callable
from typing import Generic

from smile_async.engine import events
from smile_async.engine.attempt import Attempt
from smile_async.engine.blame import Circumstances, blame, elsewhere
from smile_async.engine.feed import Feed
from smile_async.engine.job import PERHAPS_BILLED, REFUSED, Failure, FailureKind, Reply, Request
from smile_async.engine.lane import Lane
from smile_async.engine.ledger import Ledger
from smile_async.engine.limits import Gate
from smile_async.engine.queue import Job, JobQueue
from smile_async.engine.retry import (
    CHARGED,
    ROW_FINAL,
    STUBBORN,
    Again,
    Decision,
    SetAside,
    StopRun,
    after_failure,
    after_rejection,
)
from smile_async.engine.settlement import (
    TASK_ERROR,
    Settled,
    note_model,
    set_aside,
    settle_failure,
    settle_reply,
)
from smile_async.engine.task import Item, Rejected, Task, Value
from smile_async.settings import RetryPolicy

ANOTHER_FIRST = 0.2  # seconds that a refused row waits longer than others
NEWS = 1.0  # seconds: a hold that others prolong by less is not told again


class Consequences(Generic[Item, Value]):
    """Of one run's answers. `stop` ends the run for a reason of the server's, `fault` for a bug of the task's."""

    def __init__(
        self,
        task: Task[Item, Value],
        ledger: Ledger,
        feed: Feed[Item],
        gate: Gate,
        policy: RetryPolicy,
        queue: JobQueue[Item],
        *,
        stop: Callable[[StopRun], None],
        fault: Callable[[Exception], None],
        uniform: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._task = task
        self._ledger = ledger
        self._feed = feed
        self._gate = gate
        self._policy = policy
        self._queue = queue
        self._stop = stop
        self._fault = fault
        self._uniform = uniform
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Consequences [{self._task.name}]>"

    def replied(self, attempt: Attempt[Item], reply: Reply, took: float) -> Settled:
        lane = attempt.admission.lane
        cost = self._gate.settle(attempt.admission, attempt.request, reply.usage, replied=True)
        lane.silence.end(attempt.admission.at)
        if attempt.job.limited >= STUBBORN:  # the server admits what it had refused: others may have been as unlucky
            self._queue.recall()
        lane.alone = False
        note_model(self._ledger, lane.models, lane.name, reply.model)
        job = attempt.job
        settled, trouble = settle_reply(self._task, job, attempt.number, reply, cost, endpoint=lane.name, took=took)
        if job.amended is not None:
            settled.records.append(("amended", (attempt.number, job.amended.step)))
        if isinstance(trouble, Exception):
            self._fault(trouble)
        elif trouble is not None:
            self._follow_rejection(settled, attempt, reply, trouble)
        return settled

    def _follow_rejection(self, settled: Settled, attempt: Attempt[Item], reply: Reply, rejected: Rejected) -> None:
        """Ask again, once with a request that the task has amended, or set the row aside."""
        job, amended = attempt.job, None
        decision = after_rejection(rejected.code, replies=job.replies + 1, policy=self._policy)
        if self._task.amend is not None and isinstance(decision, Again) and job.amends == 0:
            try:
                amended = self._task.amend(job.item, reply, rejected)
            except Exception as error:  # noqa: BLE001  (a task's bug: the reply is kept, its row pending)
                self._fault(error)
                settled.verdict, settled.detail = TASK_ERROR, type(error).__name__
                return
        amends = job.amends + (amended is not None)
        job = job.evolve(replies=job.replies + 1, limited=0, amended=amended, amends=amends)
        self._follow(settled, job, attempt.number, decision)

    def failed(self, attempt: Attempt[Item], failure: Failure, took: float) -> Settled:
        kind, lane, now = failure.kind, attempt.admission.lane, self._clock()
        silence = lane.silence
        limited = kind is FailureKind.RATE_LIMITED
        cost = self._gate.settle(
            attempt.admission, attempt.request, None, refused=kind in REFUSED, perhaps=kind in PERHAPS_BILLED
        )
        fresh = attempt.admission.at > silence.held_at
        silence.note(failure, now, fresh=fresh)
        lane.alone = silence.deep
        at = self._circumstances(lane, attempt.request)
        job, charged = blame(attempt.job, kind, at)
        decision = after_failure(
            failure,
            charged=job.failures if charged else 0,
            streak=silence.streak,
            probing=silence.deep,
            policy=self._policy,
            uniform=self._uniform(),
        )
        decision = silence.overrule(decision, failure, job.row_id, now, self._policy, last=self._feed.exhausted)
        if job.amended is not None and kind in ROW_FINAL:  # too long, say: the row's own request was not refused
            job, decision = job.evolve(amended=None), Again(0.0)
        settled = settle_failure(
            job, attempt.number, failure, charged=charged, cost_usd=cost, endpoint=lane.name, took=took
        )
        if limited and isinstance(decision, Again):
            decision = lane.reconsider(decision, told=failure.retry_after is not None)
        decision, rest = elsewhere(job, decision, failure, at, charged=charged, rest=self._policy.max_wait)
        if rest is not None:
            self._rest(settled, lane, failure, rest)
        if limited and len(self._gate.lanes) > 1:
            job = job.evolve(avoid=lane.name)
        hold = decision.wait if isinstance(decision, Again) and decision.everybody else 0.0
        if hold and (fresh or failure.retry_after):
            if self._gate.hold(lane, hold) >= NEWS or fresh:
                settled.told.append(events.Held(hold, str(kind), lane.name))
            silence.held_at = now
        if limited and job.limited < STUBBORN - 1:  # else it is this row that is refused, not the rate
            lane.refused(attempt.admission.taken, fresh=fresh, hold=hold, told=failure.retry_after is not None)
        elif kind is FailureKind.OVERLOADED:
            lane.overloaded()
        elif kind in CHARGED:
            lane.concurrency.troubled()
        self._follow(settled, job, attempt.number, decision)
        return settled

    def _circumstances(self, lane: Lane, request: Request) -> Circumstances:
        gate = self._gate
        return Circumstances(
            lane, gate.lanes, gate.payable(request), self._feed.exhausted, gate.in_flight, self._clock()
        )

    def _rest(self, settled: Settled, lane: Lane, failure: Failure, seconds: float) -> None:
        """The endpoint is asked nothing for so long; infinite: it is given up."""
        if math.isinf(seconds):
            lane.retired = str(failure.kind)
        else:
            self._gate.hold(lane, seconds)
        settled.told.append(events.EndpointRested(lane.name, seconds, f"{failure.kind}: {settled.detail}"))

    def _follow(self, settled: Settled, job: Job[Item], attempt: int, decision: Decision) -> None:
        """Carry out what was decided about the row."""
        if isinstance(decision, StopRun):
            self._stop(decision)
        elif isinstance(decision, SetAside):
            set_aside(settled, job, attempt, decision.reason)
        else:
            settled.told.append(events.JobRequeued(job.row_id, decision.wait, settled.verdict))
            now, own_wait = self._clock(), decision.wait > 0 and not decision.everybody  # else the gate holds everybody
            if job.limited >= STUBBORN:  # asked when no other is left
                self._queue.push_alone(job, at=now + (decision.wait if own_wait else 0.0))
            elif job.limited and not self._feed.exhausted:  # another goes first: perhaps it is only this one
                self._queue.push(job, at=now + decision.wait + ANOTHER_FIRST)
            else:
                self._queue.push(job, at=now + decision.wait if own_wait else None)
