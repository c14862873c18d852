"""A server over HTTP, asked in its dialect. One attempt a request: who asks again is the engine."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from smile_async.engine.job import Failure, Reply, Request
from smile_async.provider.dialect import Dialect
from smile_async.provider.headers import server_pace
from smile_async.provider.masking import without_echo
from smile_async.provider.status import classify
from smile_async.provider.transport import HttpAnswer, Transport
from smile_async.settings import Timeouts

if TYPE_CHECKING:
    import httpx


class ServerProvider:
    """Asks one endpoint for one model.

    `max_connections` bounds the requests in flight; without it the caller does. `client` is an `httpx.AsyncClient` of
    the user's own: its proxies, auth and hooks hold, and closing it stays theirs. `clock` is the wall clock.

    The key and the headers are in no `repr`, message or identity.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        timeouts: Timeouts | None = None,
        max_connections: int | None = None,
        client: "httpx.AsyncClient | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dialect = dialect
        self._url = dialect.url
        self._headers = dict(dialect.headers)
        self._host = urlsplit(self._url).netloc.rpartition("@")[2]
        self._transport = Transport(timeouts=timeouts, max_connections=max_connections, client=client)
        self._clock = clock

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._dialect.model} at {self._host}>"

    @property
    def identity(self) -> Mapping[str, Any]:
        """Model, sampling and extra fields: what shapes the answer. Never the key, never the address."""
        return self._dialect.identity

    async def ask(self, request: Request) -> Reply | Failure:
        answer = await self._transport.post(self._url, self._headers, self._dialect.body(request))
        if isinstance(answer, Failure):
            return answer
        outcome = self._judge(answer)
        if isinstance(outcome, Failure) and outcome.detail:
            sent = [message.content for message in request.messages]
            return replace(outcome, detail=without_echo(outcome.detail, sent))
        return outcome

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _judge(self, answer: HttpAnswer) -> Reply | Failure:
        now = self._clock()
        if not 200 <= answer.status < 300:
            return classify(answer.status, answer.body, answer.headers, now)
        pace = server_pace(answer.headers, now)
        return self._dialect.read(answer.body, answer.headers, now, pace, self._host)
