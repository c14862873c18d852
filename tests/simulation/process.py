"""A process as a model: an event loop, files and memory that can be taken away between any two steps.

A killed process runs no further callback, its open transaction is rolled back, its locks are free and nothing that its
remaining code does reaches the disk or the server. Its coroutines are then closed without effect: what a `finally`
would have done, a killed process does not do.
"""

import asyncio
import contextlib
import errno
import fcntl
import gc
import os
import sqlite3
import sys
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from smile_async.testing import INSTANT, TICK
from tests.simulation.scenario import Disk, Life

MOST_STEPS = 400_000  # callbacks of one process: more is a loop that comes to no end
LATEST = 10_000_000.0  # seconds of virtual time: so long no run lasts, at one request a day neither
SOON = 1_000_000_000  # a step that never comes


class Killed(BaseException):
    """The process is gone."""


class NoEndError(Exception):
    """The process does not come to an end."""


class Process:
    """The outer side of one process: its clock, its files, its death."""

    def __init__(self, life: Life, *, began: float, skew: float) -> None:
        self.began = began
        self.skew = skew
        self.dead = False
        self.stalled = 0.0
        self.statements = self.commits = self.transactions = self.refusals = 0
        self.trouble_at: float | None = None  # since when the disk refused, in time awake
        self._death = life.death
        self._disk = life.disk
        self._stalls = dict(life.stalls)
        self._connections: list[_Connection] = []
        self._full = False
        self._woke_at = float("-inf")
        self.locks: list[int] = []
        self.loop = MortalLoop(self, began + skew)

    def now(self) -> float:
        """The server's clock."""
        return self.loop.time() - self.skew

    def awake(self) -> float:
        """Seconds since the process began, without those in which it stood still."""
        return self.now() - self.began - self.stalled

    def just_woke(self) -> bool:
        """Whether it stood still a moment ago: then what was to leave before that leaves now, and nobody can help it."""
        return self.loop.time() - self._woke_at < TICK

    def die(self) -> None:
        self.dead = True
        self.loop.steps.alarm = 0

    def run(self, main: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run to the end. Raises `Killed` where the process was killed, `NoEndError` where it does not end."""
        with _installed(self):
            task = self.loop.create_task(main)
            task.add_done_callback(lambda _task: self.loop.stop())
            try:
                self.loop.run_forever()
                self._check_alive()
            except (Killed, NoEndError):
                self._bury()
                raise
            finally:
                self.loop.close()
        return task

    def _check_alive(self) -> None:
        if self.dead:
            raise Killed

    # What happens at a step -------------------------------------------------------------------------------------

    def next_alarm(self, step: int) -> int:
        death = self._death.at if self._death and self._death.what == "step" else SOON
        return min([death, MOST_STEPS, *(at for at in self._stalls if at > step)])

    def ring(self, step: int) -> None:
        """The step has come at which something happens."""
        if (seconds := self._stalls.pop(step, None)) is not None:
            self.loop.clock.now += seconds
            self.stalled += seconds
            self._woke_at = self.loop.time()
        if self.dead or (self._death and self._death.what == "step" and step >= self._death.at):
            self.dead = True
            raise Killed
        if step >= MOST_STEPS:
            raise NoEndError(f"{step} steps of the loop, {self.awake():.0f} s")

    # What happens at a statement --------------------------------------------------------------------------------

    def opened(self, connection: "_Connection") -> None:
        self._connections.append(connection)

    def statement(self, execute: Callable[..., Any], sql: str, connection: "_Connection") -> Any:
        """Run one statement, or what is left of it."""
        if self.dead:
            raise sqlite3.OperationalError("the process is dead")
        self.statements += 1
        begins, commits = sql.startswith("BEGIN IMMEDIATE"), sql == "COMMIT" and connection.writes
        self.commits += commits
        fatal = self._is_fatal(commits=commits)
        if fatal and self._death is not None and not self._death.after:
            return self._kill_inside()
        if begins:
            connection.writes = True
            self.transactions += 1
        if self._disk is not None and (begins or commits):
            self._wear(self._disk, connection, commits=commits)
        try:
            result = execute(sql)
        except sqlite3.Error:
            self.trouble_at = self.awake() if self.trouble_at is None else self.trouble_at
            raise
        return self._kill_after(result) if fatal else result

    def _is_fatal(self, *, commits: bool) -> bool:
        death = self._death
        if death is None or death.what == "step":
            return False
        return self.statements == death.at if death.what == "statement" else commits and self.commits == death.at

    def _kill_inside(self) -> Any:
        self.die()
        raise sqlite3.OperationalError("the process is dead")

    def _kill_after(self, result: Any) -> Any:
        self.die()
        return result

    def _wear(self, disk: Disk, connection: "_Connection", *, commits: bool) -> None:
        """Let the disk refuse for a while."""
        on = disk.at > 0 and self.transactions >= disk.at and self.refusals < disk.times
        if disk.how == "full" and not commits:
            self.refusals += on
            if on != self._full:
                self._full = on
                pages = connection.pragma("page_count") if on else 2**31 - 2
                connection.pragma(f"max_page_count={pages}")
        if disk.how == "broken" and commits and on:
            self.refusals += 1
            self.trouble_at = self.awake() if self.trouble_at is None else self.trouble_at
            raise sqlite3.OperationalError("disk I/O error")

    def reserve(self, _descriptor: int, _offset: int, _length: int) -> None:
        """In place of `posix_fallocate`."""
        if self._disk is not None and self._disk.at == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # What a killed process leaves behind ------------------------------------------------------------------------

    def _bury(self) -> None:
        self.dead = True
        for connection in self._connections:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        for descriptor in self.locks:
            with contextlib.suppress(OSError):
                fcntl_flock(descriptor, fcntl.LOCK_UN)
        _bury_tasks(self.loop)


class MortalLoop(asyncio.SelectorEventLoop):
    """A loop on a virtual clock without any file or socket, which rings its process at given steps."""

    def __init__(self, process: Process, now: float) -> None:
        self.clock = _Clock(now)
        super().__init__(self.clock)  # type: ignore[arg-type]
        self._ready: deque[Any] = _Steps(process)
        self.set_exception_handler(lambda _loop, _context: None)

    @property
    def steps(self) -> "_Steps":
        assert isinstance(self._ready, _Steps)
        return self._ready

    def time(self) -> float:
        return self.clock.now

    def _make_self_pipe(self) -> None:
        """No other thread wakes this loop."""

    def _close_self_pipe(self) -> None: ...

    def _write_to_self(self) -> None: ...


class _Clock:
    """In place of a selector: where the loop would wait, the clock moves (see `smile_async.testing`)."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._latest = now + LATEST

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += INSTANT
        if timeout == 0:
            return []
        if timeout is None:
            raise NoEndError("every task waits for something that no timer will bring")
        self.now += max(timeout, 0.0) + TICK
        if self.now > self._latest:
            raise NoEndError(f"it still runs after {LATEST:.0f} s")
        return []

    def close(self) -> None: ...


class _Steps(deque[Any]):
    """The loop's queue of callbacks, counted as they are taken."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.taken = 0
        self.alarm = process.next_alarm(0)
        self._process = process

    def popleft(self) -> Any:
        self.taken += 1
        if self.taken >= self.alarm:
            self._process.ring(self.taken)
            self.alarm = self._process.next_alarm(self.taken)
        return super().popleft()


class _Connection(sqlite3.Connection):
    """A connection whose every statement passes by its process."""

    def __init__(self, *args: Any, process: Process, **options: Any) -> None:
        super().__init__(*args, **options)
        self.writes = False
        self._process = process
        process.opened(self)

    def pragma(self, words: str) -> Any:
        found = super().execute(f"PRAGMA {words}").fetchone()
        return None if found is None else found[0]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        found = self._process.statement(lambda text: super(_Connection, self).execute(text, parameters), sql, self)
        assert isinstance(found, sqlite3.Cursor)
        return found

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        found = self._process.statement(super().executescript, sql_script, self)
        assert isinstance(found, sqlite3.Cursor)
        return found


fcntl_flock = fcntl.flock
sqlite3_connect = sqlite3.connect


@contextmanager
def _installed(process: Process) -> Iterator[None]:
    """The system calls of what runs in the block are those of the process."""

    def flock(file: Any, operation: int) -> None:
        fcntl_flock(file, operation)
        process.locks.append(file)

    real = os.posix_fallocate
    fcntl.flock = flock
    sqlite3.connect = partial(sqlite3_connect, factory=partial(_Connection, process=process))  # type: ignore[assignment]
    os.posix_fallocate = process.reserve
    try:
        yield
    finally:
        fcntl.flock, sqlite3.connect, os.posix_fallocate = fcntl_flock, sqlite3_connect, real


class _Nowhere(asyncio.SelectorEventLoop):
    """Whatever is started here has ended already."""

    def __init__(self) -> None:
        super().__init__(_Clock(0.0))  # type: ignore[arg-type]

    def create_task(self, coro: Any, **_options: Any) -> Any:
        coro.close()
        done = self.create_future()
        done.set_result(None)
        return done

    def _make_self_pipe(self) -> None: ...

    def _close_self_pipe(self) -> None: ...

    def _write_to_self(self) -> None: ...


def _bury_tasks(loop: MortalLoop) -> None:
    """Close what was under way: without a loop, without a disk, without a word."""
    nowhere, before = _Nowhere(), sys.unraisablehook
    tasks = asyncio.all_tasks(loop)
    asyncio._set_running_loop(nowhere)
    sys.unraisablehook = lambda _found: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for task in sorted(tasks, key=id):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with contextlib.suppress(BaseException):
                    coroutine: Any = task.get_coro()
                    coroutine.close()
            loop.close()
            tasks.clear()
    finally:
        asyncio._set_running_loop(None)
        sys.unraisablehook = before
        nowhere.close()


def forget() -> None:
    """Let go of what dead processes held in circles."""
    gc.collect()


def scratch() -> Path | None:
    """A folder in memory, where the system has one."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else None
