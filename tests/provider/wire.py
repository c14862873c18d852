"""A server that does on the wire what its script says, byte by byte, and remembers what it saw."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from smile_async.provider.transport import Transport


class ByPyreqwest(Transport):
    """Takes the way that is kept for proxies also where there is none."""

    def _place(self, url: str) -> None:
        super()._place(url)
        self._places[url] = None


def transport_by(through: str, client: httpx.AsyncClient | None, **settings: Any) -> Transport:
    kind = ByPyreqwest if through == "pyreqwest" else Transport
    return kind(client=client, **settings)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Seen: yes\r\n\r\n{}"


@dataclass
class Seen:
    """One request: its line, its headers (lower case), its body, and how many its connection had served before."""

    line: str
    headers: dict[str, str]
    body: bytes
    earlier: int
    rest: asyncio.StreamReader
    """What the client sends next, or its end."""


@dataclass
class Wire:
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    peak: int = 0

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}/v1/chat/completions"


Script = Callable[[Seen, asyncio.StreamWriter], Awaitable[bool]]
"""Answers one request; False closes the connection."""


@contextlib.asynccontextmanager
async def listening(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    wire = Wire()
    at_work: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served, more = 0, True
        while more:
            seen = await read_request(reader, served)
            wire.seen.append(seen)
            served += 1
            more = await script(seen, writer)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        at_work[task] = writer
        wire.opened += 1
        wire.peak = max(wire.peak, wire.opened - wire.closed)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            await converse(reader, writer)
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
        wire.closed += 1
        del at_work[task]

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=2048)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for task, writer in list(at_work.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for what another thread, or the kernel, does; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - no event of this loop tells
            await asyncio.sleep(0.005)


async def read_request(reader: asyncio.StreamReader, earlier: int) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(head[0], headers, body, earlier, reader)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST instead of a FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def sends(data: bytes, *, keep: bool = True) -> Script:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        await writer.drain()
        return keep

    return script
