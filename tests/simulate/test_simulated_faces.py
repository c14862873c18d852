"""Anthropic's and Azure's interfaces on the wire: as strict as they are, one behaviour and one count behind all."""

import asyncio
from typing import Any

import orjson
import pytest

from smile_async.simulate import SimulatorServer, SimulatorSettings
from tests.simulate.raw_http import AT_ONCE, Response, Wire, post_bytes

VERSION = "anthropic-version: 2023-06-01\r\n"
ASK = {"model": "m", "max_tokens": 5_000, "messages": [{"role": "user", "content": "我很难过"}]}
DATED = "/openai/deployments/d%201/chat/completions?api-version=2024-10-21"


def posted(
    body: Any, *, path: str = "/v1/messages", headers: str = VERSION, **settings: Any
) -> tuple[Response, dict[str, Any]]:
    """The answer to one request, and what the server counted."""

    async def main() -> tuple[Response, dict[str, Any]]:
        chosen = SimulatorSettings.model_validate({"latency": AT_ONCE, **settings})
        async with SimulatorServer(chosen) as server, Wire(server.base_url) as wire:
            await wire.send(post_bytes(orjson.dumps(body), path=path, headers=headers))
            return await wire.response(), server.stats

    return asyncio.run(main())


def test_a_message_has_the_text_of_the_completion_for_the_same_prompt() -> None:
    message, stats = posted(ASK, seed=5)
    completion, _ = posted(ASK, path="/v1/chat/completions", seed=5)

    assert (message.status, message.json["type"], message.json["stop_reason"]) == (200, "message", "end_turn")
    assert [block["text"] for block in message.json["content"]] == [completion.text]
    assert message.json["usage"]["input_tokens"] == 3  # four characters of 0.7, rounded up
    assert stats["served"]["completion_tokens"] == message.json["usage"]["output_tokens"]


def test_the_system_is_part_of_the_prompt_as_it_is_in_chat_completions() -> None:
    chat = {**ASK, "messages": [{"role": "system", "content": "你是咨询师"}, *ASK["messages"]]}  # type: ignore[misc]
    as_blocks = {**ASK, "system": [{"type": "text", "text": "你是咨询师"}]}

    texts = {
        posted({**ASK, "system": "你是咨询师"})[0].json["content"][0]["text"],
        posted(as_blocks)[0].json["content"][0]["text"],
        posted(chat, path="/v1/chat/completions")[0].text,
    }

    assert len(texts) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"model": None}, "model: Field required"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0: needs the role user or assistant"),
        ({"system": 7}, "system: "),
        ({"temperature": 1.5}, "temperature: range: 0..1"),
        ({"temperature": 1.0, "top_p": 1.0}, "cannot both be specified"),
        ({"stream": "yes"}, "stream: Input should be a valid boolean"),
    ],
)
def test_a_request_that_anthropic_refuses_is_refused(change: dict[str, Any], told: str) -> None:
    response, stats = posted({**ASK, **change})

    assert response.status == 400
    assert response.json["type"] == "error"
    assert response.json["error"]["type"] == "invalid_request_error"
    assert told in response.json["error"]["message"]
    assert stats["admitted"] == 0


def test_the_version_is_required() -> None:
    response, _ = posted(ASK, headers="")

    assert (response.status, response.json["error"]["message"]) == (400, "anthropic-version: header is required")


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [
        ("/v1/messages", "x-api-key: right\r\n", 200),
        ("/v1/messages", "authorization: Bearer right\r\n", 401),
        ("/v1/messages", "api-key: right\r\n", 401),
        (DATED, "api-key: right\r\n", 200),
        (DATED, "x-api-key: right\r\n", 401),
        ("/v1/chat/completions", "authorization: Bearer right\r\n", 200),
        ("/v1/chat/completions", "x-api-key: right\r\n", 401),
    ],
)
def test_each_interface_takes_the_key_from_its_own_header(path: str, header: str, status: int) -> None:
    assert posted(ASK, path=path, headers=VERSION + header, api_key="right")[0].status == status


@pytest.mark.parametrize(
    ("settings", "status", "kind"),
    [
        ({"faults": {"rate-limited": 1}}, 429, "rate_limit_error"),
        ({"faults": {"server-error": 1}}, 500, "api_error"),
        ({"faults": {"unavailable": 1}}, 529, "overloaded_error"),
        ({"faults": {"content-filter": 1}}, 400, "invalid_request_error"),
        ({"models": ["other"]}, 404, "not_found_error"),
        ({"quota_requests": 0}, 400, "invalid_request_error"),
        ({"limits": {"output_tokens": 1}}, 429, "rate_limit_error"),
    ],
)
def test_failures_have_anthropics_status_and_type(settings: dict[str, Any], status: int, kind: str) -> None:
    response, stats = posted(ASK, **settings)

    assert (response.status, response.json["error"]["type"]) == (status, kind)
    assert stats["by_status"] == {str(status): 1}


@pytest.mark.parametrize(
    ("fault", "reason", "blocks"), [("truncated", "max_tokens", 1), ("filtered-answer", "refusal", 0)]
)
def test_an_answer_ends_for_anthropics_reasons(fault: str, reason: str, blocks: int) -> None:
    response, _ = posted(ASK, faults={fault: 1})

    assert response.json["stop_reason"] == reason
    assert len(response.json["content"]) == blocks


def test_anthropics_headers_tell_limits_of_prompt_and_answer_apart() -> None:
    response, _ = posted(ASK, limits={"requests": 9, "input_tokens": 100, "output_tokens": 9_000})
    used = response.json["usage"]

    assert response.headers["anthropic-ratelimit-requests-remaining"] == "8"
    assert response.headers["anthropic-ratelimit-input-tokens-limit"] == "100"
    assert response.headers["anthropic-ratelimit-input-tokens-remaining"] == str(100 - used["input_tokens"])
    assert response.headers["anthropic-ratelimit-output-tokens-remaining"] == str(9_000 - used["output_tokens"])
    assert response.headers["anthropic-ratelimit-output-tokens-reset"].endswith("Z")


# -- Azure ----------------------------------------------------------------------------------------------------


def test_on_azure_the_deployment_in_the_address_is_the_model() -> None:
    response, _ = posted(ASK, path=DATED, models=["d 1"])
    assert (response.status, response.json["model"]) == (200, "d 1")

    missing, _ = posted(ASK, path=DATED, models=["m"])
    assert (missing.status, missing.json["error"]["code"]) == (404, "DeploymentNotFound")


def test_on_azure_a_deployments_address_needs_a_version_and_v1_does_not() -> None:
    without, _ = posted(ASK, path=DATED.partition("?")[0])
    assert (without.status, without.json["error"]["message"]) == (404, "Resource not found")

    assert posted(ASK, path="/openai/v1/chat/completions")[0].status == 200


def test_azure_says_what_it_filtered() -> None:
    prompt, _ = posted(ASK, path=DATED, faults={"content-filter": 1})
    answer, _ = posted(ASK, path=DATED, faults={"filtered-answer": 1})

    inner = prompt.json["error"]["innererror"]
    assert inner["code"] == "ResponsibleAIPolicyViolation"
    assert inner["content_filter_result"]["self_harm"]["filtered"] is True
    assert answer.json["choices"][0]["content_filter_results"]["self_harm"]["filtered"] is True


def test_azures_headers_say_the_window() -> None:
    response, _ = posted(ASK, path=DATED, limits={"requests": 9, "window": 10})

    assert response.headers["x-ratelimit-renewalperiod-requests"] == "10"
    assert response.headers["x-ratelimit-reset-requests"] == "10"
