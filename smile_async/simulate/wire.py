"""HTTP/1.1 as bytes: requests read within bounds, response heads written."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import httptools

MAX_HEAD = 64 * 1024  # bytes of request line and headers
MAX_BODY = 16 * 1024 * 1024  # bytes
MAX_FILE = 256 * 1024 * 1024  # bytes of a file that is uploaded

KEY_HEADERS = frozenset({b"api-key", b"x-api-key"})

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request as it came: `path` without its query; `key` is the bearer token, `api-key` or `x-api-key`, `key_in`
    the header it came in, `version` says that there is an `anthropic-version`."""

    method: bytes
    path: bytes
    query: bytes
    key: str | None
    body: bytes
    keep_alive: bool
    key_in: bytes = b""
    version: bool = False


class NotHttpError(Exception):
    """What came is no request within bounds; `status` is the answer before the connection is closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RequestReader:
    """Bytes in, whole requests out: pipelined and chunked ones too. Oversize is refused while it comes."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._complete: list[HttpRequest] = []
        self._expects = self._headers_done = False
        self._begin()

    def feed(self, data: bytes) -> list[HttpRequest]:
        """The requests that these bytes complete, in order. Errors: `NotHttpError`."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise NotHttpError(400, "Upgrade is not supported.") from error
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, NotHttpError):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise NotHttpError(400, f"Not HTTP: {error}.") from error
        complete, self._complete = self._complete, []
        return complete

    @property
    def wants_continue(self) -> bool:
        """True once for a request whose client waits for `100 Continue` before it sends the body."""
        wants, self._expects = self._expects and self._headers_done, False
        return wants

    def _begin(self) -> None:
        self._url = b""
        self._key: str | None = None
        self._key_in = b""
        self._version = False
        self._body: list[bytes] = []
        self._head_size = self._body_size = 0
        self._expects = self._headers_done = False

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._grow_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow_head(len(name) + len(value))
        lower = name.lower()
        if lower == b"authorization" and value[:7].lower() == b"bearer ":
            self._key, self._key_in = value[7:].strip().decode("latin-1"), lower
        elif lower in KEY_HEADERS:
            self._key, self._key_in = value.decode("latin-1"), lower
        elif lower == b"anthropic-version":
            self._version = True
        elif lower == b"expect":
            self._expects = value.lower() == b"100-continue"
        elif lower == b"content-length" and int(value) > self._most():
            raise NotHttpError(413, "The body is too large.")

    def on_headers_complete(self) -> None:
        self._headers_done = True

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > self._most():
            raise NotHttpError(413, "The body is too large.")
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._expects = False
        path, _, query = self._url.partition(b"?")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        parser = self._parser
        keep_alive = parser.should_keep_alive()
        method = parser.get_method()
        request = HttpRequest(method, path, query, self._key, body, keep_alive, self._key_in, self._version)
        self._complete.append(request)
        self._body = []

    def _most(self) -> int:
        return MAX_FILE if self._url.endswith(b"/files") else MAX_BODY

    def _grow_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEAD:
            raise NotHttpError(431, "The headers are too large.")


def response_head(status: int, headers: Mapping[str, str], *, length: int | None, keep_alive: bool) -> bytes:
    """Status line and headers, blank line included; `length` None announces chunks."""
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
    if not keep_alive:
        lines.append("connection: close")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; empty data ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
