"""What is rare and may be large: bodies from files, answers into files, through pyreqwest and through a user's client."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from smile_async.engine.job import Failure, FailureKind
from smile_async.provider.bulk import BulkTransport, FileBody
from smile_async.provider.transport import HttpAnswer
from smile_async.settings import Timeouts
from tests.provider.wire import Seen, Wire, listening, sends

WAYS = ("pyreqwest", "httpx")


@asynccontextmanager
async def transport_by(way: str) -> AsyncIterator[BulkTransport]:
    timeouts = Timeouts(connect=5, read=5, total=10)
    async with httpx.AsyncClient() as client:
        transport = BulkTransport(timeouts=timeouts, client=client if way == "httpx" else None)
        try:
            yield transport
        finally:
            await transport.aclose()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_any_method_with_its_headers_and_body(way: str, method: str) -> None:
    async def main() -> None:
        async with (
            listening(sends(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")) as wire,
            transport_by(way) as transport,
        ):
            answer = await transport.exchange(method, wire.url(), {"x-a": "b"}, b"body" if method == "POST" else b"")
            assert isinstance(answer, HttpAnswer)
            assert (answer.status, answer.body) == (404, b"{}")
            [seen] = wire.seen
            assert seen.line.startswith(f"{method} /v1/chat/completions ")
            assert seen.headers["x-a"] == "b"
            assert seen.body == (b"body" if method == "POST" else b"")

    asyncio.run(main())


@pytest.mark.parametrize("way", WAYS)
def test_a_file_goes_up_between_what_comes_before_and_after_it_with_its_length(way: str, tmp_path: Path) -> None:
    file = tmp_path / "up"
    file.write_bytes(b"0123456789" * 100_000)

    async def main() -> None:
        async with (
            listening(sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as wire,
            transport_by(way) as transport,
        ):
            body = FileBody(b"<<", file, b">>")
            answer = await transport.exchange("POST", wire.url(), {}, body)
            assert isinstance(answer, HttpAnswer), answer
            [seen] = wire.seen
            assert seen.headers["content-length"] == "1000004"
            assert "transfer-encoding" not in seen.headers
            assert seen.body == b"<<" + file.read_bytes() + b">>"

    asyncio.run(main())


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_goes_into_a_file_and_an_error_does_not(way: str, tmp_path: Path) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> bool:
        if "good" in seen.headers:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000)
        else:
            writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nerror")
        return True

    async def main() -> None:
        async with listening(script) as wire, transport_by(way) as transport:
            with (tmp_path / "down").open("wb") as file:
                answer = await transport.exchange("GET", wire.url(), {}, into=file)
                assert isinstance(answer, HttpAnswer)
                assert (answer.status, answer.body, file.tell()) == (500, b"error", 0)
                answer = await transport.exchange("GET", wire.url(), {"good": "1"}, into=file)
                assert isinstance(answer, HttpAnswer)
                assert (answer.status, answer.body) == (200, b"")

    asyncio.run(main())
    assert (tmp_path / "down").read_bytes() == b"x" * 300_000


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_is_cut_is_a_failure(way: str, tmp_path: Path) -> None:
    async def main() -> None:
        cut = b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\nxxx"
        async with listening(sends(cut, keep=False)) as wire, transport_by(way) as transport:
            with (tmp_path / "down").open("wb") as file:
                failure = await transport.exchange("GET", wire.url(), {}, into=file)
            assert isinstance(failure, Failure)
            assert failure.kind is FailureKind.BROKEN_BODY

    asyncio.run(main())


@pytest.mark.parametrize("way", WAYS)
def test_nobody_there_is_no_connection(way: str) -> None:
    async def main() -> None:
        async with transport_by(way) as transport:
            failure = await transport.exchange("GET", Wire(port=1).url(), {})
            assert isinstance(failure, Failure)
            assert failure.kind is FailureKind.CONNECT

    asyncio.run(main())


@pytest.mark.e2e
@pytest.mark.parametrize("way", WAYS)
def test_a_hundred_megabytes_up_and_down_take_no_memory(way: str, tmp_path: Path) -> None:
    size = 100_000_000
    file = tmp_path / "large"
    with file.open("wb") as stream:
        stream.truncate(size)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            left = size + 4
            while left:
                left -= len(await reader.read(1 << 20))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
            for _ in range(size // 1_000_000):
                writer.write(bytes(1_000_000))
                await writer.drain()
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, transport_by(way) as transport:
            await transport.exchange("GET", Wire(port=1).url(), {})  # so that the client is loaded
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            answer = await transport.exchange("POST", url, {}, FileBody(b"<<", file, b">>"))
            assert isinstance(answer, HttpAnswer), answer
            with (tmp_path / "down").open("wb") as into:
                answer = await transport.exchange("GET", url, {}, into=into)
            assert isinstance(answer, HttpAnswer), answer
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert (tmp_path / "down").stat().st_size == size
        assert after - before < 40_000  # kB, the server's part in this process included

    asyncio.run(main())
