"""TLS with a CA of one's own, and a forward proxy, both real and on the loopback; through the environment alone."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trustme

from smile_async.engine.job import Failure, FailureKind
from smile_async.provider.transport import HttpAnswer
from smile_async.settings import Timeouts
from tests.provider.wire import OK, Wire, listening, sends, transport_by

SOON = Timeouts(connect=3.0, read=3.0, total=5.0)
PASSWORD = "hush-hush-hush"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(params=["wire", "pyreqwest", "httpx"])
def through(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


async def post(url: str, through: str) -> HttpAnswer | Failure:
    """Built anew each time: the environment is read when the first request goes out."""
    client = httpx.AsyncClient() if through == "httpx" else None
    transport = transport_by(through, client, timeouts=SOON)
    try:
        return await transport.post(url, {"content-type": "application/json"}, b"{}")
    finally:
        await transport.aclose()
        if client:
            await client.aclose()


def detail(outcome: HttpAnswer | Failure, kind: FailureKind = FailureKind.CONNECT) -> str:
    assert isinstance(outcome, Failure), outcome
    assert outcome.kind is kind, outcome
    assert PASSWORD not in outcome.detail
    return outcome.detail


# -- TLS ------------------------------------------------------------------------------------------------------


def ask_over_tls(tls: ssl.SSLContext, through: str, host: str = "localhost") -> tuple[HttpAnswer | Failure, int]:
    async def main() -> tuple[HttpAnswer | Failure, int]:
        async with listening(sends(OK), tls) as wire:
            return await post(wire.url("https", host), through), len(wire.seen)

    return asyncio.run(main())


def test_ssl_cert_file_is_trusted(
    authority: trustme.CA, tls: ssl.SSLContext, through: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    outcome, seen = ask_over_tls(tls, through)

    assert isinstance(outcome, HttpAnswer)
    assert (outcome.body, seen) == (b"{}", 1)


def test_an_unknown_ca_is_refused_and_the_remedy_is_named(tls: ssl.SSLContext, through: str) -> None:
    outcome, seen = ask_over_tls(tls, through)

    assert "set SSL_CERT_FILE" in detail(outcome)
    assert seen == 0


def test_a_certificate_for_another_name_is_refused(
    authority: trustme.CA, through: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)

    outcome, seen = ask_over_tls(context, through)

    assert "certificate" in detail(outcome)
    assert seen == 0


def test_https_to_a_plain_port_says_so(through: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def main() -> HttpAnswer | Failure:
        server = await asyncio.start_server(script, "127.0.0.1", 0)
        async with server:
            return await post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", through)

    assert "does not speak TLS" in detail(asyncio.run(main()))


# -- a forward proxy ------------------------------------------------------------------------------------------


class Proxy:
    """CONNECT and absolute addresses, with or without a password; `passed` are the first lines of what it let through."""

    def __init__(self, user: str = "") -> None:
        self.wanted = f"Basic {base64.b64encode(user.encode()).decode()}" if user else ""
        self.passed: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if self.wanted and self.wanted not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            else:
                self.passed.append(head.split("\r\n")[0])
                await self.forward(head, reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def forward(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.split(" ", 2)
        address = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = address.partition(":")
        far_reader, far_writer = await asyncio.open_connection(host.replace("localhost", "127.0.0.1"), int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far_writer.write(head.replace(f"http://{address}", "", 1).encode())
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def proxying(proxy: Proxy) -> AsyncIterator[Proxy]:
    talks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.ensure_future(proxy.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*talks), 5)


def test_http_proxy_carries_plain_requests(through: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with listening(sends(OK, keep=False)) as wire, proxying(Proxy()) as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            assert isinstance(await post(wire.url(), through), HttpAnswer)
            assert proxy.passed == [f"POST {wire.url()} HTTP/1.1"]

    asyncio.run(main())


def test_https_proxy_tunnels_and_the_certificate_is_still_checked(
    authority: trustme.CA, tls: ssl.SSLContext, through: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async def main() -> None:
        async with proxying(Proxy(f"me:{PASSWORD}")) as proxy, listening(sends(OK), tls) as wire:
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}")
            url = wire.url("https", "localhost")
            assert "certificate" in detail(await post(url, through))
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            assert isinstance(await post(url, through), HttpAnswer)
            assert proxy.passed == [f"CONNECT localhost:{wire.port} HTTP/1.1"] * 2

    asyncio.run(main())


def test_no_proxy_goes_straight(through: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with listening(sends(OK)) as wire, proxying(Proxy()) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            assert isinstance(await post(wire.url(), through), HttpAnswer)
            assert proxy.passed == []

    asyncio.run(main())


@pytest.mark.parametrize("given", ["wrong", "absent"])
def test_a_proxy_that_refuses_is_named_and_its_password_is_not_shown(
    given: str, tls: ssl.SSLContext, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> tuple[HttpAnswer | Failure, Wire]:
        async with listening(sends(OK), tls) as wire, proxying(Proxy("me:right")) as proxy:
            port = proxy.port if given == "wrong" else 1
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:{port}")
            return await post(wire.url("https", "localhost"), through), wire

    outcome, wire = asyncio.run(main())

    assert "proxy" in detail(outcome).lower()
    assert wire.seen == []
