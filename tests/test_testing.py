"""The virtual loop and the scripted provider, which users' tests may use too."""

import asyncio
import time

import pytest

from smile_async.engine.job import Failure, FailureKind, Message, Reply, Request, Usage
from smile_async.testing import ScriptedProvider, in_turn, replying, run_virtual


def test_an_hour_of_sleeping_takes_no_time_and_passes_on_the_loops_clock() -> None:
    async def main() -> float:
        await asyncio.sleep(3_600)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run_virtual(main()) == pytest.approx(3_600, abs=0.001)
    assert time.monotonic() - began < 1


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append(seconds)

    async def main() -> None:
        await asyncio.gather(*(sleeper(seconds) for seconds in (300.0, 0.5, 20.0, 0.0)))

    run_virtual(main())
    assert woken == [0.0, 0.5, 20.0, 300.0]


def test_a_wait_that_nothing_can_end_is_reported_instead_of_hanging() -> None:
    with pytest.raises(RuntimeError, match="the test would hang"):
        run_virtual(asyncio.Event().wait())


def test_a_timer_that_is_a_rounding_ahead_of_the_clock_comes_due() -> None:
    """As aiolimiter sets them: asked for again and again at the same instant, until the clock has moved."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(600)
        due = loop.time() + 1e-10
        while loop.time() < due:  # noqa: ASYNC110 (the busy waiting is what is tested)
            await asyncio.sleep(0)
        assert loop.time() == pytest.approx(600, abs=0.001)

    run_virtual(main())


def test_timeouts_work_on_it() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.sleep(31)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(30, abs=0.001)


def test_each_run_has_a_fresh_clock() -> None:
    async def main() -> float:
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) < 0.001
    assert run_virtual(main()) < 0.001


def ask(provider: ScriptedProvider, times: int) -> list[Reply | Failure]:
    async def main() -> list[Reply | Failure]:
        request = Request((Message("user", "问"),))
        return list(await asyncio.gather(*(provider.ask(request) for _ in range(times))))

    return run_virtual(main())


def test_a_scripted_provider_answers_in_turn_and_keeps_what_it_was_asked() -> None:
    failure = Failure(FailureKind.SERVER_ERROR)
    provider = ScriptedProvider(in_turn([failure], then=replying("好")), latency=2.0)
    assert ask(provider, 3) == [failure, replying("好"), replying("好")]
    assert [request.messages[0].content for _, request in provider.asked] == ["问"] * 3
    assert (provider.most_in_flight, provider.in_flight) == (3, 0)


def test_a_script_may_wait_and_an_exception_that_it_returns_is_raised() -> None:
    async def script(_request: Request, _number: int) -> Reply:
        await asyncio.sleep(5)
        return replying("later")

    assert ask(ScriptedProvider(script), 1) == [replying("later")]
    with pytest.raises(ValueError, match="a bug"):
        ask(ScriptedProvider(lambda _request, _number: ValueError("a bug")), 1)


def test_a_reply_has_usage_and_a_provider_can_be_closed() -> None:
    assert replying("好", prompt_tokens=3, completion_tokens=4).usage == Usage(3, 4)
    provider = ScriptedProvider(in_turn([], then=replying("好")))
    asyncio.run(provider.aclose())
    assert provider.closed
