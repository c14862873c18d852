"""Where a live run takes orders from other processes (`control.py` has how they find it)."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from smile_async.engine import events
from smile_async.engine.switch import StopSwitch
from smile_async.errors import SmileError
from smile_async.filing import whole_file
from smile_async.observing.control import ACTIONS, FILE, LOOPBACK, PATIENCE, noted

LONGEST = 65_536  # bytes of a question


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
            if noted(path).get("secret") == secret:  # else it is another process's by now
                path.unlink(missing_ok=True)


def _ignore(_event: events.Event) -> None:
    """Hears nothing."""
