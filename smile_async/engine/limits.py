"""The gate: every limit of every endpoint, money and requests in flight, asked together and first come, first served.

Only the dispatcher waits here, so that a large request cannot be overtaken by small ones. Every admission is settled
exactly once.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from smile_async.engine.estimate import Expected, TokenEstimate
from smile_async.engine.events import Gauge, Pulse
from smile_async.engine.job import Request, Usage
from smile_async.engine.lane import IN_FLIGHT, Lane, Taken, Wait

DEVIATIONS = 4.5  # of the sum of tokens in flight: what of the token limit stays free for answers longer than expected


class NoRoomThereError(Exception):
    """The endpoints that the row may yet be asked at have no room for `wait` seconds, and others have."""

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait


class BudgetSpentError(Exception):
    """The next request might cost more than is left, `ceiling_usd`, and nothing in flight can give any back."""

    def __init__(self, ceiling_usd: float) -> None:
        super().__init__(ceiling_usd)
        self.ceiling_usd = ceiling_usd


@dataclass(slots=True, eq=False)  # not frozen: that makes one three times as dear, and thousands a second are made
class Admission:
    """What one attempt took at the gate. `number` counts admissions of this process from 1; `cost_usd` is None until
    it is settled."""

    number: int
    at: float
    expected: Expected
    ceiling_usd: float
    lane: Lane
    taken: Taken
    cost_usd: float | None = None


class Gate:
    """All limits of a run. `clock` gives seconds, as the event loop's `time` does."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        *,
        clock: Callable[[], float],
        budget_usd: float | None = None,
        spent_usd: float = 0.0,
        perhaps_usd: float = 0.0,
        reserved_usd: float = 0.0,
        estimate: TokenEstimate | None = None,
    ) -> None:
        self.lanes = tuple(lanes)
        self.budget_usd = budget_usd
        self.estimate = estimate or TokenEstimate()
        self.spent_usd = spent_usd
        self.perhaps_usd = perhaps_usd  # what attempts without a reply may have cost at most: never given back
        self.reserved_usd = reserved_usd  # what is in flight, and in batches, may cost at most
        self.paused = False
        self.binding = ""  # what the dispatcher waits for, or waited for last
        self.waited: dict[str, float] = {}  # seconds, by what was waited for
        self._priced = any(lane.prices.cost(1.0, 1.0) > 0 for lane in lanes)
        self._clock = clock
        self._number = 0
        self._most: int | None = None  # in flight in all, where somebody said it
        self._paused_at = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._waiting: tuple[str, float] | None = None  # for what, since when

    def __repr__(self) -> str:
        return f"<Gate [{self.in_flight} in flight at {', '.join(lane.name for lane in self.lanes)}]>"

    @property
    def in_flight(self) -> int:
        return sum([lane.in_flight for lane in self.lanes])

    @property
    def usable(self) -> tuple[Lane, ...]:
        """Lanes that were not given up."""
        return tuple([lane for lane in self.lanes if not lane.retired])

    def bill(self) -> str:
        """What was spent and what may have been, for a person."""
        perhaps = f", and up to ${self.perhaps_usd:.4f} for attempts without a reply" if self.perhaps_usd else ""
        return f"${self.spent_usd:.4f}{perhaps}"

    def no_room(self, ceiling_usd: float) -> str:
        """Why a budget ends the run, for a person."""
        return (
            f"The budget of ${self.budget_usd or 0:.4f} has no room for another request, which may cost up to"
            f" ${ceiling_usd:.4f}: {self.bill()} are spent."
        )

    def remember(self, attempts: Iterable[tuple[float, float, float, str]]) -> None:
        """Count what an earlier process sent: seconds ago, tokens of prompt and completion, and the endpoint's name of
        each attempt, the oldest first."""
        now = self._clock()
        by_name = {lane.name: lane for lane in self.lanes}
        for ago, prompt, completion, name in attempts:
            if (lane := by_name.get(name)) is not None:
                lane.remember(now - ago, prompt, completion)

    def hold(self, lane: Lane, seconds: float) -> float:
        """Nobody starts there for so long: one cooldown shared by all. A shorter hold never ends a longer one.

        Returns by how many seconds that puts off the next start.
        """
        now, before = self._clock(), lane.held_until
        lane.held_until = max(before, now + seconds)
        return lane.held_until - max(before, now)

    def pause(self, *, paused: bool) -> None:
        """While paused nothing starts; what is in flight goes on."""
        now = self._clock()
        if paused and not self.paused:
            self._paused_at = now
        elif self.paused and not paused:
            for lane in self.lanes:
                lane.silence.paused(now - self._paused_at)
        self.paused = paused
        self.wake()

    def limit_concurrency(self, most: int, reason: str = "told to") -> None:
        """At most so many in flight from now on, shared out among the endpoints by weight, but never more at one than
        its own quota says."""
        lanes, self._most = self.usable, max(most, 1)
        weights = sum(lane.served.weight for lane in lanes)
        for lane in lanes:
            share = max(1, int(most * lane.served.weight / weights))
            own = lane.served.quota.concurrency if lane.served.quota is not None else None
            lane.concurrency.set(min(share, own or share), self._clock(), reason)
        self.wake()

    def keep_concurrency(self, reason: str) -> None:
        """No more in flight than the limits are now."""
        for lane in self.usable:
            lane.concurrency.set(lane.concurrency.limit, self._clock(), reason)

    async def room(self) -> None:
        """Wait until one more may be in flight somewhere and no hold is on."""
        while (wait := self._wait_to_start())[0] > 0:
            await self.change(*wait)

    async def enter(self, request: Request, avoid: str = "", unfit: frozenset[str] = frozenset()) -> Admission:
        """Wait until every limit of some endpoint admits the request, then count it in there; not at the one to
        `avoid`, where another has room, nor at those that are `unfit` while there is another.

        Raises `BudgetSpentError` when the budget cannot admit it even after all in flight have been settled, and
        `NoRoomThereError` where only an endpoint that it is `unfit` for has room: another may be asked meanwhile.
        """
        expected = self.estimate.expect(request)
        while True:
            lanes = self.lanes if self.budget_usd is None else self._affordable(request)
            if not lanes:
                if self.in_flight == 0:
                    raise BudgetSpentError(min(self._ceiling(lane, request) for lane in self.lanes))
                await self.change(what="budget")
                continue
            fit = tuple([lane for lane in lanes if lane.name not in unfit and not lane.retired]) if unfit else lanes
            if not fit and (others := [lane for lane in self.usable if lane.name not in unfit]):
                if self.in_flight == 0:  # asked at those again, it would be refused again, as often as they answer
                    raise BudgetSpentError(min(self._ceiling(lane, request) for lane in others))
                await self.change(what="budget")
                continue
            lane, wait = self._choose(fit or lanes, expected, avoid)
            if wait[0] <= 0:
                break
            if fit and len(fit) < len(lanes) and self._choose(lanes, expected, avoid)[1][0] <= 0:
                raise NoRoomThereError(wait[0])
            await self.change(*wait)
        ceiling_usd = self._ceiling(lane, request)
        self._number += 1
        self.reserved_usd += ceiling_usd
        return Admission(self._number, self._clock(), expected, ceiling_usd, lane, await lane.take(expected))

    def withdraw(self, admission: Admission) -> None:
        """The attempt never left: it is as if it had never been admitted."""
        self.reserved_usd -= admission.ceiling_usd
        admission.lane.withdraw(admission.taken)
        self.wake()

    def settle(
        self,
        admission: Admission,
        request: Request,
        usage: Usage | None,
        *,
        replied: bool = False,
        refused: bool = False,
        perhaps: bool = False,
    ) -> float:
        """Count the attempt out. Returns what it cost in US dollars.

        Its place is free at once: whoever gets it leaves when that is noted on the disk, and by the same commit, or an
        earlier one, the answer is saved. So no kill costs more answers than may be in flight.

        `usage` None: the server counted nothing. Then a reply (`replied`) costs its ceiling, one that was `perhaps`
        billed may have cost it, which stays reserved and is returned, and others cost nothing; only a `refused` one
        gives its tokens back to the window. What was settled before (a bug came after it) stays as it was.
        """
        if admission.cost_usd is not None:
            return admission.cost_usd
        lane = admission.lane
        lane.settle(admission.taken, usage, refused=refused)
        self.reserved_usd -= admission.ceiling_usd
        cost = 0.0
        if usage is not None:
            cost = lane.prices.cost(usage.prompt_tokens, usage.completion_tokens)
            self.spent_usd += cost
            self.estimate.learn(request, usage)
        elif replied:
            cost = admission.ceiling_usd
            self.spent_usd += cost
        elif perhaps:
            cost = admission.ceiling_usd
            self.perhaps_usd += cost
        admission.cost_usd = cost
        self.wake()
        return cost

    def gauges(self) -> list[Gauge]:
        """Each limit's use, endpoint by endpoint."""
        return [gauge for lane in self.lanes for gauge in lane.gauges()]

    def pulse(self) -> Pulse:
        """The gauges as they stand."""
        now, usable, waited = self._clock(), self.usable, dict(self.waited)
        if self._waiting is not None:
            what, since = self._waiting
            waited[what] = waited.get(what, 0.0) + now - since
        return Pulse(
            in_flight=self.in_flight,
            concurrency=sum(lane.concurrency.limit for lane in usable),
            gauges=tuple(self.gauges()),
            binding=self.binding,
            waited=waited,
            spent_usd=self.spent_usd,
            reserved_usd=self.reserved_usd,
            perhaps_usd=self.perhaps_usd,
            budget_usd=self.budget_usd,
            held=max(min((lane.held_until - now for lane in usable), default=0.0), 0.0),
            paused=self.paused,
        )

    def wake(self) -> None:
        """Something has changed that the dispatcher may have waited for."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def change(
        self, within: float = math.inf, what: str = "", *, or_done: "asyncio.Future[Any] | None" = None
    ) -> None:
        """Wait until an attempt is settled or `or_done` is done, at most `within` seconds; `what` for."""
        if what:
            self.binding = what
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = None if within == math.inf else loop.call_later(within, self.wake)
        if or_done is not None:
            or_done.add_done_callback(self._wake)
        began = self._clock()
        self._waiting = what, began
        try:
            await waiter
        finally:
            self._waiter = self._waiting = None
            self.waited[what] = self.waited.get(what, 0.0) + self._clock() - began
            if timer is not None:
                timer.cancel()
            if or_done is not None:
                or_done.remove_done_callback(self._wake)

    def _wake(self, _done: object) -> None:
        self.wake()

    def _ceiling(self, lane: Lane, request: Request) -> float:
        if not self._priced:
            return 0.0
        ceiling = self.estimate.ceiling(request)
        return lane.prices.cost(ceiling.prompt, ceiling.completion)

    def _affordable(self, request: Request) -> tuple[Lane, ...]:
        """Endpoints at which the request may cost no more than is left."""
        assert self.budget_usd is not None
        spoken_for = self.spent_usd + self.perhaps_usd + self.reserved_usd
        return tuple([lane for lane in self.usable if spoken_for + self._ceiling(lane, request) <= self.budget_usd])

    def payable(self, request: Request) -> tuple[Lane, ...]:
        """Endpoints at which the request could be paid for once nothing is in flight: others are none to wait for."""
        if self.budget_usd is None:
            return self.usable
        left = self.budget_usd - self.spent_usd - self.perhaps_usd
        return tuple([lane for lane in self.usable if self._ceiling(lane, request) <= left])

    def _full(self) -> Wait | None:
        """What holds every endpoint back at once."""
        if self.paused:
            return math.inf, "paused"
        if self._most is not None and self.in_flight >= self._most:
            return math.inf, IN_FLIGHT
        return None

    def _wait_to_start(self) -> Wait:
        if (full := self._full()) is not None:
            return full
        now, lanes = self._clock(), self.lanes
        return lanes[0].wait_to_start(now) if len(lanes) == 1 else min([lane.wait_to_start(now) for lane in lanes])

    def _choose(self, lanes: Sequence[Lane], expected: Expected, avoid: str) -> tuple[Lane, Wait]:
        """The lane with room that has the least to do; where none has, the one that will have it first."""
        if (full := self._full()) is not None:
            return lanes[0], full
        now = self._clock()
        if len(lanes) == 1:
            return lanes[0], self._wait(lanes[0], expected, now)
        waits = [(lane, self._wait(lane, expected, now)) for lane in lanes]
        return min(waits, key=lambda found: (found[1][0], found[0].name == avoid, found[0].load))

    def _wait(self, lane: Lane, expected: Expected, now: float) -> Wait:
        if not lane.windows:
            return lane.wait_to_start(now)
        return lane.wait(expected, DEVIATIONS * self.estimate.doubt(lane.in_flight + 1), now)
