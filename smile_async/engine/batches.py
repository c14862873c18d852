"""Batches in the ledger: rows that were handed over as one file, and wait there until its answers are collected.

A batch is noted, with every row in it and what each may cost at most, before anything of it leaves. From then on its
rows are nobody else's, until their answers are recorded or they are released. A crash leaves one of three: a batch
whose file was still being written (nothing left), one that may or may not be at the server (its nonce finds it
there), one that is.
"""

import math
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any, BinaryIO, Generic

from smile_async.engine.estimate import TokenEstimate, bounded
from smile_async.engine.feed import Feed
from smile_async.engine.job import Request
from smile_async.engine.ledger import Ledger, Row
from smile_async.engine.queue import Job
from smile_async.engine.retry import StopRun
from smile_async.engine.schema import marks
from smile_async.engine.task import Item, Task
from smile_async.errors import StoppedError
from smile_async.settings import Prices

WRITING = "writing"  # its file is not whole: nothing of it has left
PREPARED = "prepared"  # it is whole; whether the server has it is not noted
IN_BATCHES = "batch"  # the reason of a run that only waits for batches at a server
EXPORTED = "exported"  # the same, where all were written into files for somebody else to work on
OFFLINE = "offline"  # it is for somebody who works without a server of ours
RELEASED = "released"  # it never left, or was given up
PAGE = 256  # rows that are noted or released at a time: memory follows this


@dataclass(frozen=True, slots=True)
class BatchNote:
    """One batch; the fields are the columns of `batches`.

    `state` is one of ours until the server has named its own (validating, in_progress, completed, ...). `place` is the
    server's address, or the file's path. `tokens` of all prompts are estimated. Times are the wall clock's. `remote`
    and the files are ids at the server; `checked_at` is when it last told, or when its making was last tried.
    """

    number: int
    nonce: str
    state: str
    place: str
    made_at: float
    requests: int = 0
    tokens: int = 0
    price_in: float = 0.0
    price_out: float = 0.0
    remote: str = ""
    input_file: str = ""
    output_file: str = ""
    error_file: str = ""
    completed: int = 0
    failed: int = 0
    expires_at: float | None = None
    checked_at: float | None = None
    detail: str = ""

    @property
    def prices(self) -> Prices:
        """US dollars for a million tokens, as they were when the batch was made."""
        return Prices(input=self.price_in, output=self.price_out)

    @property
    def record(self) -> tuple[str, Row]:
        return "batches", astuple(self)

    def evolve(self, **changes: Any) -> "BatchNote":
        return replace(self, **changes)


def read_batches(connection: sqlite3.Connection) -> list[BatchNote]:
    """All that were ever made, in order."""
    return [BatchNote(*row) for row in connection.execute("SELECT * FROM batches ORDER BY batch")]


def waiting_rows(connection: sqlite3.Connection) -> Mapping[int, int]:
    """Rows that still wait, by the number of their batch; one that is not named has been collected."""
    return dict(connection.execute("SELECT batch, count(*) FROM batched GROUP BY batch").fetchall())


def waiting_in_batches(connection: sqlite3.Connection) -> StopRun | None:
    """Why a run that asked all it could is not done: rows wait in a batch, whose answers have to be fetched."""
    waiting = waiting_rows(connection)
    if not waiting:
        return None
    rows, which = sum(waiting.values()), ", ".join(str(number) for number in sorted(waiting))
    told = f"{rows:,} row{'' if rows == 1 else 's'} wait in batch{'' if len(waiting) == 1 else 'es'} {which}"
    offline = all(batch.state == OFFLINE for batch in read_batches(connection) if batch.number in waiting)
    return StopRun(
        EXPORTED if offline else IN_BATCHES, f"{told}: nobody else asks them until their results are collected."
    )


def new_batch(connection: sqlite3.Connection, place: str, prices: Prices, now: float) -> BatchNote:
    """One that is empty yet, with the next number and a name that nobody else has."""
    number = 1 + int(connection.execute("SELECT coalesce(max(batch), 0) FROM batches").fetchone()[0])
    nonce = secrets.token_hex(8)
    return BatchNote(number, nonce, WRITING, place, now, price_in=prices.input, price_out=prices.output)


