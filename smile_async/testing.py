"""For tests, the project's own and its users': an event loop on a virtual clock and a provider that follows a script.

Both are ordinary implementations, not mocks: what runs on them is the engine as it is.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from smile_async.engine.job import Failure, Reply, Request, Usage

T = TypeVar("T")

TICK = 1e-6  # seconds: a step lands this far past its timer, else float rounding leaves it undue and time stands still


INSTANT = 1e-9  # seconds: what a round of the loop costs at least, else a timer set a rounding ahead never comes due


class _Leaping(selectors.BaseSelector):
    """A selector that never waits: where the loop would, it moves the clock instead."""

    def __init__(self) -> None:
        self.now = 0.0
        self._inner = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._inner.select(0)
        self.now += INSTANT
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("Every task waits for something that no timer will bring: the test would hang.")
        self.now += max(timeout, 0.0) + TICK
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time starts at 0 and jumps to the next timer: an hour of sleeping takes no time.

    Threads are not waited for: keep to code that runs on the loop (`Ledger(threaded=False)`).
    """

    def __init__(self) -> None:
        self._clock = _Leaping()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a fresh `VirtualLoop` and return what it returns."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


Answer = Reply | Failure | Exception
Script = Callable[[Request, int], Answer | Awaitable[Answer]]


@dataclass(slots=True)
class ScriptedProvider:
    """A provider that answers what `script(request, number)` says, `number` counting requests from 0.

    Each answer takes `latency` seconds. An exception that the script returns is raised, as a provider's bug would be.
    `asked` holds every request with the loop's time of its arrival, `most_in_flight` the greatest number at once.
    """

    script: Script
    latency: float = 0.0
    identity: Mapping[str, Any] = field(default_factory=lambda: {"model": "scripted"})
    asked: list[tuple[float, Request]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    closed: bool = False

    async def ask(self, request: Request) -> Reply | Failure:
        number = len(self.asked)
        self.asked.append((asyncio.get_running_loop().time(), request))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency)
            answer = self.script(request, number)
            if isinstance(answer, Awaitable):
                answer = await answer
        finally:
            self.in_flight -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        self.closed = True


def replying(text: str, *, prompt_tokens: int = 100, completion_tokens: int = 100) -> Reply:
    """A whole reply with its usage."""
    return Reply(text, finish_reason="stop", usage=Usage(prompt_tokens, completion_tokens), model="scripted")


def in_turn(answers: Iterable[Answer], *, then: Answer) -> Script:
    """A script that gives `answers` one after another, and `then` for ever."""
    given = list(answers)
    return lambda _request, number: given[number] if number < len(given) else then
