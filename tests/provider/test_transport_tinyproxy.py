"""The transport through a real forward proxy, named by the environment alone, to nginx with TLS and without.

Our own connections know no proxies, so their way hands over to pyreqwest here; a client of the user's goes by itself.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from smile_async.engine.job import FailureKind
from smile_async.provider.status import classify
from smile_async.settings import Timeouts
from tests.provider.debian import Daemon, nginx, tinyproxy
from tests.provider.ways import (
    Authority,
    Way,
    again_where_disconnected,
    answered,
    every_way,
    failed,
    many,
    without_proxies,
)
from tests.provider.wire import Seen, Wire, listening, until

pytestmark = pytest.mark.e2e

USER, PASSWORD = "somebody", "hush-hush-secret"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(trustme.CA(), tmp_path_factory.mktemp("ca"))


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))


async def echo(seen: Seen, writer: asyncio.StreamWriter) -> bool:
    await asyncio.sleep(0.01)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(seen.body) + seen.body)
    return False


@contextlib.asynccontextmanager
async def chain(
    folder: Path, authority: Authority, *, secure: bool, user: str = "", password: str = ""
) -> AsyncIterator[tuple[Daemon, Daemon, Wire]]:
    """tinyproxy, nginx and the server behind it."""
    async with listening(echo) as wire:
        certificate = authority.chain() if secure else None
        with (
            nginx(folder / "nginx", upstream=wire.port, chain=certificate) as front,
            tinyproxy(folder / "proxy", user=user, password=password) as proxy,
        ):
            yield proxy, front, wire


def name(monkeypatch: pytest.MonkeyPatch, proxy: Daemon, *, user: str = "") -> None:
    """Both variables: what goes to https and what to http."""
    where = f"http://{user}{'@' if user else ''}127.0.0.1:{proxy.port}"
    monkeypatch.setenv("HTTPS_PROXY", where)
    monkeypatch.setenv("http_proxy", where)


@every_way
@pytest.mark.parametrize("secure", [True, False], ids=["CONNECT", "plain"])
@pytest.mark.parametrize("with_user", [True, False], ids=["user", "open"])
def test_everything_goes_through_and_nothing_twice(
    with_user: bool, secure: bool, way: Way, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, password = (USER, PASSWORD) if with_user else ("", "")

    async def main() -> None:
        async with chain(tmp_path, authority, secure=secure, user=user, password=password) as (proxy, front, wire):
            name(monkeypatch, proxy, user=f"{user}:{password}" if user else "")
            async with way.transport() as transport:
                outcomes = await many(transport, front.url("https" if secure else "http"), 100)
                if way.through == "httpx":  # tinyproxy closes without a word, which a client of the user's may meet
                    outcomes = await again_where_disconnected(transport, front.url("http"), outcomes, wire)
            assert [answered(outcome).body for outcome in outcomes] == [str(number).encode() for number in range(100)]
            assert set(Counter(seen.body for seen in wire.seen).values()) == {1}
            assert ("CONNECT localhost" if secure else "POST http://localhost") in proxy.log

    way.run(main())


@every_way
@pytest.mark.parametrize("given", [f"{USER}:wrong-secret", ""], ids=["wrong", "none"])
@pytest.mark.parametrize("secure", [True, False], ids=["CONNECT", "plain"])
def test_a_password_that_is_not_right_is_never_shown_and_the_proxy_is_named(
    secure: bool, given: str, way: Way, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with chain(tmp_path, authority, secure=secure, user=USER, password=PASSWORD) as (proxy, front, wire):
            name(monkeypatch, proxy, user=given)
            outcome = await way.post(front.url("https" if secure else "http"))
            if secure:  # refused before anything was sent
                detail = failed(outcome, FailureKind.CONNECT).detail
            else:  # an answer like any other
                answer = answered(outcome)
                failure = classify(answer.status, answer.body, answer.headers, 0.0)
                assert failure.kind is FailureKind.AUTH
                detail = failure.detail
            if secure or not given:  # of a wrong password tinyproxy says what a server says of a wrong key: 401
                assert "proxy" in detail
                assert "HTTPS_PROXY" in detail
            assert "wrong-secret" not in detail
            assert USER not in detail
            assert wire.seen == []

    way.run(main())


@every_way
@pytest.mark.parametrize("secure", [True, False], ids=["CONNECT", "plain"])
def test_a_proxy_that_is_down_costs_nothing(
    secure: bool, way: Way, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with chain(tmp_path, authority, secure=secure) as (proxy, front, wire):
            name(monkeypatch, proxy, user=f"{USER}:{PASSWORD}")
            proxy.kill()
            outcome = await way.post(front.url("https" if secure else "http"))
            assert "proxy" in failed(outcome, FailureKind.CONNECT).detail
            assert wire.seen == []

    way.run(main())


@every_way
def test_a_proxy_that_dies_under_a_request_leaves_it_perhaps_billed(
    way: Way, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with listening(silent) as wire:
            with (
                nginx(tmp_path / "nginx", upstream=wire.port, chain=authority.chain()) as front,
                tinyproxy(tmp_path / "proxy") as proxy,
            ):
                name(monkeypatch, proxy)
                post = asyncio.ensure_future(way.post(front.url()))
                await until(lambda: len(wire.seen) == 1)
                proxy.kill()
                failed(await post, FailureKind.DISCONNECTED)

    async def silent(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        await until(writer.is_closing, 20)
        return False

    way.run(main())


@every_way
def test_the_certificate_is_checked_through_the_tunnel_too(
    way: Way, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        other = Authority(trustme.CA(), tmp_path)
        async with chain(tmp_path, other, secure=True) as (proxy, front, wire):
            name(monkeypatch, proxy)
            assert "set SSL_CERT_FILE" in failed(await way.post(front.url()), FailureKind.CONNECT).detail
            assert wire.seen == []

    way.run(main())


@every_way
def test_a_host_behind_the_proxy_that_is_down_is_a_failure_to_connect(
    way: Way, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy answers CONNECT with 500: nothing was sent to anybody."""

    async def main() -> None:
        async with chain(tmp_path, authority, secure=True) as (proxy, front, _wire):
            name(monkeypatch, proxy)
            front.kill()
            failed(await way.post(front.url()), FailureKind.CONNECT)

    way.run(main())


@every_way
@pytest.mark.parametrize("exempt", ["localhost", "localhost,127.0.0.1", "*"])
def test_no_proxy_goes_straight(
    exempt: str, way: Way, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with chain(tmp_path, authority, secure=True) as (proxy, front, wire):
            name(monkeypatch, proxy)
            monkeypatch.setenv("NO_PROXY", exempt)
            assert answered(await way.post(front.url())).status == 200
            assert len(wire.seen) == 1
            assert "CONNECT localhost" not in proxy.log

    way.run(main())


@every_way
def test_silence_through_the_proxy_is_a_timeout(
    way: Way, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        await until(writer.is_closing, 20)
        return False

    async def main() -> None:
        async with listening(silent) as wire:
            with (
                nginx(tmp_path / "nginx", upstream=wire.port, chain=authority.chain()) as front,
                tinyproxy(tmp_path / "proxy") as proxy,
            ):
                name(monkeypatch, proxy)
                outcome = await way.post(front.url(), timeouts=Timeouts(connect=2.0, read=0.4, total=3.0))
                assert "nothing arrived" in failed(outcome, FailureKind.TIMEOUT).detail

    way.run(main())