async def saved(ledger: Ledger) -> None:
    """Wait until all that was written is on the disk. Raises `StoppedError` when the disk refuses it."""
    await ledger.flush()
    if ledger.stuck:
        raise StoppedError(
            f"{ledger.folder}: the ledger cannot be written: {ledger.trouble}",
            reason="disk",
            hint="Free some space and go on: what a batch brought can be fetched again.",
        )


async def note(ledger: Ledger, batch: BatchNote) -> BatchNote:
    """Write down how the batch stands, on the disk when this returns."""
    ledger.write([batch.record])
    await saved(ledger)
    return batch


async def withdraw(ledger: Ledger, reader: sqlite3.Connection, batch: BatchNote, why: str) -> BatchNote:
    """It never left: its rows are pending as if they had never been in it."""
    while rows := reader.execute("SELECT ordinal FROM batched WHERE batch=? LIMIT ?", (batch.number, PAGE)).fetchall():
        ledger.write(released=[ordinal for (ordinal,) in rows])
        await saved(ledger)
    return await note(ledger, batch.evolve(state=RELEASED, detail=why))


def held_back(connection: sqlite3.Connection, numbers: "list[int]") -> int:
    """Estimated prompt tokens of these batches, as far as their rows still wait."""
    if not numbers:
        return 0
    found = connection.execute(
        "SELECT total(b.tokens * 1.0 * (SELECT count(*) FROM batched d WHERE d.batch = b.batch) / b.requests)"  # noqa: S608
        f" FROM batches b WHERE b.requests > 0 AND b.batch IN ({marks(len(numbers))})",
        numbers,
    ).fetchone()[0]
    return int(found)


@dataclass(slots=True)
class Room:
    """What may still be handed over: `requests` and `bytes` in one file, `tokens` of prompts and `usd` in all."""

    requests: int
    bytes: int
    tokens: float = math.inf
    usd: float = math.inf


class Filling(Generic[Item]):
    """Takes rows from the feed into one batch after another."""

    def __init__(
        self, task: Task[Item, Any], ledger: Ledger, feed: Feed[Item], room: Room, *, first_attempt: int
    ) -> None:
        self._task = task
        self._ledger = ledger
        self._feed = feed
        self._room = room
        self._attempt = first_attempt
        self._estimate = TokenEstimate()
        self._next: Job[Item] | None = None
        self.stopped_by = ""  # what there was no room for: budget, tokens, bytes (one row is larger than a file)
        self.ended = False  # no row is left

    async def fill(
        self, batch: BatchNote, file: BinaryIO, line: Callable[[Request, int], bytes], now: float
    ) -> BatchNote:
        """Note rows as waiting in `batch` and write their lines, until it is full or there is no more. `line` makes a
        line of a request and its attempt. A batch that stays empty is not noted."""
        size = 0
        while batch.requests < self._room.requests and (job := await self._job()) is not None:
            request = self._task.render(job.item)
            if self._room.usd != math.inf:
                request = bounded(request)
            text = line(request, self._attempt)
            if size + len(text) > self._room.bytes:
                self.stopped_by = "" if size else "bytes"
                break
            ceiling = self._estimate.ceiling(request)
            cost = batch.prices.cost(ceiling.prompt, ceiling.completion)
            tokens = math.ceil(self._estimate.expect(request).prompt)
            if cost > self._room.usd or tokens > self._room.tokens:
                self.stopped_by = "budget" if cost > self._room.usd else "tokens"
                break
            noted = [] if batch.requests else [batch.record]
            self._ledger.write([*noted, ("batched", (job.ordinal, self._attempt, batch.number, now, cost))])
            file.write(text)
            self._next, size = None, size + len(text)
            self._attempt += 1
            self._room.usd -= cost
            self._room.tokens -= tokens
            batch = batch.evolve(requests=batch.requests + 1, tokens=batch.tokens + tokens)
            if batch.requests % PAGE == 0:
                await saved(self._ledger)
        return batch

    async def _job(self) -> Job[Item] | None:
        """The row that had no room in the last batch, or the feed's next."""
        if self._next is None:
            self._next = await self._feed.next()
            self.ended = self._next is None
        return self._next
