"""A client that sees bytes: what the simulator puts on the wire, not what a library makes of it."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from smile_async.simulate import Latency

AT_ONCE = Latency(base=0, per_token=0, jitter=0)


def chat_bytes(prompt: str, *, path: str = "/v1/chat/completions", headers: str = "", **extra: Any) -> bytes:
    """A whole POST request for one user message."""
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}], **extra})
    return post_bytes(body, path=path, headers=headers)


def post_bytes(body: bytes, *, path: str = "/v1/chat/completions", headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass
class Response:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def text(self) -> str:
        found = self.json["choices"][0]["message"]["content"]
        assert isinstance(found, str)
        return found


class Wire:
    """One connection: `async with Wire(base_url) as wire`."""

    def __init__(self, base_url: str) -> None:
        self.port = int(base_url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> Response:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines[1:] if line)
        return Response(int(lines[0].split(" ")[1]), {name.lower(): value for name, value in pairs})

    async def response(self) -> Response:
        found = await self.head()
        if "content-length" in found.headers:
            found.body = await self.reader.readexactly(int(found.headers["content-length"]))
        else:
            while size := int(await self.reader.readline(), 16):
                found.body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
        return found

    async def ask(self, prompt: str, **extra: Any) -> Response:
        await self.send(chat_bytes(prompt, **extra))
        return await self.response()

    async def get(self, path: str, *, method: str = "GET") -> Response:
        await self.send(f"{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        return await self.response()
