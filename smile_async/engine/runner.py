"""Pull, gate, dispatch, settle, drain: the loop that runs a task over a stream of items.

One dispatcher pulls the next job (ready retries first, then the feed), waits at the gate and starts the attempt.
Memory follows the number in flight. Until the first reply, and whenever nothing shows that the server answers, one
request is in flight at a time: a wrong key costs one request.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from smile_async.engine import events
from smile_async.engine.account import LOST
from smile_async.engine.blame import Circumstances, blame, elsewhere
from smile_async.engine.estimate import bounded
from smile_async.engine.feed import Feed
from smile_async.engine.job import PERHAPS_BILLED, REFUSED, Failure, FailureKind, Reply, Request
from smile_async.engine.lane import Lane
from smile_async.engine.ledger import Batch, Ledger
from smile_async.engine.limits import Admission, BudgetSpentError, Gate, NoRoomThereError
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
    attempt_record,
    note_model,
    set_aside,
    settle_failure,
    settle_reply,
)
from smile_async.engine.task import Item, Rejected, Task, Value
from smile_async.settings import RetryPolicy

INTERRUPTED = "interrupted"
ANOTHER_FIRST = 0.2  # seconds that a refused row waits longer than others
LOOK_AGAIN = 1.0  # seconds, at least, until a row is tried again whose endpoints have no room
NEWS = 1.0  # seconds: a hold that others prolong by less is not told again

T = TypeVar("T")


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end, whoever cancels; a cancellation that came meanwhile is raised afterwards."""
    task, cancelled = asyncio.ensure_future(work), None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()


@dataclass(slots=True, eq=False)
class Attempt(Generic[Item]):
    """One request on its way. `number` counts the attempts of the run, over all its processes, from 1."""

    number: int
    job: Job[Item]
    request: Request
    admission: Admission


