"""HTTP for everyone above: post bytes, get an answer or a `Failure`. Foreign exceptions stop here.

Three ways lead out (docs/transport.md). With a client of the user's, everything goes through the public httpx API:
their proxies, auth, hooks, `MockTransport`. Without one, requests go straight over the project's own HTTP/1.1
connections (`wire.py`), the cheapest of all that was measured; through pyreqwest (hyper and rustls) where the
environment names a proxy for the host or the address is out of the ordinary. No other module knows httpx.

A kept-alive connection that the server closed while idle is not a failure: the client sees it before it writes and
takes another (all three do). When the close meets the request under way, nobody can know whether the server has read
it; then it is DISCONNECTED and not asked again here, because one layer alone owns retries.
"""

import asyncio
import contextlib
import math
import os
import re
import ssl
import sys
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from smile_async.engine.job import Failure, FailureKind
from smile_async.errors import SettingsError
from smile_async.provider.connection import HttpAnswer
from smile_async.provider.network import (
    broken_body,
    connect_timed_out,
    died_after_sending,
    not_answered,
    not_connected,
    timed_out,
)
from smile_async.provider.origin import IDLE
from smile_async.provider.place import USER_AGENT, Place, place_of
from smile_async.provider.tls import Tls, trusting_the_system
from smile_async.provider.wariness import Wariness
from smile_async.provider.wire import Wire
from smile_async.settings import Timeouts

if TYPE_CHECKING:
    import httpx
    import pyreqwest.bytes
    import pyreqwest.client
    import pyreqwest.exceptions
    import pyreqwest.http

__all__ = ["IDLE", "MAX_BODY", "USER_AGENT", "HttpAnswer", "Transport", "raise_open_files_limit"]

MAX_BODY = 64 * 1024 * 1024  # bytes of an answer, unpacked

_READ_WITH_THE_HEADERS = 0  # bytes: pyreqwest's own 64 KB would hide the status when they break off, and save nothing

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s*", re.DOTALL)


