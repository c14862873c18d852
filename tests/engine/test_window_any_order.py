"""What a server tells of a limit, and in which order its answers come, is not ours to choose: a window bears all of it."""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from smile_async.engine.estimate import Expected
from smile_async.engine.lane import Lane, Served
from smile_async.engine.window import RateWindow
from smile_async.engine.window_log import BINS, Entry
from smile_async.provider.headers import server_pace
from smile_async.settings import Limits, Prices
from smile_async.testing import ScriptedProvider, replying, run_virtual

ODD = ["0", "1", "-1", "60", "1e6", "nan", "-inf", "9" * 400, "1_000", "1e-320", "5, 6", "100;w=1e-320", "100;w=7"]
ODD += ["1s", "infs", "-5s", "0.001s", "1m30s", "0001-01-01T00:00:00+14:00", '"x";q=9;w=1', "1795000001", "-0.0", "٣s"]
NAMES = [f"x-ratelimit-{part}-{what}" for part in ("limit", "remaining", "reset") for what in ("requests", "tokens")]
NAMES += ["x-ratelimit-renewalperiod-requests", "ratelimit", "ratelimit-policy", "x-tokenlimit-limit"]
T = TypeVar("T")


@dataclass
class Clock:
    """Stands still unless it is set; aiolimiter reads it, too."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Life:
    """A window, what is under way, and chance."""

    chance: random.Random
    clock: Clock
    limit: float
    window: RateWindow
    under_way: list[Entry] = field(default_factory=list)

    def let_through(self, amount: float) -> None:
        """Whoever waits as long as it is told gets through, and soon: it is told a handful of times."""
        for entry in self.under_way:
            if entry.boarding:
                self.window.departed(entry, self.clock.now)
        told = 0.0
        for _ in range(BINS + 100):
            wait = self.window.wait(amount)
            assert 0 <= wait < math.inf
            if wait == 0:
                break
            told += wait
            self.clock.now += wait
        else:
            pytest.fail(f"it waits in vain, the last time for {wait} s: {self.window!r}")
        assert told <= 3 * max(self.window.period, 60.0) * (1 + amount / self.window.limit)
        self.under_way.append(at_once(self.window.take(amount)))

    def hear(self, entry: Entry) -> None:
        limit, chance = self.limit, self.chance
        remaining = chance.choice(
            [0, 0, -3, limit, 3 * limit, 1e17, limit * chance.random(), limit - self.window.used()]
        )
        self.window.hear(entry, int(remaining), chance.choice([None, 0.0, -5.0, 0.001, 1.0, self.window.period, 1e6]))

    def step(self) -> None:
        chance, window = self.chance, self.window
        self.clock.now += chance.choice([0, 0, 0.001, 0.1, chance.expovariate(1)])
        entry = chance.choice(self.under_way) if self.under_way else None
        what = chance.choice(["take", "take", "depart", "hear", "hear", "refuted", "resize", "correct"])
        if what == "take" or entry is None:
            self.let_through(chance.choice([0, 1, 1, self.limit / 50, self.limit / 3, 2 * self.limit]))
        elif what == "depart" and entry.boarding:
            window.departed(entry, self.clock.now)
        elif what == "hear":
            self.hear(entry)
        elif what == "refuted":
            window.refuted()
        elif what == "resize":
            window.resize(max(1.0, self.limit * chance.choice([0.1, 0.5, 1, 1])))
        elif what == "correct":
            self.under_way.remove(entry)
            window.correct(entry, chance.choice([0, entry.amount, 2 * entry.amount, self.limit / 50]))


def at_once(taking: Coroutine[Any, Any, T]) -> T:
    """After a wait of 0 nothing is waited for."""
    try:
        taking.send(None)
    except StopIteration as taken:
        result: T = taken.value
        return result
    taking.close()
    return pytest.fail("it waits though it need not")


async def live(seed: int) -> None:
    chance, clock = random.Random(seed), Clock()
    asyncio.get_running_loop().time = clock  # type: ignore[method-assign]
    limit, guessed = chance.choice([1, 2, 7, 600, 10_000, 1_000_000]), chance.random() < 0.5
    period = 60.0 if guessed else chance.choice([0.4, 1.0, 6.0, 60.0, 60.5, 86_400.0])
    window = RateWindow(limit, period, clock=clock, what=chance.choice(["requests", "tokens"]), guessed=guessed)
    if chance.random() < 0.3:
        window.used_before(chance.choice([0, 2 * limit, limit / 2]), chance.choice([None, 0.0, period, 1e6]))
    life = Life(chance, clock, limit, window)
    for _ in range(150):
        life.step()
        assert not math.isnan(window.used())


@pytest.mark.parametrize("seed", range(40))
def test_no_order_of_words_and_refusals_stops_a_window(seed: int) -> None:
    """Limits from one to a million, periods from 0.4 s to a day, words that contradict each other."""
    asyncio.run(live(seed))


async def listen(seed: int) -> None:
    chance, clock = random.Random(seed), Clock()
    asyncio.get_running_loop().time = clock  # type: ignore[method-assign]
    lane = Lane(Served(ScriptedProvider(lambda *_: replying("good"))), Limits(), Prices(), clock)
    names, expected = chance.sample(NAMES, chance.randint(1, 8)), Expected(10, 10)
    for _ in range(60):
        clock.now += chance.choice([0, 0.1, chance.expovariate(1)])
        wait, _what = lane.wait(expected, 0.0, clock.now)
        assert 0 <= wait < math.inf
        clock.now += wait
        if lane.wait(expected, 0.0, clock.now)[0] > 0:
            continue
        taken = at_once(lane.take(expected))
        lane.departed(taken)
        lane.settle(taken, None, refused=False)
        if (pace := server_pace({name: chance.choice(ODD) for name in names}, 1.795e9)) is not None:
            lane.hear(pace, taken)
        lane.replied(taken, 0.5)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_stands_in_the_headers_the_next_request_gets_through(seed: int) -> None:
    asyncio.run(listen(seed))


async def through(window: RateWindow, now: Callable[[], float]) -> Entry:
    """Ten of it, as soon as they may go."""
    while (wait := window.wait(10)) > 0:  # noqa: ASYNC110 - the window says for how long
        await asyncio.sleep(wait)
    entry = await window.take(10)
    window.departed(entry, now())
    return entry


def test_answers_much_longer_than_expected_hold_the_next_back_for_two_periods_at_most() -> None:
    """A hundred of an expected 10 tokens took 1,000 each, of 1,000 a minute. After a minute the window is empty; the
    pace is not made to repay 99,000 tokens (86 minutes) but a minute's."""

    async def main() -> float:
        now = asyncio.get_running_loop().time
        window = RateWindow(1_000, 60.0, clock=now, what="tokens")
        entries = [await through(window, now) for _ in range(100)]
        for entry in entries:
            window.correct(entry, 1_000)
        began = now()
        for _ in range(2):
            await through(window, now)
        return now() - began

    assert run_virtual(main()) <= 2 * 60.3


def test_who_left_late_is_waited_for_at_once_and_not_looked_for_again_and_again() -> None:
    """Of two the first left 30 s late. Two fit a minute: the third waits until the first is a minute (and 0.3 s) away."""
    clock = Clock(0.0)

    async def main() -> float:
        asyncio.get_running_loop().time = clock  # type: ignore[method-assign]
        window = RateWindow(2, 60.0, clock=clock)
        late = window._log.add(0.0, 1.0, boarding=True)
        window.remember(1.0, 1.0)
        clock.now = 30.0
        window.departed(late, 30.0)
        clock.now = 61.5
        return window.wait(1.0)

    assert asyncio.run(main()) == pytest.approx(90.3 - 61.5)
