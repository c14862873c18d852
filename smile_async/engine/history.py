"""Reading a ledger for what happened when, and for single rows to look at. Streams: no list grows with the run but
that of the rows' numbers."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from smile_async.engine.account import ACCEPTED


class Attempted(NamedTuple):
    """An attempt that ended, or one under way (`took` None, `verdict` empty). `paid`: a reply arrived. Tokens are 0
    where none were counted."""

    sent_at: float
    took: float | None
    endpoint: str
    verdict: str
    paid: bool
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class VerdictCount:
    """Attempts at one endpoint that ended alike; `status` is the HTTP status where it was an error's, `detail` what one
    of them said (for a person; no dialogue text)."""

    endpoint: str
    verdict: str
    paid: bool
    status: int | None
    attempts: int
    detail: str


@dataclass(frozen=True, slots=True)
class JudgedReply:
    """A reply that was paid for and what became of its row: `state` is empty while it is pending. `text` is the
    server's refusal where there was no other, and empty where the reply held none."""

    row_id: str
    source_id: str
    item: bytes | None
    endpoint: str
    verdict: str
    detail: str
    text: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class AcceptedRow:
    row_id: str
    source_id: str
    item: bytes | None
    value: bytes
    flags: tuple[str, ...]
    endpoint: str


def attempts_in_time(connection: sqlite3.Connection) -> Iterator[Attempted]:
    """Every attempt by the time at which it was sent (the wall clock's)."""
    rows = connection.execute(
        """SELECT sent_at, took, endpoint, verdict, paid, coalesce(prompt_tokens, 0), coalesce(completion_tokens, 0)
           FROM attempts
           UNION ALL SELECT sent_at, NULL, endpoint, '', 0, 0, 0 FROM flights ORDER BY 1"""
    )
    yield from map(Attempted._make, rows)


def verdicts(connection: sqlite3.Connection) -> list[VerdictCount]:
    """Every kind of end, the most frequent first."""
    rows = connection.execute(
        """SELECT endpoint, verdict, paid, CASE WHEN paid THEN NULL ELSE status END AS told, count(*), max(detail)
           FROM attempts GROUP BY endpoint, verdict, paid, told ORDER BY count(*) DESC"""
    )
    return [VerdictCount(endpoint, verdict, bool(paid), *rest) for endpoint, verdict, paid, *rest in rows]


def accepted_rows(connection: sqlite3.Connection) -> list[int]:
    """The accepted rows' numbers, in the source's order."""
    rows = connection.execute("SELECT ordinal FROM outcomes WHERE state = ? ORDER BY ordinal", (ACCEPTED,))
    return [ordinal for (ordinal,) in rows]


def rejected_replies(connection: sqlite3.Connection) -> dict[str, list[int]]:
    """Attempts whose reply was paid for and rejected, by verdict, in the order of asking."""
    found: dict[str, list[int]] = {}
    rows = connection.execute(
        "SELECT verdict, attempt FROM attempts WHERE paid AND verdict <> ? ORDER BY attempt", (ACCEPTED,)
    )
    for verdict, attempt in rows:
        found.setdefault(verdict, []).append(attempt)
    return found


def rows_with_values(connection: sqlite3.Connection, ordinals: Sequence[int]) -> Iterator[AcceptedRow]:
    """These accepted rows, one by one."""
    for ordinal in ordinals:
        found = connection.execute(
            """SELECT r.row_id, r.source_id, r.item, s.value, o.note, coalesce(a.endpoint, '')
               FROM results s JOIN rows r ON r.ordinal = s.ordinal JOIN outcomes o ON o.ordinal = s.ordinal
                    LEFT JOIN attempts a ON a.attempt = o.attempt WHERE s.ordinal = ?""",
            (ordinal,),
        ).fetchone()
        if found is not None:  # else judged otherwise meanwhile
            row_id, source_id, item, value, note, endpoint = found
            yield AcceptedRow(row_id, source_id, item, bytes(value), tuple(note.split()), endpoint)


def replies(connection: sqlite3.Connection, attempts: Sequence[int]) -> Iterator[JudgedReply]:
    """These replies, one by one."""
    for attempt in attempts:
        found = connection.execute(
            """SELECT r.row_id, r.source_id, r.item, a.endpoint, a.verdict, a.detail,
                      coalesce(nullif(p.text, ''), p.refusal, ''), coalesce(o.state, ''), coalesce(o.reason, '')
               FROM attempts a JOIN rows r ON r.ordinal = a.ordinal LEFT JOIN replies p ON p.attempt = a.attempt
                    LEFT JOIN outcomes o ON o.ordinal = a.ordinal WHERE a.attempt = ?""",
            (attempt,),
        ).fetchone()
        if found is not None:
            yield JudgedReply(*found)
