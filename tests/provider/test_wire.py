"""The project's own connections: what only they promise, against a server that does on the wire what a script says."""

import asyncio
import gc
import itertools
import socket
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, cast

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from smile_async.engine.job import Failure, FailureKind
from smile_async.errors import SettingsError
from smile_async.provider.connection import MAX_HEAD, Connection, HttpAnswer, Outcome
from smile_async.provider.origin import LONG_AGO, in_turn
from smile_async.provider.place import Place, head_of, place_of
from smile_async.provider.transport import Transport
from smile_async.provider.unpacker import Unpacker
from smile_async.provider.wire import OVERSLEPT
from smile_async.settings import Timeouts
from tests.provider.wire import OK, Script, Seen, Wire, listening, sends, until

HEADERS = {"content-type": "application/json"}
Act = Callable[[Wire, Transport], Awaitable[Any]]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run_on(loop: str, main: Coroutine[Any, Any, Any]) -> Any:
    factory = uvloop.new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def run(script: Script, act: Act, loop: str = "asyncio", **kwargs: Any) -> Any:
    async def main() -> Any:
        async with listening(script) as wire:
            transport = Transport(**kwargs)
            try:
                return await act(wire, transport)
            finally:
                await transport.aclose()

    return run_on(loop, main())


async def once(wire: Wire, transport: Transport, body: bytes = b"{}") -> Outcome:
    return await transport.post(wire.url(), HEADERS, body)


def answered(outcome: Outcome) -> HttpAnswer:
    assert isinstance(outcome, HttpAnswer), outcome
    return outcome


def failed(outcome: Outcome, kind: FailureKind) -> Failure:
    assert isinstance(outcome, Failure), outcome
    assert outcome.kind is kind, outcome
    return outcome


# -- the pool ---------------------------------------------------------------------------------------------------------


def test_connections_are_reused_and_the_last_used_goes_first(loop: str) -> None:
    """Three at once open three; after that one at a time uses the one that was free last, and no other."""

    async def act(wire: Wire, transport: Transport) -> None:
        await asyncio.gather(*(once(wire, transport) for _ in range(3)))
        for _ in range(5):
            await once(wire, transport)
        assert (wire.opened, len(wire.seen)) == (3, 8)
        assert max(seen.earlier for seen in wire.seen) == 5

    run(sends(OK), act, loop)


class Body(bytes):
    """Tells when nobody holds it any more."""

    gone: ClassVar[list[int]] = []

    def __del__(self) -> None:
        self.gone.append(len(self))


def test_a_body_is_not_kept_while_its_answer_is_awaited(loop: str) -> None:
    """Thousands may be in flight: when the server has the request, nobody here holds it."""
    Body.gone.clear()
    held: list[int] = []

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> bool:
        held.append(len(seen.body) - sum(Body.gone))
        writer.write(OK)
        return True

    async def act(wire: Wire, transport: Transport) -> None:
        answered(await transport.post(wire.url(), HEADERS, Body(b"x" * 5_000)))
        assert held == [0]

    run(script, act, loop)


def test_an_idle_connection_closes_by_itself(loop: str) -> None:
    """Idle for min(4 s, read, total): here `total` of 50 ms sets the timer's pace, the 4 s are shown by the clock."""

    async def act(wire: Wire, transport: Transport) -> None:
        answered(await once(wire, transport))
        pool = transport._wire
        assert pool is not None
        (connection,) = pool._connections
        connection.last -= 4.0  # as if the answer had come 4 s ago
        await until(lambda: wire.closed == 1)
        assert repr(pool) == "<Wire [0 busy, 0 idle | 0 waiting]>"
        await until(lambda: pool._timer is None)

    run(sends(OK), act, loop, timeouts=Timeouts(connect=1, read=1, total=0.05))


def test_a_connection_too_old_is_not_taken_even_before_the_timer_saw_it(loop: str) -> None:
    async def act(wire: Wire, transport: Transport) -> None:
        answered(await once(wire, transport))
        assert transport._wire is not None
        (connection,) = transport._wire._connections
        connection.last -= 4.0
        answered(await once(wire, transport))
        assert wire.opened == 2

    run(sends(OK), act, loop)


