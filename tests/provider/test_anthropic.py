"""Anthropic's Messages: what goes out, what comes back."""

from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from smile_async.engine.job import Failure, FailureKind, LimitWord, Message, Reply, Request, ServerPace, Usage
from smile_async.errors import SettingsError
from smile_async.provider.anthropic import MAX_TOKENS, AnthropicDialect, messages_url
from smile_async.settings import Sampling
from tests.provider.asking import ASK, ask

KEY = "sk-ant-0123456789abcdef"


def dialect(**settings: Any) -> AnthropicDialect:
    sampling = Sampling.model_validate(settings.pop("sampling", {}))
    rest = {"base_url": "https://api.test", "api_key": SecretStr(KEY), "headers": {}, **settings}
    return AnthropicDialect(model="claude-x", sampling=sampling, **rest)


def message(*blocks: Any, reason: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x-2026",
        "content": list(blocks),
        "stop_reason": reason,
        "usage": {"input_tokens": 20, "output_tokens": 3},
        **more,
    }


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def reply_to(body: Any) -> Reply:
    outcome, _ = ask(dialect(), body)
    assert isinstance(outcome, Reply), outcome
    return outcome


# -- what goes out --------------------------------------------------------------------------------------------


def test_the_body_has_the_system_apart_and_chinese_unescaped() -> None:
    _, sent = ask(dialect(), message(text("你好")))

    assert orjson.loads(sent.content) == {
        "model": "claude-x",
        "max_tokens": MAX_TOKENS,
        "system": "你是咨询师。",
        "messages": [{"role": "user", "content": ASK.messages[1].content}],
    }
    assert "我睡不好".encode() in sent.content
    assert str(sent.url) == "https://api.test/v1/messages"
    assert sent.headers["x-api-key"] == KEY
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in sent.headers


def test_examples_keep_their_order_and_no_system_is_no_field() -> None:
    said = tuple(Message(role, role) for role in ("user", "assistant", "user"))

    _, sent = ask(dialect(), message(text("a")), request=Request(said))

    body = orjson.loads(sent.content)
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "user"]
    assert "system" not in body


@pytest.mark.parametrize(
    ("sampling", "sent"),
    [
        # 1 is the default, and newer models refuse to be told it beside the other
        ({"temperature": 1.0, "top_p": 1.0}, {}),
        ({"temperature": 0.7, "top_p": 1.0}, {"temperature": 0.7}),
        ({"temperature": 1.0, "top_p": 0.9}, {"top_p": 0.9}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"temperature": 0.7, "top_p": 0.9}, {"temperature": 0.7, "top_p": 0.9}),
    ],
)
def test_sampling_that_is_the_default_is_not_sent_and_shapes_the_identity_all_the_same(
    sampling: dict[str, float], sent: dict[str, float]
) -> None:
    body = orjson.loads(dialect(sampling=sampling).body(ASK))

    assert {name: body[name] for name in ("temperature", "top_p") if name in body} == sent
    assert dialect(sampling=sampling).identity == {"model": "claude-x", **sampling}


def test_a_temperature_that_anthropic_does_not_have_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(SettingsError, match=r"temperature is 1\.3, and Anthropic's go from 0 to 1") as caught:
        dialect(sampling={"temperature": 1.3})

    assert "--temperature 1" in str(caught.value.hint)


def test_the_ceiling_is_the_requests_else_the_settings_else_the_default() -> None:
    def ceiling(sampling: dict[str, Any], request: Request) -> int:
        return int(orjson.loads(dialect(sampling=sampling).body(request))["max_tokens"])

    assert ceiling({}, ASK) == MAX_TOKENS
    assert ceiling({"max_tokens": 900}, ASK) == 900
    assert ceiling({"max_tokens": 900}, Request(ASK.messages, max_tokens=99)) == 99


