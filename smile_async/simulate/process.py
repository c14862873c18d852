"""The simulated endpoint as a process of its own."""

import asyncio
import contextlib
import importlib
from collections.abc import Callable

from smile_async.simulate.server import SimulatorServer
from smile_async.simulate.settings import SimulatorSettings


async def serve(
    settings: SimulatorSettings,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None] = lambda _base_url: None,
) -> None:
    """Listen until cancelled; `ready` gets the base URL once connections are accepted. Port 0: any free one."""
    async with SimulatorServer(settings, host=host, port=port) as server:
        ready(server.base_url)
        await asyncio.Event().wait()


def run_server(
    settings: SimulatorSettings,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None] = lambda _base_url: None,
) -> None:
    """`serve` as a whole process: uvloop if installed, the open-files limit raised, ends on SIGINT and SIGTERM."""
    raise_open_files_limit()
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        runner.run(_serve_until_signal(settings, host, port, ready))


async def _serve_until_signal(settings: SimulatorSettings, host: str, port: int, ready: Callable[[str], None]) -> None:
    import signal

    loop = asyncio.get_running_loop()
    task = loop.create_task(serve(settings, host, port, ready))
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # no signal handlers on Windows' loop
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def raise_open_files_limit() -> None:
    """Each connection is an open file; the soft limit is often 1,024. Nothing happens where it cannot be raised."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
