"""The transport against a real web server: nginx ends the TLS and passes on to a server of ours that counts.

Every case goes over each way out and each loop. Where nginx is missing the tests skip; in CI they fail.
"""

import asyncio
import gzip
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from smile_async.engine.job import Failure, FailureKind
from smile_async.provider.status import classify
from tests.provider.ways import (
    AT_ONCE,
    HEADERS,
    Authority,
    Outcome,
    Way,
    again_where_disconnected,
    answered,
    behind,
    echo,
    every_way,
    failed,
    many,
    none_twice,
    without_proxies,
)
from tests.provider.wire import Seen, sends, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(trustme.CA(), tmp_path_factory.mktemp("ca"))


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))


def all_echoed(outcomes: list[Outcome], first: int = 0) -> None:
    assert [answered(outcome).body for outcome in outcomes] == [
        str(first + number).encode() for number in range(len(outcomes))
    ]


# -- TLS --------------------------------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_both_versions_of_tls(version: str, way: Way, authority: Authority, tmp_path: Path) -> None:
    async def main() -> None:
        outside = f"ssl_protocols {version};"
        async with behind(tmp_path, chain=authority.chain(), outside=outside) as (front, wire):
            answer = answered(await way.post(front.url()))
            assert (answer.status, answer.body, answer.headers["x-seen"]) == (200, b"{}", "yes")
            assert answer.headers["x-spoken"].split()[1] == version
            assert wire.seen[0].headers["authorization"] == HEADERS["authorization"]

    way.run(main())


@every_way
def test_a_tls_too_old_is_a_failure_to_connect(way: Way, authority: Authority, tmp_path: Path) -> None:
    async def main() -> None:
        outside = "ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;"
        async with behind(tmp_path, chain=authority.chain(), outside=outside) as (front, wire):
            assert "version 1.2 or 1.3" in failed(await way.post(front.url()), FailureKind.CONNECT).detail
            assert wire.seen == []

    way.run(main())


