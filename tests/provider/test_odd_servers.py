"""Servers that do what no server should: each attempt ends in time, as a reply or as a failure of a kind, never else.

`reply` stands for a reply. Where ways out may differ, the kinds that are right for the money are listed: nothing that
left may be called CONNECT, and an answer whose status says that it is an error is never perhaps billed.
"""

import asyncio
import contextlib
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from smile_async.engine.job import Failure, FailureKind, Message, Reply, Request
from smile_async.provider.chat import ChatProvider
from smile_async.settings import Timeouts
from tests.provider.ways import WAYS, Way, every_way, without_proxies
from tests.provider.wire import reset

pytestmark = pytest.mark.e2e

SHORT = Timeouts(connect=2.0, read=0.3, total=0.8)
GRACE = 1.5  # seconds beyond the total timeout that a busy machine may take
TEXT = "来访者：我最近总是睡不好。\n咨询师：听起来你很累。"
ANSWER = {
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 9},
}
GOOD = json.dumps(ANSWER, ensure_ascii=False).encode()
REQUEST = Request((Message("user", "请改写。" * 50),))

REPLY, BROKEN, GONE, LATE = "reply", FailureKind.BROKEN_BODY, FailureKind.DISCONNECTED, FailureKind.TIMEOUT
both_loops_of_ours = pytest.mark.parametrize(
    "way",
    [way for way in WAYS if way.through == "wire" or way.loop == "asyncio"],
    ids=lambda way: f"{way.through}-{way.loop}",
)
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def answer(body: bytes = GOOD, *lines: str, status: str = "200 OK", length: int | None = None) -> bytes:
    return head(*lines, f"Content-Length: {len(body) if length is None else length}", status=status) + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return head("Transfer-Encoding: chunked") + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + end


# -- what is sent after the request was read, and then the connection is closed (or kept) --------------------------------


@dataclass(frozen=True)
class Case:
    sent: bytes
    ends: set[Any] = field(default_factory=lambda: {REPLY})
    keep: bool = False
    """The server says no more, but does not close."""


def _packed(coding: str, body: bytes) -> bytes:
    return answer(body, f"Content-Encoding: {coding}")


RAW_DEFLATE = zlib.compressobj(wbits=-15)

