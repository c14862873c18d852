"""Every way out times every loop, and what the tests with real servers share: one request, many at once, certificates."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
import uvloop

from smile_async.engine.job import Failure, FailureKind
from smile_async.provider.transport import HttpAnswer, Transport
from smile_async.settings import Timeouts
from tests.provider.debian import Daemon, nginx
from tests.provider.wire import OK, Script, Seen, Wire, listening, sends, transport_by

SOON = Timeouts(connect=5.0, read=5.0, total=10.0)
HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-very-secret-0123456789"}
AT_ONCE = 32
Outcome = HttpAnswer | Failure


@dataclass(frozen=True)
class Way:
    """`through` is wire, pyreqwest or httpx (a client of the user's); `loop` asyncio or uvloop."""

    through: str
    loop: str

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        factory = uvloop.new_event_loop if self.loop == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    @contextlib.asynccontextmanager
    async def transport(self, timeouts: Timeouts = SOON, *, verify: bool = True) -> AsyncIterator[Transport]:
        """Built anew each time: the environment (CA, proxies) is read when it is built or first used. Without `verify`
        a client of the user's is quickly made."""
        client = httpx.AsyncClient(verify=verify) if self.through == "httpx" else None
        transport = transport_by(self.through, client, timeouts=timeouts)
        try:
            yield transport
        finally:
            await transport.aclose()
            if client:
                await client.aclose()

    async def post(self, url: str, body: bytes = b"{}", timeouts: Timeouts = SOON) -> Outcome:
        async with self.transport(timeouts) as transport:
            return await transport.post(url, HEADERS, body)


WAYS = [Way(through, loop) for through in ("wire", "pyreqwest", "httpx") for loop in ("asyncio", "uvloop")]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.through}-{way.loop}")


@dataclass(frozen=True)
class Authority:
    """A CA of our own, and server certificates by it, in files."""

    ca: trustme.CA
    folder: Path

    @property
    def pem(self) -> Path:
        path = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(path))
        return path

    def chain(self, *names: str, **validity: Any) -> Path:
        path = self.folder / f"{'-'.join(names) or 'localhost'}.pem"
        certificate = self.ca.issue_cert(*(names or ("localhost", "127.0.0.1", "::1")), **validity)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def answered(outcome: Outcome) -> HttpAnswer:
    assert isinstance(outcome, HttpAnswer), outcome
    return outcome


def failed(outcome: Outcome, kind: FailureKind) -> Failure:
    assert isinstance(outcome, Failure), outcome
    assert outcome.kind is kind, outcome
    assert "secret" not in outcome.detail
    return outcome


async def many(transport: Transport, url: str, count: int, *, first: int = 0, at_once: int = AT_ONCE) -> list[Outcome]:
    """`count` posts whose bodies are numbers from `first` on, so many at once."""
    places = asyncio.Semaphore(at_once)

    async def one(number: int) -> Outcome:
        async with places:
            return await transport.post(url, HEADERS, str(number).encode())

    return await asyncio.gather(*(one(first + number) for number in range(count)))


async def again_where_disconnected(
    transport: Transport, url: str, outcomes: list[Outcome], wire: Wire
) -> list[Outcome]:
    """What the engine does; asserts that what failed had not reached the server behind."""
    arrived = {seen.body for seen in wire.seen}
    settled = list(outcomes)
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, Failure):
            failed(outcome, FailureKind.DISCONNECTED)
            assert str(number).encode() not in arrived
            settled[number] = await transport.post(url, HEADERS, str(number).encode())
    return settled


FINE = sends(OK)


@contextlib.asynccontextmanager
async def behind(folder: Path, script: Script = FINE, **how: Any) -> AsyncIterator[tuple[Daemon, Wire]]:
    async with listening(script) as wire:
        with nginx(folder, upstream=wire.port, **how) as front:
            yield front, wire


async def echo(seen: Seen, writer: asyncio.StreamWriter) -> bool:
    """Answers with the body it got, after a moment; nginx speaks to it on a new connection each time."""
    await asyncio.sleep(0.01)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(seen.body) + seen.body)
    return False


def none_twice(wire: Wire) -> None:
    """Every body that arrived upstream arrived once."""
    assert max(Counter(seen.body for seen in wire.seen).values()) == 1