def test_who_waits_for_a_place_is_served_in_order(loop: str) -> None:
    async def act(wire: Wire, transport: Transport) -> None:
        await asyncio.gather(*(once(wire, transport, str(number).encode()) for number in range(20)))
        assert [int(seen.body) for seen in wire.seen] == list(range(20))
        assert wire.opened == 1

    run(sends(OK), act, loop, max_connections=1)


def test_a_place_given_to_one_who_is_cancelled_goes_on_to_the_next(loop: str) -> None:
    async def act(wire: Wire, transport: Transport) -> None:
        tasks = [asyncio.ensure_future(once(wire, transport)) for _ in range(6)]
        await until(lambda: bool(wire.seen))
        for task in tasks[1:4]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(outcome, HttpAnswer) for outcome in outcomes) == 3
        assert transport._wire is not None
        assert transport._wire._free == 1

    async def slowly(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.01)
        writer.write(OK)
        return True

    run(slowly, act, loop, max_connections=1)


def test_who_finds_no_place_in_time_has_sent_nothing(loop: str) -> None:
    """The first holds the only place for its 0.1 s; the second may wait as long, and one of both runs out."""

    async def act(wire: Wire, transport: Transport) -> None:
        first = asyncio.ensure_future(once(wire, transport))
        await until(lambda: bool(wire.seen))
        pool = transport._wire
        assert pool is not None
        second = asyncio.ensure_future(once(wire, transport))
        await until(lambda: bool(pool._waiting))
        pool._waiting[0] = (pool._waiting[0][0], pool._waiting[0][1] - 60)  # as if it had waited a minute
        assert "no free connection" in failed(await second, FailureKind.CONNECT).detail
        failed(await first, FailureKind.TIMEOUT)

    run(silence, act, loop, max_connections=1, timeouts=Timeouts(connect=1, read=1, total=0.1))


# -- cancelling, closing, loops ---------------------------------------------------------------------------------------


async def silence(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
    await until(writer.is_closing)
    return False


async def until_closed(seen: Seen, _writer: asyncio.StreamWriter) -> bool:
    """Waits for the other side's FIN or RST and nothing else."""
    await seen.rest.read()
    return False


def test_a_cancelled_request_closes_its_connection_at_once(loop: str) -> None:
    async def act(wire: Wire, transport: Transport) -> None:
        task = asyncio.ensure_future(once(wire, transport))
        await until(lambda: bool(wire.seen))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: wire.closed == 1, seconds=1)

    run(until_closed, act, loop)


def test_cancelling_one_whose_answer_is_there_spares_the_connection(loop: str) -> None:
    """Its connection may serve another by then."""

    async def act(wire: Wire, transport: Transport) -> None:
        task = asyncio.ensure_future(once(wire, transport))
        await until(lambda: bool(wire.seen))
        pool = transport._wire
        assert pool is not None
        (connection,) = pool._connections
        while not connection.is_idle:  # noqa: ASYNC110 - turn by turn, to stand between answer and receiver
            await asyncio.sleep(0)
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        answered(await once(wire, transport))
        assert wire.opened == 1

    run(sends(OK), act, loop)


def test_aclose_ends_what_is_in_flight(loop: str) -> None:
    async def act(wire: Wire, transport: Transport) -> None:
        task = asyncio.ensure_future(once(wire, transport))
        await until(lambda: bool(wire.seen))
        await transport.aclose()
        failed(await task, FailureKind.DISCONNECTED)

    run(silence, act, loop)


def test_a_loop_that_ends_without_aclose_leaves_no_open_socket(loop: str) -> None:
    """`filterwarnings = error` makes a socket or transport that the collector finds open a failure."""
    transport = Transport()

    async def main() -> Outcome:
        async with listening(sends(OK)) as wire:
            return await once(wire, transport)

    for _ in range(3):
        answered(run_on(loop, main()))
        gc.collect()


def test_two_kinds_of_loop_in_turn() -> None:
    transport = Transport()

    async def main() -> Outcome:
        async with listening(sends(OK)) as wire:
            return await once(wire, transport)

    for kind in ("asyncio", "uvloop", "asyncio"):
        answered(run_on(kind, main()))


