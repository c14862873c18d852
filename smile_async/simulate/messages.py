"""Anthropic's Messages as the simulated endpoint serves them: strict where Anthropic is."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from smile_async.engine.job import Message, ServerPace
from smile_async.simulate.behaviour import ApiError, Ask, Completion, Plan, Streaming
from smile_async.simulate.chat import ask_of, content_text
from smile_async.simulate.settings import Fault
from smile_async.simulate.streams import STOP_REASONS

OVERLOADED = 529

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    OVERLOADED: "overloaded_error",
}
NO_MONEY = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to buy credits."


def read_messages(body: bytes, *, detect_speakers: bool = False) -> Ask | ApiError:
    """The ask in a request body, or the 400 that it deserves."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return _bad(f"The body is not valid JSON: {error}.")
    if not isinstance(parsed, dict):
        return _bad("The body must be an object.")
    if refused := _field_refused(parsed):
        return refused
    messages = _read(parsed)
    if isinstance(messages, ApiError):
        return messages
    stream = Streaming(messages=True) if parsed.get("stream") else None
    told = {"model": parsed["model"], "max_tokens": parsed["max_tokens"], "stream": stream}
    return ask_of(messages, detect_speakers=detect_speakers, **told)


def _read(parsed: Mapping[str, Any]) -> tuple[Message, ...] | ApiError:
    system = content_text(parsed.get("system", ""))
    if system is None:
        return _bad("system: Input should be a string or a list of text blocks")
    found = parsed.get("messages")
    if not isinstance(found, list) or not found:
        return _bad("messages: at least one message is required")
    messages = [Message("system", system)] if system else []
    for number, entry in enumerate(found):
        content = content_text(entry.get("content")) if isinstance(entry, dict) else None
        if content is None or entry.get("role") not in {"user", "assistant"}:
            return _bad(f"messages.{number}: needs the role user or assistant and a content of text")
        messages.append(Message(entry["role"], content))
    return tuple(messages)


def _field_refused(parsed: Mapping[str, Any]) -> ApiError | None:
    if not isinstance(parsed.get("stream", False), bool):
        return _bad("stream: Input should be a valid boolean")
    ceiling = parsed.get("max_tokens")
    if not isinstance(ceiling, int) or ceiling < 1:
        return _bad("max_tokens: Field required")
    if not isinstance(parsed.get("model"), str):
        return _bad("model: Field required")
    if "temperature" in parsed and "top_p" in parsed:
        return _bad("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    temperature = parsed.get("temperature", 1)
    if not isinstance(temperature, int | float) or not 0 <= temperature <= 1:
        return _bad("temperature: range: 0..1")
    return None


def _bad(message: str) -> ApiError:
    return ApiError(400, message, "invalid_request_error")


def worded(plan: Plan) -> Plan:
    """The plan with the statuses and the words that Anthropic has for it."""
    error = plan.error
    if error is None or error.page:
        return plan
    if error.code == "insufficient_quota":
        error = ApiError(400, NO_MONEY, "")
    elif error.code == "content_filter":
        error = ApiError(400, "Output blocked by content filtering policy", "")
    elif error.status == 503:
        error = replace(error, status=OVERLOADED, message="Overloaded")
    elif error.code == "model_not_found":
        error = replace(error, message=error.message.replace("The model `", "model: ").partition("`")[0])
    return replace(plan, status=error.status, error=error)


def error_body(error: ApiError) -> bytes:
    if error.page:
        return error.page.encode()
    told = {"type": _TYPES.get(error.status, "api_error"), "message": error.message}
    return orjson.dumps({"type": "error", "error": told, "request_id": "req_simulated"})


def plan_body(plan: Plan, *, model: str, ident: str, created: int) -> bytes:  # noqa: ARG001 (a face's signature)
    """As `chat.plan_body`."""
    if plan.error is not None:
        return error_body(plan.error)
    if plan.completion is None:
        return b""
    fields = _message(plan.completion, model, ident)
    if plan.fault == Fault.EMPTY_CHOICES:
        del fields["content"]
    body = orjson.dumps(fields)
    return body[: len(body) // 2] if plan.fault == Fault.BROKEN_JSON else body


def _message(completion: Completion, model: str, ident: str) -> dict[str, Any]:
    """Anthropic has no field for a refusal: a model's own is text, a classifier's is the reason for the stop."""
    text = completion.text or completion.refusal
    reason = STOP_REASONS[completion.finish_reason]
    return {
        "id": f"msg_{ident}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": reason,
        "stop_sequence": None,
        "stop_details": {"type": "refusal", "category": "self_harm"} if reason == "refusal" else None,
        "usage": {
            "input_tokens": completion.usage.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": completion.usage.completion_tokens,
        },
    }


def pace_headers(pace: ServerPace) -> dict[str, str]:
    """The `anthropic-ratelimit-*` headers; resets are moments of the wall clock, to the second and rounded up."""
    headers = {}
    now = time.time()
    for word in pace.limits:
        name = f"anthropic-ratelimit-{word.what.replace('_', '-')}"
        moment = datetime.fromtimestamp(int(now + (word.reset or 0.0) + 0.999), UTC)
        headers[f"{name}-limit"] = str(word.limit)
        headers[f"{name}-remaining"] = str(word.remaining)
        headers[f"{name}-reset"] = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    return headers
