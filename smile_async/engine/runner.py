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
from typing import Any, Generic, TypeVar

from smile_async.engine import events
from smile_async.engine.account import LOST
from smile_async.engine.attempt import Attempt
from smile_async.engine.consequences import Consequences
from smile_async.engine.estimate import bounded
from smile_async.engine.feed import Feed
from smile_async.engine.job import Failure, Reply, Request
from smile_async.engine.lane import Lane
from smile_async.engine.ledger import Batch, Ledger
from smile_async.engine.limits import Admission, BudgetSpentError, Gate, NoRoomThereError
from smile_async.engine.queue import Job, JobQueue
from smile_async.engine.retry import (
    StopRun,
)
from smile_async.engine.settlement import (
    Settled,
    attempt_record,
)
from smile_async.engine.task import Item, Task, Value
from smile_async.settings import RetryPolicy

INTERRUPTED = "interrupted"
LOOK_AGAIN = 1.0  # seconds, at least, until a row is tried again whose endpoints have no room

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
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._wall = wall
        self._queue: JobQueue[Item] = JobQueue()
        self._follows = Consequences(
            task, ledger, feed, gate, policy, self._queue,
            stop=self.stop, fault=self._stop_for, uniform=uniform, clock=self._clock,
        )  # fmt: skip
        # In the order in which they left, to be given up in it.
        self._tasks: dict[Attempt[Item], asyncio.Task[None]] = {}
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
        for attempt in self._tasks.values():
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
                await asyncio.wait(self._tasks.values())
                self._miss()

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
        task = self._loop.create_task(self._carry(attempt, left))
        if not task.done():  # an eager loop (Python 3.12) may have carried it to its end by now
            self._tasks[attempt] = task

    async def _carry(self, attempt: Attempt[Item], left: float) -> None:
        """Ask, and settle what comes of it. That it is over is noted here: a callback of the task's own is one more
        step of the loop for each row."""
        try:
            answer = await attempt.admission.lane.served.provider.ask(attempt.request)
            self._landed(attempt, answer, left)
        except BaseException as error:
            self._give_up(attempt, error)
            if not isinstance(error, Exception):
                raise
            self._stop_for(error)  # a bug of a provider's, or an answer of the wrong type: it must not pass in silence
        self._tasks.pop(attempt, None)

    def _give_up(self, attempt: Attempt[Item], error: BaseException) -> None:
        self._tasks.pop(attempt, None)
        if attempt.number in self._open:
            self._lose(attempt, INTERRUPTED if isinstance(error, asyncio.CancelledError) else type(error).__name__)
        if isinstance(error, asyncio.CancelledError):  # where nobody here cancelled it, its row would be forgotten
            self.stop(StopRun(INTERRUPTED, "A request was cancelled from outside: it is asked again on resume."))

    def _miss(self) -> None:
        """What was cancelled before its first step never got to `_carry`."""
        for attempt in [attempt for attempt, task in self._tasks.items() if task.cancelled()]:
            self._give_up(attempt, asyncio.CancelledError())

    def _landed(self, attempt: Attempt[Item], answer: Reply | Failure, left: float) -> None:
        lane = attempt.admission.lane
        if answer.pace is not None:
            lane.hear(answer.pace, attempt.admission.taken)
        took = self._clock() - left
        if isinstance(answer, Failure):
            settled = self._follows.failed(attempt, answer, took)
        else:
            settled = self._follows.replied(attempt, answer, took)
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
