"""The embedded model: llama.cpp's OpenAI-compatible server in a child process, on a free port of this machine.

Why a child and not a thread: a failed assertion inside llama.cpp aborts its whole process, and with it a run that has
paid for answers in flight; dropping its server in-process waits for answers that nobody wants any more (more than 50
seconds, measured); and its weights and caches (800 MB) would count as the run's own memory.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import IO, Self

from smile_async.errors import MissingExtraError, SmileError, UsageError
from smile_async.provider import openmp
from smile_async.provider.llama import PLAIN_TEMPLATE, ServeSettings
from smile_async.provider.model_file import EMBEDDED, EXTRA, embedded_model_file, model_cache, named_model_file

SLOTS = 4  # answers at a time; on two cores no number of slots is known to be clearly faster (docs/local-model.md)
CONTEXT_PER_SLOT = 4096  # tokens: examples 800, a source of 1,800 characters 1,300, a dialogue 600
START_TIMEOUT = 120.0  # seconds; the embedded model takes 2, a model of 8 GB from a slow disk a minute
STOP_TIMEOUT = 5.0  # seconds
LOG_TAIL = 12  # lines of llama.cpp's log that an error shows


class LocalServerError(SmileError):
    """The embedded server did not start; the message holds the end of llama.cpp's log."""


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """A running local server, as a provider needs it. No key is asked for; `concurrency` is what keeps it busy."""

    base_url: str
    model: str
    concurrency: int


