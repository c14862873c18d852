"""The gate: requests and tokens a minute, money and requests in flight, asked together and first come, first served.

Only the dispatcher waits here, so that a large request cannot be overtaken by small ones. Every admission is settled
exactly once.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from smile_async.engine.estimate import Expected, TokenEstimate
from smile_async.engine.job import Request, Usage
from smile_async.engine.window import Entry, RateWindow
from smile_async.settings import Limits, Prices

DEVIATIONS = 4.5  # of the sum of tokens in flight: what of the token limit stays free for answers longer than expected


class BudgetSpentError(Exception):
    """The next request might cost more than is left, and nothing in flight can give any back."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What one attempt took at the gate. `number` counts admissions of this process from 1."""

    number: int
    at: float
    expected: Expected
    ceiling_usd: float
    requests: Entry | None
    tokens: Entry | None


class Gate:
    """All limits of one endpoint. `clock` gives seconds, as the event loop's `time` does."""

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Callable[[], float],
        prices: Prices | None = None,
        spent_usd: float = 0.0,
        perhaps_usd: float = 0.0,
        estimate: TokenEstimate | None = None,
    ) -> None:
        self.limits = limits
        self.estimate = estimate or TokenEstimate()
        self.in_flight = 0
        self.unsaved = 0  # settled, but not yet on the disk: a kill would have them asked again
        self.spent_usd = spent_usd
        self.perhaps_usd = perhaps_usd  # what attempts without a reply may have cost at most: never given back
        self.held_until = -math.inf
        self.concurrency = limits.concurrency or 64
        self.alone = False  # one request at a time, while nothing shows that the server answers
        self._prices = prices or Prices()
        self._priced = self._prices.cost(1.0, 1.0) > 0
        self._clock = clock
        self._reserved_usd = 0.0
        self._number = 0
        self._changed = asyncio.Event()
        per_minute = limits.requests_per_minute
        self.requests = RateWindow(per_minute, 60.0, clock=clock) if per_minute else None
        tokens = limits.tokens_per_minute
        self.tokens = RateWindow(tokens, 60.0, clock=clock) if tokens else None

    def __repr__(self) -> str:
        return (
            f"<Gate [{self.in_flight} of {self.concurrency} in flight, requests {self.requests}, tokens {self.tokens}]>"
        )

    def bill(self) -> str:
        """What was spent and what may have been, for a person."""
        perhaps = f", and up to ${self.perhaps_usd:.4f} for attempts without a reply" if self.perhaps_usd else ""
        return f"${self.spent_usd:.4f}{perhaps}"

    def remember(self, attempts: Iterable[tuple[float, float]]) -> None:
        """Count what an earlier process sent: seconds ago and tokens of each attempt, the oldest first."""
        now = self._clock()
        for ago, tokens in attempts:
            if self.requests is not None:
                self.requests.remember(now - ago, 1.0)
            if self.tokens is not None:
                self.tokens.remember(now - ago, tokens)

    def hold(self, seconds: float) -> float:
        """Nobody starts for so long: one cooldown shared by all. A shorter hold never ends a longer one.

        Returns by how many seconds that puts off the next start.
        """
        now, before = self._clock(), self.held_until
        self.held_until = max(before, now + seconds)
        return self.held_until - max(before, now)

    async def room(self) -> None:
        """Wait until one more may be in flight and no hold is on."""
        while (wait := self._wait_to_start()) > 0:
            await self.change(wait)

    async def enter(self, request: Request) -> Admission:
        """Wait until every limit admits the request, then count it in.

        Raises `BudgetSpentError` when the budget cannot admit it even after all in flight have been settled.
        """
        expected = self.estimate.expect(request)
        ceiling_usd = await self._afford(request)
        if self.tokens is not None:
            await self.tokens.pace(expected.total)
        if self.requests is not None:
            await self.requests.pace(1.0)
        while (wait := max(self._wait_to_start(), self._wait_for_windows(expected))) > 0:
            await self.change(wait)
        self._number += 1
        self.in_flight += 1
        self._reserved_usd += ceiling_usd
        return Admission(
            self._number,
            self._clock(),
            expected,
            ceiling_usd,
            self.requests.record(1.0) if self.requests is not None else None,
            self.tokens.record(expected.total) if self.tokens is not None else None,
        )

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
        """Count the attempt out; its place is free once it is `saved`. Returns what it cost in US dollars.

        `usage` None: the server counted nothing. Then a reply (`replied`) costs what was expected, one that was
        `perhaps` billed may have cost its ceiling, which stays reserved and is returned, and others cost nothing; only
        a `refused` one gives its tokens back to the window.
        """
        self.in_flight -= 1
        self.unsaved += 1
        self._reserved_usd -= admission.ceiling_usd
        cost = 0.0
        if usage is not None:
            cost = self._prices.cost(usage.prompt_tokens, usage.completion_tokens)
            self.spent_usd += cost
            self.estimate.learn(request, usage)
        elif replied:
            cost = self._prices.cost(admission.expected.prompt, admission.expected.completion)
            self.spent_usd += cost
        elif perhaps:
            cost = admission.ceiling_usd
            self.perhaps_usd += cost
        if self.tokens is not None and admission.tokens is not None and (usage is not None or refused):
            self.tokens.correct(admission.tokens, usage.total if usage is not None else 0.0)
        self._changed.set()
        return cost

    def saved(self, attempts: int) -> None:
        """So many settled attempts are on the disk: only now are their places free again."""
        self.unsaved -= attempts
        self._changed.set()

    async def change(self, within: float = math.inf, *, or_done: "asyncio.Future[Any] | None" = None) -> None:
        """Wait until an attempt is settled or saved or `or_done` is done, at most `within` seconds."""
        self._changed.clear()
        if or_done is not None:
            or_done.add_done_callback(self._wake)
        try:
            async with asyncio.timeout(None if within == math.inf else within):
                await self._changed.wait()
        except TimeoutError:
            return
        finally:
            if or_done is not None:
                or_done.remove_done_callback(self._wake)

    def _wake(self, _done: object) -> None:
        self._changed.set()

    async def _afford(self, request: Request) -> float:
        budget = self.limits.budget_usd
        if not self._priced:
            return 0.0
        while True:
            ceiling = self.estimate.ceiling(request)
            cost = self._prices.cost(ceiling.prompt, ceiling.completion)
            if budget is None or self.spent_usd + self.perhaps_usd + self._reserved_usd + cost <= budget:
                return cost
            if self.in_flight == 0:
                raise BudgetSpentError
            await self.change()

    def _wait_to_start(self) -> float:
        """Seconds until nothing holds everybody back; infinite while all places in flight are taken."""
        if self.in_flight + self.unsaved >= (1 if self.alone else self.concurrency):
            return math.inf
        return self.held_until - self._clock()

    def _wait_for_windows(self, expected: Expected) -> float:
        wait = 0.0
        if self.requests is not None:
            wait = self.requests.wait(1.0)
        if self.tokens is not None:
            unsure = DEVIATIONS * self.estimate.doubt(self.in_flight + 1)
            reserve = min(unsure, self.tokens.limit / 20)
            wait = max(wait, self.tokens.wait(expected.total, reserve=reserve))
        return wait
