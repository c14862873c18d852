"""The endpoint in-process: the same behaviour on a virtual clock."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from smile_async.engine.job import Failure, FailureKind, LimitWord, Message, Reply, Request
from smile_async.engine.task import Provider
from smile_async.simulate import Breach, SimulatedProvider, SimulatorServer, SimulatorSettings
from smile_async.testing import run_virtual
from tests.simulate.raw_http import AT_ONCE, Wire


def request(prompt: str) -> Request:
    return Request((Message("user", prompt),))


def provider(**settings: Any) -> SimulatedProvider:
    return SimulatedProvider(SimulatorSettings.model_validate(settings), timeout=600)


def ask(prompt: str = "问", **settings: Any) -> Reply | Failure:
    return run_virtual(provider(**settings).ask(request(prompt)))


def test_it_is_a_provider() -> None:
    it: Provider = provider(seed=3)
    assert it.identity == {"provider": "simulated", "model": "simulated", "seed": 3}


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        ("rate-limited", FailureKind.RATE_LIMITED, 429),
        ("rate-limited-bare", FailureKind.RATE_LIMITED, 429),
        ("server-error", FailureKind.SERVER_ERROR, 500),
        ("bad-gateway", FailureKind.GATEWAY, 502),
        ("unavailable", FailureKind.OVERLOADED, 503),
        ("content-filter", FailureKind.CONTENT_FILTER, 400),
        ("reset", FailureKind.DISCONNECTED, None),
        ("cut-body", FailureKind.DISCONNECTED, 200),
        ("broken-json", FailureKind.BROKEN_BODY, 200),
        ("empty-choices", FailureKind.BROKEN_BODY, 200),
        ("hang", FailureKind.TIMEOUT, None),
    ],
)
def test_a_fault_is_a_failure_of_its_kind(fault: str, kind: FailureKind, status: int | None) -> None:
    found = ask(faults={fault: 1}, fault_retry_after=2.5)
    assert isinstance(found, Failure)
    assert (found.kind, found.status) == (kind, status)
    assert found.retry_after == (2.5 if fault == "rate-limited" else None)
    assert (found.raw is not None) == (status == 200)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"api_key": "right"}, FailureKind.AUTH),
        ({"quota_requests": 0}, FailureKind.QUOTA_EXHAUSTED),
        ({"limits": {"tokens": 1}}, FailureKind.RATE_LIMITED),
    ],
)
def test_what_the_server_refuses_is_a_failure_too(settings: dict[str, Any], kind: FailureKind) -> None:
    found = ask(**settings)
    assert isinstance(found, Failure)
    assert found.kind == kind


@pytest.mark.parametrize(
    ("fault", "text", "finish_reason"),
    [("empty-content", "", "stop"), ("filtered-answer", "", "content_filter"), ("refusal", "", "stop")],
)
def test_answers_without_a_dialogue_are_replies(fault: str, text: str, finish_reason: str) -> None:
    found = ask(faults={fault: 1})
    assert isinstance(found, Reply)
    assert (found.text, found.finish_reason) == (text, finish_reason)
    assert (found.refusal is not None) == (fault == "refusal")


def test_latency_passes_on_the_loops_clock_and_a_deadline_ends_it() -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        it = provider(latency={"base": 100, "jitter": 0})
        first = await it.ask(request("问"))
        after = loop.time()
        hurried = SimulatedProvider(it.endpoint.settings, timeout=30)
        return [isinstance(first, Reply), after, await hurried.ask(request("问")), loop.time() - after]

    replied, after, late, waited = run_virtual(main())
    assert (replied, after, waited) == (True, pytest.approx(100), pytest.approx(30))
    assert isinstance(late, Failure)
    assert late.kind is FailureKind.TIMEOUT


def test_limits_free_up_as_virtual_time_passes_and_the_pace_says_so() -> None:
    async def main() -> list[Reply | Failure]:
        it = provider(latency=AT_ONCE, limits={"requests": 1, "window": 60})
        first, second = await it.ask(request("甲")), await it.ask(request("乙"))
        assert isinstance(second, Failure)
        assert second.retry_after is not None
        await asyncio.sleep(second.retry_after)
        return [first, second, await it.ask(request("乙"))]

    first, second, third = run_virtual(main())
    assert isinstance(first, Reply)
    assert isinstance(second, Failure)
    assert isinstance(third, Reply)
    assert first.pace is not None
    (word,) = first.pace.limits
    assert replace(word, reset=None) == LimitWord("requests", 60.0, 1, 0)
    assert word.reset == pytest.approx(60)
    assert second.retry_after == pytest.approx(60)


def test_headers_of_the_admission_are_stale_by_the_latency() -> None:
    found = {}
    for moment in ("admission", "answer"):
        reply = ask(latency={"base": 10, "jitter": 0}, limits={"requests": 5, "headers_at": moment})
        assert isinstance(reply, Reply)
        assert reply.pace is not None
        found[moment] = reply.pace.limits[0].reset
    assert found == {"admission": pytest.approx(60), "answer": pytest.approx(50)}


def test_a_cancelled_ask_is_abandoned_and_its_sums_still_add_up() -> None:
    async def main() -> dict[str, Any]:
        it = provider(latency={"base": 1000}, faults={"hang": 0.5})
        tasks = [asyncio.create_task(it.ask(request(f"问{n}"))) for n in range(40)]
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return it.endpoint.report()

    stats = run_virtual(main())
    assert stats["hangs"] > 0
    assert stats["hangs"] + stats["abandoned"] == stats["requests"] == 40
    assert (stats["in_flight"], stats["pending"]) == (0, 0)


def test_in_process_and_over_http_the_same_prompt_gets_the_same_text() -> None:
    settings = SimulatorSettings(seed=8, latency=AT_ONCE, breaches={Breach.BAD_START: 0.5})

    async def over_http() -> list[str]:
        async with SimulatorServer(settings) as server, Wire(server.base_url) as wire:
            return [(await wire.ask(f"问{n}")).text for n in range(20)]

    async def in_process() -> list[str]:
        replies = [await SimulatedProvider(settings).ask(request(f"问{n}")) for n in range(20)]
        return [reply.text for reply in replies if isinstance(reply, Reply)]

    assert asyncio.run(over_http()) == run_virtual(in_process())