def test_who_was_stopped_reads_what_came_meanwhile_before_any_timeout(loop: str) -> None:
    """A process that is stopped (SIGSTOP, a laptop's lid) wakes up with its timers due and its answers unread."""
    transport = Transport(timeouts=Timeouts(connect=1, read=0.4, total=0.6))

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        pool = transport._wire
        assert pool is not None
        assert pool._timer is not None
        sleep_through(pool._timer.when() + OVERSLEPT - pool.loop.time())
        pool._timer.cancel()
        pool._look()  # as by a loop that serves its timers before its sockets
        writer.write(OK)
        return True

    async def main() -> Outcome:
        async with listening(script) as wire:
            outcome = await once(wire, transport)
            await transport.aclose()
            return outcome

    assert answered(run_on(loop, main())).status == 200


def serve_once_and_close(listener: socket.socket) -> None:
    """Each connection gets one answer and is closed, without a word of it."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(65_536)
            time.sleep(LONG_AGO / 3)  # until the client sleeps
            connection.sendall(OK)


def test_who_was_stopped_does_not_use_a_connection_that_was_closed_meanwhile(loop: str) -> None:
    """The answer and, behind it, the close had arrived when it woke; the next request leaves before the loop reads on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve_once_and_close, args=(listener,), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions"

        async def twice(transport: Transport) -> list[Outcome]:
            return [await transport.post(url, HEADERS, b"{}") for _ in range(2)]

        async def main() -> list[Outcome]:
            transport = Transport()
            try:
                asking = asyncio.create_task(twice(transport))
                await until(lambda: any(not it.is_idle for it in getattr(transport._wire, "_connections", ())))
                sleep_through(LONG_AGO)
                return await asking
            finally:
                await transport.aclose()

        outcomes = run_on(loop, main())
        listener.shutdown(socket.SHUT_RDWR)
        server.join()
    assert [answered(outcome).status for outcome in outcomes] == [200, 200]


def sleep_through(seconds: float) -> None:
    """The loop does not turn meanwhile."""
    time.sleep(seconds + 0.01)


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "surplus",
    [b"garbage", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n"],
)
def test_what_follows_an_answer_unasked_is_never_taken_for_the_next(surplus: bytes, loop: str) -> None:
    async def act(wire: Wire, transport: Transport) -> None:
        for _ in range(2):
            assert answered(await once(wire, transport)).body == b"{}"
        assert wire.opened == 2

    run(sends(OK + surplus), act, loop)


def test_what_arrives_on_an_idle_connection_closes_it(loop: str) -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.02)  # apart from the answer
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        return True

    async def act(wire: Wire, transport: Transport) -> None:
        answered(await once(wire, transport))
        await until(lambda: wire.closed == 1)
        assert answered(await once(wire, transport)).status == 200

    run(script, act, loop)


CASES: dict[str, tuple[bytes, bool, tuple[int, bytes]]] = {
    "interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK,
        True,
        (200, b"{}"),
    ),
    "body until the close": (b"HTTP/1.1 200 OK\r\n\r\n{}", False, (200, b"{}")),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\n{}", False, (200, b"{}")),
    "304 that tells a length": (b"HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n", True, (304, b"")),
    "204": (b"HTTP/1.1 204 X\r\n\r\n", True, (204, b"")),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", True, (200, b"{}")),
    "trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n",
        True,
        (200, b"{}"),
    ),
    "an offer to upgrade": (
        b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\n{}",
        True,
        (200, b"{}"),
    ),
    "identity": (b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", True, (200, b"{}")),
    "packed but empty": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
        True,
        (200, b""),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_answers_of_every_shape(case: str, loop: str) -> None:
    sent, keep, expected = CASES[case]

    outcome = answered(run(sends(sent, keep=keep), once, loop))

    assert (outcome.status, outcome.body) == expected


def test_headers_of_one_name_are_joined_and_latin_1_is_read() -> None:
    sent = b"HTTP/1.1 200 OK\r\nX-A: 1 \r\nx-a: 2\r\nX-Empty:\r\nX-L: caf\xe9\r\nContent-Length: 0\r\n\r\n"

    headers = answered(run(sends(sent), once)).headers

    assert headers == {"x-a": "1, 2", "x-empty": "", "x-l": "café", "content-length": "0"}


@pytest.mark.parametrize(
    ("sent", "kind", "words"),
    [
        (
            b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            FailureKind.BROKEN_BODY,
            "changes the protocol",
        ),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * (MAX_HEAD + 1), FailureKind.BROKEN_BODY, "of headers"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", FailureKind.BROKEN_BODY, "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", FailureKind.BROKEN_BODY, "'br'"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\n" + zlib.compress(b"x" * 99)[:10],
            FailureKind.BROKEN_BODY,
            "has no end",
        ),
    ],
    ids=["upgrade", "endless head", "bad chunk", "brotli", "cut pack"],
)
def test_what_cannot_be_read_is_said(sent: bytes, kind: FailureKind, words: str, loop: str) -> None:
    assert words in failed(run(sends(sent), once, loop), kind).detail


