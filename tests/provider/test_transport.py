"""What a network does, done by a real server on the loopback, and what the transport makes of it."""

import asyncio
import contextlib
import gc
import gzip
import os
import resource
import socket
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from smile_async.engine.job import Failure, FailureKind
from smile_async.errors import SettingsError
from smile_async.provider.transport import HttpAnswer, Transport, raise_open_files_limit
from smile_async.settings import Timeouts
from tests.provider.wire import OK, Script, Seen, Wire, listening, reset, sends, transport_by, until

HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-very-secret-0123456789"}
SHORT = Timeouts(connect=2.0, read=0.15, total=0.4)
Act = Callable[[Wire, Transport], Awaitable[HttpAnswer | Failure]]


@pytest.fixture(params=["wire", "pyreqwest", "httpx"])
def through(request: pytest.FixtureRequest) -> str:
    """All ways out must agree."""
    return str(request.param)


@pytest.fixture(params=["wire", "pyreqwest"])
def ours(request: pytest.FixtureRequest) -> str:
    """The two that the transport chooses from by itself."""
    return str(request.param)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def run(
    script: Script,
    act: Act,
    through: str = "wire",
    timeouts: Timeouts | None = None,
    max_body: int = 1_000_000,
) -> HttpAnswer | Failure:
    async def main() -> HttpAnswer | Failure:
        async with listening(script) as wire:
            client = httpx.AsyncClient() if through == "httpx" else None
            transport = transport_by(through, client, timeouts=timeouts, max_body=max_body)
            try:
                return await act(wire, transport)
            finally:
                await transport.aclose()
                if client:
                    await client.aclose()

    return asyncio.run(main())


async def once(wire: Wire, transport: Transport) -> HttpAnswer | Failure:
    return await transport.post(wire.url(), HEADERS, '{"问":1}'.encode())


def failure(outcome: HttpAnswer | Failure, kind: FailureKind) -> Failure:
    assert isinstance(outcome, Failure), outcome
    assert outcome.kind is kind, outcome
    assert "secret" not in outcome.detail
    return outcome


# -- answers --------------------------------------------------------------------------------------------------


def test_body_and_headers_arrive_as_sent(through: str) -> None:
    async def act(wire: Wire, transport: Transport) -> HttpAnswer | Failure:
        answer = await once(wire, transport)
        assert wire.seen[0].line == "POST /v1/chat/completions HTTP/1.1"
        assert wire.seen[0].headers["authorization"] == HEADERS["authorization"]
        assert wire.seen[0].body.decode() == '{"问":1}'
        return answer

    answer = run(sends(OK), act, through)

    assert isinstance(answer, HttpAnswer)
    assert (answer.status, answer.headers["x-seen"], answer.body) == (200, "yes", b"{}")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
PACKED = gzip.compress(b"{}")
DEFLATED = zlib.compress(b"{}")
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED
DEFLATE = b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(DEFLATED) + DEFLATED


@pytest.mark.parametrize("sent", [CHUNKED, GZIP, DEFLATE], ids=["chunked", "gzip", "deflate"])
def test_bodies_are_unpacked(sent: bytes, through: str) -> None:
    answer = run(sends(sent), once, through)

    assert isinstance(answer, HttpAnswer)
    assert answer.body == b"{}"


def test_a_redirect_is_an_answer_and_is_not_followed(through: str) -> None:
    """The key would go wherever the server points."""
    answer = run(sends(b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), once, through)

    assert isinstance(answer, HttpAnswer)
    assert answer.status == 307


def test_an_answer_larger_than_the_limit_is_dropped_while_it_arrives(through: str) -> None:
    """The limit counts unpacked bytes: 50 MB of zeros pack into 50 KB."""
    bomb = gzip.compress(bytes(50_000_000), compresslevel=1)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)

    outcome = run(sends(head + bomb), once, through, max_body=100_000)

    assert "larger than 100,000 bytes" in failure(outcome, FailureKind.BROKEN_BODY).detail


