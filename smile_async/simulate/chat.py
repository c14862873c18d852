"""The OpenAI chat dialect: a request body read, a plan written as a response body."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from smile_async.engine.job import Message
from smile_async.simulate.behaviour import ApiError, Ask, Completion, Plan, Streaming, count_tokens, prompt_key
from smile_async.simulate.kinds import Kind, kind_of
from smile_async.simulate.settings import Fault

_LABEL = re.compile(r"[\"“]([^\"“”:：\n]{1,24})[:：] ?[\"”]")


def ask_of(messages: tuple[Message, ...], *, detect_speakers: bool = False, **rest: Any) -> Ask:
    """`rest` are the other fields of `Ask`. A prompt counts the tokens of its contents and nothing for roles."""
    prompt = "\n".join([message.content for message in messages])
    speakers = find_speakers(prompt) if detect_speakers else None
    kind = kind_of(messages, labelled=len(messages) > 1 and find_speakers(prompt) is not None)
    turn = sum([message.role == "user" for message in messages]) if kind is Kind.TURN else 0
    return Ask(prompt_key(messages), count_tokens(prompt), speakers=speakers, kind=kind, turn=turn, **rest)


def find_speakers(prompt: str) -> tuple[str, str] | None:
    """The first two different labels that the prompt quotes with a colon, as in `"Client: " or "Lawyer: "`."""
    labels = list(dict.fromkeys(match.strip() for match in _LABEL.findall(prompt)))
    return (labels[0], labels[1]) if len(labels) > 1 else None


def read_chat(body: bytes, *, detect_speakers: bool = False) -> Ask | ApiError:
    """The ask in a request body, or the 400 that it deserves."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return bad_request(f"The body is not valid JSON: {error}.")
    if not isinstance(parsed, dict):
        return bad_request("The body must be an object.")
    return _read_object(parsed, detect_speakers)


def _read_object(parsed: Mapping[str, Any], detect_speakers: bool) -> Ask | ApiError:  # noqa: FBT001
    stream = _read_stream(parsed)
    if isinstance(stream, ApiError):
        return stream
    messages = _read_messages(parsed.get("messages"))
    if isinstance(messages, ApiError):
        return messages
    ceiling = parsed.get("max_completion_tokens") or parsed.get("max_tokens")
    if ceiling is not None and (not isinstance(ceiling, int) or ceiling < 1):
        return bad_request("max_tokens must be an integer of at least 1.", param="max_tokens")
    model = parsed.get("model")
    if model is not None and not isinstance(model, str):
        return bad_request("model must be a string.", param="model")
    return ask_of(messages, detect_speakers=detect_speakers, model=model, max_tokens=ceiling, stream=stream)


def _read_stream(parsed: Mapping[str, Any]) -> Streaming | ApiError | None:
    wanted, options = parsed.get("stream"), parsed.get("stream_options")
    if wanted is not None and not isinstance(wanted, bool):
        return bad_request("stream must be true or false.", param="stream")
    if not wanted:
        told = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        return bad_request(told, param="stream_options") if options is not None else None
    if options is not None and not isinstance(options, dict):
        return bad_request("stream_options must be an object.", param="stream_options")
    return Streaming(with_usage=bool(options and options.get("include_usage")))


def _read_messages(found: Any) -> tuple[Message, ...] | ApiError:
    if not isinstance(found, list) or not found:
        return bad_request("messages must be a list of at least one message.", param="messages")
    messages = []
    for number, entry in enumerate(found):
        content = content_text(entry.get("content")) if isinstance(entry, dict) else None
        if content is None or not isinstance(entry.get("role"), str):
            return bad_request(f"messages[{number}] needs a role and a content of text.", param="messages")
        messages.append(Message(entry["role"], content))
    return tuple(messages)


def content_text(content: Any) -> str | None:
    """Text as a string, or as a list of parts of type text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part.get("text") for part in content if isinstance(part, dict)]
    texts = [text for text in parts if isinstance(text, str)]
    return "".join(texts) if len(texts) == len(content) else None


def bad_request(message: str, *, param: str = "") -> ApiError:
    return ApiError(400, f"{message} (param: {param})" if param else message, "invalid_request_error")


def error_body(error: ApiError) -> bytes:
    if error.page:
        return error.page.encode()
    fields = {"message": error.message, "type": error.type, "param": None, "code": error.code}
    return orjson.dumps({"error": fields})


def completion_body(completion: Completion, *, model: str, ident: str, created: int) -> dict[str, Any]:
    """A `chat.completion` object."""
    message: dict[str, Any] = {"role": "assistant", "content": completion.text}
    if completion.refusal is not None:
        message["refusal"] = completion.refusal
    usage = completion.usage
    return {
        "id": f"chatcmpl-{ident}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": completion.finish_reason}],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total,
        },
    }


def plan_body(plan: Plan, *, model: str, ident: str, created: int) -> bytes:
    """The whole body; for a cut connection the caller sends a part of it. Empty where nothing is sent."""
    if plan.error is not None:
        return error_body(plan.error)
    if plan.completion is None:
        return b""
    fields = completion_body(plan.completion, model=model, ident=ident, created=created)
    if plan.fault == Fault.EMPTY_CHOICES:
        fields["choices"] = []
    body = orjson.dumps(fields)
    return body[: len(body) // 2] if plan.fault == Fault.BROKEN_JSON else body


def models_body(models: tuple[str, ...]) -> Mapping[str, Any]:
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in models]
    return {"object": "list", "data": data}
