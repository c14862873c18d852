"""One request through a user's own client, and what was sent."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from smile_async.engine.job import Failure, Message, Reply, Request
from smile_async.provider.dialect import Dialect
from smile_async.provider.server import ServerProvider

ASK = Request((Message("system", "你是咨询师。"), Message("user", "我睡不好，总是想着工作，怎么办？")))


def ask(
    dialect: Dialect, body: Any, status: int = 200, told: Mapping[str, str] | None = None, request: Request = ASK
) -> tuple[Reply | Failure, httpx.Request]:
    sent: list[httpx.Request] = []

    def respond(received: httpx.Request) -> httpx.Response:
        sent.append(received)
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return httpx.Response(status, content=content, headers=dict(told or {}))

    async def main() -> Reply | Failure:
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as client:
            return await ServerProvider(dialect, client=client).ask(request)

    return asyncio.run(main()), sent[0]