CASES: dict[str, Case] = {
    # lengths and ends
    "closes without a word": Case(b"", {GONE}),
    "closes in the status line": Case(b"HTTP/1.1 2", {GONE}),
    "closes in the headers": Case(b"HTTP/1.1 200 OK\r\nContent-Len", {GONE}),
    "closes right after the headers": Case(head("Content-Length: 100"), {BROKEN}),
    "closes in the body": Case(answer(GOOD[:20], length=len(GOOD)), {BROKEN}),
    "a length too long, kept open": Case(answer(length=len(GOOD) + 10), {LATE}, keep=True),
    "a length too short": Case(answer(length=20), {BROKEN}),
    "no length, closes": Case(head() + GOOD),
    "no length, kept open": Case(head() + GOOD, {LATE}, keep=True),
    "HTTP/1.0": Case(b"HTTP/1.0 200 OK\r\n\r\n" + GOOD),
    "HTTP/1.0 kept alive": Case(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD),
    "the same length twice": Case(answer(GOOD, f"Content-Length: {len(GOOD)}")),
    "two lengths": Case(answer(GOOD, "Content-Length: 3"), {BROKEN}),
    "a negative length": Case(answer(length=-5), {BROKEN}),
    "a length that is no number": Case(head("Content-Length: many") + GOOD, {BROKEN}),
    "a length beyond all measure": Case(answer(length=2**70), {BROKEN}),
    "length and chunks": Case(head("Content-Length: 3", "Transfer-Encoding: chunked") + chunked(GOOD).split(b"\r\n\r\n", 1)[1]),
    # chunks
    "chunks": Case(chunked(GOOD[:10], GOOD[10:])),
    "a chunk a byte": Case(chunked(*(GOOD[at : at + 1] for at in range(len(GOOD))))),
    "chunk extensions": Case(head("Transfer-Encoding: chunked") + b"%x;name=value;other\r\n" % len(GOOD) + GOOD + b"\r\n0;last\r\n\r\n"),
    "trailers": Case(chunked(GOOD, end=b"0\r\nX-Sum: 12\r\nX-More: 1\r\n\r\n")),
    "chunks without their end": Case(chunked(GOOD, end=b""), {BROKEN}),
    "chunks without their end, kept open": Case(chunked(GOOD, end=b""), {LATE}, keep=True),
    "a chunk size that is no number": Case(chunked(GOOD[:9], end=b"zz\r\n"), {BROKEN}),
    "a chunk size beyond all measure": Case(chunked(GOOD[:9], end=b"ffffffffffffffffff\r\nx"), {BROKEN}),
    "a negative chunk size": Case(chunked(GOOD[:9], end=b"-5\r\nhello"), {BROKEN}),
    # what comes before and after
    "100 Continue": Case(b"HTTP/1.1 100 Continue\r\n\r\n" + answer()),
    "fifty interim answers": Case((head(status="102 Processing") + head("Link: </a>", status="103 Early Hints")) * 25 + answer()),
    "interim answers, then the end": Case(head(status="100 Continue") * 3, {GONE}),
    "101 Switching Protocols": Case(head("Upgrade: websocket", "Connection: Upgrade", status="101 X"), {BROKEN, GONE, LATE, FailureKind.SERVER_ERROR}),
    "garbage behind the body": Case(answer() + b"\x00garbage" * 20, {REPLY}),
    "a second answer": Case(answer() + answer(b"{}"), {REPLY}),
    "blank lines before the status": Case(b"\r\n\r\n" + answer(), {REPLY, GONE}),
    "no HTTP": Case(b"SSH-2.0-OpenSSH_9.2\r\n", {GONE}),
    "no HTTP, kept open": Case(b"220 ready\r\n", {GONE, LATE}, keep=True),
    "TLS to who speaks plainly": Case(b"\x15\x03\x03\x00\x02\x02\x28", {GONE}),
    "a body alone (HTTP/0.9)": Case(GOOD, {GONE}),
    "HTTP/2 in words": Case(b"HTTP/2 200\r\n\r\n" + GOOD, {GONE, BROKEN, REPLY}),
    "status 999": Case(answer(status="999 Odd"), {FailureKind.SERVER_ERROR, GONE}),
    "status 99": Case(answer(status="99 Odd"), {GONE, BROKEN, LATE}),
    "status without words": Case(b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD),
    # headers
    "line feeds alone": Case(answer().replace(b"\r\n", b"\n"), {REPLY, BROKEN}),
    "a folded header": Case(answer(GOOD, "X-Long: one\r\n  two"), {REPLY, BROKEN}),
    "a header without a colon": Case(answer(GOOD, "nonsense"), {REPLY, BROKEN}),
    "a space before the colon": Case(answer(GOOD, "X-A : b"), {REPLY, BROKEN}),
    "a NUL in a header": Case(answer(GOOD, "X-A: \x00"), {REPLY, BROKEN}),
    "a header in latin-1": Case(answer(GOOD, "X-A: caf\xe9"), {REPLY}),
    "a header of 60 KB": Case(answer(GOOD, "X-Long: " + "a" * 60_000), {REPLY, BROKEN}),
    "a header of 3 MB": Case(answer(GOOD, "X-Long: " + "a" * 3_000_000), {BROKEN}),
    "90 headers": Case(answer(GOOD, *(f"X-{number}: {number}" for number in range(90)))),
    "the same header 90 times": Case(answer(GOOD, *["Set-Cookie: a=b"] * 90)),
    "500 headers": Case(answer(GOOD, *(f"X-{number}: {number}" for number in range(500))), {REPLY, BROKEN}),
    # codings
    "gzip": Case(_packed("gzip", gzip.compress(GOOD))),
    "gzip in two members": Case(_packed("gzip", gzip.compress(GOOD[:30]) + gzip.compress(GOOD[30:])), {REPLY, BROKEN}),
    "gzip that is cut": Case(_packed("gzip", gzip.compress(GOOD)[:-20]), {BROKEN}),
    "gzip that is none": Case(_packed("gzip", GOOD), {BROKEN}),
    "zlib as deflate": Case(_packed("deflate", zlib.compress(GOOD))),
    "raw deflate": Case(_packed("deflate", RAW_DEFLATE.compress(GOOD) + RAW_DEFLATE.flush()), {REPLY, BROKEN}),
    "70 MB of zeros in gzip": Case(_packed("gzip", gzip.compress(bytes(70_000_000), 1)), {BROKEN, LATE}),
    "brotli that nobody asked for": Case(_packed("br", b"\x0b\x02\x80hello\x03"), {BROKEN}),
    "a coding that nobody knows": Case(_packed("rot13", GOOD), {BROKEN, REPLY}),
    "identity": Case(_packed("identity", GOOD)),
    # bodies
    "a byte order mark": Case(answer(b"\xef\xbb\xbf" + GOOD)),
    "UTF-16": Case(answer(GOOD.decode().encode("utf-16"))),
    "latin-1 in the JSON": Case(answer(GOOD.replace(TEXT[:3].encode(), b"caf\xe9")), {BROKEN}),
    "GBK in the JSON": Case(answer(GOOD.decode().encode("gbk"), "Content-Type: application/json; charset=gbk"), {BROKEN}),
    "half a surrogate pair": Case(answer(GOOD.replace(TEXT[-1].encode(), b"\\ud83d"))),
    "NaN among the numbers": Case(answer(GOOD[:-1] + b', "logprob": NaN}')),
    "blank lines before the JSON": Case(answer(b"\n\r\n  \n" + GOOD + b"\n\n")),
    "two JSONs": Case(answer(GOOD + GOOD), {BROKEN}),
    "JSON a thousand deep": Case(answer(b"[" * 100_000), {BROKEN}),
    "a web page": Case(answer(b"<html><h1>Welcome</h1></html>", "Content-Type: text/html"), {BROKEN}),
    "an event stream": Case(answer(b'data: {"choices": []}\n\ndata: [DONE]\n\n', "Content-Type: text/event-stream"), {BROKEN}),
    "nothing": Case(answer(b""), {BROKEN}),
    "204": Case(head(status="204 No Content"), {BROKEN}),
    "205 with a body": Case(answer(status="205 Reset"), {REPLY, BROKEN}),
    "201": Case(answer(status="201 Created")),
    "206": Case(answer(status="206 Partial")),
    "a list": Case(answer(b"[1, 2]"), {BROKEN}),
    "null": Case(answer(b"null"), {BROKEN}),
    "choices that are null": Case(answer(b'{"choices": null}'), {BROKEN}),
    "a choice that is null": Case(answer(b'{"choices": [null]}')),
    "content that is a number": Case(answer(b'{"choices": [{"message": {"content": 5}}]}')),
    "tokens beyond what a database holds": Case(answer(GOOD.replace(b'"prompt_tokens": 7', b'"prompt_tokens": %d' % (2**63)))),
    "tokens below zero": Case(answer(GOOD.replace(b'"prompt_tokens": 7', b'"prompt_tokens": -7'))),
    # errors
    "301": Case(answer(b"", "Location: /elsewhere", status="301 Moved"), {FailureKind.SERVER_ERROR}),
    "307 to itself": Case(answer(b"", "Location: /v1/chat/completions", status="307 X"), {FailureKind.SERVER_ERROR}),
    "304": Case(head(status="304 Not Modified"), {FailureKind.SERVER_ERROR}),
    "429, wait for ever": Case(answer(b"", "Retry-After: 1e308", status="429 X"), {FailureKind.RATE_LIMITED}),
    "429, wait in words": Case(answer(b"", "Retry-After: soon", status="429 X"), {FailureKind.RATE_LIMITED}),
    "429, closes after the headers": Case(head("Content-Length: 50", status="429 X"), {FailureKind.RATE_LIMITED}),
    "500 with half a chunk": Case(head("Transfer-Encoding: chunked", status="500 X") + b"ff\r\nab", {FailureKind.SERVER_ERROR}),
    "503, kept open without its body": Case(head("Content-Length: 50", status="503 X"), {FailureKind.OVERLOADED}, keep=True),
    "401 with a broken gzip": Case(answer(b"abc", "Content-Encoding: gzip", status="401 X"), {FailureKind.AUTH}),
}  # fmt: skip


