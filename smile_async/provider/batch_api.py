"""OpenAI's Batch API: a file goes up, a batch is made of it, a day later files come down.

Spoken at the dialect's own address, so also by Azure's v1 interface, DashScope's compatible mode, Zhipu and gateways;
where they differ, what they say is read leniently (statuses in capitals, counts beside each other, times as text).
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import orjson

from smile_async.engine.job import Failure, FailureKind
from smile_async.errors import SettingsError
from smile_async.provider.batch_lines import path_of
from smile_async.provider.bulk import BulkTransport, FileBody
from smile_async.provider.connection import HttpAnswer
from smile_async.provider.dialect import Dialect
from smile_async.provider.masking import masked
from smile_async.provider.network import broken_body
from smile_async.provider.status import classify
from smile_async.settings import Timeouts

if TYPE_CHECKING:
    import httpx

TIMEOUTS = Timeouts(
    read=3_600.0, total=3_600.0
)  # seconds: a file of 100 MB over a slow line; nothing comes back meanwhile
WAITS = (1.0, 3.0, 9.0)  # seconds between tries of what may safely be tried again
PAGE = 100  # batches a page of the list
FILE_LOOK, FILE_LOOKS = 3.0, 200  # seconds between looks at a file that a server (Azure) still looks at, and how many
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
TOO_MUCH_WAITS = "token_limit_exceeded"  # code of a batch that was refused because too much waits already

_AGAIN = frozenset({FailureKind.CONNECT, FailureKind.RATE_LIMITED, FailureKind.OVERLOADED})
"""Kinds after which nothing was done: even the making of a batch may be tried again."""
_ANY = _AGAIN | {
    FailureKind.DISCONNECTED,
    FailureKind.TIMEOUT,
    FailureKind.SERVER_ERROR,
    FailureKind.GATEWAY,
    FailureKind.BROKEN_BODY,
}
_STATES = {"canceled": "cancelled", "canceling": "cancelling", "progress": "in_progress", "finished": "completed"}


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as the server tells of it. `expires_at` is the wall clock's time; empty ids: no such file (yet)."""

    id: str
    status: str
    input_file: str = ""
    output_file: str = ""
    error_file: str = ""
    expires_at: float | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    code: str = ""
    detail: str = ""
    metadata: Mapping[str, Any] | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class BatchApi:
    """The files and batches of one endpoint; nothing is asked before the first call. The caller closes it.
    `sleep` is handed in for tests.

    Raises `SettingsError` where the dialect has no such interface. The key is in no `repr` or message.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        timeouts: Timeouts = TIMEOUTS,
        client: "httpx.AsyncClient | None" = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        parts = urlsplit(dialect.url)
        _check_address(parts.path)
        self._parts = parts._replace(path=parts.path.removesuffix("/chat/completions"))
        self._headers = {name: value for name, value in dialect.headers.items() if name != "content-type"}
        self._host = parts.netloc.rpartition("@")[2]
        self.path = path_of(dialect.url)
        self.place = urlunsplit(self._parts._replace(query="", netloc=self._host))
        self._transport = BulkTransport(timeouts=timeouts, client=client)
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"<BatchApi at {self._host}>"

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def upload(self, file: Path, name: str) -> str | Failure:
        """The id of the file at the server, once a batch can be made of it."""
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n'
            "content-type: application/jsonl\r\n\r\n"
        )
        body = FileBody(head.encode(), file, f"\r\n--{boundary}--\r\n".encode())
        kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
        found = await self._json("POST", "/files", body, kind, again=_ANY)
        for _ in range(FILE_LOOKS):
            if isinstance(found, Failure) or str(found.get("status")).lower() not in {"pending", "running"}:
                break
            await self._sleep(FILE_LOOK)
            found = await self._json("GET", f"/files/{_quoted(found['id'])}", again=_ANY)
        if isinstance(found, Failure):
            return found
        if str(found.get("status")).lower() == "error":
            return Failure(FailureKind.BAD_REQUEST, masked(f"the file was refused: {found.get('status_details')}"))
        return str(found["id"])

    async def create(self, input_file: str, metadata: Mapping[str, str]) -> RemoteBatch | Failure:
        """Make a batch of a file. Not tried again when it may have arrived: `find` tells whether it did."""
        asked = {
            "input_file_id": input_file,
            "endpoint": self.path,
            "completion_window": "24h",
            "metadata": metadata,
        }
        kind = {"content-type": "application/json"}
        return _batch(await self._json("POST", "/batches", orjson.dumps(asked), kind, again=_AGAIN))

    async def retrieve(self, batch: str) -> RemoteBatch | Failure:
        return _batch(await self._json("GET", f"/batches/{_quoted(batch)}", again=_ANY))

    async def cancel(self, batch: str) -> RemoteBatch | Failure:
        return _batch(await self._json("POST", f"/batches/{_quoted(batch)}/cancel", again=_ANY))

    async def find(self, input_file: str, nonce: str) -> list[RemoteBatch] | Failure:
        """The batches that were made of this file, or that bear this nonce, the newest first."""
        found = []
        async for batch in self._all():
            if isinstance(batch, Failure):
                return batch
            named = batch.metadata is not None and batch.metadata.get(NONCE) == nonce
            if named or (input_file and batch.input_file == input_file):
                found.append(batch)
        return found

    async def download(self, file: str, into: Path) -> Failure | None:
        """The contents of a file, into one that is the owner's alone; it appears when it is whole."""
        part = into.with_name(f".{into.name}.part")
        answer = await self._fetch(file, part)
        for wait in WAITS:
            if not isinstance(answer, Failure) or answer.kind not in _ANY:
                break
            await self._sleep(wait)
            answer = await self._fetch(file, part)
        if isinstance(answer, Failure):
            part.unlink(missing_ok=True)
            return answer
        part.replace(into)
        return None

    async def delete(self, file: str) -> Failure | None:
        """Delete a file at the server; one that is not there (any more) will do."""
        found = await self._json("DELETE", f"/files/{_quoted(file)}", again=_ANY)
        return found if isinstance(found, Failure) and found.status != 404 else None

    async def _fetch(self, file: str, into: Path) -> HttpAnswer | Failure:
        descriptor = os.open(into, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            return self._checked(
                await self._transport.exchange(
                    "GET", self._url(f"/files/{_quoted(file)}/content"), self._headers, into=stream
                )
            )

    async def _all(self) -> AsyncIterator[RemoteBatch | Failure]:
        after = ""
        while True:
            page = await self._json("GET", "/batches", again=_ANY, query={"limit": str(PAGE), "after": after})
            if isinstance(page, Failure):
                yield page
                return
            data = page.get("data")
            found = [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []
            for one in found:
                yield _batch(one)
            last = str(found[-1].get("id")) if found else ""
            if not page.get("has_more") or last in ("", after):
                return
            after = last

    def _url(self, path: str, query: Mapping[str, str] | None = None) -> str:
        more = [(name, value) for name, value in (query or {}).items() if value]
        parts = self._parts
        return urlunsplit(parts._replace(path=parts.path + path, query=urlencode([*parse_qsl(parts.query), *more])))

    async def _json(
        self,
        method: str,
        path: str,
        body: bytes | FileBody = b"",
        headers: Mapping[str, str] | None = None,
        *,
        again: frozenset[FailureKind],
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any] | Failure:
        """What the server answers, tried again after failures of the kinds `again`."""
        answer: dict[str, Any] | Failure = Failure(FailureKind.CONNECT)
        for wait in (*WAITS, None):
            sent = {**self._headers, **(headers or {})}
            answer = self._object(await self._transport.exchange(method, self._url(path, query), sent, body))
            if wait is None or not isinstance(answer, Failure) or answer.kind not in again:
                break
            await self._sleep(max(wait, min(answer.retry_after or 0.0, 60.0)))
        return answer

    def _object(self, answer: HttpAnswer | Failure) -> dict[str, Any] | Failure:
        checked = self._checked(answer)
        if isinstance(checked, Failure):
            return checked
        try:
            found = orjson.loads(checked.body)
        except orjson.JSONDecodeError:
            return broken_body(self._host, "is not JSON", checked.status)
        found = _unwrapped(found)
        return found or broken_body(self._host, "is not what its Batch API answers", checked.status)

    def _checked(self, answer: HttpAnswer | Failure) -> HttpAnswer | Failure:
        if isinstance(answer, Failure) or 200 <= answer.status < 300:
            return answer
        if answer.status == 404:
            told = f"{self._host} knows no such batch or file (any more), or has no Batch API"
            return Failure(FailureKind.UNKNOWN_MODEL, f"HTTP 404: {told}", status=404)
        return classify(answer.status, answer.body, answer.headers, 0.0)


NONCE, RUN = "smile_batch", "smile_run"  # names in a batch's metadata


def _check_address(path: str) -> None:
    if path.endswith("/messages"):
        raise SettingsError(
            "Anthropic's Message Batches are another interface, which is not spoken here.",
            hint="`smile generate` asks Anthropic row by row.",
        )
    if "/deployments/" in path:
        raise SettingsError(
            "Azure makes batches at its v1 interface.", hint="Leave api_version (OPENAI_API_VERSION) out."
        )


def _unwrapped(found: Any) -> dict[str, Any] | None:
    """The file, batch or list of an answer, which Together puts into `job` and SiliconFlow into `data`."""
    if not isinstance(found, dict):
        return None
    for name in ("job", "data"):
        if "id" not in found and isinstance(found.get(name), dict):
            found = found[name]
    return found if "id" in found or isinstance(found.get("data"), list) else None


def _batch(found: dict[str, Any] | Failure) -> RemoteBatch | Failure:
    if isinstance(found, Failure):
        return found
    status = str(found.get("status") or "validating").lower()
    counts = found.get("request_counts")
    counts = counts if isinstance(counts, dict) else found
    code, detail = _errors(found.get("errors") or found.get("error"))
    metadata = found.get("metadata")
    return RemoteBatch(
        id=str(found.get("id") or ""),
        status=_STATES.get(status, status),
        input_file=_text(found.get("input_file_id")),
        output_file=_text(found.get("output_file_id")),
        error_file=_text(found.get("error_file_id")),
        expires_at=_time(found.get("expires_at")),
        total=_number(counts.get("total")),
        completed=_number(counts.get("completed")),
        failed=_number(counts.get("failed")),
        code=code,
        detail=detail,
        metadata=metadata if isinstance(metadata, dict) else None,
    )


def _errors(errors: Any) -> tuple[str, str]:
    """Code and words of the first error of a batch that failed."""
    data = errors.get("data") if isinstance(errors, dict) else errors
    first = data[0] if isinstance(data, list) and data else data
    if isinstance(first, dict):
        line = f"line {first['line']}: " if isinstance(first.get("line"), int) else ""
        return str(first.get("code") or ""), masked(f"{line}{first.get('message') or first.get('code') or ''}")
    return "", masked(first) if isinstance(first, str) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _time(value: Any) -> float | None:
    """Seconds; milliseconds, where somebody counts those, are known by their size."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    return value / 1_000 if value > 1e11 else float(value)


def _quoted(name: Any) -> str:
    return quote(str(name), safe="")
