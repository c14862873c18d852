"""Where jobs come from: first the rows that an earlier part of the run left pending, then the source.

The source is read ahead by one batch in a worker thread. Each row is noted in the ledger by its name
(`engine/names.py`). A name that is known already is not asked again, wherever in the source it stands now.
"""

import asyncio
import hashlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic

import orjson

from smile_async.engine import account, schema
from smile_async.engine.events import Event, RowSetAside, SourceRead
from smile_async.engine.ledger import Ledger, Row
from smile_async.engine.names import Names
from smile_async.engine.queue import Job
from smile_async.engine.task import Item, Task

BATCH = 256  # rows read ahead: memory follows this, never the length of the source
READ_FOR = 0.05  # seconds: a batch of a slow source ends then, and its rows are asked
BAD_ROW = "bad-row"
DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row of the source that cannot be used and is set aside as `bad-row`; `detail` says where and why.

    `key` names the row in place of `detail`, where that may be worded otherwise the next time (a path as typed).
    """

    detail: str
    key: bytes = b""

    @property
    def name(self) -> bytes:
        return self.key or self.detail.encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Read(Generic[Item]):
    """What one batch of the source came to."""

    jobs: list[Job[Item]]
    records: list[tuple[str, Row]]
    events: list[Event]
    ended: bool


def identity_digest(identity: Mapping[str, Any]) -> bytes:
    """What shapes the requests of a run, as bytes to key row ids with."""
    return hashlib.blake2b(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS), digest_size=32).digest()


class Feed(Generic[Item]):
    """The jobs of a run, one by one."""

    def __init__(
        self,
        items: Iterable[Item | Unreadable],
        task: Task[Item, Any],
        ledger: Ledger,
        reader: sqlite3.Connection,
        identity: Mapping[str, Any],
        *,
        threaded: bool = True,
    ) -> None:
        self._items = enumerate(items)
        self._task = task
        self._ledger = ledger
        self._reader = reader
        self._key = identity_digest(identity)
        # On the virtual clock a source takes no time, or as much as it says itself: `clock()`, in seconds.
        self._clock: Callable[[], float] = time.monotonic if threaded else getattr(items, "clock", lambda: 0.0)
        self._closing = False
        self._call: Callable[..., Any] = asyncio.to_thread if threaded else self._call_here
        self._ready: deque[Job[Item]] = deque()
        self._ahead: asyncio.Task[_Read[Item]] | None = None
        self._pending: Iterator[account.PendingRow] | None = account.pending_rows(reader)
        self._names = Names(reader)
        self._next_ordinal = self._names.noted
        self._exhausted = self._ended = False  # the source; what was read of it, too

    def __repr__(self) -> str:
        return f"<Feed [{len(self._ready)} ready, {self._next_ordinal} rows read{', ended' if self._ended else ''}]>"

    @property
    def exhausted(self) -> bool:
        """`next` will give None: every row has been handed out."""
        return self._ended and not self._ready

    async def next(self) -> Job[Item] | None:
        """The next job; None when there is none left. Raises what the source raises."""
        while not self._ready:
            if self._pending is not None:
                self._refill_from_ledger()
            elif self._ended:
                return None
            else:
                await self._refill_from_source()
        return self._ready.popleft()

    def reading(self) -> "asyncio.Task[_Read[Item]] | None":
        """The reading of the source that `next` would have to wait for; None when a job, or the end, is at hand."""
        if self._ready or self._pending is not None or self._ended:
            return None
        if self._ahead is None:
            self._ahead = self._read_ahead()
        return None if self._ahead.done() else self._ahead

    async def close(self) -> None:
        """Let the row that is being read come to its end: a thread cannot be interrupted."""
        self._closing = True
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            await asyncio.wait([ahead])
            if not ahead.cancelled():
                ahead.exception()  # looked at, so that it is not reported as forgotten

    def _refill_from_ledger(self) -> None:
        assert self._pending is not None
        with schema.legible(self._ledger.folder):
            rows = list(islice(self._pending, BATCH))
        for row in rows:
            self._ready.append(Job(row.ordinal, row.row_id, self._task.load_item(row.item), row.replies, row.failures))
        if not self._ready:
            self._pending = None

    async def _refill_from_source(self) -> None:
        ahead = self._ahead or self._read_ahead()
        try:
            read = await asyncio.shield(ahead)
        except asyncio.CancelledError:
            self._ahead = ahead  # `close` waits for it
            raise
        self._ahead = None
        self._ended = read.ended
        meta = None
        if read.ended:
            meta = ("source_rows", self._next_ordinal)
            read.events.append(SourceRead(self._next_ordinal))
        if read.records or read.events:
            self._ledger.write(read.records, meta=meta, events=read.events)
        self._ready.extend(read.jobs)
        if not read.ended:
            self._ahead = self._read_ahead()

    def _read_ahead(self) -> "asyncio.Task[_Read[Item]]":
        return asyncio.ensure_future(self._call(self._read))

    def _read(self) -> _Read[Item]:
        """Read a batch, name its rows, leave out those that are known. Runs in the worker thread."""
        rows: list[tuple[int, Item | Unreadable, bytes, str]] = []
        for position, item in self._batch():
            data = item.name if isinstance(item, Unreadable) else self._task.dump_item(item)
            rows.append((position, item, data, hashlib.blake2b(data, digest_size=16, key=self._key).hexdigest()))
        with schema.legible(self._ledger.folder):
            names, known = self._names.of([row_id for _, _, _, row_id in rows])
        read: _Read[Item] = _Read([], [], [], ended=self._exhausted)
        for (position, item, data, row_id), name in zip(rows, names, strict=True):
            if name in known:
                continue
            if isinstance(item, Unreadable):
                self._set_aside(read, position, name, BAD_ROW, item.detail, None)
            elif name != row_id:
                self._set_aside(read, position, name, DUPLICATE, f"same as row {row_id}", data)
            else:
                ordinal = self._count()
                read.records.append(("rows", (ordinal, name, self._task.source_id(item), position, data)))
                read.jobs.append(Job(ordinal, name, item))
        return read

    def _batch(self) -> Iterator[tuple[int, Item | Unreadable]]:
        """The next rows: no more than fit into a batch, and no more than come in a moment."""
        until = self._clock() + READ_FOR
        for _ in range(BATCH):
            if (row := next(self._items, None)) is None:
                self._exhausted = True
                return
            yield row
            if self._closing or self._clock() > until:
                return

    def _set_aside(
        self, read: _Read[Item], position: int, row_id: str, reason: str, detail: str, data: bytes | None
    ) -> None:
        ordinal = self._count()
        read.records.append(("rows", (ordinal, row_id, "", position, data)))
        read.records.append(("outcomes", (ordinal, account.SET_ASIDE, reason, None, detail)))
        read.events.append(RowSetAside(row_id, reason, detail))

    def _count(self) -> int:
        self._next_ordinal += 1
        return self._next_ordinal - 1

    async def _call_here(self, function: Callable[[], Any]) -> Any:
        began = self._clock()
        result = function()
        if (took := self._clock() - began) > 0:
            await asyncio.sleep(took)
        return result