# -- what takes a server that acts ------------------------------------------------------------------------------------------


async def whole_request(reader: asyncio.StreamReader) -> None:
    """Read it all: what is left unread when a socket closes makes the kernel reset the connection."""
    told = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in told.lower().split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(int(length.split(b":")[1]))


async def accepts_and_never_answers(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(20)


async def resets_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def closes_at_once(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    return


async def resets_in_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(answer(GOOD[:20], length=len(GOOD)))
    await writer.drain()
    await asyncio.sleep(0.1)
    reset(writer)


async def answers_before_it_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(answer())
    await writer.drain()
    await asyncio.sleep(0.3)


async def answers_before_it_is_asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(answer())
    await writer.drain()
    await reader.read(100_000)


async def drips_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await whole_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    while True:
        writer.write(b"a")
        await asyncio.sleep(0.02)


async def drips_a_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await whole_request(reader)
    writer.write(head("Content-Length: 1000000"))
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.02)


async def drips_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await whole_request(reader)
    writer.write(head("Transfer-Encoding: chunked"))
    while True:
        writer.write(b"1\r\n\n\r\n")
        await asyncio.sleep(0.02)


async def continues_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await whole_request(reader)
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.005)


async def floods_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await whole_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Flood: " + b"a" * 8_000 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)