@every_way
@pytest.mark.parametrize("flaw", ["another CA", "another name", "expired", "not yet valid"])
def test_a_certificate_that_is_not_right_costs_nothing_and_says_what_to_do(
    flaw: str, way: Way, authority: Authority, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    chain = {
        "another CA": lambda: Authority(trustme.CA(), tmp_path).chain(),
        "another name": lambda: authority.chain("elsewhere.example"),
        "expired": lambda: authority.chain(not_before=now - timedelta(9), not_after=now - timedelta(2)),
        "not yet valid": lambda: authority.chain(not_before=now + timedelta(2), not_after=now + timedelta(9)),
    }[flaw]()
    advice = {
        "another CA": "set SSL_CERT_FILE",
        "another name": "certificate of localhost:{port} is for another name: check the host in base_url",
        "expired": "has expired",
        "not yet valid": "not valid yet: is the clock of this machine right?",
    }[flaw]

    async def main() -> None:
        async with behind(tmp_path, chain=chain) as (front, wire):
            detail = failed(await way.post(front.url()), FailureKind.CONNECT).detail
            assert advice.format(port=front.port) in detail
            assert wire.seen == []

    way.run(main())


@every_way
def test_plain_http_to_the_tls_port_is_an_answer_that_says_so(way: Way, authority: Authority, tmp_path: Path) -> None:
    """nginx answers 400 by itself, so it is no failure to connect; the run stops at its first request."""

    async def main() -> None:
        async with behind(tmp_path, chain=authority.chain()) as (front, wire):
            answer = answered(await way.post(front.url("http")))
            assert classify(answer.status, answer.body, answer.headers, 0.0).kind is FailureKind.BAD_REQUEST
            assert wire.seen == []

    way.run(main())


@every_way
def test_tls_to_a_plain_port_says_so(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with behind(tmp_path) as (front, wire):
            assert "does not speak TLS" in failed(await way.post(front.url()), FailureKind.CONNECT).detail
            assert wire.seen == []

    way.run(main())


@every_way
@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
def test_ipv6(secure: bool, way: Way, authority: Authority, tmp_path: Path) -> None:
    async def main() -> None:
        chain = authority.chain() if secure else None
        async with behind(tmp_path, chain=chain, address="[::1]") as (front, wire):
            url = front.url("https" if secure else "http", "[::1]")
            assert answered(await way.post(url)).body == b"{}"
            assert len(wire.seen) == 1

    way.run(main())


# -- connections that nginx closes --------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("http2", [False, True], ids=["http/1.1", "http/2 offered"])
def test_a_connection_that_serves_three_requests_only_loses_none(
    http2: bool, way: Way, authority: Authority, tmp_path: Path
) -> None:
    async def main() -> None:
        how = {"chain": authority.chain(), "outside": "keepalive_requests 3;", "http2": http2}
        async with behind(tmp_path, echo, **how) as (front, wire), way.transport() as transport:
            outcomes = await many(transport, front.url(), 240)
            none_twice(wire)
            if http2 and way.through == "pyreqwest":  # hyper says of streams that nginx refused what it says of resets
                outcomes = await again_where_disconnected(transport, front.url(), outcomes, wire)
            all_echoed(outcomes)
            if not http2:
                connections = Counter(answered(outcome).headers["x-connection"] for outcome in outcomes)
                assert max(connections.values()) <= 3

    way.run(main())


@every_way
def test_connections_that_nginx_closed_while_idle_are_replaced(way: Way, authority: Authority, tmp_path: Path) -> None:
    async def main() -> None:
        how = {"chain": authority.chain(), "outside": "keepalive_timeout 1s;"}
        async with behind(tmp_path, echo, **how) as (front, wire), way.transport() as transport:
            all_echoed(await many(transport, front.url(), AT_ONCE))
            await asyncio.sleep(1.4)
            all_echoed(await many(transport, front.url(), AT_ONCE, first=AT_ONCE), AT_ONCE)
            none_twice(wire)

    way.run(main())


@every_way
def test_a_close_that_meets_a_request_costs_an_attempt_and_no_row_and_no_second_post(
    way: Way, authority: Authority, tmp_path: Path
) -> None:
    """Each asks again about when nginx gives its idle connection up. Who meets the close is told DISCONNECTED, and the
    server behind has then seen nothing; nobody's request is sent twice."""
    chance = random.Random(7)

    async def main() -> None:
        how = {"chain": authority.chain(), "outside": "keepalive_timeout 1s;"}
        async with behind(tmp_path, echo, **how) as (front, wire), way.transport() as transport:

            async def row(number: int) -> None:
                for turn in range(3):
                    body = f"{number}.{turn}".encode()
                    outcome = await transport.post(front.url(), HEADERS, body)
                    if isinstance(outcome, Failure):
                        failed(outcome, FailureKind.DISCONNECTED)
                        assert body not in {seen.body for seen in wire.seen}
                        outcome = await transport.post(front.url(), HEADERS, body)
                    assert answered(outcome).body == body
                    await asyncio.sleep(chance.uniform(0.98, 1.02))

            await asyncio.gather(*(row(number) for number in range(AT_ONCE)))
            none_twice(wire)
            assert len(wire.seen) == AT_ONCE * 3

    way.run(main())


@every_way
def test_connection_close_after_every_answer(way: Way, authority: Authority, tmp_path: Path) -> None:
    async def main() -> None:
        how = {"chain": authority.chain(), "outside": "keepalive_timeout 0;"}
        async with behind(tmp_path, echo, **how) as (front, wire), way.transport() as transport:
            outcomes = await many(transport, front.url(), 60)
            all_echoed(outcomes)
            assert len({answered(outcome).headers["x-connection"] for outcome in outcomes}) == 60
            none_twice(wire)

    way.run(main())


@every_way
def test_a_reload_in_mid_flight_loses_nothing(way: Way, authority: Authority, tmp_path: Path) -> None:
    """Old workers end what they have; what meets the end of an idle connection is told DISCONNECTED, unseen behind."""

    async def main() -> None:
        async with behind(tmp_path, echo, chain=authority.chain()) as (front, wire), way.transport() as transport:

            async def reloads() -> None:
                for _ in range(4):
                    await asyncio.sleep(0.05)
                    front.reload()

            reloading = asyncio.ensure_future(reloads())
            outcomes = await many(transport, front.url(), 600)
            await reloading
            none_twice(wire)
            all_echoed(await again_where_disconnected(transport, front.url(), outcomes, wire))
            none_twice(wire)

    way.run(main())


@every_way
def test_a_server_that_is_killed_in_mid_flight_answers_or_is_disconnected(
    way: Way, authority: Authority, tmp_path: Path
) -> None:
    async def slow(seen: Seen, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.2)
        return await echo(seen, writer)

    async def main() -> None:
        inside = "proxy_buffering off;"
        async with behind(tmp_path, slow, chain=authority.chain(), inside=inside) as (front, wire):
            async with way.transport() as transport:
                posts = asyncio.ensure_future(many(transport, front.url(), AT_ONCE))
                await until(lambda: len(wire.seen) >= 1)
                front.kill_workers()
                for number, outcome in enumerate(await posts):
                    if isinstance(outcome, Failure) and outcome.kind is FailureKind.CONNECT:  # still shaking hands
                        assert str(number).encode() not in {seen.body for seen in wire.seen}
                    elif isinstance(outcome, Failure):
                        failed(outcome, FailureKind.DISCONNECTED)
            none_twice(wire)

    way.run(main())


# -- bodies -----------------------------------------------------------------------------------------------------------

LONG = ("你好" * 2_000).encode()
SHAPES = {
    "gzip by nginx": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(LONG) + LONG,
        "gzip on; gzip_proxied any; gzip_types application/json; gzip_min_length 10;",
    ),
    "gzip by the server behind": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(LONG, mtime=0))
        + gzip.compress(LONG, mtime=0),
        "",
    ),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(LONG) + LONG + b"\r\n0\r\n\r\n",
        "",
    ),
    "until the close": (b"HTTP/1.0 200 OK\r\n\r\n" + LONG, ""),
    "unbuffered": (b"HTTP/1.0 200 OK\r\n\r\n" + LONG, "proxy_buffering off;"),
}


