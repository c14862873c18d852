"""What every command about batches works with: the run's ledger, open, and how its batches stand."""

import os
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from smile_async import run_folder
from smile_async.dialogue_task import dialogue_task
from smile_async.engine import account, schema
from smile_async.engine.account import Counts
from smile_async.engine.batches import (
    OFFLINE,
    PREPARED,
    WRITING,
    BatchNote,
    read_batches,
    waiting_in_batches,
    waiting_rows,
)
from smile_async.engine.collecting import Collected
from smile_async.engine.job import Failure, Request
from smile_async.engine.ledger import Ledger
from smile_async.engine.runner import finish
from smile_async.engine.task import Task
from smile_async.errors import RunNotFoundError, StoppedError
from smile_async.notes import read_notes
from smile_async.prompt.recipe import Recipe
from smile_async.provider.masking import without_echo
from smile_async.rows import Seed
from smile_async.settings import RetryPolicy

Notify = Callable[[str], None]
COLLECTED = "collected"  # the reason of a run whose batches are all home, and that has pending rows
BATCH_FILE = re.compile(r"\.?batch-(\d+)\.(?:requests|results|errors)\.jsonl(?:\.part)?")
OURS = frozenset({WRITING, PREPARED, OFFLINE})  # states that no server told


@dataclass(frozen=True, slots=True)
class Desk:
    """A run whose batches are worked on; nobody else works on the run meanwhile."""

    folder: Path
    ledger: Ledger
    reader: sqlite3.Connection
    notify: Notify

    def live(self) -> list[BatchNote]:
        """Batches that rows still wait in, and those that a crash left half made."""
        waiting = waiting_rows(self.reader)
        return [batch for batch in read_batches(self.reader) if batch.number in waiting or batch.state == WRITING]

    def file(self, batch: BatchNote, kind: str) -> Path:
        """Where the batch's requests, or what it brought, lie for as long as they are needed."""
        return self.folder / f"batch-{batch.number}.{kind}.jsonl"

    def sweep(self) -> None:
        """Delete what a crash left of files of batches that nobody waits for: they hold prompts and answers."""
        live = {batch.number for batch in self.live()}
        for path in self.folder.iterdir():
            found = BATCH_FILE.fullmatch(path.name)
            if found is not None and int(found[1]) not in live:
                path.unlink(missing_ok=True)

    def note_waiting(self) -> None:
        """`smile status` says why the run is not done."""
        waits = waiting_in_batches(self.reader)
        self.ledger.write(meta=("stopped", {"reason": waits.reason if waits is not None else COLLECTED}))


@asynccontextmanager
async def at_desk(folder: Path, identity: Mapping[str, Any] | None, notify: Notify) -> AsyncIterator[Desk]:
    """The desk of a run; `identity` None: of one that there is, whatever it was started with."""
    if identity is None:
        with schema.reading(folder) as reader:
            identity = account.read_meta(reader, "identity") or {}
    ledger = Ledger.open(folder, identity)
    try:
        with closing(schema.open_reader(folder)) as reader, schema.legible(folder):
            yield Desk(folder, ledger, reader, notify)
    finally:
        await finish(ledger.close())


@dataclass(frozen=True, slots=True)
class RunsRules:
    """By what a run's answers are judged."""

    task: Task[Seed, Any]
    policy: RetryPolicy


def rules_of(folder: Path) -> RunsRules:
    notes = read_notes(folder)
    return RunsRules(dialogue_task(Recipe.model_validate(notes["recipe"])), RetryPolicy(**notes["options"]["retry"]))


def unquoted(words: str, request: Request) -> str:
    """A server's words without what they quote of the request."""
    return without_echo(words, [message.content for message in request.messages])


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """A new file, its owner's alone, on the disk when the block ends."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def refused(folder: Path, what: str, failure: Failure, *, hint: str) -> StoppedError:
    return StoppedError(f"{folder}: {what}: {failure.detail or failure.kind}", reason=str(failure.kind), hint=hint)


@dataclass(frozen=True, slots=True)
class BatchState:
    """One batch, and how many of its rows still wait: none, when it has been collected."""

    note: BatchNote
    waiting: int

    def as_json(self, now: float) -> dict[str, Any]:
        note = self.note
        return {
            "batch": note.number,
            "id": note.remote,
            "state": note.state,
            "place": note.place,
            "requests": note.requests,
            "waiting": self.waiting,
            "completed": note.completed,
            "failed": note.failed,
            "age_s": round(now - note.made_at),
            "seconds_left": None if note.expires_at is None or not self.waiting else round(note.expires_at - now),
            "detail": note.detail,
        }


@dataclass(frozen=True, slots=True)
class BatchReport:
    """How a run's batches stand, and what the command has brought back."""

    folder: Path
    batches: tuple[BatchState, ...]
    counts: Counts
    collected: Collected = field(default_factory=Collected)
    stopped_by: str = ""
    """What rows that were not handed over had no room for: budget, tokens, bytes."""

    @property
    def done(self) -> bool:
        return self.counts.exact and self.counts.pending == 0

    @property
    def exit_code(self) -> int:
        """0 every row accepted, 3 some set aside, 4 rows are left."""
        return (3 if self.counts.set_aside else 0) if self.done else 4

    @property
    def waiting(self) -> tuple[BatchState, ...]:
        return tuple([batch for batch in self.batches if batch.waiting])

    @property
    def at_server(self) -> tuple[BatchState, ...]:
        """Those that a server may still bring back."""
        return tuple([batch for batch in self.waiting if batch.note.state not in OURS])

    def as_json(self, now: float | None = None) -> dict[str, Any]:
        now = time.time() if now is None else now
        done = self.collected
        return {
            "batches": [batch.as_json(now) for batch in self.batches],
            "collected": {
                "accepted": done.accepted,
                "set_aside": done.set_aside,
                "again": done.again,
                "not_run": done.not_run,
                "strange": done.strange,
                "torn": done.torn,
            },
            "stopped_by": self.stopped_by or (done.stopped.reason if done.stopped else ""),
            **run_folder.read_status(self.folder).as_json(),
        }


def batch_report(folder: Path, collected: Collected | None = None, stopped_by: str = "") -> BatchReport:
    """Read from the ledger, while others may be working on it. Raises `RunNotFoundError`."""
    with schema.reading(folder) as reader:
        waiting = waiting_rows(reader)
        states = tuple([BatchState(note, waiting.get(note.number, 0)) for note in read_batches(reader)])
        counts = account.read_counts(reader)
    return BatchReport(folder, states, counts, collected or Collected(), stopped_by)


def check_there_are_any(folder: Path) -> None:
    with schema.reading(folder) as reader:
        if not read_batches(reader):
            raise RunNotFoundError(
                f"{folder} has no batches.", hint=f"Hand its rows over with `smile batch submit {folder}`."
            )
