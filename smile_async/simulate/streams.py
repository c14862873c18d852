"""An answer in pieces, as server-sent events of OpenAI's or Anthropic's, to the end or to where it breaks off.

Pure: what is written, and how long is waited between. The server waits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from smile_async.simulate.behaviour import Action, Ask, Completion, Plan
from smile_async.simulate.settings import Fault, Latency

PIECE = 6  # characters of a piece
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}  # as Anthropic calls them
STEP = 0.01  # seconds: pieces that would come faster come together
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Stream:
    """What is written, bit by bit: the first after `first` seconds, each other `every` seconds after the one before.
    Not `ends`: the connection breaks, or falls silent, after the last."""

    bits: tuple[bytes, ...]
    first: float
    every: float
    ends: bool


def stream_of(plan: Plan, ask: Ask, latency: Latency, *, model: str, ident: str, created: int) -> Stream | None:
    """None for what is answered whole all the same: errors, vectors, and where no stream was asked for."""
    if ask.stream is None or plan.completion is None or plan.completion.embedding is not None:
        return None
    frame = {"id": f"chatcmpl-{ident}", "object": "chat.completion.chunk", "created": created, "model": model}
    if ask.stream.messages:
        events = list(_messages_events(plan, plan.completion, model, ident))
    else:
        events = [*_events(plan, frame, with_usage=ask.stream.with_usage), DONE]
    ends = plan.action is Action.ANSWER
    first, rest = _parted(plan.latency, plan.completion.usage.completion_tokens, latency)
    steps = max(1, min(len(events), int(rest / STEP)))
    bits = [b"".join(events[len(events) * at // steps : len(events) * (at + 1) // steps]) for at in range(steps)]
    if not ends:
        bits = bits[: max(1, len(bits) // 2)] if steps > 1 else [b"".join(events[: len(events) // 2])]
    return Stream(tuple(bits), first, rest / steps, ends)


def _parted(whole: float, tokens: int, latency: Latency) -> tuple[float, float]:
    """The wait for the first piece and that for all others, of an answer that takes `whole` seconds."""
    writing = latency.per_token * tokens
    rest = whole * writing / (writing + latency.base) if writing else 0.0
    return whole - rest, rest


def _events(plan: Plan, frame: dict[str, Any], *, with_usage: bool) -> Iterator[bytes]:
    completion = plan.completion
    assert completion is not None
    more = {"usage": None} if with_usage else {}
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({name: piece}, None) for name, piece in _pieces(completion)]
    deltas.append(({}, completion.finish_reason))
    if plan.fault == Fault.EMPTY_CHOICES:
        yield _event({**frame, "choices": [], **more})
        deltas = []
    for place, (delta, reason) in enumerate(deltas):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        event = _event({**frame, "choices": [choice], **more})
        broken = plan.fault == Fault.BROKEN_JSON and place == len(deltas) // 2
        yield event[: len(event) // 2] + b"\n\n" if broken else event
    if with_usage:
        usage = completion.usage
        told = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
        yield _event({**frame, "choices": [], "usage": {**told, "total_tokens": usage.total}})


def _messages_events(plan: Plan, completion: Completion, model: str, ident: str) -> Iterator[bytes]:
    """Anthropic's: named, a block of text between the message's begin and its end."""
    usage = completion.usage
    begun = {"id": f"msg_{ident}", "type": "message", "role": "assistant", "model": model, "content": []}
    none = {"stop_reason": None, "stop_sequence": None}
    yield _named(
        "message_start", message={**begun, **none, "usage": {"input_tokens": usage.prompt_tokens, "output_tokens": 1}}
    )
    pieces = [] if plan.fault == Fault.EMPTY_CHOICES else [piece for _, piece in _pieces(completion)]
    if pieces:
        yield _named("content_block_start", index=0, content_block={"type": "text", "text": ""})
        yield _named("ping")
        for place, piece in enumerate(pieces):
            event = _named("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
            broken = plan.fault == Fault.BROKEN_JSON and place == len(pieces) // 2
            yield event[: len(event) // 2] + b"\n\n" if broken else event
        yield _named("content_block_stop", index=0)
    ended = {"stop_reason": STOP_REASONS[completion.finish_reason], "stop_sequence": None}
    yield _named("message_delta", delta=ended, usage={"output_tokens": usage.completion_tokens})
    yield _named("message_stop")


def _named(name: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name, **fields}))


def _pieces(completion: Completion) -> Iterator[tuple[str, str]]:
    for name, text in (("content", completion.text), ("refusal", completion.refusal)):
        for at in range(0, len(text or ""), PIECE):
            yield name, (text or "")[at : at + PIECE]


def _event(fields: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(fields)
