"""The project's own HTTP/1.1 way out: a pool of connections for one event loop. No proxies, no HTTP/2.

A request takes the connection used last, so that the others grow old and close. One timer serves all timeouts: it is
set to the earliest moment at which anything can be due and looks at every connection then.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from smile_async.engine.job import Failure, FailureKind
from smile_async.errors import SettingsError
from smile_async.provider.connection import BufferedConnection, Connection, Outcome
from smile_async.provider.network import connect_timed_out, not_connected
from smile_async.provider.wariness import Wariness
from smile_async.settings import Timeouts

IDLE = 4.0  # seconds a connection is kept unused: uvicorn, and so vLLM, closes after 5
LONG_AGO = 0.9  # seconds since its request left: servers close what is idle for a second or more
RESOLVED = 10.0  # seconds that a name's addresses are believed
STAGGER = 0.25  # seconds until the next address is tried beside the one that does not answer (RFC 8305)
OVERSLEPT = 1.0  # seconds that a timer is late: this process was stopped, and what came meanwhile is read first
KEEPALIVE = 15  # seconds of silence until the kernel probes: routers forget a connection on which a model thinks
USER_AGENT = "smile-async"

_URL = re.compile(r"(https?)://((?:[a-z0-9._-]+|\[[0-9a-f:.]+\]))(?::(\d{1,5}))?(/[!-~]*|\?[!-~]*)?", re.IGNORECASE)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads. `label` is host and port as written, `target` path and query."""

    secure: bool
    host: str
    port: int
    label: str
    target: str


def place_of(url: str) -> Place | None:
    """None for what is left to pyreqwest: a user in the address, a fragment, anything but plain ASCII."""
    found = _URL.fullmatch(url)
    if found is None or "#" in url:
        return None
    secure = found[1].lower() == "https"
    port = int(found[3] or (443 if secure else 80))
    if port > 65_535:
        return None
    target = found[4] or "/"
    label = found[2].lower() + (f":{found[3]}" if found[3] else "")
    return Place(secure, found[2].lower().strip("[]"), port, label, target if target[0] == "/" else f"/{target}")


