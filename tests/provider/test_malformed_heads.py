"""Heads and chunks that break the rules of HTTP: what is read all the same, what is refused, and as what."""

import asyncio
from dataclasses import dataclass

import pytest

from smile_async.engine.job import Failure, FailureKind
from smile_async.provider.connection import MAX_HEAD
from smile_async.provider.raw_head import lengths_in, status_in, with_one_length
from smile_async.provider.transport import HttpAnswer
from tests.provider.ways import WAYS, Way, every_way, without_proxies
from tests.provider.wire import Seen, listening, sends, until

pytestmark = pytest.mark.e2e

BODY = b'{"a": "bcdefghij"}'
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
our_ways = pytest.mark.parametrize(
    "way", [way for way in WAYS if way.through == "wire"], ids=lambda way: f"{way.through}-{way.loop}"
)


def answer(*headers: bytes, body: bytes = BODY, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([status, *headers, b"", body])


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)


def twice(way: Way, sent: bytes, *, keep: bool = True) -> tuple[HttpAnswer | Failure, int]:
    """What the second of two requests ends as, and over how many connections they went."""

    async def main() -> tuple[HttpAnswer | Failure, int]:
        async with listening(sends(sent, keep=keep)) as wire, way.transport(verify=False) as transport:
            for _ in range(2):
                outcome = await transport.post(wire.url(), {}, b"{}")
            return outcome, wire.opened

    found: tuple[HttpAnswer | Failure, int] = way.run(main())
    return found


@dataclass(frozen=True)
class Read:
    """Read whole; `connections` that two requests take: one, or two where the first is not to be used again."""

    sent: bytes
    connections: int = 1
    keep: bool = True


READ = {
    "the same length twice (RFC 9112 6.3)": Read(answer(LENGTH, LENGTH)),
    "the same length in a list": Read(answer(LENGTH + b", %d" % len(BODY))),
    "the same length, apart and folded": Read(answer(LENGTH, b"X: y", b"content-length :\r\n".replace(b" ", b"") + b" %d" % len(BODY))),
    "interim answers with lengths of their own": Read(answer(b"Content-Length: 9", body=b"", status=b"HTTP/1.1 103 E") + answer(LENGTH, LENGTH)),
    "chunks and a length: chunks win, the connection is not used again": Read(answer(CHUNKED, b"Content-Length: 3", body=CHUNKS), 2),
    "a length and chunks": Read(answer(b"Content-Length: 999", CHUNKED, body=CHUNKS), 2),
    "a folded header": Read(answer(b"X-Long: one\r\n  two", LENGTH)),
    "a folded length": Read(answer(b"Content-Length:\r\n %d" % len(BODY))),
    "line feeds alone": Read(answer(LENGTH).replace(b"\r\n", b"\n")),
    "a line feed alone behind the status": Read(answer(LENGTH).replace(b"\r\n", b"\n", 1)),
    "100 and 103": Read(answer(body=b"", status=b"HTTP/1.1 100 Continue") + answer(b"Link: </a>", body=b"", status=b"HTTP/1.1 103 E") + answer(LENGTH)),
    "HTTP/1.0 without a length": Read(answer(status=b"HTTP/1.0 200 OK"), 2, keep=False),
    "trailers": Read(answer(CHUNKED, body=CHUNKS[:-2] + b"X-Sum: 1\r\nContent-Length: 3\r\n\r\n")),
    "chunk extensions": Read(answer(CHUNKED, body=CHUNKS.replace(b"\r\n", b';a=b;c="d"\r\n', 1))),
    "blanks behind a chunk's size": Read(answer(CHUNKED, body=CHUNKS.replace(b"\r\n", b"  \r\n", 1))),
    "200 KB of headers": Read(answer(b"X: " + b"a" * 200_000, LENGTH)),
    "no reason, no blank before it": Read(answer(LENGTH, status=b"HTTP/1.1 200")),
    "control characters in a header": Read(answer(b"X: \x01\x00\x7f", LENGTH)),
}  # fmt: skip


@our_ways
@pytest.mark.parametrize("case", READ)
def test_what_can_be_read_in_one_way_only_is_read(case: str, way: Way) -> None:
    outcome, connections = twice(way, READ[case].sent, keep=READ[case].keep)

    assert isinstance(outcome, HttpAnswer), outcome
    assert (outcome.status, outcome.body, connections) == (200, BODY, READ[case].connections)


REFUSED = {
    "two lengths": (answer(b"Content-Length: 3", LENGTH), "more than one length"),
    "two lengths in a list": (answer(LENGTH + b", 3"), "more than one length"),
    "two lengths behind an interim answer": (answer(body=b"", status=b"HTTP/1.1 100 C") + answer(LENGTH, b"Content-Length: 3"), "more than one length"),
    "a negative length, twice": (answer(b"Content-Length: -5", b"Content-Length: -5"), "is not HTTP"),
    "a length that is none": (answer(b"Content-Length: many"), "is not HTTP"),
    "a header without a colon": (answer(b"nonsense", LENGTH), "is not HTTP"),
    "a blank before the colon": (answer(b"X-A : b", LENGTH), "is not HTTP"),
    "carriage returns alone": (answer(LENGTH).replace(b"\r\n", b"\r"), "is not HTTP"),
    "a length and a coding without chunks": (answer(b"Transfer-Encoding: identity", LENGTH), "beside a Content-Length"),
    "700 KB of headers": (answer(b"X: " + b"a" * 700_000, LENGTH), "bytes of headers"),
    "700 KB of trailers": (answer(CHUNKED, body=CHUNKS[:-2] + b"X: 123456\r\n" * 60_000 + b"\r\n"), "body should go on"),
    "a chunk size that is none": (answer(CHUNKED, body=b"zz\r\n"), "is not HTTP"),
}  # fmt: skip


