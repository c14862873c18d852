"""The simulated endpoint over HTTP/1.1, made to answer thousands of requests a second on one core.

Routes: POST /v1/chat/completions and /v1/embeddings (also without /v1), POST /v1/messages (Anthropic's), POST
/openai/deployments/NAME/chat/completions?api-version=... and /openai/v1/chat/completions (Azure's, and its embeddings),
/v1/files and /v1/batches (OpenAI's Batch API, also under /openai/v1 and Zhipu's /api/paas/v4), GET /v1/models,
GET /healthz, GET /stats (with ?per_prompt=1), POST /stats/reset (answers the counts that it ends).
"""

import asyncio
import socket
import struct
import time
from collections import deque
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypedDict, cast

import orjson

from smile_async.errors import UsageError
from smile_async.simulate.batches import BatchAnswer, BatchOffice
from smile_async.simulate.behaviour import Action
from smile_async.simulate.chat import models_body
from smile_async.simulate.endpoint import Endpoint, Ticket
from smile_async.simulate.faces import CHAT, Face, face_of, read
from smile_async.simulate.limits import retry_headers
from smile_async.simulate.settings import Fault, SimulatorSettings
from smile_async.simulate.streams import Stream, stream_of
from smile_async.simulate.wire import HttpRequest, NotHttpError, RequestReader, chunk, response_head

MODEL_PATHS = frozenset({b"/v1/models", b"/models"})
QUEUE_LIMIT = 64  # pipelined requests of one connection held before reading pauses
BACKLOG = 4096  # connections that may wait to be accepted
BLANK_EVERY = 0.5  # seconds between the blank lines of a slow answer


EVENTS = "text/event-stream; charset=utf-8"


class Told(TypedDict):
    model: str
    ident: str
    created: int


