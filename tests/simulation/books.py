"""What a run folder holds, read with plain SQL: nothing of the engine stands between the ledger and the checks."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

LEDGER = "ledger.sqlite3"


class Attempt(NamedTuple):
    """An attempt that ended, as recorded."""

    number: int
    ordinal: int
    sent_at: float
    paid: int
    charged: int
    verdict: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float
    endpoint: str


class Flight(NamedTuple):
    """An attempt under way when its process ended, and what it may cost at most."""

    number: int
    ordinal: int
    cost_usd: float
    endpoint: str


class Waiting(NamedTuple):
    """An attempt that waits in a batch."""

    number: int
    ordinal: int
    nonce: str


class Outcome(NamedTuple):
    """Where a row ended."""

    state: str
    reason: str
    attempt: int | None


class Text(NamedTuple):
    """A reply as it was kept."""

    ordinal: int
    text: str
    finish_reason: str | None
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Books:
    """The whole ledger. `rows` maps an ordinal to its word (None: unreadable) and its place in the source, `batched`
    the attempts that wait in batches, `batches` their nonces to their states."""

    rows: dict[int, tuple[str | None, int]] = field(default_factory=dict)
    flights: dict[int, Flight] = field(default_factory=dict)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    replies: dict[int, Text] = field(default_factory=dict)
    results: dict[int, str] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    amended: dict[int, str] = field(default_factory=dict)
    batched: dict[int, Waiting] = field(default_factory=dict)
    batches: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def rules(self) -> str:
        """What the run is judged by, as it says itself."""
        found = self.meta.get("rules", "usual")
        assert isinstance(found, str)
        return found

    @property
    def last(self) -> int:
        """The highest number of an attempt."""
        return max([0, *self.attempts, *self.flights, *self.batched])


def read(folder: Path, *, check: bool = False) -> Books:
    """The ledger as it is on the disk; empty when there is none. `check`: have SQLite look at its pages, too."""
    path = folder / LEDGER
    if not path.exists():
        return Books()
    with closing(sqlite3.connect(path)) as ledger:
        if check:
            found = ledger.execute("PRAGMA integrity_check").fetchone()[0]
            assert found == "ok", found
        ask, schema = ledger.execute, int(ledger.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0])
        endpoint = (
            "endpoint" if schema > 1 else "''"
        )  # a process may have ended before it brought the ledger up to date
        rows = ask("SELECT ordinal, item, position, row_id FROM rows").fetchall()
        return Books(
            rows={ordinal: (item and bytes(item).decode(), position) for ordinal, item, position, _ in rows},
            flights={
                found[0]: Flight(*found)
                for found in ask(f"SELECT attempt, ordinal, ceiling_usd, {endpoint} FROM flights")
            },
            attempts={
                found[0]: Attempt(*found)
                for found in ask(
                    "SELECT attempt, ordinal, sent_at, paid, charged, verdict, prompt_tokens, completion_tokens,"
                    f" cost_usd, {endpoint} FROM attempts"
                )
            },
            outcomes={
                found[0]: Outcome(*found[1:]) for found in ask("SELECT ordinal, state, reason, attempt FROM outcomes")
            },
            replies={
                found[0]: Text(*found[1:])
                for found in ask(
                    "SELECT attempt, ordinal, text, finish_reason, refusal FROM replies WHERE text IS NOT NULL"
                )
            },
            results={ordinal: bytes(value).decode() for ordinal, value in ask("SELECT ordinal, value FROM results")},
            names={row_id: ordinal for ordinal, _, _, row_id in rows},
            amended=dict(ask("SELECT attempt, step FROM amended")) if schema > 1 else {},
            batched={
                found[0]: Waiting(*found)
                for found in ask("SELECT d.attempt, d.ordinal, b.nonce FROM batched d JOIN batches b USING (batch)")
            }
            if schema > 2
            else {},
            batches=dict(ask("SELECT nonce, state FROM batches")) if schema > 2 else {},
            meta={key: orjson.loads(value) for key, value in ask("SELECT key, value FROM meta")},
        )