@our_ways
@pytest.mark.parametrize("case", REFUSED)
def test_what_could_be_read_in_two_ways_is_broken_and_says_why(case: str, way: Way) -> None:
    """It had a status, so it is an answer: perhaps billed, asked again, and not "closed the connection"."""
    sent, why = REFUSED[case]

    outcome, connections = twice(way, sent)

    assert isinstance(outcome, Failure), outcome
    assert (outcome.kind, outcome.status) == (FailureKind.BROKEN_BODY, 200)
    assert why in outcome.detail
    assert connections == 2


NOT_READ_BY_ANYBODY = ("two lengths", "a length that is none", "a header without a colon", "a blank before the colon")


@every_way
@pytest.mark.parametrize("case", NOT_READ_BY_ANYBODY)
def test_every_way_out_calls_it_the_same(case: str, way: Way) -> None:
    outcome, _ = twice(way, REFUSED[case][0])

    assert isinstance(outcome, Failure), outcome
    assert outcome.kind is FailureKind.BROKEN_BODY
    assert "the answer of 127.0.0.1" in outcome.detail


@pytest.mark.parametrize("way", [way for way in WAYS if way.through != "httpx"], ids=str)
@pytest.mark.parametrize("sent", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/2 200\r\n\r\n" + BODY, BODY])
def test_what_has_no_status_is_no_answer_and_no_close_either(sent: bytes, way: Way) -> None:
    outcome, _ = twice(way, sent, keep=False)

    assert isinstance(outcome, Failure), outcome
    assert outcome.kind is FailureKind.DISCONNECTED
    assert "is not HTTP" in outcome.detail
    assert "base_url" in outcome.detail


@our_ways
@pytest.mark.parametrize(
    "headers",
    [(LENGTH, b"Content-Length: 3"), (b"nonsense",), (b"X: " + b"a" * 3 * MAX_HEAD,)],
    ids=["two lengths", "no colon", "endless"],
)
def test_an_error_with_a_malformed_head_is_still_that_error_with_the_headers_before(
    headers: tuple[bytes, ...], way: Way
) -> None:
    outcome, _ = twice(way, answer(b"Retry-After: 3", b"X: y", *headers, status=b"HTTP/1.1 429 X"))

    assert isinstance(outcome, HttpAnswer), outcome
    assert (outcome.status, outcome.headers["retry-after"], outcome.body) == (429, "3", b"")


@our_ways
def test_an_error_whose_headers_are_cut_is_that_error_and_no_earlier_one_is_taken_for_it(way: Way) -> None:
    """Over one connection: a whole 429, then a 503 that is cut, and over the next a 429 and then nothing at all."""
    replies = [
        answer(LENGTH, status=b"HTTP/1.1 429 X"),
        b"HTTP/1.1 503 X\r\nRetry-After: 3\r\nX-Cut",
        answer(LENGTH, status=b"HTTP/1.1 429 X"),
        b"",
    ]

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        writer.write(replies.pop(0))
        await writer.drain()
        return len(replies) % 2 == 1

    async def main() -> list[HttpAnswer | Failure]:
        async with listening(script) as wire, way.transport() as transport:
            outcomes = [await transport.post(wire.url(), {}, b"{}") for _ in range(4)]
            await until(lambda: wire.closed == 2)
            return outcomes

    first, cut, third, nothing = way.run(main())

    assert [outcome.status for outcome in (first, cut, third)] == [429, 503, 429]
    assert isinstance(nothing, Failure)
    assert nothing.kind is FailureKind.DISCONNECTED


@our_ways
@pytest.mark.parametrize("size", [1, 7, 40])
def test_a_head_is_mended_however_it_is_cut_into_pieces(size: int, way: Way) -> None:
    sent = answer(LENGTH, b"X: y", LENGTH, LENGTH)

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> bool:
        for at in range(0, len(sent), size):
            writer.write(sent[at : at + size])
            await asyncio.sleep(0)
        return True

    async def main() -> HttpAnswer | Failure:
        async with listening(script) as wire, way.transport() as transport:
            return await transport.post(wire.url(), {}, b"{}")

    outcome = way.run(main())

    assert isinstance(outcome, HttpAnswer), outcome
    assert (outcome.body, outcome.headers["x"]) == (BODY, "y")


# -- the pure part ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nX", 200),
        (b"\r\n\r\nHTTP/1.0 503\n", 503),
        (b"HTTP/1.1 20", 0),
        (b"HTTP/1.1 200", 0),
        (b"HTTP/2.0 200 OK\r\n", 0),
        (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 429 X\r\n", 429),
        (b"HTTP/1.1 100 C\r\n\r\n", 0),
        (b"HTTP/1.1 103 E\r\nLink: a", 103),
        (b"", 0),
    ],
)
def test_the_status_is_the_final_answers(raw: bytes, status: int) -> None:
    assert status_in(raw) == status


def test_lengths_in_a_body_or_in_other_headers_are_none_of_the_heads() -> None:
    raw = answer(b"X-Content-Length: 4", b"content-length: 5, 5", body=b"\r\nContent-Length: 6\r\n\r\n")

    assert lengths_in(raw) == [b"5", b"5"]
    assert with_one_length(raw) == raw.replace(b"5, 5", b"5")
    assert with_one_length(raw.replace(b"5, 5", b"5, 05")) is None
