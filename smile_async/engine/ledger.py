"""The ledger: every row, every attempt and every paid reply, once, in SQLite.

One writer thread commits in groups; a row is done when its commit is done, and only then do its events go out. The
writer inserts many rows with one statement: SQLite lets go of the interpreter once a statement, and a thread that
has to win it back from a busy event loop row by row would write a few hundred rows a second.
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Self

import orjson
from filelock import FileLock, Timeout

from smile_async.engine import schema
from smile_async.engine.events import Event
from smile_async.engine.lock import LOCK
from smile_async.errors import RunInUseError, RunMismatchError, RunNotFoundError, StoppedError, differences

GATHER = 0.01  # seconds: how long a commit waits for company, at least; a request waits as long before it leaves
GATHER_MOST = 0.1  # seconds
GATHER_SHARE = 1 / 50  # of the time that answers take: so much of a full house's throughput is lost by the wait
RESERVE_PER_REQUEST = 32_768  # bytes of the disk kept free for each request in flight
RESERVE_AT_LEAST = 2_000_000  # bytes
LOCK_WAIT = 0.2  # seconds: `smile status` holds the lock for an instant to see whether it is free
RESERVE = "reserve"
CHUNKS = (256, 64, *range(16, 0, -1))  # rows a statement: few distinct statements, all of them cached

Row = tuple[Any, ...]
Landed = tuple[int, Any]
"""The number of an attempt that is over, and what the caller wants to be told then."""
OnCommit = Callable[["Batch"], None]
WIDTHS = {
    "rows": 5, "flights": 5, "attempts": 13, "replies": 7, "outcomes": 5, "results": 2, "changes": 6, "amended": 2,
    "batches": 18, "batched": 5,
}  # fmt: skip
"""Columns of the tables that are appended to, in the order in which a batch writes them."""
JUDGED = frozenset({"outcomes", "results", "batches"})  # may change: when rules do, or a server is further


@dataclass(slots=True)
class Batch:
    """What the next commit writes, by table; `landed` are attempts that are over, whose flights are taken off, as are
    those that were `withdrawn` before they left; `released` are rows that wait in no batch any more; `departing` may
    leave once it is done; `events` are what to tell then, `last` the number of the last write in it."""

    tables: dict[str, list[Row]] = field(default_factory=lambda: {table: [] for table in WIDTHS})
    landed: list[Landed] = field(default_factory=list)
    withdrawn: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    departing: list[Any] = field(default_factory=list)
    meta: list[tuple[str, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    last: int = 0

    def __bool__(self) -> bool:
        return self.last > 0

    def before(self, later: "Batch") -> None:
        """Take what came after a batch that could not be written."""
        for table, rows in later.tables.items():
            self.tables[table].extend(rows)
        self.landed += later.landed
        self.withdrawn += later.withdrawn
        self.released += later.released
        self.departing += later.departing
        self.meta += later.meta
        self.events += later.events
        self.last = max(self.last, later.last)

    def scrub(self) -> None:
        """Replace what UTF-8 cannot hold (half of a surrogate pair, as JSON escapes may smuggle it in)."""
        for table, rows in self.tables.items():
            self.tables[table] = [tuple(_utf8(value) for value in row) for row in rows]


class Ledger:
    """The one writer of a run folder. Open it with `Ledger.open`, inside the event loop that will use it.

    `threaded=False` commits on the event loop instead, and does not wait for the disk: for deterministic tests on a
    virtual clock.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: FileLock, *, threaded: bool) -> None:
        self.folder = folder
        self.connection = connection
        self.trouble: str = ""
        self.stuck = False  # the last save failed: what it held waits for the next one
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._on_commit: OnCommit = lambda _batch: None
        self._on_trouble: Callable[[str], None] = lambda _message: None
        self._batch = Batch()
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._closing = False
        self._written = self._durable = 0  # numbers of the last write and of the last one committed
        self._unsaved = 0  # replies
        self._answers_take = 0.0  # seconds, a fading mean
        self._commits_take = 0.0  # seconds: the last one
        self._saved = asyncio.Event()
        self._scheduled = False
        self._thread = threading.Thread(target=self._work, name="smile-ledger", daemon=True) if threaded else None
        if self._thread is not None:
            self._thread.start()

    def __repr__(self) -> str:
        return f"<Ledger {self.folder} [{self._unsaved} unsaved{', ' + self.trouble if self.trouble else ''}]>"

    @classmethod
    def open(cls, folder: Path, identity: Mapping[str, Any], *, in_flight: int = 64, threaded: bool = True) -> Self:
        """Open or create the run in `folder`.

        `identity` is all that shapes the requests: a run that was started with another one is refused with
        `RunMismatchError`, a run that another process works on with `RunInUseError`. `in_flight` requests have room
        kept free on the disk for their replies.
        """
        schema.make_private_folder(folder)
        with contextlib.ExitStack() as undo:
            lock = _take_lock(folder)
            undo.callback(lock.release)
            try:
                connection = schema.open_writer(folder, durable=threaded)
                undo.callback(connection.close)
                _check_identity(connection, folder, identity)
                _note_lost_flights(connection)
            except (OSError, sqlite3.Error) as error:
                raise schema.broken(folder, error) from error
            _keep_reserve(folder, in_flight)
            ledger = cls(folder, connection, lock, threaded=threaded)
            undo.pop_all()
        return ledger

    def listen(self, on_commit: OnCommit, on_trouble: Callable[[str], None]) -> None:
        """`on_commit` gets each committed batch, `on_trouble` a message when the disk fails; both on the loop."""
        self._on_commit = on_commit
        self._on_trouble = on_trouble

    def reserve(self, in_flight: int) -> bool:
        """Keep room on the disk for the replies of so many requests in flight; False: there is none, and what was kept
        before stays."""
        try:
            _reserve(self.folder, in_flight)
        except OSError:
            return False
        return True

    def write(
        self,
        records: Iterable[tuple[str, Row]] = (),
        *,
        landed: Landed | None = None,
        departing: Any = None,
        withdrawn: int | None = None,
        released: Iterable[int] = (),
        meta: tuple[str, Any] | None = None,
        events: Iterable[Event] = (),
    ) -> None:
        """Add `records` (table, values) to the next commit, and what to be told when it is done. Returns at once."""
        with self._guard:
            batch = self._batch
            self._written += 1
            batch.last = self._written
            for table, row in records:
                batch.tables[table].append(row)
            if landed is not None:
                batch.landed.append(landed)
                self._unsaved += 1
            if departing is not None:
                batch.departing.append(departing)
            if withdrawn is not None:
                batch.withdrawn.append(withdrawn)
            batch.released.extend(released)
            if meta is not None:
                batch.meta.append((meta[0], orjson.dumps(meta[1]).decode()))
            batch.events.extend(events)
        if self._thread is not None:
            if not self._wake.is_set():  # setting takes a lock each time
                self._wake.set()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_later(GATHER, self._commit_here)

    def heard(self, took: float) -> None:
        """An answer came after so many seconds: while they take long, a commit may wait longer for company."""
        self._answers_take += (took - self._answers_take) / 32

    async def flush(self) -> None:
        """Wait until all that has been written so far is committed, or the disk refuses it (`trouble` says why)."""
        upto = self._written
        while self._durable < upto and not self.stuck:
            self._saved.clear()
            if self._thread is None:
                self._commit_here()
                continue
            self._hurry.set()
            await self._saved.wait()

    async def close(self) -> None:
        """Commit what is left, close the database and give the run free.

        Raises `StoppedError` when the disk still refuses replies that were paid for.
        """
        await self.flush()
        self._closing = True
        if self._thread is not None:
            self._hurry.set()
            self._wake.set()
            await asyncio.to_thread(self._thread.join)
        elif self._batch:
            self._commit_here()
        unsaved = self._unsaved
        self.connection.close()
        (self.folder / RESERVE).unlink(missing_ok=True)
        self._lock.release()
        if unsaved:
            raise StoppedError(
                f"{self.folder}: {unsaved} replies could not be saved: {self.trouble}",
                reason="disk",
                hint="Free some space, then `smile resume`; these rows will be asked again.",
            )

    # The writer's side -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            self._wake.wait()
            self._hurry.wait(gathering(self._answers_take, self._commits_take))
            self._wake.clear()
            self._hurry.clear()
            closing = self._closing
            batch, began = self._take(), time.monotonic()
            if batch and self._save(batch):
                self._tell(batch)
            self._commits_take = time.monotonic() - began
            if closing:
                return

    def _commit_here(self) -> None:
        self._scheduled = False
        batch = self._take()
        if batch and self._save(batch):
            self._committed(batch)

    def _take(self) -> Batch:
        with self._guard:
            batch, self._batch = self._batch, Batch()
        return batch

    def _save(self, batch: Batch) -> bool:
        """Write and commit. When the disk refuses, give up the reserve and try again; else keep the batch."""
        if self._try(batch) or self._try(batch):
            self.stuck = False
            return True
        self.stuck = True
        with self._guard:
            batch.before(self._batch)
            self._batch = batch
        self._loop_soon(self._saved.set)
        return False

    def _try(self, batch: Batch) -> bool:
        try:
            _write(self.connection, batch)
        except Exception as error:  # noqa: BLE001  (a writer thread that dies would lose all that follows)
            with contextlib.suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            if isinstance(error, UnicodeError):
                batch.scrub()
                return False
            self.trouble = f"{error}"
            self._loop_soon(self._on_trouble, self.trouble)
            with contextlib.suppress(OSError):
                (self.folder / RESERVE).unlink(missing_ok=True)
            return False
        return True

    def _tell(self, batch: Batch) -> None:
        self._loop_soon(self._committed, batch)

    def _loop_soon(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody is left to be told
            self._loop.call_soon_threadsafe(function, *args)

    def _committed(self, batch: Batch) -> None:
        self._unsaved -= len(batch.landed)
        self._durable = batch.last
        self._saved.set()
        if batch.events or batch.landed or batch.departing:
            self._on_commit(batch)


def gathering(answers_take: float, commits_take: float) -> float:
    """Seconds that a commit waits for company. Each one writes the last page of every table again, so that few large
    ones cost a third of many small ones; where a commit is slow (a busy machine, a slow disk) it waits as long."""
    return min(max(GATHER, GATHER_SHARE * answers_take, commits_take), GATHER_MOST)


def _write(connection: sqlite3.Connection, batch: Batch) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for table, rows in batch.tables.items():
        if rows:
            _insert(connection, table, rows)
    for chunk in _chunks([*(number for number, _ in batch.landed), *batch.withdrawn]):
        connection.execute(f"DELETE FROM flights WHERE attempt IN ({schema.marks(len(chunk))})", chunk)  # noqa: S608 (marks)
    for chunk in _chunks(batch.released):
        connection.execute(f"DELETE FROM batched WHERE ordinal IN ({schema.marks(len(chunk))})", chunk)  # noqa: S608 (marks)
    for key, value in batch.meta:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))
    connection.execute("COMMIT")


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    for chunk in _chunks(rows):
        connection.execute(_insertion(table, len(chunk)), list(chain.from_iterable(chunk)))


