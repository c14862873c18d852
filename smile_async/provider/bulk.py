"""HTTP for what is rare and may be large: any method, a body from a file, an answer into a file. Memory stays flat.

It goes through pyreqwest, or through the user's client, never over the project's own connections: those are for posts
by the thousand.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from smile_async.engine.job import Failure
from smile_async.provider.connection import HttpAnswer
from smile_async.provider.network import timed_out
from smile_async.provider.transport import Transport, _build, _host

if TYPE_CHECKING:
    import httpx

PIECE = 256 * 1024  # bytes of a file that are read and sent at a time


@dataclass(frozen=True, slots=True)
class FileBody:
    """A body that is read from `file` while it is sent, `before` and `after` it."""

    before: bytes
    file: Path
    after: bytes

    @property
    def length(self) -> int:
        return len(self.before) + self.file.stat().st_size + len(self.after)

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self.before
        with self.file.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, PIECE):
                yield piece
        yield self.after


class BulkTransport(Transport):
    """See the module; timeouts, proxies, certificates and errors are `Transport`'s."""

    async def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | FileBody = b"",
        into: BinaryIO | None = None,
    ) -> HttpAnswer | Failure:
        """One attempt. `into` gets the body of a 2xx as it comes, whatever its size; then the answer's own body is
        empty, and after a failure a part of it may have been written."""
        sent = dict(headers)
        if isinstance(body, FileBody):
            sent["content-length"] = str(body.length)
        if self._theirs is not None:
            return await self._exchange_through(self._theirs, method, url, sent, body, into)
        return await self._exchange_by_pyreqwest(method, url, sent, body, into)

    async def _exchange_by_pyreqwest(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | FileBody, into: BinaryIO | None
    ) -> HttpAnswer | Failure:
        from pyreqwest.exceptions import PyreqwestError

        if self._ours is None:
            self._ours = _build(self._timeouts, self._max_connections)
        asking = self._ours.request(method, url).headers(headers)
        asking = asking.body_bytes(body) if isinstance(body, bytes) else asking.body_stream(body.pieces())
        began, status, got = time.monotonic(), None, bytearray()
        try:
            # 0: nothing of the body is read with the headers, so that whoever cuts it has told a status before.
            async with asking.streamed_read_buffer_limit(0).build_streamed() as response:
                status, write = response.status, _writer(into, response.status, got)
                while (chunk := await response.body_reader.read_chunk()) is not None:
                    write(memoryview(chunk))
                    if len(got) > self._max_body:
                        return self._too_large(url, status)
                return HttpAnswer(status, dict(response.headers.items()), bytes(got))
        except PyreqwestError as error:
            return self._explain(error, url, time.monotonic() - began, status, bytes(got))

    async def _exchange_through(
        self,
        client: "httpx.AsyncClient",
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | FileBody,
        into: BinaryIO | None,
    ) -> HttpAnswer | Failure:
        import httpx

        limit = self._timeouts
        timeout = httpx.Timeout(limit.read, connect=limit.connect, pool=limit.total)
        content = body if isinstance(body, bytes) else body.pieces()
        began, status, got = time.monotonic(), None, bytearray()
        try:
            async with (
                asyncio.timeout(limit.total),
                client.stream(method, url, content=content, headers=dict(headers), timeout=timeout) as response,
            ):
                status, write = response.status_code, _writer(into, response.status_code, got)
                async for chunk in response.aiter_bytes():
                    write(chunk)
                    if len(got) > self._max_body:
                        return self._too_large(url, status)
                return HttpAnswer(status, dict(response.headers), bytes(got))
        except TimeoutError:
            return timed_out(_host(url), limit.total, limit.read, limit.total)
        except httpx.HTTPError as error:
            return self._explain_httpx(error, url, time.monotonic() - began, status, bytes(got))


def _writer(into: BinaryIO | None, status: int, gathered: bytearray) -> Callable[[bytes | memoryview], object]:
    """Where the body of an answer with this status goes as it comes."""
    return into.write if into is not None and 200 <= status < 300 else gathered.extend
