"""Answers in pieces over real sockets: the same text, usage when asked, and each fault in the middle of it."""

import asyncio
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from smile_async.engine.job import Message, Request
from smile_async.provider.anthropic import AnthropicDialect
from smile_async.provider.chat import ChatDialect, bearer_headers, chat_url
from smile_async.provider.dialect import Dialect
from smile_async.provider.streaming import AnswerError, StreamedAnswers
from smile_async.settings import Sampling, Timeouts
from smile_async.simulate import SimulatorServer, SimulatorSettings
from tests.simulate.raw_http import AT_ONCE, Response, Wire

PROMPT = "我很难过"


def streamed(*, path: str = "/v1/chat/completions", wanted: dict[str, Any] | None = None, **settings: Any) -> Response:
    """The answer to a request for a stream."""

    async def main() -> Response:
        chosen = SimulatorSettings.model_validate({"latency": AT_ONCE, **settings})
        async with SimulatorServer(chosen) as server, Wire(server.base_url) as wire:
            return await wire.ask(PROMPT, path=path, **{"stream": True, **(wanted or {})})

    return asyncio.run(main())


def events(response: Response) -> list[Any]:
    """What the `data:` lines hold; the last one is no JSON."""
    lines = [line.removeprefix("data: ") for line in response.body.decode().split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [orjson.loads(line) for line in lines[:-1]]


def whole(**settings: Any) -> tuple[str, dict[str, Any]]:
    """The answer to the same request without a stream, and its usage."""

    async def main() -> Response:
        chosen = SimulatorSettings.model_validate({"latency": AT_ONCE, **settings})
        async with SimulatorServer(chosen) as server, Wire(server.base_url) as wire:
            return await wire.ask(PROMPT)

    response = asyncio.run(main())
    return response.text, response.json["usage"]


def told(found: list[Any]) -> str:
    return "".join(event["choices"][0]["delta"].get("content", "") for event in found if event["choices"])


def test_the_pieces_are_the_text_of_the_whole_answer() -> None:
    response = streamed(seed=5)
    found = events(response)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert {event["object"] for event in found} == {"chat.completion.chunk"}
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [event["choices"][0]["finish_reason"] for event in found if event["choices"][0]["finish_reason"]] == ["stop"]
    assert told(found) == whole(seed=5)[0]
    assert not any("usage" in event for event in found)


def test_usage_comes_last_when_it_is_asked_for_and_is_that_of_the_whole_answer() -> None:
    found = events(streamed(seed=5, wanted={"stream_options": {"include_usage": True}}))
    assert [event["usage"] for event in found[:-1]] == [None] * (len(found) - 1)
    assert (found[-1]["choices"], found[-1]["usage"]) == ([], whole(seed=5)[1])


def test_options_of_a_stream_without_a_stream_are_refused() -> None:
    response = streamed(wanted={"stream": False, "stream_options": {"include_usage": True}})
    assert response.status == 400
    assert "only allowed when 'stream' is enabled" in response.json["error"]["message"]


@pytest.mark.parametrize(("fault", "status"), [("server-error", 500), ("rate-limited", 429), ("content-filter", 400)])
def test_an_error_comes_in_place_of_a_stream(fault: str, status: int) -> None:
    response = streamed(faults={fault: 1})
    assert response.status == status
    assert "error" in response.json


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("truncated", "length"), ("filtered-answer", "content_filter"), ("empty-content", "stop"), ("refusal", "stop")],
)
def test_the_reason_of_the_end_is_told(fault: str, reason: str) -> None:
    found = events(streamed(faults={fault: 1}))
    assert found[-1]["choices"][0]["finish_reason"] == reason
    refused = "".join(event["choices"][0]["delta"].get("refusal", "") for event in found)
    assert bool(refused) == (fault == "refusal")


def test_blank_lines_come_before_the_pieces_as_some_servers_keep_alive() -> None:
    response = streamed(faults={"blank-lines": 1}, latency={"base": 0.05})
    assert response.body.startswith(b"\ndata: ")
    assert told(events(Response(200, {}, response.body.lstrip()))) == whole(faults={"blank-lines": 1})[0]