def test_further_fields_and_headers_of_the_users_win() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2_000}
    chosen = dialect(
        sampling={"extra": {"thinking": thinking}}, headers={"Anthropic-Version": "v", "Authorization": "Bearer t"}
    )

    _, sent = ask(chosen, message(text("a")), request=Request(ASK.messages, extra={"top_k": 5}))

    body = orjson.loads(sent.content)
    assert (body["thinking"], body["top_k"]) == (thinking, 5)
    assert (sent.headers["anthropic-version"], sent.headers["authorization"]) == ("v", "Bearer t")


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("https://api.deepseek.com/anthropic", "https://api.deepseek.com/anthropic/v1/messages"),
        ("https://g.test/x/messages?beta=true", "https://g.test/x/messages?beta=true"),
    ],
)
def test_addresses(base_url: str, url: str) -> None:
    assert messages_url(base_url) == url


# -- what comes back ------------------------------------------------------------------------------------------


def test_a_reply_holds_text_reason_usage_and_model() -> None:
    assert reply_to(message(text("你"), text("好"))) == Reply("你好", "stop", Usage(20, 3), "claude-x-2026")


@pytest.mark.parametrize(
    ("reason", "known_as"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause_turn"),
        (None, None),
    ],
)
def test_reasons_are_the_houses(reason: str | None, known_as: str | None) -> None:
    assert reply_to(message(text("a"), reason=reason)).finish_reason == known_as


def test_thinking_is_no_part_of_the_answer() -> None:
    blocks = ({"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"})

    assert reply_to(message(*blocks, text("你好"))).text == "你好"
    assert reply_to(message(*blocks, reason="max_tokens")).text == ""


def test_a_prompt_is_what_was_read_what_the_cache_took_and_what_it_gave() -> None:
    usage = {
        "input_tokens": 20,
        "cache_creation_input_tokens": 300,
        "cache_read_input_tokens": 4_000,
        "output_tokens": 3,
    }
    assert reply_to(message(text("a"), usage=usage)).usage == Usage(4_320, 3, cached_tokens=4_000)
    assert reply_to(message(text("a"), usage={"input_tokens": None, "output_tokens": 3})).usage == Usage(0, 3)


@pytest.mark.parametrize("usage", [None, {}, "x", {"input_tokens": 5}])
def test_usage_that_says_nothing_is_none(usage: Any) -> None:
    assert reply_to(message(text("a"), usage=usage)).usage is None


@pytest.mark.parametrize(
    ("details", "category"), [({"type": "refusal", "category": "self_harm"}, "self_harm"), (None, None), ({}, None)]
)
def test_a_refusal_of_a_classifier_names_what_it_found(details: Any, category: str | None) -> None:
    reply = reply_to(message(reason="refusal", stop_details=details))

    assert (reply.text, reply.finish_reason, reply.filtered) == ("", "content_filter", category)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id":', b'{"type": "message"}', b'{"content": null}'])
def test_a_200_that_is_no_message_is_a_broken_body(body: bytes) -> None:
    outcome, _ = ask(dialect(), body)

    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.BROKEN_BODY


def test_an_error_inside_a_200_is_that_error() -> None:
    outcome, _ = ask(dialect(), {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})

    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.OVERLOADED


def test_limits_of_prompt_and_answer_come_apart() -> None:
    told = {
        "anthropic-ratelimit-input-tokens-limit": "40000",
        "anthropic-ratelimit-input-tokens-remaining": "39000",
        "anthropic-ratelimit-output-tokens-limit": "8000",
        "anthropic-ratelimit-output-tokens-remaining": "7000",
    }
    outcome, _ = ask(dialect(), message(text("a")), told=told)

    assert outcome.pace == ServerPace(
        (LimitWord("input_tokens", 60.0, 40_000, 39_000), LimitWord("output_tokens", 60.0, 8_000, 7_000))
    )


def test_neither_key_nor_prompt_is_in_a_failure() -> None:
    quoted = f"x-api-key {KEY}: 我睡不好，总是想着工作，怎么办？ is too long"
    outcome, _ = ask(dialect(), {"type": "error", "error": {"type": "invalid_request_error", "message": quoted}}, 400)

    assert isinstance(outcome, Failure)
    assert outcome.detail == "HTTP 400: x-api-key ***: […] is too long"
