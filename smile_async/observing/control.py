"""Steering a live run from another process: pause, go on, another number in flight, how it stands.

The run listens on a port of the loopback interface and writes the port and a secret of this process into its folder,
in a file that only its owner can read. A Unix socket in the folder would need no secret, but has a path of at most
about 100 bytes, and is not to be had on every file system, nor on Windows. One question and one answer a connection,
each a line of JSON.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from smile_async.engine import events, schema
from smile_async.engine.run import StopSwitch
from smile_async.errors import NotLiveError, RunNotFoundError, SmileError, UsageError
from smile_async.filing import whole_file
from smile_async.run_folder import is_locked

FILE = "control.json"
LOOPBACK = "127.0.0.1"
PATIENCE = 10.0  # seconds for a question or an answer
LONGEST = 65_536  # bytes of a question
ACTIONS = ("pause", "resume", "concurrency", "status")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done: one of `ACTIONS`; `most` in flight, for concurrency."""

    action: str
    most: int | None = None


def carry_out(asked: Asked, stop: StopSwitch, room: Callable[[int], int]) -> dict[str, Any]:
    """Do it and tell how the run then stands. `room` tells how many of so many requests this process may have open."""
    if asked.action not in ACTIONS:
        return {"ok": False, "error": f"{asked.action!r} is none of {', '.join(ACTIONS)}"}
    told: dict[str, Any] = {"ok": True}
    if asked.action == "pause":
        stop.pause()
    elif asked.action == "resume":
        stop.go_on()
    elif asked.action == "concurrency":
        if asked.most is None or asked.most < 1:
            return {"ok": False, "error": "concurrency needs a number from 1"}
        told["most"] = min(asked.most, room(asked.most))
        stop.limit_concurrency(told["most"])
    pulse = stop.look()
    return told | ({} if pulse is None else {"run": asdict(pulse)})


class _Desk:
    """Answers questions about one run."""

    def __init__(self, stop: StopSwitch, secret: str) -> None:
        self._stop = stop
        self._secret = secret

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, ValueError, TimeoutError):  # ValueError: no line within its bounds
                async with asyncio.timeout(PATIENCE):
                    answer = self._answer(await reader.readline())
                    writer.write(orjson.dumps(answer, default=str) + b"\n")
                    await writer.drain()
        finally:
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            told = orjson.loads(line)
            given, asked = str(told["secret"]), Asked(str(told["do"]), told.get("most"))
            most = asked.most
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return {"ok": False, "error": "this is no question"}
        if not secrets.compare_digest(given.encode(), self._secret.encode()):
            return {"ok": False, "error": "the secret is not this run's"}
        if most is not None and (isinstance(most, bool) or not isinstance(most, int)):
            return {"ok": False, "error": "most is no whole number"}
        return carry_out(asked, self._stop, _room)


def _room(most: int) -> int:
    from smile_async.answering import OTHER_FILES
    from smile_async.provider import raise_open_files_limit

    return max(raise_open_files_limit(most + OTHER_FILES) - OTHER_FILES, 1)


@asynccontextmanager
async def controlled(
    run: Path, stop: StopSwitch, notify: Callable[[str], None] = lambda _text: None
) -> AsyncIterator[events.Listener]:
    """Let `smile control RUN` steer the run that is given this `stop` and the listener that is yielded.

    Nobody can before the run is ours (`RunStarted`). Where nothing can listen, the run goes on without, and `notify` is
    told.
    """
    secret = secrets.token_urlsafe(32)
    try:
        server = await asyncio.start_server(_Desk(stop, secret).serve, LOOPBACK, 0, limit=LONGEST)
    except OSError as error:
        notify(f"The run cannot be steered with `smile control`: {error.strerror or error}.")
        yield _ignore
        return
    port = server.sockets[0].getsockname()[1]
    note, path = {"port": port, "secret": secret, "machine": socket.gethostname()}, run / FILE

    def hear(event: events.Event) -> None:
        if isinstance(event, events.RunStarted):
            try:
                with whole_file(path, overwrite=True) as file:
                    file.write(orjson.dumps(note))
            except (OSError, SmileError) as error:
                notify(f"The run cannot be steered with `smile control`: {error}")

    async with server:
        try:
            yield hear
        finally:
            if _noted(path).get("secret") == secret:  # else it is another process's by now
                path.unlink(missing_ok=True)


def _ignore(_event: events.Event) -> None:
    """Hears nothing."""


def _noted(path: Path) -> dict[str, Any]:
    try:
        return dict(orjson.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def ask_run(run: Path, action: str, most: int | None = None, *, patience: float = PATIENCE) -> Mapping[str, Any]:
    """Ask the process at work on `run` to do something; returns its answer: `run` holds the fields of a `Pulse`.

    Waits up to `patience` seconds; call it from another thread or process than the run's. Raises `NotLiveError` when
    no process can be asked, `UsageError` when it refuses.
    """
    if not (run / schema.DATABASE).is_file():
        raise RunNotFoundError(f"{run} is not a run: it holds no {schema.DATABASE}.")
    if not is_locked(run):
        raise NotLiveError(f"{run}: no process is at work on this run.", hint=f"Start one: smile resume {run}")
    note = _noted(run / FILE)
    if "port" not in note:
        raise NotLiveError(
            f"{run}: the process at work on this run takes no orders.",
            hint="It has only just begun, or was started from Python without `controlled`, or does something else.",
        )
    question = {"secret": note["secret"], "do": action, **({} if most is None else {"most": most})}
    try:
        answer = orjson.loads(_exchange(int(note["port"]), orjson.dumps(question) + b"\n", patience))
    except (OSError, ValueError) as error:
        elsewhere = note.get("machine") != socket.gethostname()
        raise NotLiveError(
            f"{run}: the process at work on this run does not answer: {error or type(error).__name__}.",
            hint=f"It runs on {note['machine']}: ask there." if elsewhere else "Try again; is it stopped (SIGSTOP)?",
        ) from error
    if not isinstance(answer, dict) or not answer.get("ok"):
        raise UsageError(f"{run}: the run refuses: {answer.get('error') if isinstance(answer, dict) else answer}.")
    return answer


def _exchange(port: int, question: bytes, patience: float) -> bytes:
    with socket.create_connection((LOOPBACK, port), timeout=patience) as connection:
        connection.sendall(question)
        with connection.makefile("rb") as stream:
            return stream.readline()