class Refusing(asyncio.Protocol):
    """Answers 413 at the first byte and reads no more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.pause_reading()
        self.transport.write(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")


def test_an_answer_before_the_request_has_left_counts_but_spoils_the_connection(loop: str) -> None:
    """30 MB are more than any socket buffer: most of it is still here when the answer comes."""

    async def main() -> None:
        talk = Refusing()
        server = await asyncio.get_running_loop().create_server(lambda: talk, "127.0.0.1", 0)
        transport = Transport()
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert answered(await transport.post(url, {}, bytes(30_000_000))).status == 413
        pool = transport._wire
        assert pool is not None
        assert not [connection for connection in pool._connections if connection.is_open]
        await transport.aclose()
        talk.transport.abort()
        server.close()
        await server.wait_closed()

    run_on(loop, main())


def test_a_large_request_arrives_whole(loop: str) -> None:
    body = bytes(range(256)) * 20_000  # 5 MB: more than any socket buffer

    async def act(wire: Wire, transport: Transport) -> None:
        for _ in range(2):
            answered(await once(wire, transport, body))
        assert [seen.body == body for seen in wire.seen] == [True, True]
        assert wire.opened == 1

    run(sends(OK), act, loop)


def test_a_drip_of_single_bytes_ends_with_the_total(loop: str) -> None:
    """Each byte is well within `read`; the sum is bounded all the same."""

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"x" * 9999:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.005)
            if writer.is_closing():
                break
        return False

    outcome = run(script, once, loop, timeouts=Timeouts(connect=1, read=0.2, total=0.3))

    assert "total timeout" in failed(outcome, FailureKind.TIMEOUT).detail


# -- addresses, names, headers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://h/v1?a=b", Place(False, "h", 80, "h", "/v1?a=b")),
        ("https://API.x.com:8443", Place(True, "api.x.com", 8443, "api.x.com:8443", "/")),
        ("http://[::1]:80/", Place(False, "::1", 80, "[::1]:80", "/")),
        ("http://h?q", Place(False, "h", 80, "h", "/?q")),
        ("http://user:pw@h/", None),
        ("http://h/a b", None),
        ("http://h/#part", None),
        ("http://häuser.de/", None),
        ("http://h:99999/", None),
        ("ftp://h/", None),
    ],
)
def test_plain_addresses_go_straight_and_odd_ones_do_not(url: str, place: Place | None) -> None:
    assert place_of(url) == place


def test_the_head_is_what_a_server_expects_and_the_callers_headers_win() -> None:
    place = Place(False, "h", 8000, "h:8000", "/v1")

    head = head_of(place, {"User-Agent": "me", "X-A": "1", "Content-Length": "7", "Transfer-Encoding": "chunked"})

    assert head == (
        b"POST /v1 HTTP/1.1\r\nhost: h:8000\r\nuser-agent: me\r\naccept-encoding: gzip, deflate\r\nx-a: 1\r\n"
        b"content-length: "
    )


@pytest.mark.parametrize("header", [("x", "a\r\nb: c"), ("x y", "a"), ("x", "中"), ("x\r\ny", "a"), ("", "a")])
def test_a_header_cannot_smuggle_another(header: tuple[str, str]) -> None:
    with pytest.raises(SettingsError, match="cannot send"):
        head_of(Place(False, "h", 80, "h", "/"), dict([header]))


def test_changed_headers_are_sent_as_they_are_now(loop: str) -> None:
    async def act(wire: Wire, transport: Transport) -> None:
        headers = {"x-turn": "1"}
        await transport.post(wire.url(), headers, b"")
        headers["x-turn"] = "2"
        await transport.post(wire.url(), headers, b"")
        assert [seen.headers["x-turn"] for seen in wire.seen] == ["1", "2"]

    run(sends(OK), act, loop)


def test_addresses_of_the_preferred_kind_take_turns() -> None:
    addresses = ["::1", "::2", "10.0.0.1"]

    assert in_turn(addresses, 2) == ["::1", "::2", "10.0.0.1"]
    assert in_turn(addresses, 3) == ["::2", "::1", "10.0.0.1"]


@pytest.mark.parametrize("dead", ["silent", "refused"])
def test_a_dead_address_is_passed_over(dead: str, loop: str) -> None:
    """`STAGGER` is 0.25 s, a refusal is at once; both are far from the 5 s allowed."""
    silent = socket.create_server(("127.0.0.3", 0), backlog=0)
    port = silent.getsockname()[1]
    blocked = [socket.socket() for _ in range(3)]

    async def main() -> Outcome:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK.replace(b"X-Seen: yes", b"Connection: close"))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", port)
        async with server:
            transport = Transport(timeouts=Timeouts(connect=5, read=5, total=5))
            url = f"http://localhost:{port}/"
            place = transport._place(url)
            assert place is not None
            answered(await transport.post(url, {}, b""))
            pool = transport._wire
            assert pool is not None
            (origin,) = pool._origins.values()
            first = "127.0.0.3" if dead == "silent" else "127.0.0.2"
            origin._addresses, origin._turn = [first, "::1", "127.0.0.1"], 1
            origin._believed_until = asyncio.get_running_loop().time() + 60
            outcome = await transport.post(url, {}, b"")
            await transport.aclose()
            return outcome

    try:
        if dead == "silent":  # a full backlog lets the kernel drop what comes
            for link in blocked:
                link.setblocking(False)
                link.connect_ex(("127.0.0.3", port))
        answered(run_on(loop, main()))
    finally:
        for link in [silent, *blocked]:
            link.close()


# -- any split --------------------------------------------------------------------------------------------------------


class Kept:
    """Stands for the pool; `ends` tells how often the connection was free again, or lost."""

    host, max_body = "h", 1_000_000

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.buffer = memoryview(bytearray(10))
        self.ends: list[str] = []

    def made(self, connection: Connection) -> None: ...

    def freed(self, connection: Connection) -> None:
        self.ends.append("freed")

    def lost(self, connection: Connection) -> None: ...


class Sink(asyncio.Transport):
    """A transport that swallows what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None: ...

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0


