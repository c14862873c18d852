"""What nginx tells by itself, before or instead of the server behind it, over every way out and each loop."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
import trustme

from smile_async.engine.job import FailureKind
from smile_async.provider.status import classify
from smile_async.provider.transport import HttpAnswer
from smile_async.settings import Timeouts
from tests.provider.debian import nginx
from tests.provider.ways import (
    HEADERS,
    Authority,
    Outcome,
    Way,
    answered,
    behind,
    echo,
    every_way,
    failed,
    many,
    none_twice,
    without_proxies,
)
from tests.provider.wire import OK, Seen, listening, sends

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(trustme.CA(), tmp_path_factory.mktemp("ca"))


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))


# -- errors that nginx tells itself --------------------------------------------------------------------------------------


def kind_of(outcome: Outcome) -> FailureKind:
    answer = answered(outcome)
    return classify(answer.status, answer.body, answer.headers, 0.0).kind


async def silent(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
    while not writer.is_closing():  # noqa: ASYNC110 - a transport tells nobody that it closes
        await asyncio.sleep(0.02)
    return False


@every_way
@pytest.mark.parametrize("size", [1_001, 5_000_000])
def test_too_large_a_request_is_a_413_and_the_next_is_answered(
    size: int, way: Way, authority: Authority, tmp_path: Path
) -> None:
    """nginx answers before it has read the body."""

    async def main() -> None:
        how = {"chain": authority.chain(), "inside": "client_max_body_size 1000;"}
        async with behind(tmp_path, echo, **how) as (front, wire), way.transport() as transport:
            for _ in range(3):
                answer = answered(await transport.post(front.url(), HEADERS, bytes(size)))
                assert (answer.status, kind_of(answer)) == (413, FailureKind.BAD_REQUEST)
                assert answered(await transport.post(front.url(), HEADERS, b"small")).body == b"small"
            assert {seen.body for seen in wire.seen} == {b"small"}

    way.run(main())


@every_way
def test_a_server_behind_that_is_down_is_a_502(way: Way, authority: Authority, tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(sends(OK)) as gone:
            port = gone.port
        with nginx(tmp_path, upstream=port, chain=authority.chain()) as front:
            outcome = await way.post(front.url())
            assert (answered(outcome).status, kind_of(outcome)) == (502, FailureKind.GATEWAY)

    way.run(main())


@every_way
def test_a_server_behind_that_is_silent_is_a_504(way: Way, authority: Authority, tmp_path: Path) -> None:
    async def main() -> None:
        how = {"chain": authority.chain(), "inside": "proxy_read_timeout 300ms;"}
        async with behind(tmp_path, silent, **how) as (front, wire):
            outcome = await way.post(front.url())
            assert (answered(outcome).status, kind_of(outcome)) == (504, FailureKind.GATEWAY)
            assert len(wire.seen) == 1

    way.run(main())


@every_way
def test_our_own_timeout_comes_first_when_it_is_shorter(way: Way, authority: Authority, tmp_path: Path) -> None:
    async def main() -> None:
        async with behind(tmp_path, silent, chain=authority.chain()) as (front, wire):
            outcome = await way.post(front.url(), timeouts=Timeouts(connect=2.0, read=0.3, total=2.0))
            assert "nothing arrived" in failed(outcome, FailureKind.TIMEOUT).detail
            assert len(wire.seen) == 1

    way.run(main())


@every_way
@pytest.mark.parametrize(("status", "kind"), [(429, FailureKind.RATE_LIMITED), (503, FailureKind.OVERLOADED)])
def test_who_is_too_fast_for_limit_req_is_told(
    status: int, kind: FailureKind, way: Way, authority: Authority, tmp_path: Path
) -> None:
    """One a second and four more at once: of twelve at once, those five pass (and one more, if a second goes by)."""

    async def main() -> None:
        how = {
            "chain": authority.chain(),
            "outside": "limit_req_zone $server_port zone=all:1m rate=1r/s;",
            "inside": f"limit_req zone=all burst=4 nodelay; limit_req_status {status};",
        }
        async with behind(tmp_path, echo, **how) as (front, wire), way.transport() as transport:
            outcomes = await many(transport, front.url(), 12, at_once=12)
            statuses = Counter(answered(outcome).status for outcome in outcomes)
            assert statuses.keys() == {200, status}
            assert 5 <= statuses[200] == len(wire.seen) <= 7
            assert {kind_of(outcome) for outcome in outcomes if answered(outcome).status == status} == {kind}

    way.run(main())


@every_way
def test_too_many_connections_are_told_by_limit_conn(way: Way, authority: Authority, tmp_path: Path) -> None:
    async def main() -> None:
        how = {
            "chain": authority.chain(),
            "outside": "limit_conn_zone $server_port zone=places:1m;",
            "inside": "limit_conn places 4; limit_conn_status 429;",
        }
        async with behind(tmp_path, echo, **how) as (front, wire), way.transport() as transport:
            outcomes = await many(transport, front.url(), 40, at_once=20)
            good = [outcome for outcome in outcomes if isinstance(outcome, HttpAnswer) and outcome.status == 200]
            assert {answered(outcome).status for outcome in outcomes} == {200, 429}
            assert len(good) == len(wire.seen)
            none_twice(wire)

    way.run(main())
