"""What goes out, what comes back, and what of it is shown."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from smile_async.engine.job import Failure, FailureKind, LimitWord, Message, Reply, Request, ServerPace, Usage
from smile_async.engine.task import Provider
from smile_async.errors import SettingsError
from smile_async.provider.chat import ChatProvider, chat_url
from smile_async.provider.thinking import without_thinking
from tests.provider.wire import listening, sends

KEY = "sk-test-0123456789abcdef"
ASK = Request((Message("system", "你是咨询师。"), Message("user", "我睡不好，总是想着工作，怎么办？")))


def answer(content: Any = "你好", reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **more}
    return {
        "model": "m-2026",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23},
    }


def ask(
    body: Any, status: int = 200, told: Mapping[str, str] | None = None, request: Request = ASK, **settings: Any
) -> tuple[Reply | Failure, httpx.Request]:
    """One request through a user's own client; also what was sent."""
    sent: list[httpx.Request] = []

    def respond(received: httpx.Request) -> httpx.Response:
        sent.append(received)
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return httpx.Response(status, content=content, headers=dict(told or {}))

    async def main() -> Reply | Failure:
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as client:
            options = {"base_url": "https://api.test/v1", "model": "m", "client": client, **settings}
            return await ChatProvider(**options).ask(request)

    return asyncio.run(main()), sent[0]


def reply_to(body: Any) -> Reply:
    outcome, _ = ask(body)
    assert isinstance(outcome, Reply), outcome
    return outcome


def failure_of(body: Any, status: int = 200, **settings: Any) -> Failure:
    outcome, _ = ask(body, status, **settings)
    assert isinstance(outcome, Failure), outcome
    return outcome


# -- what goes out --------------------------------------------------------------------------------------------


def test_the_body_is_openais_with_chinese_unescaped() -> None:
    _, sent = ask(answer(), api_key=SecretStr(KEY), temperature=1.0, top_p=0.9, max_tokens=2048)

    assert orjson.loads(sent.content) == {
        "model": "m",
        "temperature": 1.0,
        "top_p": 0.9,
        "max_tokens": 2048,
        "messages": [{"role": message.role, "content": message.content} for message in ASK.messages],
    }
    assert "我睡不好".encode() in sent.content
    assert str(sent.url) == "https://api.test/v1/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/json"


def test_sampling_that_is_not_set_is_left_to_the_server() -> None:
    _, sent = ask(answer())

    assert set(orjson.loads(sent.content)) == {"model", "messages"}
    assert "authorization" not in sent.headers


def test_the_requests_own_fields_win_and_leave_the_provider_unchanged() -> None:
    request = Request(ASK.messages, max_tokens=99, extra={"seed": 7, "temperature": 0.1})

    _, sent = ask(answer(), request=request, max_tokens=10, temperature=1.0, extra={"seed": 1, "grammar": "g"})

    body = orjson.loads(sent.content)
    assert (body["max_tokens"], body["seed"], body["temperature"], body["grammar"]) == (99, 7, 0.1, "g")


def test_headers_of_the_users_win() -> None:
    _, sent = ask(answer(), api_key=SecretStr(KEY), headers={"Authorization": "Token t", "api-key": "a"})

    assert (sent.headers["authorization"], sent.headers["api-key"]) == ("Token t", "a")


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.test/v1", "https://api.test/v1/chat/completions"),
        ("https://api.test/v1/", "https://api.test/v1/chat/completions"),
        ("https://api.test", "https://api.test/v1/chat/completions"),
        ("https://api.test/", "https://api.test/v1/chat/completions"),
        ("https://api.test/api/paas/v4", "https://api.test/api/paas/v4/chat/completions"),
        ("https://api.test/v1/chat/completions/", "https://api.test/v1/chat/completions"),
        ("https://a.test/d/x/chat/completions?api-version=1", "https://a.test/d/x/chat/completions?api-version=1"),
        (" http://127.0.0.1:8000/v1 ", "http://127.0.0.1:8000/v1/chat/completions"),
    ],
)
def test_addresses(base_url: str, url: str) -> None:
    assert chat_url(base_url) == url


