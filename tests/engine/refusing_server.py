"""A server whose limits are known to it alone, on the virtual clock: it refuses what is too much, and counts."""

import asyncio
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smile_async.engine.job import Failure, FailureKind, LimitWord, Reply, Request, ServerPace, Usage
from smile_async.engine.switch import StopSwitch
from smile_async.settings import Limits
from smile_async.simulate.limits import Limit
from smile_async.testing import run_virtual
from tests.engine.asking import asking

ON_THE_WAY = 0.005  # seconds that a request takes to the server


class FixedWindow:
    """A counter that begins anew every `seconds`, on the clock; once at `begins`."""

    def __init__(self, limit: int, seconds: float, begins: float | None = None) -> None:
        self.limit = limit
        self.peak: float = 0
        self._seconds = seconds
        self._begins = 0.63 * seconds if begins is None else begins
        self._window, self._count = -1, 0

    def wait(self, now: float, amount: int) -> float:
        return 0.0 if amount <= self.remaining(now) else self.reset(now)

    def take(self, now: float, amount: int) -> None:
        self._count += amount if self.remaining(now) >= amount else 0
        self.peak = max(self.peak, self._count)

    def remaining(self, now: float) -> int:
        if (window := int((now - self._begins) // self._seconds)) != self._window:
            self._window, self._count = window, 0
        return self.limit - self._count

    def reset(self, now: float) -> float:
        return self._begins + ((now - self._begins) // self._seconds + 1) * self._seconds - now


@dataclass
class RefusingServer:
    """`limit` counts requests; `places` are those that it holds at once; `queue`: it works on so many, others wait.

    `told`: refusals name the time to wait. `headers`: answers name limit, remaining and reset.
    """

    limit: Limit | None = None
    latency: float = 1.0
    places: int | None = None
    queue: int | None = None
    told: bool = False
    headers: bool = False
    at_random: float = 0.0  # share of requests that it refuses whatever it is doing
    others: float = 0.0  # requests a second that somebody else makes with the same key
    identity: Mapping[str, Any] = field(default_factory=lambda: {"model": "m"})
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    in_flight: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    _working: asyncio.Semaphore | None = None
    _others_until: float = 0.0

    async def ask(self, _request: Request) -> Reply | Failure:
        await asyncio.sleep(ON_THE_WAY)
        now = asyncio.get_running_loop().time()
        self._let_others_in(now)
        wait = self.limit.wait(now, 1) if self.limit is not None else 0.0
        unlucky = self.at_random > 0 and self.chance.random() < self.at_random
        if unlucky or wait or (self.places is not None and self.in_flight >= self.places):
            self.refused.append(now)
            return Failure(FailureKind.RATE_LIMITED, status=429, retry_after=(wait or 1.0) if self.told else None)
        if self.limit is not None:
            self.limit.take(now, 1)
        self.answered.append(now)
        self.in_flight += 1
        try:
            await self._work()
        finally:
            self.in_flight -= 1
        return Reply("good", "stop", Usage(100, 100), "m", pace=self._pace())

    async def aclose(self) -> None: ...

    def per_minute(self, minutes: int) -> list[int]:
        return [sum(60 * minute <= at < 60 * minute + 60 for at in self.answered) for minute in range(minutes)]

    @property
    def refused_share(self) -> float:
        return len(self.refused) / (len(self.refused) + len(self.answered))

    async def _work(self) -> None:
        latency = self.latency * self.chance.uniform(0.7, 1.3)
        if self.queue is None:
            await asyncio.sleep(latency)
            return
        if self._working is None:
            self._working = asyncio.Semaphore(self.queue)
        async with self._working:
            await asyncio.sleep(latency)

    def _let_others_in(self, now: float) -> None:
        while self.others and self.limit is not None and self._others_until < now:
            self._others_until += 1 / self.others
            if not self.limit.wait(self._others_until, 1):
                self.limit.take(self._others_until, 1)

    def _pace(self) -> ServerPace | None:
        if not self.headers or self.limit is None:
            return None
        now = asyncio.get_running_loop().time()
        limit = self.limit
        return ServerPace((LimitWord("requests", None, limit.limit, max(0, limit.remaining(now)), limit.reset(now)),))


def ask_for(seconds: float, folder: Path, server: RefusingServer, limits: Limits | None = None) -> None:
    """Ask without end for so long."""

    def endless() -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield f"row{number}"

    async def main() -> None:
        stop = StopSwitch()
        asyncio.get_running_loop().call_later(seconds, stop.abort)
        await asking(folder, endless(), server, limits=limits, stop=stop)

    run_virtual(main())
