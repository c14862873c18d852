"""The lines of OpenAI's Batch files, which vLLM's run-batch, DashScope, Zhipu and others read and write too. Pure.

A request is `{"custom_id", "method", "url", "body"}`. A result is `{"custom_id", "response": {"status_code", "body"},
"error"}`: a refused request has its status and error body in the response (OpenAI), or its status there and the error
beside it, as text or object (vLLM); one that was never run has no response and an error with a code.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from smile_async.engine.collecting import Came, NotRun
from smile_async.engine.job import Failure, FailureKind, Reply
from smile_async.provider.dialect import Dialect
from smile_async.provider.masking import masked
from smile_async.provider.status import classify

MOST_REQUESTS = 50_000  # in a file: OpenAI, Azure, DashScope, Zhipu
MOST_BYTES = 100_000_000  # of a file: Zhipu; OpenAI and Azure take 200 MB, DashScope 500

NEVER_RUN = frozenset({"batch_expired", "batch_cancelled", "batch_canceled"})
"""Codes of requests that were not run, so that nothing was billed."""

_VERSION = re.compile(r"v\d+")
_CUSTOM_ID = re.compile(r"([0-9a-f]{16})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Result:
    """One line of a result file: the attempt of the batch with this nonce, and what it came to."""

    nonce: str
    attempt: int
    came: Came


def custom_id(nonce: str, attempt: int) -> str:
    """At most 64 of [A-Za-z0-9_-]; tells nothing of the row."""
    return f"{nonce}-{attempt}"


def path_of(chat_url: str) -> str:
    """What a batch calls the interface at this address: `/v1/chat/completions`, at Zhipu `/v4/chat/completions`."""
    before = urlsplit(chat_url).path.removesuffix("/chat/completions").rpartition("/")[2]
    return f"/{before if _VERSION.fullmatch(before) else 'v1'}/chat/completions"


def request_line(name: str, path: str, body: bytes) -> bytes:
    """`body` is the JSON that would be posted."""
    return b'{"custom_id":%b,"method":"POST","url":%b,"body":%b}\n' % (orjson.dumps(name), orjson.dumps(path), body)


def read_result(line: bytes, dialect: Dialect, now: float) -> Result | None:
    """None for what is no result of ours: not JSON (a torn last line), or with another's id."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    name = found.get("custom_id") if isinstance(found, dict) else None
    ours = _CUSTOM_ID.fullmatch(name) if isinstance(name, str) else None
    return None if ours is None else Result(ours[1], int(ours[2]), _came(found, dialect.read, now))


def is_torn(line: bytes) -> bool:
    """Whether it is the last line of a file that was cut, or is still being written."""
    if line.endswith(b"\n"):
        return False
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return True
    return False


def is_reply(line: bytes) -> bool:
    """Whether a line is a request that was answered, at a glance."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    response = found.get("response") if isinstance(found, dict) else None
    return isinstance(response, dict) and response.get("status_code", 200) == 200 and bool(response.get("body"))


def _came(found: Mapping[str, Any], read: Callable[..., Reply | Failure], now: float) -> Came:
    response, error = found.get("response"), found.get("error")
    if not isinstance(response, dict):
        return _without_response(error)
    if "choices" in response:  # a worker that leaves the envelope out
        response = {"status_code": 200, "body": response}
    status, body = response.get("status_code"), response.get("body")
    status = status if isinstance(status, int) else 500 if error else 200
    if 200 <= status < 300 and body is not None and not error:
        return read(orjson.dumps(body), {}, now, None, "the batch")
    told = body if body is not None else error
    told = told if isinstance(told, dict | list) else {"message": str(told or "")}
    return classify(status if status >= 300 else 500, orjson.dumps(told), {}, now)


def _without_response(error: Any) -> Failure | NotRun:
    error = error if isinstance(error, dict) else {"message": str(error or "")}
    code = str(error.get("code") or "")
    if code in NEVER_RUN:
        return NotRun(code)
    if code.isdigit() and 300 <= int(code) < 600:
        return classify(int(code), orjson.dumps(error), {}, 0.0)
    told = classify(500, orjson.dumps(error), {}, 0.0)
    if told.kind is not FailureKind.SERVER_ERROR:  # its code says more than the missing status
        return Failure(told.kind, told.detail.removeprefix("HTTP 500: "))
    return Failure(
        FailureKind.SERVER_ERROR, masked(f"{code}: {error.get('message') or 'no response'}".removeprefix(": "))
    )