@every_way
@pytest.mark.parametrize("shape", SHAPES)
def test_bodies_of_every_shape_arrive_whole(shape: str, way: Way, authority: Authority, tmp_path: Path) -> None:
    sent, inside = SHAPES[shape]

    async def main() -> None:
        how = {"chain": authority.chain(), "inside": inside}
        async with behind(tmp_path, sends(sent, keep=False), **how) as (front, _wire), way.transport() as transport:
            for outcome in await many(transport, front.url(), 8, at_once=2):
                assert answered(outcome).body == LONG
                if shape != "gzip by the server behind":
                    assert "content-length" not in answered(outcome).headers

    way.run(main())


@every_way
def test_a_large_request_and_a_large_answer_arrive_whole(way: Way, authority: Authority, tmp_path: Path) -> None:
    body = random.Random(1).randbytes(8_000_000)

    async def main() -> None:
        async with behind(tmp_path, echo, chain=authority.chain()) as (front, wire), way.transport() as transport:
            for _ in range(2):
                assert answered(await transport.post(front.url(), HEADERS, body)).body == body
            assert [seen.body == body for seen in wire.seen] == [True, True]

    way.run(main())


@every_way
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_an_answer_that_the_server_behind_cuts_is_broken(
    buffering: str, way: Way, authority: Authority, tmp_path: Path
) -> None:
    cut = sends(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", keep=False)

    async def main() -> None:
        inside = f"proxy_buffering {buffering};"
        async with behind(tmp_path, cut, chain=authority.chain(), inside=inside) as (front, _wire):
            failed(await way.post(front.url()), FailureKind.BROKEN_BODY)

    way.run(main())