def dialect_of(base_url: str, *, messages: bool) -> Dialect:
    if messages:
        return AnthropicDialect(
            base_url=base_url.removesuffix("/v1"), api_key=SecretStr("k"), model="m", headers={}, sampling=Sampling()
        )
    return ChatDialect(
        url=chat_url(base_url), headers=bearer_headers(SecretStr("k"), {}), model="m", sampling=Sampling()
    )


async def read(server: SimulatorServer, *, messages: bool = False, total: float = 5.0) -> tuple[str, str]:
    """What the package's own client reads, and why it was broken off."""
    timeouts = Timeouts(read=total, total=total)
    answers = StreamedAnswers(dialect_of(server.base_url, messages=messages), timeouts=timeouts)
    pieces: list[str] = []
    try:
        async for piece in answers.pieces(Request((Message("user", PROMPT),), 4_000)):
            pieces.append(piece)  # noqa: PERF401 (what came before an error counts)
    except AnswerError as error:
        return "".join(pieces), error.message
    finally:
        await answers.aclose()
    return "".join(pieces), ""


def answered(*, messages: bool = False, total: float = 5.0, **settings: Any) -> tuple[str, str, dict[str, Any]]:
    async def main() -> tuple[str, str, dict[str, Any]]:
        async with SimulatorServer(SimulatorSettings.model_validate({"latency": AT_ONCE, **settings})) as server:
            text, error = await read(server, messages=messages, total=total)
            await server.wait_idle()
            return text, error, server.stats

    return asyncio.run(main())


@pytest.mark.parametrize("messages", [False, True])
def test_the_packages_own_client_reads_the_whole_answer(messages: bool) -> None:
    text, error, stats = answered(messages=messages, seed=5)
    assert (text, error) == (whole(seed=5)[0], "")
    assert (stats["by_status"], stats["served"]["completions"]) == ({"200": 1}, 1)


@pytest.mark.parametrize("messages", [False, True])
@pytest.mark.parametrize(
    ("fault", "why"),
    [("cut-body", "was cut"), ("hang", "timeout"), ("broken-json", "no JSON")],
)
def test_a_fault_in_the_middle_leaves_the_first_half_and_its_reason(
    fault: str,
    why: str,
    messages: bool,
) -> None:
    text, error, stats = answered(messages=messages, total=0.3, seed=5, faults={fault: 1})
    rest = whole(seed=5)[0].removeprefix(text)
    assert why in error
    assert len(text) > 100
    assert len(rest) > 100
    assert (stats["billed"]["completions"], stats["served"]["completions"]) == (1, 0)
    assert stats["hangs"] == (fault == "hang")


def test_pieces_come_over_the_time_that_the_answer_takes() -> None:
    """0.1 s to the first one, then 0.0005 s for each of about 600 tokens."""

    async def main() -> list[float]:
        settings = SimulatorSettings.model_validate({"latency": {"base": 0.1, "per_token": 0.0005, "jitter": 0.0}})
        async with SimulatorServer(settings) as server:
            loop, dialect = asyncio.get_running_loop(), dialect_of(server.base_url, messages=False)
            answers, began = StreamedAnswers(dialect), asyncio.get_running_loop().time()
            times = [loop.time() - began async for _ in answers.pieces(Request((Message("user", PROMPT),)))]
            await answers.aclose()
            return times

    times = asyncio.run(main())
    tokens = whole()[1]["completion_tokens"]
    assert times[0] >= 0.1
    assert times[-1] >= 0.1 + 0.0005 * tokens * 0.9
    assert times[len(times) // 2] < times[-1] - 0.1


def test_a_client_that_goes_away_in_the_middle_is_counted_as_gone() -> None:
    async def main() -> dict[str, Any]:
        settings = SimulatorSettings.model_validate({"latency": {"base": 0.0, "per_token": 0.01}})
        async with SimulatorServer(settings) as server:
            answers = StreamedAnswers(dialect_of(server.base_url, messages=False))
            pieces = answers.pieces(Request((Message("user", PROMPT),)))
            await anext(pieces)
            await pieces.aclose()
            await answers.aclose()
            await server.wait_idle()
            return server.stats

    stats = asyncio.run(main())
    assert (stats["abandoned"], stats["pending"], stats["by_status"]) == (1, 0, {})