class SimulatorServer:
    """`async with SimulatorServer(settings) as server:` listens on a free port until the block ends."""

    def __init__(self, settings: SimulatorSettings, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.endpoint = Endpoint(settings)
        self.office = BatchOffice(self.endpoint)
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self.connections: set[Connection] = set()
        self._emptied = asyncio.Event()

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given, `/v1` included."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/v1"

    @property
    def stats(self) -> dict[str, Any]:
        """What GET /stats?per_prompt=1 answers."""
        return self.endpoint.report(per_prompt=True)

    def reset_stats(self) -> None:
        self.endpoint.reset_stats()

    async def start(self) -> None:
        """Errors: `UsageError` when the port is taken."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self, loop), self._host, self._port, backlog=BACKLOG
            )
        except OSError as error:
            place = f"{self._host}:{self._port}"
            raise UsageError(f"Cannot listen on {place}: {error}.", hint="Choose another --port.") from error
        self._port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop listening and break every connection, answered or not."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        await self._server.wait_closed()
        await self.wait_idle()
        self._server = None

    async def wait_idle(self) -> None:
        """Until no connection is open: then whatever clients gave up is counted as abandoned."""
        if self.connections:
            await self._emptied.wait()

    def joined(self, connection: "Connection") -> None:
        self.connections.add(connection)
        self._emptied.clear()

    def left(self, connection: "Connection") -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._emptied.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Connection(asyncio.Protocol):
    """One client connection: requests are answered one after the other, in order.

    A client that closes its sending side counts as gone: half-closed connections are not served.
    """

    __slots__ = (
        "_choked",
        "_face",
        "_loop",
        "_paused",
        "_queue",
        "_reader",
        "_request",
        "_server",
        "_ticket",
        "_timer",
        "_transport",
    )

    def __init__(self, server: SimulatorServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._reader = RequestReader()
        self._queue: deque[HttpRequest] = deque()
        self._transport: asyncio.Transport
        self._request: HttpRequest | None = None
        self._ticket: Ticket | None = None
        self._face = CHAT
        self._choked = self._paused = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in deed, not by inheritance
        self._server.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._timer is not None:
            self._timer.cancel()
        if self._ticket is not None:
            self._server.endpoint.abandon(self._ticket)
            self._ticket = None
        self._queue.clear()
        self._server.left(self)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._queue.extend(self._reader.feed(data))
        except NotHttpError as error:
            self._reject(error)
            return
        if self._reader.wants_continue and self._request is None and not self._queue:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._pump()
        if len(self._queue) > QUEUE_LIMIT:
            self._paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        self._pump()

    def _reject(self, error: NotHttpError) -> None:
        self._server.endpoint.stats.malformed += 1
        if self._request is not None or self._queue:
            self._transport.abort()  # an answer now would be taken for that of the request before
            return
        body = orjson.dumps({"error": {"message": str(error), "type": "invalid_request_error"}})
        self._send(error.status, body, keep_alive=False)

    def _pump(self) -> None:
        while self._queue and self._request is None and not self._choked and not self._transport.is_closing():
            self._request = self._queue.popleft()
            self._serve(self._request)
        if self._paused and len(self._queue) < QUEUE_LIMIT // 2:
            self._paused = False
            self._transport.resume_reading()

    def _serve(self, request: HttpRequest) -> None:
        face = face_of(request.path) if request.method == b"POST" else None
        if face is not None:
            self._chat(request, face)
            return
        if self._server.office.serves(request.path):
            answer = self._server.office.answer(request, time.monotonic())
            self._timer = self._loop.call_later(answer.after, self._hand_over, answer, request)
            return
        status, fields = _aside(self._server.endpoint, request)
        self._send(status, orjson.dumps(fields), keep_alive=request.keep_alive)
        self._request = None

    def _hand_over(self, answer: BatchAnswer, request: HttpRequest) -> None:
        self._timer = self._request = None
        self._send(answer.status, answer.body, keep_alive=request.keep_alive)
        self._pump()

    def _chat(self, request: HttpRequest, face: Face) -> None:
        endpoint = self._server.endpoint
        detect = endpoint.settings.detect_speakers
        key = request.key if request.key_in in face.keys else None
        ask = endpoint.authorize(key) or read(face, request, detect_speakers=detect)
        # Not the loop's time: uvloop's stands still within a turn, and limits are strict to the millisecond.
        ticket = endpoint.receive(ask, time.monotonic())
        plan = face.worded(ticket.plan)
        self._face, self._ticket = face, ticket if plan is ticket.plan else replace(ticket, plan=plan)
        ticket = self._ticket
        stream = self._stream_of(ticket)
        if plan.action is Action.HANG:
            endpoint.finish(ticket)
        if stream is not None and plan.fault != Fault.BLANK_LINES:
            self._timer = self._loop.call_later(stream.first, self._begin_stream, stream)
        elif plan.action is Action.HANG:
            pass  # until the client gives up
        elif plan.fault == Fault.BLANK_LINES:
            self._send_head_of_chunks(ticket, request, EVENTS if stream is not None else "application/json")
            self._drip(time.monotonic() + plan.latency)
        elif plan.latency > 0:
            self._timer = self._loop.call_later(plan.latency, self._finish_later)
        else:
            self._finish(ticket, request)

    def _finish_later(self) -> None:
        assert self._ticket is not None
        assert self._request is not None
        self._timer = None
        if (stream := self._stream_of(self._ticket)) is not None:  # after blank lines, with which it has begun
            self._flow(replace(stream, every=0.0), 0)
            return
        self._finish(self._ticket, self._request)
        self._pump()

    def _finish(self, ticket: Ticket, request: HttpRequest) -> None:
        """Carry the plan out on the wire; it is counted before the bytes leave, so that a client never sees less."""
        self._ticket = self._request = None
        plan = ticket.plan
        self._server.endpoint.finish(ticket)
        if plan.action is Action.RESET:
            self._reset()
        elif plan.fault == Fault.BLANK_LINES:
            self._transport.write(chunk(self._body(ticket)) + chunk(b""))
            self._hang_up_unless(keep_alive=request.keep_alive)
        else:
            self._answer(ticket, request)

    # In pieces ---------------------------------------------------------------------------------------------------

    def _stream_of(self, ticket: Ticket) -> Stream | None:
        if ticket.ask is None or ticket.ask.stream is None:
            return None
        return stream_of(ticket.plan, ticket.ask, self._server.endpoint.settings.latency, **self._told(ticket))

    def _begin_stream(self, stream: Stream) -> None:
        assert self._ticket is not None
        assert self._request is not None
        self._send_head_of_chunks(self._ticket, self._request, EVENTS)
        self._flow(stream, 0)

    def _flow(self, stream: Stream, at: int) -> None:
        """Write what is due, and so on until the end: counted before its bytes leave, as every answer."""
        self._timer = None
        ticket, request = self._ticket, self._request
        assert ticket is not None
        assert request is not None
        if at < len(stream.bits) - 1:
            self._transport.write(chunk(stream.bits[at]))
            self._timer = self._loop.call_later(stream.every, self._flow, stream, at + 1)
        elif ticket.plan.action is Action.HANG:
            self._transport.write(chunk(stream.bits[at]))
        else:
            self._ticket = self._request = None
            self._server.endpoint.finish(ticket)
            self._transport.write(chunk(stream.bits[at]) + (chunk(b"") if stream.ends else b""))
            self._hang_up_unless(keep_alive=request.keep_alive and stream.ends)
            self._pump()

    # Whole -------------------------------------------------------------------------------------------------------

    def _answer(self, ticket: Ticket, request: HttpRequest) -> None:
        body = self._body(ticket)
        keep_alive = request.keep_alive and ticket.plan.action is Action.ANSWER
        head = response_head(ticket.plan.status, self._headers(ticket), length=len(body), keep_alive=keep_alive)
        sent = body[: len(body) // 2] if ticket.plan.action is Action.CUT else body
        self._transport.write(head + sent)
        self._hang_up_unless(keep_alive=keep_alive)

    def _send_head_of_chunks(self, ticket: Ticket, request: HttpRequest, kind: str = "application/json") -> None:
        headers = {**self._headers(ticket), "content-type": kind}
        status = ticket.plan.status or 200  # a stream that hangs has begun
        head = response_head(status, headers, length=None, keep_alive=request.keep_alive)
        self._transport.write(head)

    def _drip(self, until: float) -> None:
        """Blank lines now and every BLANK_EVERY seconds, until the answer is due."""
        self._transport.write(chunk(b"\n"))
        left = until - time.monotonic()
        if left <= BLANK_EVERY:
            self._timer = self._loop.call_later(max(0.0, left), self._finish_later)
        else:
            self._timer = self._loop.call_later(BLANK_EVERY, self._drip, until)

    def _body(self, ticket: Ticket) -> bytes:
        return self._face.write(ticket.plan, **self._told(ticket))

    def _told(self, ticket: Ticket) -> Told:
        """What an answer tells of itself."""
        settings = self._server.endpoint.settings
        model = ticket.ask.model if ticket.ask and ticket.ask.model else settings.model
        now = time.time_ns()
        return {"model": model, "ident": f"{now:x}", "created": now // 1_000_000_000}

    def _headers(self, ticket: Ticket) -> dict[str, str]:
        plan = ticket.plan
        page = plan.error is not None and plan.error.page
        headers = {"content-type": "text/html" if page else "application/json"}
        pace = self._server.endpoint.pace(ticket, time.monotonic())
        if pace is not None:
            headers |= self._face.pace_headers(pace)
        if plan.retry_after is not None:
            headers |= retry_headers(plan.retry_after)
        return headers

    def _send(self, status: int, body: bytes, *, keep_alive: bool) -> None:
        headers = {"content-type": "application/json"}
        self._transport.write(response_head(status, headers, length=len(body), keep_alive=keep_alive) + body)
        self._hang_up_unless(keep_alive=keep_alive)

    def _hang_up_unless(self, *, keep_alive: bool) -> None:
        if not keep_alive:
            self._transport.close()

    def _reset(self) -> None:
        """RST, not FIN: the client's read fails with ECONNRESET."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _aside(endpoint: Endpoint, request: HttpRequest) -> tuple[int, Any]:
    """The routes that are no chat and count nowhere."""
    match request.method, request.path:
        case b"GET", b"/stats":
            return 200, endpoint.report(per_prompt=b"per_prompt=1" in request.query)
        case b"POST", b"/stats/reset":
            ended = endpoint.report()
            endpoint.reset_stats()
            return 200, ended
        case b"GET", b"/healthz":
            return 200, {"status": "ok"}
        case b"GET", path if path in MODEL_PATHS:
            return 200, models_body(endpoint.settings.models or (endpoint.settings.model,))
        case _:
            message = f"No route {request.method.decode()} {request.path.decode(errors='replace')}."
            return 404, {"error": {"message": message, "type": "invalid_request_error", "code": "not_found"}}
