"""The project's own HTTP/1.1 way out: a pool of connections for one event loop. No proxies, no HTTP/2.

A request takes the connection used last, so that the others grow old and close. One timer serves all timeouts: it is
set to the earliest moment at which anything can be due and looks at every connection then.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Any

from smile_async.engine.job import Failure, FailureKind
from smile_async.provider.connection import BufferedConnection, Connection, Outcome
from smile_async.provider.network import not_connected
from smile_async.provider.origin import IDLE, Origin
from smile_async.provider.place import Place, head_of
from smile_async.provider.tls import Tls
from smile_async.settings import Timeouts

OVERSLEPT = 1.0  # seconds that a timer is late: this process was stopped, and what came meanwhile is read first


class Wire:
    """All connections of one event loop. `max_connections` bounds the requests in flight; who waits goes in order."""

    def __init__(self, timeouts: Timeouts, max_connections: int | None, max_body: int, tls: Tls) -> None:
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(65_536))
        self.kind = BufferedConnection if isinstance(self.loop, asyncio.BaseEventLoop) else Connection
        self.timeouts = timeouts
        self.max_body = max_body
        self.tls = tls
        self._limits = (timeouts.read, timeouts.total)
        self._shortest = min(IDLE, timeouts.read, timeouts.total)
        self._origins: dict[tuple[bool, str, int], Origin] = {}
        self._connections: set[Connection] = set()
        self._free = max_connections
        self._waiting: deque[tuple[asyncio.Future[bool], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._watch: AsyncGenerator[None, None] | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._closed = False
        self._head: tuple[Place | None, dict[str, str], bytes] = (None, {}, b"")

    def __repr__(self) -> str:
        busy = sum(not connection.is_idle for connection in self._connections)
        return f"<Wire [{busy} busy, {len(self._connections) - busy} idle | {len(self._waiting)} waiting]>"

    def post(self, place: Place, headers: Mapping[str, str], body: bytes) -> Coroutine[Any, Any, Outcome]:
        """One request, one attempt. Raises `SettingsError` for headers and certificates that cannot be used.

        No coroutine: none shall hold the body while the answer is awaited.
        """
        request = b"".join((self._head_for(place, headers), str(len(body)).encode(), b"\r\n\r\n", body))
        return self._exchange(place, request) if self._free is None else self._exchange_in_turn(place, request)

    async def _exchange_in_turn(self, place: Place, request: bytes) -> Outcome:
        if not await self._enter():
            return not_connected(place.label, ["no free connection in time"])
        try:
            return await self._exchange(place, request)
        finally:
            self._leave()

    async def aclose(self) -> None:
        """Closes every connection; requests in flight end as DISCONNECTED."""
        watch, self._watch = self._watch, None
        await self._drop()
        if watch is not None:
            await watch.aclose()

    async def _exchange(self, place: Place, request: bytes) -> Outcome:
        key = (place.secure, place.host, place.port)
        origin = self._origins.get(key) or self._origins.setdefault(key, Origin(self, place))
        began = self.loop.time()
        fresh = False
        while not fresh:
            connection: Connection | Failure | None = origin.take(began)
            if connection is None:
                if self._watch is None:
                    await self._keep_watch()
                connection, fresh = await origin.connect(), True
            if isinstance(connection, Failure):
                return connection
            if fresh and not connection.is_open:
                break
            waiter: asyncio.Future[Outcome] = self.loop.create_future()
            sent = connection.send(request, waiter, self.loop.time() if fresh else began)
            if not (sent or place.secure):
                connection.leave(waiter)  # its one write failed, so nothing left (TLS writes several times)
                continue
            request = b""  # it is not sent again, and not kept
            try:
                outcome = await waiter
            except asyncio.CancelledError:
                connection.leave(waiter)
                raise
            if not fresh and isinstance(outcome, Failure) and outcome.kind is FailureKind.DISCONNECTED:
                origin.wariness.met_a_close(began, self.loop.time())
            return outcome
        return not_connected(place.label, ["closed before the request could be sent"])

    def _head_for(self, place: Place, headers: Mapping[str, str]) -> bytes:
        """Headers are the same from request to request: comparing them costs a tenth of writing them out."""
        known, sent, head = self._head
        if known is not place or sent != headers:
            head = head_of(place, headers)
            self._head = (place, dict(headers), head)
        return head

    # -- who may send ---------------------------------------------------------------------------------------------

    async def _enter(self) -> bool:
        """False when no place came free within `timeouts.total`."""
        assert self._free is not None
        if self._free > 0:
            self._free -= 1
            return True
        turn: asyncio.Future[bool] = self.loop.create_future()
        self._waiting.append((turn, self.loop.time()))
        self._set_timer()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self._leave()  # it came in the same moment: on to the next
            raise

    def _leave(self) -> None:
        assert self._free is not None
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_result(True)
                return
        self._free += 1

    # -- the connections report -----------------------------------------------------------------------------------

    def made(self, connection: Connection) -> None:
        if self._closed:
            connection.abort()
            return
        self._connections.add(connection)
        self._set_timer()

    def lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if self._emptied is not None and not self._connections and not self._emptied.done():
            self._emptied.set_result(None)

    # -- time -----------------------------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = self.loop.call_later(self._shortest, self._look)

    def _look(self) -> None:
        """Whatever begins from now on is due `_shortest` later at the earliest, so nothing is ever seen too late."""
        now = self.loop.time()
        if self._timer is not None and now - self._timer.when() > OVERSLEPT:
            self._timer = self.loop.call_later(self._shortest / 20, self._look)
            return
        due = now + self._shortest
        for connection in list(self._connections):
            due = min(due, self._due(connection, now))
        while self._waiting and (self._waiting[0][0].done() or self._waiting[0][1] + self._limits[1] <= now):
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_result(False)
        self._timer = None
        if self._connections or self._waiting:
            self._timer = self.loop.call_at(max(due, now + self._shortest / 20), self._look)

    def _due(self, connection: Connection, now: float) -> float:
        """When to look again; ends what is due now."""
        read, total = self._limits
        if connection.is_idle:
            if connection.last + IDLE > now:
                return connection.last + IDLE
            connection.abort()
        else:
            due = min(connection.last + read, connection.started + total)
            if due > now:
                return due
            connection.time_out(now, read, total)
        return now + self._shortest

    # -- the end --------------------------------------------------------------------------------------------------

    async def _keep_watch(self) -> None:
        """A loop ends its generators before it closes: connections that nobody closed are closed then."""
        self._watch = self._until_the_loop_ends()
        await anext(self._watch)

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self._drop()

    async def _drop(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connections:
            self._emptied = self.loop.create_future()
            for connection in list(self._connections):
                connection.abort()
            await self._emptied