def parse(pieces: list[bytes]) -> tuple[Outcome | None, list[str]]:
    """What one connection makes of these reads, followed by the end of the stream when nothing came of them."""
    loop = asyncio.new_event_loop()
    try:
        keeper = Kept(loop)
        connection = Connection(keeper)
        connection.connection_made(Sink())
        waiter: asyncio.Future[Outcome] = loop.create_future()
        connection.send(b"", waiter, loop.time())
        for piece in pieces:
            if not waiter.done():
                connection.data_received(piece)
        if not waiter.done():
            connection.eof_received()
        return (waiter.result() if waiter.done() else None), keeper.ends
    finally:
        loop.close()


PACKED = zlib.compress(b'{"a": "' + b"xyz" * 50 + b'"}')
WHOLE = [
    OK,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: <a>\r\n\r\n" + OK,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\nx-a: c\r\n\r\n3\r\nabc\r\n2;e=1\r\nde\r\n0\r\nT: u\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED,
    b"HTTP/1.1 200 OK\r\nX-Empty:\r\nConnection: close\r\n\r\nuntil the end",
    b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut here",
    b"HTTP/1.1 200 OK\r\nX: y",
    b"this is no HTTP at all\r\n\r\n",
]


@settings(deadline=None, max_examples=300)
@given(sent=st.sampled_from(WHOLE), cuts=st.lists(st.integers(0, 400), max_size=40))
def test_an_answer_split_anywhere_is_the_same_answer(sent: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    pieces = [sent[a:b] for a, b in itertools.pairwise(bounds) if b > a]

    assert parse(pieces) == parse([sent])


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", WHOLE[2], WHOLE[3]]), st.integers(0, 200))
def test_no_bytes_make_it_raise(noise: bytes, sent: bytes, at: int) -> None:
    outcome, _ = parse([sent[:at] + noise + sent[at:]])

    assert isinstance(outcome, HttpAnswer | Failure)


@given(st.binary(max_size=2_000), st.integers(1, 300))
def test_unpacking_never_returns_more_than_there_is_room_for(data: bytes, room: int) -> None:
    assert Unpacker("gzip").feed(zlib.compress(data), room) == data[:room]
