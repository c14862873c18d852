"""Anthropic's Messages API, as Anthropic and those who copied it (DeepSeek, Moonshot, Zhipu, MiniMax) serve it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlunsplit

import orjson
from pydantic import SecretStr

from smile_async.engine.job import Failure, Reply, Request, ServerPace, Usage
from smile_async.errors import SettingsError
from smile_async.provider.chat import logical_identity
from smile_async.provider.dialect import address, key_header, request_headers
from smile_async.provider.masking import masked
from smile_async.provider.network import broken_body
from smile_async.provider.reply import error_inside, json_object, string, whole_number
from smile_async.settings import Sampling

ENDPOINT = "/messages"
VERSION = "2023-06-01"
MAX_TOKENS = 4_096  # the field is required; as much as every Claude can write, three dialogues' worth

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",  # a classifier of Anthropic's stepped in; the same prompt will meet it again
    "tool_use": "tool_calls",
}


class AnthropicDialect:
    """`api_version` is the header `anthropic-version`. System messages go into the field of their own.

    A temperature or top_p of 1 is Anthropic's default and is not sent: newer models refuse to be told both, the newest
    to be told any. Raises `SettingsError` for a temperature above 1, which Anthropic does not have.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: SecretStr | None,
        headers: Mapping[str, str],
        sampling: Sampling,
        api_version: str = "",
    ) -> None:
        if sampling.temperature is not None and sampling.temperature > 1:
            raise SettingsError(
                f"temperature is {sampling.temperature:g}, and Anthropic's go from 0 to 1.",
                hint="Lower it: --temperature 1, or [sampling] in smile.toml or the recipe.",
            )
        self.url = messages_url(base_url)
        own = key_header("x-api-key", api_key) | {"anthropic-version": api_version or VERSION}
        self.headers = request_headers(own, headers)
        self.model = model
        self.identity: Mapping[str, Any] = logical_identity(model, sampling)
        told = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        self._fixed: dict[str, Any] = {
            "model": model,
            "max_tokens": sampling.max_tokens or MAX_TOKENS,
            **{name: value for name, value in told.items() if value not in (None, 1.0)},
            **sampling.extra,
        }

    def body(self, request: Request) -> bytes:
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        said = [message for message in request.messages if message.role != "system"]
        body = {**self._fixed, "messages": said}
        if system:
            body["system"] = system
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        if request.extra:
            body.update(request.extra)
        return orjson.dumps(body)

    def read(
        self, body: bytes, headers: Mapping[str, str], now: float, pace: ServerPace | None, host: str
    ) -> Reply | Failure:
        found = json_object(body, host)
        if isinstance(found, Failure):
            return found
        blocks = found.get("content")
        if not isinstance(blocks, list):
            return error_inside(found, headers, now) or broken_body(host, "holds no content", 200, body)
        reason = string(found.get("stop_reason"))
        return Reply(
            text=_text(blocks),
            finish_reason=_REASONS.get(reason, reason) if reason else None,
            usage=_usage(found.get("usage")),
            model=string(found.get("model")),
            filtered=_category(found.get("stop_details")),
            pace=pace,
        )


def messages_url(base_url: str) -> str:
    """`base_url` is what Anthropic's client takes (`https://api.anthropic.com`), or goes on to `/v1` or
    `/v1/messages`. Raises `SettingsError`."""
    parts = address(base_url)
    path = parts.path
    if not path.endswith(ENDPOINT):
        path = path.removesuffix("/v1") + "/v1" + ENDPOINT
    return urlunsplit(parts._replace(path=path))


def _text(blocks: list[Any]) -> str:
    """Text blocks together; thinking, redacted or not, is no part of the answer."""
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def _usage(usage: Any) -> Usage | None:
    """`input_tokens` are those that no cache served or took in: a prompt is all three."""
    if not isinstance(usage, dict) or not isinstance(usage.get("output_tokens"), int):
        return None
    read, written = (whole_number(usage.get(f"cache_{how}_input_tokens")) for how in ("read", "creation"))
    prompt = whole_number(usage.get("input_tokens")) + read + written
    return Usage(prompt, usage["output_tokens"], cached_tokens=read)


def _category(details: Any) -> str | None:
    """What of its policy a refusal names."""
    category = string(details.get("category")) if isinstance(details, dict) else None
    return masked(category) if category else None