# -- connections ----------------------------------------------------------------------------------------------


def test_a_connection_is_used_again(through: str) -> None:
    async def act(wire: Wire, transport: Transport) -> HttpAnswer | Failure:
        for _ in range(4):
            answer = await once(wire, transport)
        assert (wire.opened, len(wire.seen)) == (1, 4)
        return answer

    assert isinstance(run(sends(OK), act, through), HttpAnswer)


def test_a_connection_that_the_server_closed_while_idle_is_replaced_without_a_failure(through: str) -> None:
    async def act(wire: Wire, transport: Transport) -> HttpAnswer | Failure:
        assert isinstance(await once(wire, transport), HttpAnswer)
        await until(lambda: wire.closed == 1)
        await asyncio.sleep(0.02)  # the FIN must reach the client's own thread
        answer = await once(wire, transport)
        assert (wire.opened, len(wire.seen)) == (2, 2)
        return answer

    assert isinstance(run(sends(OK, keep=False), act, through), HttpAnswer)


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_close_that_meets_the_request_is_never_asked_again_here(how: str, through: str) -> None:
    """The server read the second request and hung up: it may charge, so the engine decides, and it saw two."""

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> bool:
        if seen.earlier == 0:
            writer.write(OK)
            return True
        if how == "reset":
            reset(writer)
        return False

    async def act(wire: Wire, transport: Transport) -> HttpAnswer | Failure:
        assert isinstance(await once(wire, transport), HttpAnswer)
        outcome = await once(wire, transport)
        assert len(wire.seen) == 2
        return outcome

    failure(run(script, act, through), FailureKind.DISCONNECTED)


def test_six_hundred_requests_are_in_flight_at_once(ours: str) -> None:
    """Nothing bounds them but the caller: the server answers when it has seen all 600."""
    everybody = asyncio.Event()
    waiting = 0

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        nonlocal waiting
        waiting += 1
        if waiting == 600:
            everybody.set()
        await everybody.wait()
        writer.write(OK)
        return True

    async def main() -> list[HttpAnswer | Failure]:
        transport = transport_by(ours, None)
        async with listening(script) as wire:
            outcomes = await asyncio.gather(*(once(wire, transport) for _ in range(600)))
            assert wire.peak == 600
            await transport.aclose()
            return outcomes

    raise_open_files_limit(4096)
    assert all(isinstance(outcome, HttpAnswer) for outcome in asyncio.run(main()))


def test_max_connections_bounds_what_is_in_flight(ours: str) -> None:
    now, peak = 0, 0

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        nonlocal now, peak
        now, peak = now + 1, max(peak, now + 1)
        await asyncio.sleep(0.005)
        now -= 1
        writer.write(OK)
        return True

    async def main() -> list[HttpAnswer | Failure]:
        transport = transport_by(ours, None, max_connections=5)
        async with listening(script) as wire:
            outcomes = await asyncio.gather(*(once(wire, transport) for _ in range(40)))
            await transport.aclose()
            return outcomes

    assert all(isinstance(outcome, HttpAnswer) for outcome in asyncio.run(main()))
    assert peak == 5


def test_one_transport_works_in_a_second_loop_and_after_aclose(ours: str) -> None:
    transport = transport_by(ours, None)

    async def main() -> HttpAnswer | Failure:
        async with listening(sends(OK)) as wire:
            answer = await once(wire, transport)
            await transport.aclose()
            return answer

    assert all(isinstance(asyncio.run(main()), HttpAnswer) for _ in range(3))


def test_no_socket_stays_open_after_aclose(ours: str) -> None:
    def sockets() -> int:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum("socket:" in str(link.readlink()) for link in links)

    async def act(wire: Wire, transport: Transport) -> HttpAnswer | Failure:
        answers = await asyncio.gather(*(once(wire, transport) for _ in range(20)))
        await transport.aclose()
        await until(lambda: wire.closed == wire.opened)
        return answers[0]

    before = sockets()
    assert isinstance(run(sends(OK), act, ours), HttpAnswer)
    gc.collect()
    assert sockets() <= before


