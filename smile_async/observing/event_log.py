"""Every event of a run as a line of JSON, for programs to read later or to follow with `tail -f`."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from smile_async.engine.events import Event
from smile_async.errors import SettingsError

FLUSH = 1.0  # seconds that a line waits at most before it is written
MOST_WAITING = 8_192  # lines


def line_of(event: Event, at: float) -> bytes:
    """One line: `ts` in seconds since 1970, `name`, then the event's fields. What is infinite becomes null."""
    return b'{"ts":%.6f,"name":"%b",%b\n' % (at, event.name.encode(), orjson.dumps(event)[1:])


class EventLog:
    """A listener that appends to `path`, which is made open to its owner only.

    No event holds a key or dialogue text. A disk that refuses does not stop the run: `notify` is told once, and a line
    `events.lost` tells how many lines are missing. Raises `SettingsError` when the file cannot be opened.
    """

    def __init__(
        self, path: Path, notify: Callable[[str], None] = lambda _text: None, *, wall: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._notify = notify
        self._wall = wall
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._lost = 0
        try:
            self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
            self._torn = _is_torn(self._file)  # by a kill: what it left of a line becomes a line of its own
        except OSError as error:
            raise SettingsError(
                f"{path}: the event log cannot be opened: {error.strerror}.", hint="Name another file with --events."
            ) from error

    def __repr__(self) -> str:
        return f"<EventLog {self._path} [{len(self._lines)} lines waiting]>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, event: Event) -> None:
        self._lines.append(line_of(event, self._wall()))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH, self.flush)
        elif len(self._lines) >= MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._lines = self._lines, []
        missing = b'{"ts":%.6f,"name":"events.lost","lines":%d}\n' % (self._wall(), self._lost) if self._lost else b""
        try:
            _write(self._file, b"".join([b"\n" if self._torn else b"", missing, *waiting]))
        except OSError as error:
            if not self._lost:
                self._notify(f"{self._path}: the event log cannot be written ({error.strerror}); the run goes on.")
            self._lost += len(waiting)
        else:
            self._lost, self._torn = 0, False

    def close(self) -> None:
        """Write what waits and close the file."""
        self.flush()
        os.close(self._file)


def _is_torn(file: int) -> bool:
    """Whether the last line has no end."""
    if os.fstat(file).st_size == 0:
        return False
    os.lseek(file, -1, os.SEEK_END)
    return os.read(file, 1) != b"\n"


def _write(file: int, data: bytes) -> None:
    """All of it or nothing."""
    before, view = os.fstat(file).st_size, memoryview(data)
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError:
        os.ftruncate(file, before)
        raise