class Transport:
    """Posts. Built without a network, a file or a loop; the connections open in the first `post`.

    `timeouts.read` counts from the request to the first byte too: a model that thinks for minutes sends nothing
    meanwhile or (DeepSeek) a blank line now and then, which `read` lets pass and `total` does not.

    `max_connections` bounds the requests in flight (None: the caller does, there is no hidden bound). `client` is the
    user's `httpx.AsyncClient`: it is used as it is, with its limits, and closing it stays theirs.

    A cancelled `post` returns at once and its connection closes, except through a proxy: pyreqwest lets the request run
    on, unheard, until it ends or times out.

    Connections belong to the running loop; in another loop new ones are made. Which way a URL takes is decided at its
    first request: a proxy that the environment names later is not seen.
    """

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        max_connections: int | None = None,
        max_body: int = MAX_BODY,
        client: "httpx.AsyncClient | None" = None,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._max_connections = max_connections
        self._max_body = max_body
        self._theirs = client
        self._ours: pyreqwest.client.Client | None = None
        self._wire: Wire | None = None
        self._tls = Tls(_trusted)
        self._places: dict[str, Place | None] = {}
        self._wariness: defaultdict[str, Wariness] = defaultdict(Wariness)

    def __repr__(self) -> str:
        way = "httpx client of the user" if self._theirs else "own connections"
        return f"<Transport over {way}, {self._timeouts!s}>"

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer | Failure:
        """One attempt. Raises `SettingsError` for what no attempt can pass (a CA file that cannot be read)."""
        posting = self._posting(url, headers, body)
        del body  # not held while the answer is awaited: thousands may be in flight
        return await posting

    def _posting(self, url: str, headers: Mapping[str, str], body: bytes) -> Coroutine[Any, Any, HttpAnswer | Failure]:
        if self._theirs is not None:
            return self._post_through(self._theirs, url, headers, body)
        place = self._places[url] if url in self._places else self._place(url)
        if place is None:
            return self._post_by_pyreqwest(url, headers, body)
        wire = self._wire
        if wire is None or wire.loop is not asyncio.get_running_loop():
            wire = self._wire = Wire(self._timeouts, self._max_connections, self._max_body, self._tls)
        return wire.post(place, headers, body)

    async def aclose(self) -> None:
        """Closes what was opened here; a later `post` opens anew."""
        wire, self._wire = self._wire, None
        if wire is not None and wire.loop is asyncio.get_running_loop():
            await wire.aclose()
        ours, self._ours = self._ours, None
        if ours is not None:
            await ours.close()

    def _place(self, url: str) -> Place | None:
        """Where the project's own connections lead for this URL; None where pyreqwest must go.

        Proxies (tinyproxy is one) close after a plain request without saying so: the next must not meet that.
        """
        if len(self._places) >= 1_000:
            self._places.clear()
            self._wariness.clear()
        place = place_of(url)
        if place is not None and _proxied(place):
            if not place.secure:
                self._wariness[url] = Wariness(until=math.inf)
            place = None
        self._places[url] = place
        return place

    # -- pyreqwest ----------------------------------------------------------------------------------------------

    async def _post_by_pyreqwest(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer | Failure:
        from pyreqwest.exceptions import PyreqwestError

        if self._ours is None:
            self._ours = _build(self._timeouts, self._max_connections)
        began = time.monotonic()
        if began < self._wariness[url].until:
            headers = {**headers, "connection": "close"}
        request = self._ours.post(url).headers(headers).body_bytes(body)
        chunks: list[bytes | pyreqwest.bytes.Bytes] = []
        status, told, size = None, {}, 0
        try:
            async with request.streamed_read_buffer_limit(_READ_WITH_THE_HEADERS).build_streamed() as response:
                status, told = response.status, _legible(response.headers)
                while (chunk := await response.body_reader.read_chunk()) is not None:
                    size += len(chunk)
                    if size > self._max_body:
                        return self._too_large(url, status)
                    chunks.append(chunk)
                return HttpAnswer(status, told, b"".join(chunks))
        except PyreqwestError as error:
            got, elapsed = b"".join(chunks), time.monotonic() - began
            failure = self._explain(error, url, elapsed, status, got)
            if failure.kind is FailureKind.DISCONNECTED:  # nobody says whether the connection had been used before
                self._wariness[url].met_a_close(began, began + elapsed)
            return _error_anyway(status, told, got, failure)

    def _explain(
        self, error: "pyreqwest.exceptions.PyreqwestError", url: str, elapsed: float, status: int | None, got: bytes
    ) -> Failure:
        """hyper says in its chain of causes whether the request had left: `client error (Connect)` is before.

        The class alone does not: pyreqwest raises ConnectError for a reset after sending too.
        """
        from pyreqwest.exceptions import PoolTimeoutError, RequestTimeoutError

        host, words = _host(url), _causes(error)
        if "client error (Connect)" in words:
            if isinstance(error, RequestTimeoutError) or "deadline has elapsed" in words:
                return connect_timed_out(host, self._timeouts.connect)
            return not_connected(host, words)
        if isinstance(error, PoolTimeoutError):
            return not_connected(host, ["no free connection in time"])
        if isinstance(error, RequestTimeoutError):
            return timed_out(host, elapsed, self._timeouts.read, self._timeouts.total)
        if status is not None:
            return broken_body(host, f"was cut or cannot be unpacked ({words[-1]})", status, got)
        return not_answered(host, words)

    def _too_large(self, url: str, status: int) -> Failure:
        return broken_body(_host(url), f"is larger than {self._max_body:,} bytes", status)

    # -- httpx --------------------------------------------------------------------------------------------------

    async def _post_through(
        self, client: "httpx.AsyncClient", url: str, headers: Mapping[str, str], body: bytes
    ) -> HttpAnswer | Failure:
        import httpx

        limit = self._timeouts
        timeout = httpx.Timeout(limit.read, connect=limit.connect, pool=limit.total)
        began = time.monotonic()
        status, told, got = None, {}, bytearray()
        try:
            async with (
                asyncio.timeout(limit.total),
                client.stream("POST", url, content=body, headers=dict(headers), timeout=timeout) as response,
            ):
                status, told = response.status_code, dict(response.headers)
                async for chunk in response.aiter_bytes():
                    got += chunk
                    if len(got) > self._max_body:
                        return self._too_large(url, status)
                return HttpAnswer(status, told, bytes(got))
        except TimeoutError:
            failure = timed_out(_host(url), limit.total, limit.read, limit.total)
        except httpx.HTTPError as error:
            failure = self._explain_httpx(error, url, time.monotonic() - began, status, bytes(got))
        return _error_anyway(status, told, bytes(got), failure)

    def _explain_httpx(
        self, error: "httpx.HTTPError", url: str, elapsed: float, status: int | None, got: bytes
    ) -> Failure:
        import httpx

        host, words = _host(url), [str(error) or type(error).__name__]
        if status is None and _left_after_all(error):
            return died_after_sending(host, words)
        if isinstance(error, httpx.ConnectTimeout):
            return connect_timed_out(host, self._timeouts.connect)
        if isinstance(error, (httpx.ConnectError, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)):
            return not_connected(host, ["proxy", *words] if isinstance(error, httpx.ProxyError) else words)
        if isinstance(error, httpx.TimeoutException):
            return timed_out(host, elapsed, self._timeouts.read, self._timeouts.total)
        if status is not None:
            return broken_body(host, "was cut or cannot be unpacked", status, got)
        return not_answered(host, words)


def _legible(headers: "pyreqwest.http.HeaderMap") -> dict[str, str]:
    """pyreqwest raises for a value that is not ASCII (a server's name in latin-1, say): left out, it means nothing."""
    try:
        return dict(headers.items())
    except ValueError:
        found = {}
        for name in headers:
            with contextlib.suppress(ValueError):
                found[name] = headers[name]
        return found


def _error_anyway(
    status: int | None, headers: Mapping[str, str], arrived: bytes, failure: Failure
) -> HttpAnswer | Failure:
    """The answer, where its status says that it is an error: what broke is only the server's word on it."""
    return HttpAnswer(status, headers, arrived) if status is not None and status >= 400 else failure


def _left_after_all(error: Exception) -> bool:
    """True when a transport under httpx says "connect" of a request that had left.

    httpx-aiohttp maps aiohttp's ServerDisconnectedError to ConnectTimeout, pyreqwest's own httpx layer a reset after
    sending to ConnectError; the cause behind them tells.
    """
    cause = error.__cause__
    if cause is None:
        return False
    if type(cause).__module__.startswith("aiohttp"):
        return not any("Connector" in kind.__name__ or "Timeout" in kind.__name__ for kind in type(cause).__mro__)
    return "client error (SendRequest)" in _causes(cause)


def _causes(error: BaseException) -> list[str]:
    """pyreqwest's chain of causes, outermost first; never empty."""
    details = getattr(error, "details", None) or {}
    return [cause["message"] for cause in details.get("causes") or ()] or [str(error)]


def _host(url: str) -> str:
    """Host and port, without any user or password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _proxied(place: Place) -> bool:
    """True when the environment (on macOS and Windows: or the system) names a proxy for this host."""
    proxies = getproxies()
    named = ("https" if place.secure else "http") in proxies or "all" in proxies
    return named and not proxy_bypass(f"{place.host}:{place.port}") and not proxy_bypass(place.host)


def _trusted() -> ssl.SSLContext:
    list(_own_certificates(os.environ))  # OpenSSL passes over a file that it cannot use
    return trusting_the_system()


def _build(timeouts: Timeouts, max_connections: int | None) -> "pyreqwest.client.Client":
    """Proxies come from the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY), CAs from the system."""
    from pyreqwest.client import ClientBuilder

    builder = (
        ClientBuilder()
        .connect_timeout(timedelta(seconds=timeouts.connect))
        .read_timeout(timedelta(seconds=timeouts.read))
        .timeout(timedelta(seconds=timeouts.total))
        .pool_timeout(timedelta(seconds=timeouts.total))
        .pool_idle_timeout(timedelta(seconds=IDLE))
        .max_connections(max_connections)
        .follow_redirects(False)
        .referer(False)
        .user_agent(USER_AGENT)
    )
    for certificate in _own_certificates(os.environ):
        builder = builder.add_root_certificate_pem(certificate)
    return builder.build()


def _own_certificates(environ: Mapping[str, str]) -> Iterator[bytes]:
    """What SSL_CERT_FILE holds. Linux's verifier reads it by itself; those of macOS and Windows do not."""
    name = environ.get("SSL_CERT_FILE")
    if not name:
        return
    try:
        found = _PEM.findall(Path(name).read_bytes())
    except OSError as error:
        raise SettingsError(
            f"SSL_CERT_FILE={name}: {error.strerror}", hint="Set it to a readable PEM file, or unset it."
        ) from error
    if not found:
        raise SettingsError(
            f"SSL_CERT_FILE={name} holds no PEM certificate.", hint="Set it to a PEM file, or unset it."
        )
    yield from found


def raise_open_files_limit(needed: int) -> int:
    """Raise the soft limit of open files to `needed`, as far as the hard limit lets; return what is then available.

    Each request in flight is one open file. On Windows there is no such limit: `needed` comes back.
    """
    if sys.platform == "win32":
        return needed
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed if soft == resource.RLIM_INFINITY else soft
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS refuses more than kern.maxfilesperproc, whatever the hard limit says
        return soft
    return wanted