# -- cancelling and timeouts ----------------------------------------------------------------------------------


async def silence(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
    await until(writer.is_closing)
    return False


def test_cancelling_returns_at_once_and_passes(through: str) -> None:
    async def act(wire: Wire, transport: Transport) -> HttpAnswer | Failure:
        task = asyncio.ensure_future(once(wire, transport))
        await until(lambda: bool(wire.seen))
        start = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - start < 0.1
        return HttpAnswer(200, {}, b"")

    run(silence, act, through, timeouts=SHORT)


def test_silence_before_the_first_byte_is_a_read_timeout(through: str) -> None:
    outcome = failure(run(silence, once, through, SHORT), FailureKind.TIMEOUT)

    assert "nothing arrived" in outcome.detail
    assert "0.15 s" in outcome.detail


def test_silence_in_the_middle_of_the_body_is_a_read_timeout(through: str) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        return await silence(seen, writer)

    assert "nothing arrived" in failure(run(script, once, through, SHORT), FailureKind.TIMEOUT).detail


@pytest.mark.parametrize(("pieces", "whole"), [(6, True), (30, False)])
def test_a_trickling_body_arrives_while_the_total_lasts_however_long_it_takes(
    pieces: int, whole: bool, through: str
) -> None:
    """A piece each 0.05 s, none of them late by the 0.15 s of `read`: 6 take 0.3 s of a total of 1 s, 30 would take
    1.5 s of 0.4."""

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (10 * pieces))
        for _ in range(pieces):
            await asyncio.sleep(0.05)
            writer.write(b"0123456789")
        return True

    total = 1.0 if whole else SHORT.total
    outcome = run(script, once, through, Timeouts(connect=2.0, read=0.15, total=total))

    if whole:
        assert isinstance(outcome, HttpAnswer), outcome
        assert len(outcome.body) == 10 * pieces
    else:
        assert "total timeout" in failure(outcome, FailureKind.TIMEOUT).detail


def test_blank_lines_keep_a_slow_answer_alive_until_the_total_is_up(through: str) -> None:
    """DeepSeek sends one now and then: each resets the 0.15 s, the total of 0.4 s ends it."""

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"1\r\n\n\r\n")
            await asyncio.sleep(0.05)
        return False

    assert "total timeout" in failure(run(script, once, through, SHORT), FailureKind.TIMEOUT).detail


def test_a_connection_that_is_not_accepted_in_time_sent_nothing(through: str) -> None:
    """A listener on loopback whose queue is full drops whoever knocks next."""
    with contextlib.ExitStack() as sockets:
        deaf = sockets.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(3):
            knocking = sockets.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(deaf.getsockname())

        async def act(_wire: Wire, transport: Transport) -> HttpAnswer | Failure:
            return await transport.post(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", HEADERS, b"{}")

        outcome = run(sends(OK), act, through, Timeouts(connect=0.1, read=5, total=5))
    assert "0.1 s" in failure(outcome, FailureKind.CONNECT).detail


# -- what breaks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", CHUNKED.split(b"1\r\n}")[0] + b"5\r\nab"],
    ids=["length", "chunked"],
)
def test_a_cut_body_is_broken(sent: bytes, through: str) -> None:
    failure(run(sends(sent, keep=False), once, through), FailureKind.BROKEN_BODY)


ERROR = b"HTTP/1.1 429 X\r\nRetry-After: 3\r\n"
CUT_ERRORS = {
    "length": ERROR + b"Content-Length: 100\r\n\r\n{",
    "chunked": ERROR + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "packed": ERROR + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
}


