"""The OpenAI embeddings dialect: texts in, vectors out that depend on nothing but the text.

A text's vector counts its pairs of characters, hashed into the dimensions with a sign: equal texts have equal vectors,
texts that share words are closer than others.
"""

import base64
import math
from array import array
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import orjson

from smile_async.engine.job import Message
from smile_async.simulate.behaviour import ApiError, Ask, Embedding, Plan, count_tokens, prompt_key
from smile_async.simulate.chat import bad_request, error_body
from smile_async.simulate.settings import Fault

DIMENSIONS = 256
MOST_TEXTS = 2_048
MOST_TOKENS = 8_191  # of one text


def read_embeddings(body: bytes, *, detect_speakers: bool = False) -> Ask | ApiError:  # noqa: ARG001 (as chat's)
    """The ask in a request body, or the 400 that it deserves."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return bad_request(f"The body is not valid JSON: {error}.")
    return _read_object(parsed) if isinstance(parsed, dict) else bad_request("The body must be an object.")


def _read_object(parsed: Mapping[str, Any]) -> Ask | ApiError:
    texts = _read_texts(parsed.get("input"))
    if isinstance(texts, ApiError):
        return texts
    encoding, dimensions = parsed.get("encoding_format", "float"), parsed.get("dimensions", DIMENSIONS)
    if encoding not in ("float", "base64"):
        return bad_request("encoding_format must be float or base64.", param="encoding_format")
    if not isinstance(dimensions, int) or not 1 <= dimensions <= 4_096:
        return bad_request("dimensions must be an integer from 1 to 4096.", param="dimensions")
    model = parsed.get("model")
    if model is not None and not isinstance(model, str):
        return bad_request("model must be a string.", param="model")
    return Ask(
        prompt_key([Message("input", text) for text in texts]),
        sum(count_tokens(text) for text in texts),
        model=model,
        embedding=Embedding(texts, dimensions, base64=encoding == "base64"),
    )


def _read_texts(found: Any) -> tuple[str, ...] | ApiError:
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        return bad_request("input must be a text or a list of texts, none of them empty.", param="input")
    if len(texts) > MOST_TEXTS:
        return bad_request(f"input must hold at most {MOST_TEXTS} texts.", param="input")
    longest = max(count_tokens(text) for text in texts)
    if longest > MOST_TOKENS:
        return bad_request(f"This model's maximum context length is {MOST_TOKENS} tokens, a text has {longest}.")
    return tuple(texts)


def vector_of(text: str, dimensions: int = DIMENSIONS) -> "array[float]":
    """Of length 1, as float32."""
    counts = [0] * dimensions
    padded = f"\n{text}\n"
    for place in range(len(padded) - 1):
        drawn = crc32(padded[place : place + 2].encode("utf-8", "surrogatepass"))
        counts[(drawn >> 1) % dimensions] += 1 if drawn & 1 else -1
    length = math.sqrt(sum(count * count for count in counts))
    if not length:  # all of it cancelled out
        counts[0], length = 1, 1.0
    return array("f", [count / length for count in counts])


def plan_body(plan: Plan, *, model: str, ident: str, created: int) -> bytes:  # noqa: ARG001 (as chat's)
    """As `chat.plan_body`. With empty choices no vector is sent, with empty content the last one is missing."""
    if plan.error is not None:
        return error_body(plan.error)
    if plan.completion is None or plan.completion.embedding is None:
        return b""
    asked, usage = plan.completion.embedding, plan.completion.usage
    missing = {Fault.EMPTY_CHOICES.value: len(asked.texts), Fault.EMPTY_CONTENT.value: 1}.get(plan.fault, 0)
    data = [
        {"object": "embedding", "index": index, "embedding": _written(vector_of(text, asked.dimensions), asked)}
        for index, text in enumerate(asked.texts[: len(asked.texts) - missing])
    ]
    counted = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
    body = orjson.dumps({"object": "list", "data": data, "model": model, "usage": counted})
    return body[: len(body) // 2] if plan.fault == Fault.BROKEN_JSON else body


def _written(vector: "array[float]", asked: Embedding) -> str | list[float]:
    return base64.b64encode(vector.tobytes()).decode() if asked.base64 else vector.tolist()