@pytest.mark.parametrize("base_url", ["", "api.test/v1", "ftp://u:hush@api.test", "https://", "//api.test"])
def test_an_address_that_is_none_is_refused_at_once(base_url: str) -> None:
    with pytest.raises(SettingsError, match="no web address") as caught:
        ChatProvider(base_url=base_url, model="m")

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-“pasted”", "sk-a\nb", "密钥"])
def test_a_key_that_no_header_can_hold_is_refused_at_once_and_not_shown(key: str) -> None:
    with pytest.raises(SettingsError, match="'authorization'") as caught:
        ChatProvider(base_url="https://api.test", model="m", api_key=SecretStr(key))

    assert key not in str(caught.value)


# -- what comes back ------------------------------------------------------------------------------------------


def test_a_reply_holds_text_reason_usage_and_model() -> None:
    assert reply_to(answer()) == Reply("你好", "stop", Usage(20, 3), "m-2026")


def test_blank_lines_before_the_answer_are_skipped() -> None:
    """DeepSeek sends them while it thinks."""
    assert reply_to(b"\n\n \r\n\n" + orjson.dumps(answer())).text == "你好"


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + orjson.dumps(answer()),
        orjson.dumps(answer()).decode().encode("utf-16"),
        orjson.dumps(answer())[:-1] + b',"logprob":NaN}',
        orjson.dumps(answer())[:-1] + b',"cut":"\\ud83d"}',
    ],
    ids=["byte order mark", "UTF-16", "NaN", "half a surrogate pair"],
)
def test_json_that_only_the_standard_library_reads_was_paid_for_too(body: bytes) -> None:
    assert reply_to(body).text == "你好"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("", ""),
        ([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}, "c"], "ab"),
        (7, ""),
        ("<think>\nhm\n</think>\n\n你好", "你好"),
        ("hm\n</think>\n你好", "你好"),  # the chat template swallowed the opening tag
        ("<think>hm, cut off", ""),
        ("I <think> so", "I <think> so"),
    ],
)
def test_content_in_its_shapes(content: Any, text: str) -> None:
    assert reply_to(answer(content)).text == text


def test_thoughts_are_cut_at_their_first_end() -> None:
    assert without_thinking("a</think>b</think>c") == "b</think>c"


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "x",
        {"total_tokens": 5},
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": -1, "completion_tokens": True},
        {"prompt_tokens": 2**63, "completion_tokens": "3"},  # more than SQLite holds: it stopped the run
    ],
)
def test_usage_that_says_nothing_is_none(usage: Any) -> None:
    assert reply_to(answer() | {"usage": usage}).usage is None


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        # OpenAI: thoughts are part of the completion, what the cache served is part of the prompt
        (
            {
                "prompt_tokens": 20,
                "completion_tokens": 300,
                "total_tokens": 320,
                "completion_tokens_details": {"reasoning_tokens": 256},
                "prompt_tokens_details": {"cached_tokens": 16},
            },
            Usage(20, 300, 256, 16),
        ),
        # DeepSeek
        ({"prompt_tokens": 20, "completion_tokens": 3, "prompt_cache_hit_tokens": 19}, Usage(20, 3, 0, 19)),
        # xAI: thoughts are beside the completion: 32 + 9 + 94 = 135
        (
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(32, 103, 94),
        ),
        # Gemini: thoughts are in the total alone: 100 - 20 - 3 = 77
        ({"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 100}, Usage(20, 80, 77)),
        # a total that counts the cache once more says nothing of thoughts
        (
            {
                "prompt_tokens": 20,
                "completion_tokens": 3,
                "total_tokens": 33,
                "prompt_tokens_details": {"cached_tokens": 10},
            },
            Usage(20, 3, 0, 10),
        ),
        ({"prompt_tokens": -1, "completion_tokens": 3, "completion_tokens_details": []}, Usage(0, 3)),
    ],
)
def test_thoughts_are_paid_for_and_counted_once(usage: Any, counted: Usage) -> None:
    assert reply_to(answer() | {"usage": usage}).usage == counted


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_beside_the_content_are_no_part_of_the_answer(field: str) -> None:
    assert reply_to(answer("你好", **{field: "hm"})).text == "你好"
    cut_off = reply_to(answer(None, "length", **{field: "hm, and"}))
    assert (cut_off.text, cut_off.finish_reason) == ("", "length")


def test_thoughts_as_parts_of_the_content_are_no_part_of_the_answer() -> None:
    """Mistral's reasoning models."""
    thoughts = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert reply_to(answer([thoughts, {"type": "text", "text": "你好"}])).text == "你好"