class Runner(Generic[Item, Value]):
    """One run of one task at the endpoints of `gate`. `listener` gets every event on the loop; `uniform`, `clock` and
    `wall` are handed in for tests."""

    def __init__(
        self,
        task: Task[Item, Value],
        ledger: Ledger,
        feed: Feed[Item],
        gate: Gate,
        policy: RetryPolicy,
        *,
        first_attempt: int = 1,
        reserved_for: int = 0,
        listener: events.Listener = lambda _event: None,
        uniform: Callable[[], float] = random.random,
        clock: Callable[[], float] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._task = task
        self._ledger = ledger
        self._feed = feed
        self._gate = gate
        self._policy = policy
        self._attempts_before = first_attempt - 1
        self._reserved_for = reserved_for  # requests in flight, whose replies have room kept free on the disk
        self._listener = listener
        self._uniform = uniform
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._wall = wall
        self._queue: JobQueue[Item] = JobQueue()
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order in which they left, to be given up in it
        self._boarding: dict[int, Attempt[Item]] = {}  # admitted; they leave when they have been noted on the disk
        self._open: dict[int, float] = {}  # attempts that left and are not recorded, and when they left
        self._dispatcher: asyncio.Task[None] | None = None
        self._fault: BaseException | None = None
        self.stopped: StopRun | None = None
        for lane in gate.lanes:
            lane.alone = True
        ledger.listen(
            self._committed, lambda message: self.stop(StopRun("disk", f"The ledger cannot be written: {message}"))
        )

    def __repr__(self) -> str:
        return f"<Runner {self._task.name} [{self._gate}, {self._queue}]>"

    async def run(self) -> None:
        """Ask until every row has ended or something stops the run (`stopped` says what).

        Raises what the source, the task, the provider or the listener raises, after what was in flight has been saved.
        """
        if self.stopped is None:  # else it was stopped before it began
            self._dispatcher = asyncio.ensure_future(self._dispatch())
        try:
            await self._quiet()
        except asyncio.CancelledError:
            self.abort()
            await finish(self._quiet())
            raise
        finally:
            await finish(self._wind_up())
        if self._fault is not None:
            raise self._fault
        dispatcher = self._dispatcher
        if dispatcher is not None and not dispatcher.cancelled() and (error := dispatcher.exception()):
            raise error

    def stop(self, why: StopRun) -> None:
        """Start nothing more and let what is in flight come home. The first reason given stays."""
        if self.stopped is None:
            self.stopped = why
            self.tell([events.Draining(why.reason, self._gate.in_flight)])
        if self._dispatcher is not None:
            self._dispatcher.cancel()

    def abort(self) -> None:
        """Start nothing more and give up what is in flight: it is noted as perhaps billed and asked again on resume."""
        given_up = StopRun(INTERRUPTED, "Stopped at once: what was in flight may have been billed and is asked again.")
        self.stop(given_up)
        if self.stopped is not None and self.stopped.reason == INTERRUPTED:
            self.stopped = given_up
        self._withdraw()
        for attempt in self._tasks:
            attempt.cancel()

    def pause(self, *, paused: bool) -> None:
        """Start nothing while paused."""
        if paused is not self._gate.paused:
            self._gate.pause(paused=paused)
            self.tell([events.Paused(paused)])

    def pulse(self) -> events.Pulse:
        """The gauges as they stand."""
        return self._gate.pulse()

    def limit_concurrency(self, most: int) -> None:
        """From now on at most so many in flight, shared out among the endpoints."""
        self._gate.limit_concurrency(most)

    async def _quiet(self) -> None:
        """Wait until nothing more starts and nothing is in flight."""
        if self._dispatcher is not None:
            await asyncio.wait([self._dispatcher])
        while self._tasks or self._boarding:
            if self._boarding:
                await self._ledger.flush()  # then they have left, unless the disk refuses to note them
                if self._ledger.stuck:
                    self._withdraw()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _withdraw(self) -> None:
        """What has not left stays: it is as if it had never been admitted."""
        for attempt in self._boarding.values():
            self._gate.withdraw(attempt.admission)
            self._ledger.write(withdrawn=attempt.number)
        self._boarding.clear()

    async def _wind_up(self) -> None:
        await self._ledger.flush()
        await self._feed.close()

    # Pull, gate, dispatch ----------------------------------------------------------------------------------------

    async def _dispatch(self) -> None:
        while True:
            await self._gate.room()
            job = await self._next_job()
            if job is None:
                return
            try:
                request = job.amended.request if job.amended is not None else self._task.render(job.item)
                if self._gate.budget_usd is not None:
                    request = bounded(request)
                if self.stopped is not None:  # meanwhile, by the task itself: nothing here has waited to be cancelled
                    return
                admission = await self._gate.enter(request, job.avoid, job.unfit)
            except NoRoomThereError as there:
                self._queue.push(job, at=self._clock() + min(max(there.wait, LOOK_AGAIN), self._policy.max_wait))
                continue
            except BudgetSpentError as error:
                self.stop(StopRun("budget", self._gate.no_room(error.ceiling_usd)))
                return
            self._start(job, request, admission)

    async def _next_job(self) -> Job[Item] | None:
        while True:
            now, reading = self._clock(), self._feed.reading()
            # While nothing answers, others are asked before those that failed: perhaps it is only these.
            others_first = reading is None and self._nobody_admits() and not self._feed.exhausted
            job = None if others_first else self._queue.pop(now)
            if job is None and (reading is None or not (self._queue or self._gate.in_flight)):
                job = await self._feed.next() or self._queue.pop(self._clock())  # the latter: what came back meanwhile
            if job is not None:
                return job
            nothing_else = self._feed.exhausted and self._gate.in_flight == 0
            if nothing_else:
                if not self._queue:
                    return None
                if (job := self._queue.pop_alone(now)) is not None:
                    return job
            due = self._queue.next_due
            if due is None and nothing_else:
                due = self._queue.next_alone
            within = math.inf if due is None else max(due - now, 0.001)
            await self._gate.change(within, "source" if reading else "rows", or_done=reading)

    def _nobody_admits(self) -> bool:
        lanes = self._gate.lanes
        if len(lanes) == 1:
            return lanes[0].admits_nothing
        return all(lane.admits_nothing for lane in self._gate.usable)

    def _start(self, job: Job[Item], request: Request, admission: Admission) -> None:
        """Note the attempt; it leaves when that is on the disk, so that no crash can hide what may be billed."""
        attempt = Attempt(self._attempts_before + admission.number, job, request, admission)
        flight = (attempt.number, job.ordinal, self._wall(), admission.ceiling_usd, admission.lane.name)
        self._boarding[attempt.number] = attempt
        if admission.number % 64 == 0:
            self._keep_room()
        self._ledger.write([("flights", flight)], departing=attempt)

    def _keep_room(self) -> None:
        """Room on the disk for as many replies as the limits in flight have grown to, or no growth."""
        wanted = sum([lane.concurrency.limit for lane in self._gate.usable])
        if wanted <= self._reserved_for:
            return
        if self._ledger.reserve(2 * wanted):
            self._reserved_for = 2 * wanted
        else:
            self._gate.keep_concurrency("no room on the disk for the replies of more")

    def _depart(self, attempt: Attempt[Item]) -> None:
        if self._boarding.pop(attempt.number, None) is None:
            return  # withdrawn meanwhile
        attempt.admission.lane.departed(attempt.admission.taken)
        self._open[attempt.number] = left = self._clock()
        task = self._loop.create_task(self._ask(attempt, left))
        self._tasks[task] = None
        task.add_done_callback(partial(self._landed, attempt))

    def _landed(self, attempt: Attempt[Item], task: "asyncio.Task[None]") -> None:
        self._tasks.pop(task, None)
        if attempt.number in self._open:  # noted here: one that is cancelled before its first step never gets to `_ask`
            self._lose(attempt, INTERRUPTED if task.cancelled() else "")
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._stop_for(error)  # an answer of the wrong type, say: it must not pass in silence

    async def _ask(self, attempt: Attempt[Item], left: float) -> None:
        lane = attempt.admission.lane
        try:
            answer = await lane.served.provider.ask(attempt.request)
        except Exception as error:  # noqa: BLE001  (a provider's bug must not lose what others bring home)
            self._lose(attempt, type(error).__name__)
            self._stop_for(error)
            return
        if answer.pace is not None:
            lane.hear(answer.pace, attempt.admission.taken)
        took = self._clock() - left
        if isinstance(answer, Failure):
            settled = self._failed(attempt, answer, took)
        else:
            settled = self._replied(attempt, answer, took)
            lane.replied(attempt.admission.taken, took)
            self._ledger.heard(took)
        if lane.changes:
            self._note_changes(lane, settled)
        self._record(attempt, settled)

    def _lose(self, attempt: Attempt[Item], detail: str) -> None:
        """Note an attempt whose answer nobody will see: perhaps it was billed."""
        admission, job = attempt.admission, attempt.job
        cost = self._gate.settle(admission, attempt.request, None, perhaps=True)
        took = self._clock() - admission.at
        told = events.AttemptFailed(job.row_id, attempt.number, LOST, None, detail, took, admission.lane.name, cost)
        self._record(attempt, Settled(LOST, detail=detail, cost_usd=cost, told=[told]))

    def _note_changes(self, lane: Lane, settled: Settled) -> None:
        """Limits that this answer has changed."""
        for change in lane.changes:
            before, at = None if math.isinf(change.before) else change.before, self._wall()
            settled.records.append(("changes", (at, lane.name, change.what, before, change.after, change.reason)))
            told = events.LimitChanged(lane.name, change.what, change.before, change.after, change.reason)
            settled.told.append(told)
        lane.changes.clear()

    # Settle ------------------------------------------------------------------------------------------------------

    def _replied(self, attempt: Attempt[Item], reply: Reply, took: float) -> Settled:
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
            self._stop_for(trouble)
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
                self._stop_for(error)
                settled.verdict, settled.detail = TASK_ERROR, type(error).__name__
                return
        amends = job.amends + (amended is not None)
        job = job.evolve(replies=job.replies + 1, limited=0, amended=amended, amends=amends)
        self._follow(settled, job, attempt.number, decision)

    def _failed(self, attempt: Attempt[Item], failure: Failure, took: float) -> Settled:
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
            self.stop(decision)
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

    def _record(self, attempt: Attempt[Item], settled: Settled) -> None:
        took = self._clock() - self._open.pop(attempt.number)
        lane = attempt.admission.lane
        row = attempt_record(
            settled,
            attempt.number,
            attempt.job.ordinal,
            sent_at=self._wall() - took,
            took=took,
            endpoint=lane.name,
        )
        landed = (attempt.number, lane)
        self._ledger.write([row, *settled.records], landed=landed, events=settled.told)

    def _stop_for(self, error: Exception) -> None:
        self._fault = self._fault or error
        self.stop(StopRun("internal", f"{type(error).__name__} in the task, the provider or the listener"))

    def _committed(self, batch: Batch) -> None:
        self.tell(batch.events)
        for attempt in batch.departing:
            self._depart(attempt)

    def tell(self, happened: Sequence[events.Event]) -> None:
        """Tell the listener; what it raises stops the run, and `run` raises it."""
        try:
            for event in happened:
                self._listener(event)
        except Exception as error:  # noqa: BLE001  (a listener's bug: nothing that was paid for may be lost by it)
            self._listener = lambda _event: None
            self._stop_for(error)