@cache
def _insertion(table: str, rows: int) -> str:
    verb = "INSERT OR REPLACE" if table in JUDGED else "INSERT"  # what was read or paid for is never written over
    return f"{verb} INTO {table} VALUES {','.join([f'({schema.marks(WIDTHS[table])})'] * rows)}"


def _utf8(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """As few as there can be: a small commit has one statement a table."""
    start, end = 0, len(items)
    while start < end:
        size = next(size for size in CHUNKS if size <= end - start)
        yield items[start : start + size]
        start += size


def _take_lock(folder: Path) -> FileLock:
    lock = FileLock(folder / LOCK, mode=0o600)
    try:
        lock.acquire(timeout=LOCK_WAIT, poll_interval=LOCK_WAIT / 10)
    except Timeout:
        raise RunInUseError(
            f"{folder} is in use: another process is working on this run.",
            hint=f"Wait for it, stop it with Ctrl-C, or look at it with `smile status {folder}`.",
        ) from None
    except OSError as error:
        raise RunNotFoundError(f"{folder}: the run folder cannot be written to: {error.strerror}.") from error
    return lock


def _check_identity(connection: sqlite3.Connection, folder: Path, identity: Mapping[str, Any]) -> None:
    wanted = orjson.loads(orjson.dumps(identity))
    found = connection.execute("SELECT value FROM meta WHERE key='identity'").fetchone()
    if found is None:
        text = orjson.dumps(identity, option=orjson.OPT_SORT_KEYS).decode()
        connection.execute("INSERT INTO meta VALUES ('identity', ?)", (text,))
        return
    before = orjson.loads(found[0])
    if differing := differences(before, wanted):
        raise RunMismatchError(
            f"{folder} was started with other settings:\n    " + "\n    ".join(differing),
            hint="Go on with the old settings (`smile resume`), or start another run folder.",
        )


def _note_lost_flights(connection: sqlite3.Connection) -> None:
    """Attempts that a crash took: their fate is unknown, perhaps they were billed; their rows are pending."""
    connection.executescript("""
        BEGIN;
        INSERT OR IGNORE INTO attempts
            SELECT attempt, ordinal, sent_at, NULL, 0, 0, 'unknown', NULL, NULL, NULL, ceiling_usd, 'process ended',
                   endpoint
            FROM flights;
        DELETE FROM flights;
        COMMIT;
    """)


def _reserve(folder: Path, in_flight: int) -> None:
    """Keep room on the disk for so many replies: it is given up when the disk is full. Raises `OSError`."""
    path = folder / RESERVE
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, _reserve_size(in_flight))
    finally:
        os.close(descriptor)


def _reserve_size(in_flight: int) -> int:
    return RESERVE_AT_LEAST + in_flight * RESERVE_PER_REQUEST


def _keep_reserve(folder: Path, in_flight: int) -> None:
    try:
        _reserve(folder, in_flight)
    except OSError as error:
        (folder / RESERVE).unlink(missing_ok=True)
        size = _reserve_size(in_flight)
        raise StoppedError(
            f"{folder}: the disk has less than {size / 1e6:.0f} MB free for the replies in flight ({error.strerror}).",
            reason="disk",
            hint="Free some space, choose another folder, or ask with a smaller --concurrency.",
        ) from error
