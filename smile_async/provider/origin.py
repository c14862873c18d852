"""One server: its idle connections, the one used last at the end, and how new ones are made. Names, TCP, TLS."""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from typing import Any, Protocol

from smile_async.engine.job import Failure
from smile_async.provider.connection import Connection
from smile_async.provider.network import connect_timed_out, not_connected
from smile_async.provider.place import Place
from smile_async.provider.tls import Shared, Tls
from smile_async.provider.wariness import Wariness
from smile_async.settings import Timeouts

IDLE = 4.0  # seconds a connection is kept unused: uvicorn, and so vLLM, closes after 5
LONG_AGO = 0.9  # seconds since its request left: servers close what is idle for a second or more
RESOLVED = 10.0  # seconds that a name's addresses are believed
STAGGER = 0.25  # seconds until the next address is tried beside the one that does not answer (RFC 8305)
KEEPALIVE = 15  # seconds of silence until the kernel probes: routers forget a connection on which a model thinks


class Owner(Protocol):
    """Whoever holds the connections of all origins in one loop; `kind` is what a new one is."""

    loop: asyncio.AbstractEventLoop
    buffer: memoryview
    kind: type[Connection]
    timeouts: Timeouts
    max_body: int
    tls: Tls

    def made(self, connection: Connection) -> None: ...
    def lost(self, connection: Connection) -> None: ...


class Origin:
    """The idle connections to one scheme, host and port, the one used last at the end; and how new ones are made."""

    def __init__(self, wire: Owner, place: Place) -> None:
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
