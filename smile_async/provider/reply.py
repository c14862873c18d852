"""The body of a chat completion to a `Reply`. Pure.

A body that parses and was counted is a reply, however little it says: it was paid for. What it is worth, the task's
rules decide: no choices and null content give empty text (`empty`), a filtered answer keeps its `finish_reason`
(`content_filter`), so nothing that was paid for is lost on the way.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from smile_async.engine.job import Failure, Reply, ServerPace, Usage
from smile_async.provider.network import broken_body
from smile_async.provider.status import classify_error, filtered_categories, read_error
from smile_async.provider.thinking import without_thinking

MOST_TOKENS = 2**31


def read_reply(
    body: bytes, headers: Mapping[str, str], now: float, pace: ServerPace | None, host: str
) -> Reply | Failure:
    """Thoughts beside the content (`reasoning_content` of DeepSeek, Qwen and vLLM, `reasoning` of OpenRouter, Groq and
    Ollama) are no part of the answer, not even when it is empty."""
    found = json_object(body, host)
    if isinstance(found, Failure):
        return found
    choices = found.get("choices")
    if not isinstance(choices, list):
        return error_inside(found, headers, now) or broken_body(host, "holds no choices", 200, body)
    choice = choices[0] if choices and isinstance(choices[0], dict) else {}
    return error_inside(choice or found, headers, now) or _reply(found, choice, pace)


def json_object(body: bytes, host: str) -> dict[str, Any] | Failure:
    """Blank lines before the JSON (DeepSeek keeps the connection alive with them) are white space to the parser."""
    try:
        found = _parsed(body)
    except (ValueError, RecursionError):
        return broken_body(host, "is not JSON" if body.strip() else "is empty", 200, body)
    return found if isinstance(found, dict) else broken_body(host, "is JSON but no object", 200, body)


def _parsed(body: bytes) -> Any:
    """orjson is strict; an answer with a byte order mark, NaN among its logprobs, half of a surrogate pair or in UTF-16
    was paid for as well, and the standard library reads it. Raises `ValueError` or `RecursionError`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body.strip())


def error_inside(part: Mapping[str, Any], headers: Mapping[str, str], now: float) -> Failure | None:
    """An error in a 200, as gateways send it when the status line was already out; `code` may be its HTTP status."""
    error = part.get("error")
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return classify_error(status, read_error(part), headers, now)


def string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def whole_number(value: Any) -> int:
    """0 for what is none."""
    return value if isinstance(value, int) and value > 0 else 0


def _reply(found: Mapping[str, Any], choice: Mapping[str, Any], pace: ServerPace | None) -> Reply:
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    reason = string(choice.get("finish_reason"))
    return Reply(
        text=without_thinking(_text(message.get("content"))),
        finish_reason=reason,
        usage=_usage(found.get("usage")),
        model=string(found.get("model")),
        refusal=string(message.get("refusal")),
        filtered=filtered_categories(choice.get("content_filter_results")) if reason == "content_filter" else None,
        pace=pace,
    )


def _text(content: Any) -> str:
    """Content is a string, null, or a list of parts of which the text parts count (Mistral's thoughts are others)."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if prompt is completion is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    reasoning = _detail(usage, "completion_tokens_details", "reasoning_tokens")
    cached = _detail(usage, "prompt_tokens_details", "cached_tokens") or whole_number(
        usage.get("prompt_cache_hit_tokens")  # DeepSeek
    )
    beside = whole_number(usage.get("total_tokens")) - prompt - completion
    if beside > 0 and beside == (reasoning or beside) and beside != cached:
        reasoning = beside  # xAI counts thoughts beside the completion, Gemini only in the total
        completion += beside
    return Usage(prompt, completion, reasoning, cached)


def _count(value: Any) -> int | None:
    """What is negative, a truth value or more than any answer holds was not counted."""
    return value if type(value) is int and 0 <= value < MOST_TOKENS else None


def _detail(usage: Mapping[str, Any], details: str, name: str) -> int:
    found = usage.get(details)
    return whole_number(found.get(name)) if isinstance(found, dict) else 0
