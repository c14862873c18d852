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
from smile_async.provider.status import classify_error, read_error

MOST_TOKENS = 2**31
OPEN_THINKING, CLOSE_THINKING = "<think>", "</think>"


def read_reply(
    body: bytes, headers: Mapping[str, str], now: float, pace: ServerPace | None, host: str
) -> Reply | Failure:
    """Blank lines before the JSON (DeepSeek keeps the connection alive with them) are white space to the parser."""
    try:
        found = _parsed(body)
    except (ValueError, RecursionError):
        return broken_body(host, "is not JSON" if body.strip() else "is empty", 200, body)
    if not isinstance(found, dict):
        return broken_body(host, "is JSON but no object", 200, body)
    choices = found.get("choices")
    if not isinstance(choices, list):
        return _error_inside(found, headers, now) or broken_body(host, "holds no choices", 200, body)
    choice = choices[0] if choices and isinstance(choices[0], dict) else {}
    return _error_inside(choice or found, headers, now) or _reply(found, choice, pace)


def _parsed(body: bytes) -> Any:
    """orjson is strict; an answer with a byte order mark, NaN among its logprobs, half of a surrogate pair or in UTF-16
    was paid for as well, and the standard library reads it. Raises `ValueError` or `RecursionError`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body.strip())


def without_thinking(text: str) -> str:
    """`text` without the thoughts before it; their opening tag may be missing (vLLM's chat templates swallow it).

    Thoughts that were cut off before they ended leave nothing.
    """
    thoughts, closing, rest = text.partition(CLOSE_THINKING)
    if closing:
        return rest.lstrip()
    return "" if thoughts.lstrip().startswith(OPEN_THINKING) else text


def _error_inside(part: Mapping[str, Any], headers: Mapping[str, str], now: float) -> Failure | None:
    """An error in a 200, as gateways send it when the status line was already out; `code` may be its HTTP status."""
    error = part.get("error")
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return classify_error(status, read_error(part), headers, now)


def _reply(found: Mapping[str, Any], choice: Mapping[str, Any], pace: ServerPace | None) -> Reply:
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    return Reply(
        text=without_thinking(_text(message.get("content"))),
        finish_reason=_string(choice.get("finish_reason")),
        usage=_usage(found.get("usage")),
        model=_string(found.get("model")),
        refusal=_string(message.get("refusal")),
        pace=pace,
    )


def _text(content: Any) -> str:
    """Content is a string, null, or a list of parts of which the text parts count."""
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
    return None if prompt is completion is None else Usage(prompt or 0, completion or 0)


def _count(value: Any) -> int | None:
    """What is negative, a truth value or more than any answer holds was not counted."""
    return value if type(value) is int and 0 <= value < MOST_TOKENS else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