class LocalServer:
    """One GGUF served on `base_url` (`http://127.0.0.1:PORT/v1`) while the context manager is open.

    `port` 0 takes a free one, without a race: the server itself binds it. `slots` answers are written at a time, each
    with `context_per_slot` tokens for prompt and answer; `threads` None is one for each core this process may use.
    `template` is a Jinja chat template; None keeps the model's own. `adapter` is a LoRA adapter for the model, as GGUF.
    llama.cpp's warnings go to `log` (a file that is
    appended to), or nowhere. The child dies with this process, however that ends, and is spared by Ctrl-C.
    """

    def __init__(
        self,
        model_path: str | Path,
        *,
        name: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        slots: int = SLOTS,
        context_per_slot: int = CONTEXT_PER_SLOT,
        threads: int | None = None,
        template: str | None = None,
        adapter: Path | None = None,
        log: Path | None = None,
    ) -> None:
        if slots < 1 or context_per_slot < 1:
            raise UsageError(f"A local server cannot have {slots} slots of {context_per_slot} tokens: 1 or more.")
        self._settings = ServeSettings(
            model=str(model_path),
            alias=name or Path(model_path).stem,
            host=host,
            port=port,
            slots=slots,
            context_per_slot=context_per_slot,
            threads=threads or usable_cores(),
            template=template,
            adapter=str(adapter) if adapter else None,
        )
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None
        self._url: str | None = None

    def __repr__(self) -> str:
        return f"<LocalServer {self._settings.alias} [{self._url or 'stopped'}, {self._settings.slots} slots]>"

    @property
    def endpoint(self) -> LocalEndpoint:
        """Where to ask. Raises `LocalServerError` when the server is not running."""
        if self._url is None:
            raise LocalServerError("The local server is not running.", hint="Call start() first.")
        return LocalEndpoint(f"{self._url}/v1", self._settings.alias, self._settings.slots)

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> str:
        """Load the model and listen; returns the base URL. Blocks for some seconds: from a coroutine use
        `local_endpoint` or a thread. Raises `LocalServerError`, `MissingExtraError`."""
        if self._url is not None:
            return self.endpoint.base_url
        require_llama()
        with _log_file(self._log) as log:
            self._child = subprocess.Popen(  # noqa: S603 - this interpreter and this package
                [sys.executable, "-m", "smile_async.provider.llama", json.dumps(asdict(self._settings))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=openmp.environment(model_cache()),
            )
            try:
                self._url = _announced(self._child, log)
            except BaseException:
                self.stop()
                raise
        return self.endpoint.base_url

    def stop(self) -> None:
        """End the child at once; answers that it is writing are dropped. May be called twice, and during `start`."""
        child, self._child, self._url = self._child, None, None
        if child is None:
            return
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        try:
            child.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:  # it is still loading a model, deep in llama.cpp
            child.kill()
            child.wait()
        child.stdout.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@asynccontextmanager
async def local_endpoint(
    model: str | Path | None = None,
    *,
    sha256: str | None = None,
    slots: int | None = None,
    context_per_slot: int | None = None,
    threads: int | None = None,
    log: Path | None = None,
    notify: Callable[[str], None] = lambda _text: None,
) -> AsyncIterator[LocalEndpoint]:
    """Serve a model while the block runs, without blocking the event loop.

    `model` is a GGUF file (checked against `sha256` when given); None is the embedded one, a base model, to which
    messages go as plain text. `notify` gets lines for a person: the model's terms at its first use.
    """
    server = await asyncio.to_thread(
        prepare_server,
        model,
        sha256=sha256,
        slots=slots,
        context_per_slot=context_per_slot,
        threads=threads,
        log=log,
        notify=notify,
    )
    try:
        await asyncio.to_thread(server.start)
        yield server.endpoint
    finally:
        # Milliseconds, and it must also happen when this task is being cancelled: so no await.
        server.stop()


def prepare_server(
    model: str | Path | None = None,
    *,
    sha256: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    slots: int | None = None,
    context_per_slot: int | None = None,
    threads: int | None = None,
    adapter: Path | None = None,
    template: str | None = None,
    log: Path | None = None,
    notify: Callable[[str], None] = lambda _text: None,
) -> LocalServer:
    """The server for a named GGUF or (None) the embedded model, its file put together and verified; not started.

    `adapter` is a LoRA adapter as GGUF that was trained on this model, `template` the chat template it learnt.
    """
    require_llama()
    if model is None:
        path, name, of_its_own = embedded_model_file(notify=notify), EMBEDDED.name, PLAIN_TEMPLATE
    else:
        path = named_model_file(model, sha256=sha256)
        name, of_its_own = path.stem, None
    return LocalServer(
        path,
        name=name,
        host=host,
        port=port,
        slots=slots or SLOTS,
        context_per_slot=context_per_slot or CONTEXT_PER_SLOT,
        threads=threads,
        template=template or of_its_own,
        adapter=None if adapter is None else named_model_file(adapter),
        log=log,
    )


def require_llama() -> None:
    """Raises `MissingExtraError` when llama.cpp is not installed. Imports nothing."""
    from importlib.util import find_spec

    if find_spec("xllamacpp") is None:
        raise MissingExtraError("The embedded model", EXTRA)


def usable_cores() -> int:
    """Cores this process may run on: what `taskset` or a cpuset leaves it, where the system can tell."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows cannot
        return os.cpu_count() or 1


def _log_file(path: Path | None) -> IO[bytes]:
    return tempfile.TemporaryFile() if path is None else path.open("a+b")


def _announced(child: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    """The URL that the child says on its one line; waits for the line, or for the child's end, not by the clock."""
    assert child.stdout is not None
    watchdog = Timer(START_TIMEOUT, child.kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        line = child.stdout.readline()
    finally:
        watchdog.cancel()
    try:
        said = json.loads(line)
    except ValueError:
        said = {"error": "it ended, or was ended after two minutes, without a word"}
    if "url" in said:
        return str(said["url"])
    if openmp.LIBRARY in str(said.get("error")):
        raise LocalServerError(
            f"llama.cpp needs {openmp.LIBRARY}, which this system does not have.",
            hint="apt-get install libgomp1 (Debian, Ubuntu), or: pip install 'smile-async[local]'",
        )
    raise LocalServerError(
        f"The local model server did not start: {said.get('error', line)}.{_tail(log)}",
        hint="A damaged or unknown model file, too little memory or a taken port are the usual causes.",
    )


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()[-LOG_TAIL:]
    return "".join(f"\n    {line}" for line in lines)
