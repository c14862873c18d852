"""One HTTP/1.1 connection: writes a request, reads its answer, says whether it can be used again. Parsing is llhttp's.

Everything here runs inside the loop's own callbacks: a request costs one future, one write and, as a rule, one read.
"""

import asyncio
import select
import zlib
from collections.abc import Mapping
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from smile_async.engine.job import Failure
from smile_async.provider.network import broken_body, died_after_sending, no_http, timed_out
from smile_async.provider.raw_head import has_end, lengths_in, status_in, with_one_length
from smile_async.provider.unpacker import Unpacker
from smile_async.values import light

MAX_HEAD = 256 * 1024  # bytes before the body begins, interim answers included; and behind it, in trailers

POLL = getattr(select, "poll", None)  # Windows has none
ENDED = getattr(select, "POLLRDHUP", select.POLLIN if POLL else 0)  # else anything unasked: it is not used again then

_KNOWN_NAMES: dict[bytes, str] = {}
"""Header names as sent to lower-case text: a server sends the same dozen ever again."""


@light(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer, whatever its status; header names are lower case, the body is unpacked."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Outcome = HttpAnswer | Failure


class Keeper(Protocol):
    """Whoever opened the connection and keeps it between requests. `host` is for messages."""

    host: str
    max_body: int
    loop: asyncio.AbstractEventLoop
    buffer: memoryview
    """Bytes arrive here and are parsed before the loop turns to another connection: one serves all of them."""

    def made(self, connection: "Connection") -> None: ...
    def freed(self, connection: "Connection") -> None: ...
    def lost(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """Serves one request at a time; `last` is the loop's time of the last byte in, or of the request's start."""

    __slots__ = (
        "_barren",
        "_chunks",
        "_fields",
        "_head",
        "_headers",
        "_keep",
        "_keeper",
        "_parser",
        "_size",
        "_status",
        "_surplus",
        "_transport",
        "_unpacker",
        "_until_close",
        "_waiter",
        "_weighed",
        "_whole",
        "last",
        "started",
    )

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Outcome] | None = None
        self._parser: HttpResponseParser | None = _parser_for(self)
        self.started = self.last = 0.0
        self._status = 0
        self._until_close = False
        self._forget()

    def _forget(self) -> None:
        """For the next answer. What `on_headers_complete` sets anew is left: this costs, each time."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._headers: dict[str, str] | None = None
        self._head: bytearray | None = None  # as it came, of a head that came in pieces
        self._chunks: list[bytes] = []
        self._size = self._barren = 0
        self._weighed = -1
        self._unpacker: Unpacker | None = None
        self._whole = self._keep = self._surplus = False

    # -- what the pool asks ---------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_idle(self) -> bool:
        return self._waiter is None

    def has_ended(self) -> bool:
        """The server has closed it, and the loop has not come round to reading that yet."""
        assert self._transport is not None
        if POLL is None:
            return False
        poll = POLL()
        poll.register(self._transport.get_extra_info("socket").fileno(), ENDED)
        return bool(poll.poll(0))

    def send(self, request: bytes, waiter: "asyncio.Future[Outcome]", now: float) -> bool:
        """Write the whole request; `waiter` gets the answer or the failure. False when the write failed at once."""
        assert self._transport is not None
        self._waiter = waiter
        self.started = self.last = now
        self._transport.write(request)
        return not self._transport.is_closing()

    def leave(self, waiter: "asyncio.Future[Outcome]") -> None:
        """Nobody waits any more: close at once, unless the answer came meanwhile and the connection serves another."""
        if self._waiter is waiter:
            self._waiter = None
            self.abort()

    def time_out(self, now: float, read: float, total: float) -> None:
        self._fail(timed_out(self._keeper.host, now - self.started, read, total))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- what the loop calls --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in deed, not by inheritance
        self.last = self._keeper.loop.time()
        self._keeper.made(self)

    def data_received(self, data: bytes | memoryview) -> None:
        if self._waiter is None or self._parser is None:
            self.abort()  # bytes that nobody asked for: the next answer could not be told from them
            return
        self.last = self._keeper.loop.time()
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._upgraded()
        except HttpParserError as error:
            if self._headers is None:
                self._refused(data, error)
                return
            self._surplus = True
            if not self._whole:
                self._break(f"is not HTTP ({error})", "")
        if self._whole:
            self._finish()
        elif self._headers is None:
            self._gather(data)
        elif self._size != self._weighed:
            self._weighed = self._size
        else:  # trailers or the like: nothing of a body came with these bytes
            self._barren += len(data)
            if self._barren > MAX_HEAD:
                self._break(f"has more than {MAX_HEAD:,} bytes where its body should go on or end", "")

    def _upgraded(self) -> None:
        self._surplus = True
        if not self._whole:
            self._fail(broken_body(self._keeper.host, "changes the protocol, which nobody asked for", self._status))

    def _gather(self, data: bytes | memoryview) -> None:
        """A head that is not complete."""
        if self._waiter is None:
            return
        if self._head is None:
            self._head = bytearray()
        self._head += data
        if len(self._head) > MAX_HEAD:
            self._malformed(f"has more than {MAX_HEAD:,} bytes of headers")

    def _refused(self, data: bytes | memoryview, error: HttpParserError) -> None:
        """llhttp takes no Content-Length twice, not even the same; the rest of what it refuses is to be refused."""
        if self._head is None:
            self._head = bytearray()
        self._head += data
        raw = bytes(self._head)
        if "Content-Length" in str(error) and len(raw) <= MAX_HEAD and not has_end(raw):
            self._parser = cast("HttpResponseParser", Refusing(error))  # until the lengths are all there
            return
        mended = with_one_length(raw)
        if mended is None:
            self._surplus = True
            several = len(set(lengths_in(raw))) > 1
            self._malformed("says more than one length of its body" if several else f"is not HTTP ({error})")
            return
        self._parser = _parser_for(self)
        self._fields, self._head = [], None
        self.data_received(mended)

    def eof_received(self) -> None:
        self._end(None)
        self._keeper.lost(self)  # no request may go out on it; the loop closes it by itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        self._keeper.lost(self)
        self._parser = self._transport = None  # the parser holds this object's methods: a circle

    # -- what the parser calls; an exception here would come back as a parser's error -------------------------------

    def on_message_begin(self) -> None:
        if self._whole:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headers is None:  # else a trailer
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if self._whole:
            return
        self._status = status = self._parser.get_status_code()
        if status < 200:
            self._fields = []
            return
        self._headers = headers = gathered(self._fields)
        if status in {204, 304}:  # a Content-Length here tells of a body that does not come
            self._whole, self._keep = True, self._parser.should_keep_alive()
            return
        coding = headers.get("transfer-encoding")
        if coding:
            self._until_close = "chunked" not in coding.lower()
            if "content-length" in headers:  # chunks win, but a connection over which both were said is not used again
                self._surplus = True
                if self._until_close:
                    self._break("has a Transfer-Encoding without chunks beside a Content-Length", "")
        else:
            self._until_close = "content-length" not in headers
        packed = headers.get("content-encoding")
        if packed and packed.lower() != "identity":
            self._unpacker = Unpacker(packed.lower())

    def on_body(self, data: bytes) -> None:
        if self._waiter is None or self._whole:
            return
        if self._unpacker is not None:
            try:
                data = self._unpacker.feed(data, self._keeper.max_body - self._size + 1)
            except zlib.error as error:
                self._break(f"cannot be unpacked ({error})", str(error))
                return
        self._size += len(data)
        if self._size > self._keeper.max_body:
            self._chunks.clear()
            self._break(f"is larger than {self._keeper.max_body:,} bytes", "")
            return
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._status >= 200 and not self._whole:
            self._keep = self._parser.should_keep_alive()
            self._whole = True

    # -- how it ends ----------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Hand the answer over; the connection is free before its receiver runs."""
        if self._waiter is None or self._headers is None or self._transport is None:
            return
        if self._unpacker is not None and not self._unpacker.is_whole:
            self._break("was cut: its packed body has no end", "")
            return
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        answer = HttpAnswer(self._status, self._headers, body)
        reusable = self._keep and not self._surplus and self.is_open and not self._transport.get_write_buffer_size()
        waiter, self._waiter = self._waiter, None
        self._forget()
        if reusable:
            self._keeper.freed(self)
        else:
            self.abort()
        if not waiter.done():
            waiter.set_result(answer)

    def _end(self, error: Exception | None) -> None:
        """The other side closed."""
        if self._waiter is None:
            return
        if self._headers is not None and self._until_close and error is None:
            self._whole = True
            self._finish()
            return
        said = str(error) if error is not None else ""
        self._break("was cut" + (f" ({said})" if said else ""), said)

    def _break(self, why: str, words: str) -> None:
        """It ended too soon. After the headers the answer is broken, with what arrived of it; before, there is none."""
        host = self._keeper.host
        if self._headers is None and not self._says_error():
            self._fail(died_after_sending(host, [words]))
        else:
            self._fail(broken_body(host, why, self._status, b"".join(self._chunks)))

    def _malformed(self, why: str) -> None:
        """It goes on, and its head cannot be read: an answer that is broken, or none at all."""
        status = status_in(self._head or b"")
        self._says_error()
        self._fail(broken_body(self._keeper.host, why, status) if status else no_http(self._keeper.host, why))

    def _says_error(self) -> bool:
        """Whether the head, of which only a part could be read, is that of an error: then that part is its headers."""
        if self._waiter is None or (status := status_in(self._head or b"")) < 400:
            return False
        self._status, self._headers = status, gathered(self._fields)
        return True

    def _fail(self, failure: Failure) -> None:
        """An answer whose status says that it is an error stays one: only the server's word on it is incomplete."""
        outcome: Outcome = failure
        if self._headers is not None and self._status >= 400:
            outcome = HttpAnswer(self._status, self._headers, b"".join(self._chunks))
        waiter, self._waiter = self._waiter, None
        self._forget()
        self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_result(outcome)


def _parser_for(connection: Connection) -> HttpResponseParser:
    """As lenient as aiohttp (folded headers, line feeds alone), and chunks win over a length (RFC 9112 6.3)."""
    parser = HttpResponseParser(connection)
    parser.set_dangerous_leniencies(
        lenient_headers=True,
        lenient_optional_cr_before_lf=True,
        lenient_spaces_after_chunk_size=True,
        lenient_chunked_length=True,
    )
    return parser


class Refusing:
    """In the place of a parser that has refused a head, until the head has come whole."""

    def __init__(self, error: HttpParserError) -> None:
        self._error = error

    def feed_data(self, _data: bytes | memoryview) -> None:
        raise self._error


class BufferedConnection(Connection, asyncio.BufferedProtocol):
    """For asyncio's own loops, which otherwise allocate 256 KB for each read: 0.01 to 0.02 ms. uvloop does not."""

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop hands it in
        return self._keeper.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._keeper.buffer[:nbytes])


def gathered(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header fields by lower-case name; those of one name joined by a comma, as RFC 9110 5.3 allows."""
    headers: dict[str, str] = {}
    for name, value in fields:
        key = _KNOWN_NAMES.get(name) or _remember(name)
        text = value.decode("latin-1").rstrip(" \t")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _remember(name: bytes) -> str:
    key = name.decode("latin-1").lower()
    if len(_KNOWN_NAMES) < 256:
        _KNOWN_NAMES[name] = key
    return key
