"""OpenAI's embeddings, which vLLM, TEI, Ollama, DashScope, Zhipu and gateways speak, too: several texts, one request.

An embedding request is a `Request` whose messages are its texts; its reply's `text` holds the vectors, packed.
"""

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson

from smile_async.engine.job import Failure, Message, Reply, Request, ServerPace, Usage
from smile_async.provider.network import broken_body
from smile_async.provider.reply import error_inside, json_object, string, whole_number

ENDPOINT = "/embeddings"
FLOAT = 4  # bytes of a float32

Encoding = Literal["base64", "float"]


class EmbeddingDialect:
    """`url` and `headers` are complete; `model` is what is meant, `asked_as` what it is called there.

    `encoding`: OpenAI's own client asks for base64, a third of the bytes; servers that know no `encoding_format` answer
    with numbers, which are read just as well. `dimensions` shortens vectors where the model can (text-embedding-3).
    `extra` are further fields of the body (`input_type`), which shape the answer as the model does.
    """

    def __init__(
        self,
        *,
        url: str,
        headers: Mapping[str, str],
        model: str,
        asked_as: str = "",
        encoding: Encoding = "base64",
        dimensions: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.url = url
        self.headers = headers
        self.model = model
        more = {} if dimensions is None else {"dimensions": dimensions}
        self.identity: Mapping[str, Any] = {"model": model, **more, **({"extra": dict(extra)} if extra else {})}
        self._fixed = {"model": asked_as or model, "encoding_format": encoding, **more, **(extra or {})}

    def body(self, request: Request) -> bytes:
        return orjson.dumps({**self._fixed, "input": [message.content for message in request.messages]})

    def read(
        self, body: bytes, headers: Mapping[str, str], now: float, pace: ServerPace | None, host: str
    ) -> Reply | Failure:
        """The vectors in the order of their `index`. Fewer than were asked for are a reply all the same, for it was
        paid for; vectors of different lengths or with what is no number are none."""
        found = json_object(body, host)
        if isinstance(found, Failure):
            return found
        data = found.get("data")
        if not isinstance(data, list):
            return error_inside(found, headers, now) or broken_body(host, "holds no data", 200, body)
        vectors = [_vector(entry.get("embedding")) for entry in in_order(data)]
        whole = [vector for vector in vectors if vector is not None]
        if len(whole) < len(data) or len({len(vector) for vector in whole}) > 1:
            return broken_body(host, "holds no vectors of one length", 200, body)
        return Reply(
            text=pack(whole), finish_reason="stop", usage=_usage(found.get("usage")), model=string(found.get("model")),
            pace=pace,
        )  # fmt: skip


def embedding_request(texts: Sequence[str]) -> Request:
    """What asks for the vectors of these texts; no answer tokens are expected."""
    return Request(tuple([Message("input", text) for text in texts]), max_tokens=0)


def pack(vectors: Sequence["array[float]"]) -> str:
    """Vectors of one length as text: their number, a colon, and their float32 values one after another, little-endian,
    in base64. As JSON numbers they would take two to four times the room, and more time to read.

    >>> pack([array("f", [1.0, -2.0])])
    '1:AACAPwAAAMA='
    """
    joined = array("f")
    for vector in vectors:
        joined.extend(vector)
    return f"{len(vectors)}:{base64.b64encode(_little(joined).tobytes()).decode()}"


def unpack(text: str) -> tuple[int, bytes]:
    """How many vectors, and their float32 bytes, little-endian: each has the same share. Raises `ValueError`."""
    count, _, packed = text.partition(":")
    values = base64.b64decode(packed, validate=True)
    if not count.isdigit() or len(values) % (FLOAT * max(int(count), 1)):
        raise ValueError("these are no packed vectors")
    return int(count), values


def in_order(data: Sequence[Any]) -> list[Mapping[str, Any]]:
    """By `index`, which need not be the order in which they stand; one without is where it stands."""
    entries = [entry for entry in data if isinstance(entry, dict)]
    numbered = [(whole_number(entry.get("index", place)), place, entry) for place, entry in enumerate(entries)]
    return [entry for _, _, entry in sorted(numbered, key=lambda one: one[:2])]


def _vector(found: Any) -> "array[float] | None":
    """Numbers, or base64 of float32; None for what is neither, is empty or holds a NaN or an infinity."""
    try:
        if isinstance(found, str):
            vector = array("f")
            vector.frombytes(base64.b64decode(found, validate=True))
            vector = _little(vector)
        else:
            vector = array("f", found)
    except (TypeError, ValueError, OverflowError, binascii.Error):
        return None
    return vector if vector and math.isfinite(sum(vector)) else None


def _little(values: "array[float]") -> "array[float]":
    """From this machine's byte order to little-endian, and back."""
    if sys.byteorder == "big":
        values = array("f", values)
        values.byteswap()
    return values


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    counted = usage.get("prompt_tokens", usage.get("total_tokens"))
    return Usage(counted, 0) if type(counted) is int and counted >= 0 else None
