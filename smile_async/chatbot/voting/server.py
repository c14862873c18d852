"""The labelling page over HTTP/1.1, on 127.0.0.1 alone.

The standard library's server: a thread a connection waits for the disk at each vote, a handful of raters need no more,
and nothing has to be installed.
"""

import sys
import threading
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from smile_async.chatbot.ballots import read_ballots
from smile_async.chatbot.votes import VoteStore
from smile_async.chatbot.voting.desk import ALWAYS, Answer, Asked, VotingDesk
from smile_async.errors import UsageError

LOOPBACK = "127.0.0.1"
IDLE = 60.0  # seconds that a silent connection keeps its thread


class VotingServer:
    """`with VotingServer(ballots, votes, names, port) as server:` takes votes until the block ends. Port 0: any free
    one; the same `votes` on the same port keep links and open pages working.

    Errors: `SourceError` for ballots that are none, `UsageError` for votes on other ballots or a port that is taken.
    """

    def __init__(self, ballots: Path, votes: Path, raters: Iterable[str], port: int = 0) -> None:
        self.ballots = read_ballots(ballots)
        try:
            self._listener = _Listener((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(f"Cannot listen on {LOOPBACK}:{port}: {error}.", hint="Choose another --port.") from None
        try:
            self._store = VoteStore.open(votes, self.ballots)
            try:
                self._secrets = self._store.enrol(raters)
            except UsageError:
                self._store.close()
                raise
        except UsageError:
            self._listener.server_close()
            raise
        self.port: int = self._listener.server_address[1]
        hosts = frozenset({f"{LOOPBACK}:{self.port}", f"localhost:{self.port}"})
        self._listener.desk = VotingDesk(self.ballots, self._store, self._secrets, hosts)
        self._thread = threading.Thread(target=self._listener.serve_forever, name="smile-vote", daemon=True)

    @property
    def links(self) -> dict[str, str]:
        """Each rater's own address: who has it votes in that name."""
        return {name: f"http://{LOOPBACK}:{self.port}/?token={quote(secret)}" for name, secret in self._secrets.items()}

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._store.close()


class _Listener(ThreadingTCPServer):
    """Not `http.server.ThreadingHTTPServer`, which looks its own name up in the DNS before it serves."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    desk: VotingDesk

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a browser that closed its connection is no news
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Bytes to `Asked`, `Answer` to bytes. Logs nothing: an address may hold a rater's secret."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE
    server: _Listener

    def do_GET(self) -> None:
        asked = self._asked()
        self._send(
            self.server.desk.answer(asked), keep={"content-length", "transfer-encoding"}.isdisjoint(asked.headers)
        )

    def do_POST(self) -> None:
        asked = self._asked()
        refusal = self.server.desk.refuses(asked)
        if refusal is not None:
            self._send(refusal, keep=False)  # its body was not read: what follows on this connection is no request
            return
        length = int(asked.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        self._send(self.server.desk.answer(asked, body), keep=True)

    def _asked(self) -> Asked:
        names = {name.lower() for name in self.headers}
        joined = {name: ", ".join(self.headers.get_all(name, [])) for name in names}
        return Asked(self.command, self.path, joined)

    def _send(self, answer: Answer, *, keep: bool) -> None:
        self.send_response_only(answer.status)
        for name, value in ALWAYS.items():
            self.send_header(name, value)
        self.send_header("content-type", f"{answer.kind}; charset=utf-8")
        self.send_header("content-length", str(len(answer.body)))
        if answer.cookie is not None:
            self.send_header("set-cookie", answer.cookie)
        if not keep:
            self.send_header("connection", "close")  # `send_header` marks the connection, too
        self.end_headers()
        self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the library refuses: no HTTP, another method, oversized headers."""
        self.request_version = self.protocol_version  # else a head that is none would be answered without one
        status = HTTPStatus(code)
        self._send(Answer(status, b'{"error":"' + status.phrase.encode() + b'"}'), keep=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing."""