def test_what_a_filter_found_in_an_answer_is_kept() -> None:
    body = answer(None, "content_filter")
    body["choices"][0]["content_filter_results"] = {"self_harm": {"filtered": True, "severity": "high"}, "x": None}

    assert reply_to(body).filtered == "self_harm (high)"


def test_what_was_counted_is_a_reply_however_empty() -> None:
    """It was paid for: the rules say what it is worth (`empty`)."""
    no_choices = reply_to({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}})
    filtered = reply_to(answer(None, "content_filter"))
    refused = reply_to(answer(None, "stop", refusal="I can't help with that"))

    assert (no_choices.text, no_choices.usage) == ("", Usage(9, 0))
    assert (filtered.text, filtered.finish_reason) == ("", "content_filter")
    assert refused.refusal == "I can't help with that"


@pytest.mark.parametrize(
    "body", [b"", b"\n\n", b'{"choices": [', b"[]", b"1", b'{"id": 1}', b'{"choices": null}', b"\xff"]
)
def test_a_200_that_is_no_completion_is_a_broken_body(body: bytes) -> None:
    failure = failure_of(body)

    assert failure.kind is FailureKind.BROKEN_BODY
    assert failure.raw == (body or None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, FailureKind.RATE_LIMITED),  # OpenRouter
        ({"error": {"code": "content_filter", "message": "no"}}, FailureKind.CONTENT_FILTER),
        ({"error": "model crashed"}, FailureKind.SERVER_ERROR),
        (
            {"choices": [{"error": {"code": 502, "message": "upstream"}, "finish_reason": "error"}]},
            FailureKind.GATEWAY,
        ),
        ({"error": {"message": "busy"}, "choices": []}, FailureKind.SERVER_ERROR),
    ],
)
def test_an_error_inside_a_200_is_that_error(body: Any, kind: FailureKind) -> None:
    assert failure_of(body).kind is kind


def test_limits_come_with_replies_and_failures() -> None:
    headers = {"X-RateLimit-Limit-Requests": "60", "X-RateLimit-Remaining-Requests": "59"}

    reply, _ = ask(answer(), told=headers)
    failure, _ = ask(b"", 429, told=headers | {"Retry-After": "Thu, 01 Jan 1970 00:00:09 GMT"}, clock=lambda: 4.0)

    assert reply.pace == failure.pace == ServerPace((LimitWord("requests", limit=60, remaining=59),))
    assert isinstance(failure, Failure)
    assert failure.retry_after == 5.0


# -- what is shown --------------------------------------------------------------------------------------------


def test_neither_key_nor_prompt_is_in_a_failure() -> None:
    """A hostile or chatty server quotes both."""
    message = f"key {KEY} sent: 我睡不好，总是想着工作，怎么办？ which is not allowed"

    detail = failure_of({"error": {"message": message}}, 400, api_key=SecretStr(KEY)).detail

    assert detail == "HTTP 400: key *** sent: […] which is not allowed"


def test_identity_and_repr_hold_no_key_no_header_and_no_address() -> None:
    provider = ChatProvider(
        base_url="https://user:hush@api.test/v1",
        model="m",
        api_key=SecretStr(KEY),
        temperature=1.0,
        extra={"seed": 1},
        headers={"x-secret": "hush"},
    )

    assert provider.identity == {"model": "m", "temperature": 1.0, "extra": {"seed": 1}}
    assert repr(provider) == "<ChatProvider m at api.test>"
    as_a_provider: Provider = provider
    assert as_a_provider is provider


# -- over a socket --------------------------------------------------------------------------------------------


def test_the_fast_path_gives_the_same_reply() -> None:
    body = orjson.dumps(answer())
    sent = b"HTTP/1.1 200 OK\r\nX-RateLimit-Limit-Requests: 60\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def main() -> Reply | Failure:
        async with listening(sends(sent)) as wire:
            provider = ChatProvider(base_url=f"http://127.0.0.1:{wire.port}", model="m", api_key=SecretStr(f"{KEY}\n"))
            outcome = await provider.ask(ASK)
            await provider.aclose()
            assert wire.seen[0].headers["authorization"] == f"Bearer {KEY}"
            assert orjson.loads(wire.seen[0].body)["messages"][1]["content"] == ASK.messages[1].content
            return outcome

    assert asyncio.run(main()) == Reply(
        "你好", "stop", Usage(20, 3), "m-2026", pace=ServerPace((LimitWord("requests", limit=60),))
    )