@pytest.mark.parametrize("sent", CUT_ERRORS.values(), ids=CUT_ERRORS)
@pytest.mark.parametrize("end", ["fin", "reset", "silence"])
def test_an_error_whose_body_breaks_is_still_that_error(end: str, sent: bytes, through: str) -> None:
    """Its status says that nothing is billed and its headers how long to wait; seen with tinyproxy's 407."""

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> bool:
        writer.write(sent)
        await writer.drain()
        if end == "silence":
            return await silence(seen, writer)
        if end == "reset":
            await asyncio.sleep(0.05)  # else it takes back what the client has not read yet
            reset(writer)
        return False

    answer = run(script, once, through, SHORT)

    assert isinstance(answer, HttpAnswer), answer
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")


def test_what_arrived_of_a_long_cut_body_is_kept(through: str) -> None:
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n{" + b"x" * 200_000

    outcome = failure(run(sends(sent, keep=False), once, through), FailureKind.BROKEN_BODY)

    assert outcome.status == 200
    assert outcome.raw is not None
    assert outcome.raw.startswith(b"{xxx")


def test_a_body_that_cannot_be_unpacked_is_broken(through: str) -> None:
    sent = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"

    failure(run(sends(sent), once, through), FailureKind.BROKEN_BODY)


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nConte", b"hello there\r\n\r\n"], ids=["none", "head", "not http"]
)
def test_a_connection_that_ends_before_the_body_is_disconnected(sent: bytes, through: str) -> None:
    failure(run(sends(sent, keep=False), once, through), FailureKind.DISCONNECTED)


def test_a_reset_before_the_answer_is_disconnected_not_connect(through: str) -> None:
    """The request had left: to call it CONNECT would count a perhaps billed answer as free."""

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        reset(writer)
        return False

    failure(run(script, once, through), FailureKind.DISCONNECTED)


def test_nobody_listening_says_where(through: str) -> None:
    async def act(_wire: Wire, transport: Transport) -> HttpAnswer | Failure:
        return await transport.post("http://user:secret@127.0.0.1:1/v1", HEADERS, b"{}")

    detail = failure(run(sends(OK), act, through), FailureKind.CONNECT).detail
    assert "127.0.0.1:1" in detail


def test_an_unknown_name_says_to_check_base_url(ours: str) -> None:
    async def act(_wire: Wire, transport: Transport) -> HttpAnswer | Failure:
        return await transport.post("http://no-such-host.invalid/v1", HEADERS, b"{}")

    detail = failure(run(sends(OK), act, ours), FailureKind.CONNECT).detail
    assert "no-such-host.invalid is not known: check base_url" in detail


def highest_descriptor() -> int:
    return max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())


def test_open_files_running_out_is_named(ours: str) -> None:
    """With room for one more file only, the second connection cannot open: said as it is, not as a bad network."""

    async def act(wire: Wire, transport: Transport) -> HttpAnswer | Failure:
        await once(wire, transport)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = highest_descriptor()
        spare = [os.dup(0) for _ in range(highest)]
        highest = max(spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        try:
            return await transport.post(wire.url(host="127.0.0.2"), HEADERS, b"{}")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in spare:
                os.close(descriptor)

    detail = failure(run(sends(OK), act, ours), FailureKind.CONNECT).detail
    assert "open-files limit" in detail


# -- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_unusable_ssl_cert_file_is_named(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    with pytest.raises(SettingsError, match="SSL_CERT_FILE="):
        asyncio.run(Transport().post("https://127.0.0.1:1/", {}, b""))


def test_the_open_files_limit_rises_to_what_is_needed_and_never_falls() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        assert raise_open_files_limit(300) == 300
        assert raise_open_files_limit(100) == 300
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_repr_says_what_is_used() -> None:
    assert repr(Transport(timeouts=SHORT)) == "<Transport over own connections, connect=2.0 read=0.15 total=0.4>"


def test_a_users_client_stays_theirs() -> None:
    async def main() -> bool:
        client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(204)))
        transport = Transport(client=client)
        assert isinstance(await transport.post("http://x/", {}, b""), HttpAnswer)
        await transport.aclose()
        open_still = not client.is_closed
        await client.aclose()
        return open_still

    assert asyncio.run(main())