def head_of(place: Place, headers: Mapping[str, str]) -> bytes:
    """Everything up to the value of Content-Length, which comes last. Raises `SettingsError` for a header unfit."""
    fields = {"host": place.label, "user-agent": USER_AGENT, "accept-encoding": "gzip, deflate"}
    fields |= {name.lower(): value.strip() for name, value in headers.items()}
    fields = {name: value for name, value in fields.items() if name not in {"content-length", "transfer-encoding"}}
    for name, value in fields.items():
        if not (_TOKEN.fullmatch(name) and value.isascii() and value.replace("\t", " ").isprintable()):
            raise SettingsError(
                f"The header {name!r:.60} holds a character that HTTP cannot send.", hint="Use printable ASCII."
            )
    lines = [f"POST {place.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "content-length: "]).encode("ascii")


class Shared(Generic[_T]):
    """One computation for all who ask while it runs. Who is cancelled leaves the others their result."""

    def __init__(self, compute: Callable[[], Awaitable[_T]]) -> None:
        self._compute = compute
        self._running: asyncio.Task[_T] | None = None

    async def get(self) -> _T:
        running = self._running
        if running is None or running.get_loop() is not asyncio.get_running_loop():
            self._running = running = asyncio.ensure_future(self._run())
            running.add_done_callback(self._ended)
        return await asyncio.shield(running)

    async def _run(self) -> _T:
        return await self._compute()

    def _ended(self, task: "asyncio.Task[_T]") -> None:
        if self._running is task:
            self._running = None
        if not task.cancelled():
            task.exception()  # seen: nobody may be left to see it


class Origin:
    """The idle connections to one scheme, host and port, the one used last at the end; and how new ones are made."""

    def __init__(self, wire: "Wire", place: Place) -> None:
        self.host = place.label
        self.max_body = wire.max_body
        self.loop = wire.loop
        self.buffer = wire.buffer
        self._wire = wire
        self._place = place
        self._idle: dict[Connection, None] = {}
        self._addresses: list[str] = []
        self._believed_until = 0.0
        self._turn = 0
        self._resolving = Shared(self._resolve)
        self.wariness = Wariness()

    def take(self, now: float) -> Connection | None:
        while self._idle:
            connection, _ = self._idle.popitem()
            fit = connection.is_open and now - connection.last < IDLE and now >= self.wariness.until
            # Of a process that was stopped the answer has waited, and perhaps the close behind it.
            if fit and (now - connection.started < LONG_AGO or not connection.has_ended()):
                return connection
            connection.abort()
        return None

    # -- the connections report -----------------------------------------------------------------------------------

    def made(self, connection: Connection) -> None:
        self._wire.made(connection)

    def freed(self, connection: Connection) -> None:
        self._idle[connection] = None

    def lost(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        self._wire.lost(connection)

    # -- a new one ------------------------------------------------------------------------------------------------

    async def connect(self) -> Connection | Failure:
        """Name, TCP and TLS within `timeouts.connect`. A failure here sent nothing."""
        seconds = min(self._wire.timeouts.connect, self._wire.timeouts.total)
        try:
            tls = await self._wire.tls.get() if self._place.secure else None
            async with asyncio.timeout(seconds):
                return await self._reach(await self._names(), tls)
        except TimeoutError:
            self._believed_until = 0.0
            return connect_timed_out(self.host, seconds)
        except (OSError, UnicodeError) as error:
            self._believed_until = 0.0
            return not_connected(self.host, [_words(error)])

    async def _names(self) -> list[str]:
        """Addresses in the order to try: the system's, except that those of the first kind take turns."""
        if self.loop.time() >= self._believed_until:
            self._addresses = await self._resolving.get()
            self._believed_until = self.loop.time() + RESOLVED
        self._turn += 1
        return in_turn(self._addresses, self._turn)

    async def _resolve(self) -> list[str]:
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(self._place.host))]
        found = await self.loop.getaddrinfo(self._place.host, self._place.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def _reach(self, addresses: list[str], tls: ssl.SSLContext | None) -> Connection:
        """The first that answers; each next address is tried when the one before failed or is silent for `STAGGER`."""
        if len(addresses) == 1:
            return await self._dial(addresses[0], tls)
        tries: list[asyncio.Task[Connection]] = []
        won: asyncio.Task[Connection] | None = None
        try:
            for address in addresses:
                tries.append(asyncio.ensure_future(self._dial(address, tls)))
                if won := await _first(tries, STAGGER):
                    return won.result()
            while not (won := await _first(tries, None)):
                if all(task.done() for task in tries):
                    break
            return won.result() if won else tries[0].result()
        finally:
            await _forgo([task for task in tries if task is not won])

    async def _dial(self, address: str, tls: ssl.SSLContext | None) -> Connection:
        name = self._place.host if tls else None
        transport, connection = await self.loop.create_connection(
            lambda: self._wire.kind(self), address, self._place.port, ssl=tls, server_hostname=name
        )
        _probe_when_silent(transport.get_extra_info("socket"))
        return connection


class Tls:
    """The context all connections share, made in a thread by the first that needs it: it reads hundreds of CAs."""

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        self._make = make
        self._context: ssl.SSLContext | None = None
        self._making = Shared(self._in_a_thread)

    async def get(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = await self._making.get()
        return self._context

    async def _in_a_thread(self) -> ssl.SSLContext:
        return await asyncio.get_running_loop().run_in_executor(None, self._make)


def trusting_the_system() -> ssl.SSLContext:
    """CAs of the system, or of SSL_CERT_FILE and SSL_CERT_DIR; certifi's where Python was built without any."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath or context.get_ca_certs()):
        import certifi

        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


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


def in_turn(addresses: list[str], turn: int) -> list[str]:
    """IPv6 and IPv4 stay in the order given; the addresses of the first kind are rotated by `turn`."""
    kind = ":" in addresses[0]
    first = [address for address in addresses if (":" in address) is kind]
    turn %= len(first)
    return [*first[turn:], *first[:turn], *(address for address in addresses if (":" in address) is not kind)]


async def _first(tries: "list[asyncio.Task[Connection]]", seconds: float | None) -> "asyncio.Task[Connection] | None":
    """One that is connected, waited for so long; None when one failed or time is up."""
    waiting = [task for task in tries if not task.done()]
    if waiting:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return next((task for task in tries if task.done() and not task.exception()), None)


async def _forgo(tries: "list[asyncio.Task[Connection]]") -> None:
    for task in tries:
        task.cancel()
    for outcome in await asyncio.gather(*tries, return_exceptions=True):
        if isinstance(outcome, Connection):
            outcome.abort()


def _words(error: Exception) -> str:
    """English, also where asyncio and Windows say it in words of their own."""
    if isinstance(error, ConnectionRefusedError):
        return "Connection refused"
    return str(error) or type(error).__name__


def _probe_when_silent(link: Any) -> None:
    with contextlib.suppress(OSError, AttributeError):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE)