async def floods_a_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await whole_request(reader)
    writer.write(head())
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()
        await asyncio.sleep(0)


async def writes_in_single_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await whole_request(reader)
    for byte in answer():
        writer.write(bytes([byte]))
        await writer.drain()


async def half_closes_then_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Shuts its reading side only in name: it answers late and says that it will close."""
    await whole_request(reader)
    await asyncio.sleep(0.1)
    writer.write(answer(GOOD, "Connection: close"))


ACTS: dict[Script, set[Any]] = {
    accepts_and_never_answers: {LATE},
    resets_at_once: {GONE, FailureKind.CONNECT},
    closes_at_once: {GONE, FailureKind.CONNECT},
    resets_in_the_body: {BROKEN},
    answers_before_it_reads: {REPLY},
    answers_before_it_is_asked: {REPLY, GONE, FailureKind.CONNECT},
    drips_headers: {LATE},
    drips_a_body: {LATE},
    drips_chunks: {LATE},
    continues_for_ever: {LATE, GONE},
    floods_headers: {BROKEN, LATE},
    floods_a_body: {BROKEN, LATE},
    writes_in_single_bytes: {REPLY},
    half_closes_then_answers: {REPLY},
}


@contextlib.asynccontextmanager
async def serving(script: Script) -> AsyncIterator[str]:
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await script(reader, writer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.ensure_future(talk(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)


async def ask(way: Way, url: str) -> Reply | Failure:
    async with way.transport(SHORT, verify=False) as transport:
        provider = ChatProvider(base_url=url, model="m", timeouts=SHORT)
        provider._transport = transport
        return await provider.ask(REQUEST)


def ends_well(way: Way, script: Script, ends: set[Any]) -> Reply | Failure:
    async def main() -> Reply | Failure:
        async with serving(script) as url:
            began = time.monotonic()
            outcome = await ask(way, url)
            assert time.monotonic() - began < SHORT.total + GRACE
            return outcome

    outcome = way.run(main())
    assert (outcome.kind if isinstance(outcome, Failure) else REPLY) in ends, outcome
    assert isinstance(outcome, Reply | Failure)
    return outcome


@both_loops_of_ours
@pytest.mark.parametrize("name", CASES)
def test_whatever_a_server_sends_the_attempt_ends_as_what_it_is(name: str, way: Way) -> None:
    case = CASES[name]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.write(case.sent)
        await writer.drain()
        if case.keep:
            await asyncio.sleep(20)

    outcome = ends_well(way, script, case.ends)

    if isinstance(outcome, Failure):
        assert "请改写" not in outcome.detail
        assert outcome.retry_after is None or outcome.retry_after < 1e6
    elif case.ends == {REPLY} and outcome.usage is not None:
        assert (outcome.usage.completion_tokens, outcome.usage.prompt_tokens in {0, 7}) == (9, True)


@every_way
@pytest.mark.parametrize("script", ACTS, ids=lambda script: script.__name__)
def test_whatever_a_server_does_the_attempt_ends_in_time(script: Script, way: Way) -> None:
    ends_well(way, script, ACTS[script])


@every_way
def test_a_server_that_closes_after_each_answer_without_a_word_is_soon_asked_over_fresh_connections(way: Way) -> None:
    """Who takes a connection again may meet its close, which costs an attempt that was perhaps billed. At most what is
    in flight when that shows, and half as many again, fail of 600; a client of the user's is its maker's affair."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        await asyncio.sleep(0.005)
        writer.write(answer())

    async def main() -> list[Reply | Failure]:
        async with serving(script) as url, way.transport() as transport:
            provider = ChatProvider(base_url=url, model="m")
            provider._transport = transport
            places = asyncio.Semaphore(16)

            async def one() -> Reply | Failure:
                async with places:
                    return await provider.ask(REQUEST)

            return await asyncio.gather(*(one() for _ in range(600)))

    failures = [outcome for outcome in way.run(main()) if isinstance(outcome, Failure)]
    assert {failure.kind for failure in failures} <= {GONE}
    assert len(failures) <= 24
