"""TLS contexts, made when they are needed and off the loop; and the way many wait for one computation."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Shared(Generic[_T]):
    """One computation for all who ask while it runs. Who is cancelled leaves the others their result."""

    def __init__(self, compute: Callable[[], Awaitable[_T]]) -> None:
        self._compute = compute
        self._running: asyncio.Task[_T] | None = None

    async def get(self) -> _T:
        running = self._running
        if running is None or running.get_loop() is not asyncio.get_running_loop():
            self._running = running = asyncio.ensure_future(self._run())
            running.add_done_callback(self._ended)
        return await asyncio.shield(running)

    async def _run(self) -> _T:
        return await self._compute()

    def _ended(self, task: "asyncio.Task[_T]") -> None:
        if self._running is task:
            self._running = None
        if not task.cancelled():
            task.exception()  # seen: nobody may be left to see it


class Tls:
    """The context all connections share, made in a thread by the first that needs it: it reads hundreds of CAs."""

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        self._make = make
        self._context: ssl.SSLContext | None = None
        self._making = Shared(self._in_a_thread)

    async def get(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = await self._making.get()
        return self._context

    async def _in_a_thread(self) -> ssl.SSLContext:
        return await asyncio.get_running_loop().run_in_executor(None, self._make)


def trusting_the_system() -> ssl.SSLContext:
    """CAs of the system, or of SSL_CERT_FILE and SSL_CERT_DIR; certifi's where Python was built without any."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath or context.get_ca_certs()):
        import certifi

        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context
