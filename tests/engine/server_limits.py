"""Drives the gate as the runner does, and recounts afterwards what a server with exact limits would have seen."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from smile_async.engine.job import Message, Request, Usage
from smile_async.engine.lane import Lane, Served
from smile_async.engine.limits import Gate
from smile_async.settings import Limits, Prices, Quota
from smile_async.testing import ScriptedProvider, replying, run_virtual

JITTER = 0.05  # seconds: the most that a request takes to the server
WINDOW = 60.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request at the server: when, and the tokens that it is charged there and then."""

    at: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: prompts of so many characters, a token each, and replies of so many tokens in so many seconds."""

    characters: tuple[int, int]
    completion: Callable[[random.Random], int]
    latency: tuple[float, float] = (0.2, 5.0)


def lane_under(
    limits: Quota, *, clock: Callable[[], float], prices: Prices | None = None, name: str = "", weight: float = 1.0
) -> Lane:
    """A lane for the gate alone: whoever answers is not asked through it."""
    provider = ScriptedProvider(lambda _request, _number: replying("good"))
    return Lane(Served(provider, name, weight=weight), limits, prices or Prices(), clock)


def arrivals(limits: Limits, load: Load, seconds: float, seed: int) -> list[Arrival]:
    """All that arrives in so many seconds of asking without end, in the order of arrival."""
    seen: list[Arrival] = []

    async def main() -> None:
        loop, chance = asyncio.get_running_loop(), random.Random(seed)
        lane = lane_under(limits, clock=loop.time)
        gate = Gate([lane], clock=loop.time)
        lane.alone = True
        tasks: set[asyncio.Task[None]] = set()

        async def one(request: Request) -> None:
            usage = Usage(request.characters, load.completion(chance))
            latency = chance.uniform(*load.latency)
            jitter = chance.uniform(0, JITTER)
            admission = await gate.enter(request)

            async def under_way() -> None:
                lane.departed(admission.taken)
                seen.append(Arrival(loop.time() + jitter, usage.total))
                await asyncio.sleep(jitter + latency)
                gate.settle(admission, request, usage)
                lane.alone = False

            task = asyncio.ensure_future(under_way())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        try:
            async with asyncio.timeout(seconds):
                while True:
                    await gate.room()
                    await one(Request((Message("user", "字" * chance.randint(*load.characters)),)))
        except TimeoutError:
            pass
        while tasks:
            await asyncio.wait(tasks)

    run_virtual(main())
    return sorted(seen, key=lambda arrival: arrival.at)


def most_in_a_window(seen: list[Arrival], amount: Callable[[Arrival], int]) -> int:
    """The most in any sixty seconds."""
    inside, now, most = deque[Arrival](), 0, 0
    for arrival in seen:
        while inside and inside[0].at <= arrival.at - WINDOW:
            now -= amount(inside.popleft())
        inside.append(arrival)
        now += amount(arrival)
        most = max(most, now)
    return most


def lowest_level(seen: list[Arrival], amount: Callable[[Arrival], int], limit: float) -> float:
    """How far a bucket that holds `limit`, is full at first and fills at `limit` a minute is ever drawn down."""
    level, at, lowest = limit, 0.0, limit
    for arrival in seen:
        level = min(limit, level + (arrival.at - at) * limit / WINDOW) - amount(arrival)
        at, lowest = arrival.at, min(lowest, level)
    return lowest


def one(_arrival: Arrival) -> int:
    return 1


def tokens(arrival: Arrival) -> int:
    return arrival.tokens


def used(seen: list[Arrival], amount: Callable[[Arrival], int], seconds: float) -> int:
    return sum(amount(arrival) for arrival in seen if arrival.at < seconds)
