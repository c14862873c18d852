"""The server over real sockets, seen as bytes: each fault, keep-alive, pipelining, bounds, counts that add up."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
import pytest

from smile_async.errors import UsageError
from smile_async.simulate import SimulatorServer, SimulatorSettings
from smile_async.simulate.server import QUEUE_LIMIT
from smile_async.simulate.wire import MAX_BODY
from tests.simulate.raw_http import AT_ONCE, Response, Wire, chat_bytes, post_bytes

Result = TypeVar("Result")


def with_server(act: Callable[[SimulatorServer], Awaitable[Result]], **settings: Any) -> Result:
    """Run `act` against a server that answers at once unless `settings` say otherwise."""

    async def main() -> Result:
        async with SimulatorServer(SimulatorSettings.model_validate({"latency": AT_ONCE, **settings})) as server:
            return await act(server)

    return asyncio.run(main())


def one_answer(**settings: Any) -> tuple[Response, dict[str, Any]]:
    async def act(server: SimulatorServer) -> tuple[Response, dict[str, Any]]:
        async with Wire(server.base_url) as wire:
            return await wire.ask("我很难过"), server.stats

    return with_server(act, **settings)


def adds_up(stats: dict[str, Any]) -> bool:
    ended = sum(stats["by_status"].values()) + stats["resets"] + stats["hangs"] + stats["abandoned"]
    return bool(stats["requests"] == ended + stats["pending"])


def test_an_answer_is_a_chat_completion_with_usage() -> None:
    response, stats = one_answer()
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json["object"] == "chat.completion"
    assert response.json["model"] == "m"
    assert response.json["choices"][0]["finish_reason"] == "stop"
    usage = response.json["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] == 3  # four characters of 0.7, rounded up
    assert stats["served"] == {
        "completions": 1,
        "prompt_tokens": 3,
        "completion_tokens": usage["completion_tokens"],
    }


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("rate-limited", 429, "rate_limit_exceeded"),
        ("rate-limited-bare", 429, "rate_limit_exceeded"),
        ("server-error", 500, None),
        ("unavailable", 503, "overloaded"),
        ("content-filter", 400, "content_filter"),
    ],
)
def test_a_failing_request_gets_an_openai_error_and_is_not_billed(fault: str, status: int, code: str | None) -> None:
    response, stats = one_answer(faults={fault: 1}, fault_retry_after=1.5)
    assert response.status == status
    assert response.json["error"]["code"] == code
    assert ("retry-after" in response.headers) == (fault == "rate-limited")
    if fault == "rate-limited":
        assert (response.headers["retry-after"], response.headers["retry-after-ms"]) == ("2", "1500")
    assert stats["by_fault"] == {fault: 1}
    assert stats["billed"]["completions"] == stats["served"]["completions"] == 0
    assert adds_up(stats)


def test_a_bad_gateway_is_a_page_of_html() -> None:
    response, _stats = one_answer(faults={"bad-gateway": 1})
    assert response.status == 502
    assert response.headers["content-type"] == "text/html"
    assert response.body.startswith(b"<html>")


def test_broken_json_is_a_whole_body_that_does_not_parse() -> None:
    response, stats = one_answer(faults={"broken-json": 1})
    assert response.status == 200
    with pytest.raises(orjson.JSONDecodeError):
        _ = response.json
    assert (stats["served"]["completions"], stats["billed"]["completions"]) == (0, 1)


@pytest.mark.parametrize(
    ("fault", "content", "finish_reason", "refused"),
    [
        ("empty-content", "", "stop", False),
        ("filtered-answer", None, "content_filter", False),
        ("refusal", None, "stop", True),
    ],
)
def test_an_answer_without_a_dialogue_says_how(
    fault: str, content: str | None, finish_reason: str, refused: bool
) -> None:
    response, stats = one_answer(faults={fault: 1})
    choice = response.json["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (content, finish_reason)
    assert ("refusal" in choice["message"]) == refused
    assert stats["served"]["completions"] == 1


def test_the_remaining_faults_that_are_answers() -> None:
    assert one_answer(faults={"empty-choices": 1})[0].json["choices"] == []
    assert one_answer(faults={"truncated": 1})[0].json["choices"][0]["finish_reason"] == "length"
    assert len(one_answer(faults={"refusal-text": 1})[0].text) < 80
    assert len(one_answer(faults={"slow": 1})[0].text) > 500


def test_blank_lines_come_in_chunks_before_the_answer() -> None:
    response, stats = one_answer(faults={"blank-lines": 1})
    assert response.headers["transfer-encoding"] == "chunked"
    assert response.body.startswith(b"\n{")
    assert len(response.text) > 500
    assert adds_up(stats)


def test_a_reset_sends_no_byte() -> None:
    async def act(server: SimulatorServer) -> dict[str, Any]:
        async with Wire(server.base_url) as wire:
            await wire.send(chat_bytes("问"))
            with pytest.raises(ConnectionResetError):
                await wire.reader.read()
        return server.stats

    stats = with_server(act, faults={"reset": 1})
    assert (stats["resets"], stats["billed"]["completions"], stats["by_status"]) == (1, 0, {})
    assert adds_up(stats)


def test_a_cut_body_announces_more_than_it_sends() -> None:
    async def act(server: SimulatorServer) -> tuple[int, bytes, dict[str, Any]]:
        async with Wire(server.base_url) as wire:
            await wire.send(chat_bytes("问"))
            head = await wire.head()
            return int(head.headers["content-length"]), await wire.reader.read(), server.stats

    announced, body, stats = with_server(act, faults={"cut-body": 1})
    assert len(body) == announced // 2
    assert (stats["by_status"], stats["served"]["completions"], stats["billed"]["completions"]) == ({"200": 1}, 0, 1)


def test_a_hanging_request_holds_its_place_until_the_client_goes() -> None:
    async def act(server: SimulatorServer) -> list[dict[str, Any]]:
        async with Wire(server.base_url) as wire:
            await wire.send(chat_bytes("问"))
            async with Wire(server.base_url) as other:
                during = (await other.get("/stats")).json
        await server.wait_idle()
        return [during, server.stats]

    during, after = with_server(act, faults={"hang": 1})
    assert (during["hangs"], during["in_flight"], during["billed"]["completions"]) == (1, 1, 1)
    assert (after["hangs"], after["in_flight"], after["abandoned"]) == (1, 0, 0)
    assert adds_up(during)
    assert adds_up(after)


def test_a_client_that_goes_before_its_answer_is_counted_as_abandoned_and_billed() -> None:
    async def act(server: SimulatorServer) -> dict[str, Any]:
        async with Wire(server.base_url) as wire:
            await wire.send(chat_bytes("问"))
            async with Wire(server.base_url) as other:
                assert (await other.get("/stats")).json["pending"] == 1
        await server.wait_idle()
        return server.stats

    stats = with_server(act, latency={"base": 3600})
    assert (stats["abandoned"], stats["pending"], stats["in_flight"]) == (1, 0, 0)
    assert (stats["billed"]["completions"], stats["served"]["completions"]) == (1, 0)


def test_one_connection_serves_many_requests_and_closes_when_told() -> None:
    async def act(server: SimulatorServer) -> tuple[list[int], bytes]:
        async with Wire(server.base_url) as wire:
            found = [(await wire.ask(f"问{n}")).status for n in range(5)]
            found.append((await wire.ask("末", headers="connection: close\r\n")).status)
            return found, await wire.reader.read()

    assert with_server(act) == ([200] * 6, b"")


def test_pipelined_requests_are_answered_in_order_however_many() -> None:
    async def act(server: SimulatorServer) -> tuple[list[str], list[str]]:
        async with Wire(server.base_url) as wire:
            alone = [(await wire.ask(f"问{n}")).text for n in range(200)]
        return alone, alone

    async def pipelined(server: SimulatorServer) -> list[str]:
        async with Wire(server.base_url) as wire:
            await wire.send(b"".join(chat_bytes(f"问{n}") for n in range(200)))
            return [(await wire.response()).text for _ in range(200)]

    latency = {"base": 0.0005}  # so that requests queue up behind the one that is served
    assert with_server(pipelined, latency=latency) == with_server(act)[0]


def test_reading_pauses_when_too_many_requests_wait_on_one_connection() -> None:
    async def act(server: SimulatorServer) -> list[bool]:
        async with Wire(server.base_url) as wire, Wire(server.base_url) as other:
            await wire.send(b"".join(chat_bytes(f"问{n}") for n in range(2 * QUEUE_LIMIT)))
            await other.get("/healthz")
            return sorted(it._transport.is_reading() for it in server.connections)

    assert with_server(act, faults={"hang": 1}) == [False, True]


def test_asked_again_a_prompt_gets_another_answer_and_a_refused_ask_counts_as_none() -> None:
    async def act(server: SimulatorServer) -> list[str]:
        async with Wire(server.base_url) as wire:
            found = [await wire.ask("问", max_tokens=size) for size in (5000, 5000, 90_000, 5000)]
        return [it.text if it.status == 200 else str(it.status) for it in found]

    limits = {"tokens": 50_000, "charge": "max_tokens"}
    first, second, refused, third = with_server(act, limits=limits)
    again = with_server(lambda server: ask_all(server, ["问"] * 3, 1))["问"]
    assert refused == "429"
    assert len({first, second, third}) == 3
    assert [first, second, third] == [choices[0]["message"]["content"] for _, choices in again]


def test_a_request_may_come_byte_by_byte_or_in_chunks_or_after_a_100_continue() -> None:
    async def act(server: SimulatorServer) -> list[Response]:
        whole = chat_bytes("问")
        head, body = whole.split(b"\r\n\r\n")
        chunked = head.rsplit(b"\r\n", 1)[0] + b"\r\ntransfer-encoding: chunked\r\n\r\n"
        chunked += b"5\r\n" + body[:5] + b"\r\n" + f"{len(body) - 5:x}\r\n".encode() + body[5:] + b"\r\n0\r\n\r\n"
        found = []
        async with Wire(server.base_url) as wire:
            for n in range(len(whole)):
                await wire.send(whole[n : n + 1])
                await asyncio.sleep(0)
            found.append(await wire.response())
            await wire.send(chunked)
            found.append(await wire.response())
            await wire.send(head + b"\r\nexpect: 100-continue\r\n\r\n")
            found.append(await wire.head())
            await wire.send(body)
            found.append(await wire.response())
        return found

    found = with_server(act)
    assert [response.status for response in found] == [200, 200, 100, 200]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01 this is TLS\r\n\r\n", 400),
        (b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
        (b"GET /healthz HTTP/1.1\r\n" + b"x: %b\r\n" % (b"y" * 1000) * 70 + b"\r\n", 431),
    ],
)
def test_what_is_no_http_or_too_large_gets_an_answer_and_the_door(sent: bytes, status: int) -> None:
    async def act(server: SimulatorServer) -> tuple[int, dict[str, Any]]:
        async with Wire(server.base_url) as wire:
            await wire.send(sent)
            response = await wire.response()
            assert await wire.reader.read() == b""
            return response.status, server.stats

    found, stats = with_server(act)
    assert found == status
    assert (stats["malformed"], stats["requests"]) == (1, 0)


def test_a_bad_body_is_a_400_that_counts_as_a_request_and_keeps_the_connection() -> None:
    async def act(server: SimulatorServer) -> tuple[Response, Response, dict[str, Any]]:
        async with Wire(server.base_url) as wire:
            await wire.send(post_bytes(b"{not json"))
            return await wire.response(), await wire.ask("问"), server.stats

    bad, good, stats = with_server(act)
    assert (bad.status, good.status) == (400, 200)
    assert "JSON" in bad.json["error"]["message"]
    assert stats["by_status"] == {"200": 1, "400": 1}
    assert adds_up(stats)


def test_a_wrong_key_an_unknown_model_and_an_exhausted_quota_have_openais_codes() -> None:
    async def act(server: SimulatorServer) -> list[tuple[int, str]]:
        key = "authorization: Bearer right\r\n"
        async with Wire(server.base_url) as wire:
            found = [
                await wire.ask("问"),
                await wire.ask("问", headers=key, model="nobody"),
                await wire.ask("问", headers=key, model="a"),
                await wire.ask("问", headers="api-key: right\r\n", model="a"),
            ]
        return [(it.status, it.json.get("error", {}).get("code", "")) for it in found]

    assert with_server(act, api_key="right", models=["a"], quota_requests=1) == [
        (401, "invalid_api_key"),
        (404, "model_not_found"),
        (200, ""),
        (429, "insufficient_quota"),
    ]


def test_the_other_routes() -> None:
    async def act(server: SimulatorServer) -> list[Any]:
        async with Wire(server.base_url) as wire:
            models = (await wire.get("/v1/models")).json["data"][0]["id"]
            health = (await wire.get("/healthz")).json
            bare = (await wire.ask("问", path="/chat/completions")).status
            ended = (await wire.get("/stats/reset", method="POST")).json["requests"]
            after = (await wire.get("/stats")).json["requests"]
            return [models, health, bare, ended, after, (await wire.get("/v1/nothing")).status]

    assert with_server(act) == ["simulated", {"status": "ok"}, 200, 1, 0, 404]


def test_limits_refuse_with_headers_and_charge_nothing_for_it() -> None:
    async def act(server: SimulatorServer) -> tuple[list[Response], dict[str, Any]]:
        async with Wire(server.base_url) as wire:
            return [await wire.ask(f"问{n}") for n in range(4)], server.stats

    responses, stats = with_server(act, limits={"requests": 2, "tokens": 100_000})
    assert [it.status for it in responses] == [200, 200, 429, 429]
    assert [it.headers["x-ratelimit-remaining-requests"] for it in responses] == ["1", "0", "0", "0"]
    tokens = [100_000 - int(it.headers["x-ratelimit-remaining-tokens"]) for it in responses]
    usage = [it.json["usage"]["total_tokens"] for it in responses[:2]]
    assert tokens == [usage[0], sum(usage), sum(usage), sum(usage)]
    assert 59 <= int(responses[2].headers["retry-after"]) <= 60
    assert stats["limits"]["requests"] == {"limit": 2, "peak": 2}
    assert stats["limits"]["tokens"]["peak"] == sum(usage)
    assert stats["refused"] == {"requests": 2}
    assert stats["per_minute"] == [{"minute": 0, "requests": 2, "tokens": sum(usage)}]


def test_headers_and_retry_after_can_be_left_out() -> None:
    async def act(server: SimulatorServer) -> list[Response]:
        async with Wire(server.base_url) as wire:
            return [await wire.ask(f"问{n}") for n in range(2)]

    for response in with_server(act, limits={"requests": 1, "headers": False, "retry_after": False}):
        assert not [name for name in response.headers if "ratelimit" in name or "retry" in name]


def test_more_in_flight_than_allowed_is_a_503() -> None:
    async def act(server: SimulatorServer) -> tuple[int, dict[str, Any]]:
        async with Wire(server.base_url) as first, Wire(server.base_url) as second:
            await first.send(chat_bytes("甲"))
            await second.get("/healthz")
            return (await second.ask("乙")).status, server.stats

    status, stats = with_server(act, max_concurrency=1, faults={"hang": 1})
    assert status == 503
    assert (stats["refused"], stats["max_in_flight"]) == ({"concurrency": 1}, 1)


MIXED = {
    "seed": 11,
    "faults": {"server-error": 0.1, "truncated": 0.1, "rate-limited": 0.1, "empty-choices": 0.1},
    "breaches": {"bad-start": 0.1},
}


async def ask_all(server: SimulatorServer, prompts: list[str], workers: int) -> dict[str, list[tuple[int, Any]]]:
    """Each prompt with the status and the choices of each of its answers."""
    found: dict[str, list[tuple[int, Any]]] = {prompt: [] for prompt in prompts}
    queue = iter(prompts)

    async def work() -> None:
        async with Wire(server.base_url) as wire:
            for prompt in queue:
                response = await wire.ask(prompt)
                found[prompt].append((response.status, response.json.get("choices")))

    await asyncio.gather(*(work() for _ in range(workers)))
    return found


def test_answers_depend_on_neither_order_nor_concurrency() -> None:
    prompts = [f"问题{n}" for n in range(100)] * 3
    shuffled = random.Random(5).sample(prompts, len(prompts))
    in_order = with_server(lambda server: ask_all(server, prompts, 1), **MIXED)
    jumbled = with_server(lambda server: ask_all(server, shuffled, 20), **MIXED)
    assert {status for answers in in_order.values() for status, _ in answers} == {200, 429, 500}
    # A prompt asked twice at once may be answered in either order: compare each prompt's answers as a set.
    assert {k: sorted(v, key=repr) for k, v in in_order.items()} == {k: sorted(v, key=repr) for k, v in jumbled.items()}


def test_the_servers_sums_are_those_of_its_client() -> None:
    async def act(server: SimulatorServer) -> tuple[dict[str, list[tuple[int, Any]]], dict[str, Any]]:
        found = await ask_all(server, [f"问题{n % 80}" for n in range(200)], 8)
        async with Wire(server.base_url) as wire:
            return found, (await wire.get("/stats?per_prompt=1")).json

    found, stats = with_server(act, **MIXED)
    statuses = [status for answers in found.values() for status, _ in answers]
    assert stats["by_status"] == {str(status): statuses.count(status) for status in sorted(set(statuses))}
    assert stats["requests"] == 200
    assert stats["distinct_prompts"] == len(stats["per_prompt"]) == 80
    assert sum(it["asked"] for it in stats["per_prompt"].values()) == 200
    assert sum(it["answered"] for it in stats["per_prompt"].values()) == statuses.count(200)
    whole = sum(bool(choices) for answers in found.values() for _, choices in answers)
    assert sum(it["served"] for it in stats["per_prompt"].values()) == whole == stats["served"]["completions"]
    assert adds_up(stats)


def test_a_port_that_is_taken_is_a_usage_error() -> None:
    async def act(server: SimulatorServer) -> None:
        port = Wire(server.base_url).port
        with pytest.raises(UsageError, match=f"127.0.0.1:{port}"):
            async with SimulatorServer(SimulatorSettings(), port=port):
                pass

    with_server(act)
