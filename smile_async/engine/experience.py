"""What a run's ledger teaches about the model that was asked: sizes, speed, and how rows fared."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from smile_async.engine.account import ACCEPTED, LOST, SET_ASIDE
from smile_async.engine.job import FailureKind
from smile_async.engine.retry import CONTENT_FILTER, FINAL_REJECTIONS, NOT_THE_ROW, ROW_FINAL
from smile_async.engine.schema import marks


@dataclass(frozen=True, slots=True)
class PastReply:
    """A reply to a row's own request. Tokens are 0 where the server counted none; `took` in seconds."""

    item: bytes
    prompt_tokens: int
    completion_tokens: int
    took: float


@dataclass(frozen=True, slots=True)
class Fates:
    """Rows by what came of them. `answered`: had a reply; `first_good`: the first was accepted; `first_final`: the
    first ended the row (a filter); `later`, `later_good`: replies after the first. `refused`: rows that ended without
    a reply; `failed`: attempts that brought none though the server took them, those that were final left out; `busy`:
    seconds that an attempt took on average, whatever came of it."""

    answered: int
    first_good: int
    first_final: int = 0
    later: int = 0
    later_good: int = 0
    refused: int = 0
    failed: int = 0
    busy: float | None = None


def past_replies(connection: sqlite3.Connection, *, most: int) -> Iterator[PastReply]:
    """At most so many, spread over the run; replies to amended requests are left out."""
    count = connection.execute("SELECT count(*) FROM attempts WHERE paid").fetchone()[0]
    rows = connection.execute(
        """SELECT r.item, coalesce(a.prompt_tokens, 0), coalesce(a.completion_tokens, 0), a.took
            FROM attempts a JOIN rows r ON r.ordinal = a.ordinal
            WHERE a.paid AND a.took IS NOT NULL AND a.attempt % ? = 0
                  AND a.attempt NOT IN (SELECT attempt FROM amended) ORDER BY a.attempt""",
        (max(-(-count // most), 1),),
    )
    for item, prompt, completion, took in rows:
        yield PastReply(bytes(item), prompt, completion, took)


def read_fates(connection: sqlite3.Connection) -> Fates:
    final = tuple(FINAL_REJECTIONS)
    answered = connection.execute(
        f"""WITH firsts AS (SELECT ordinal, min(attempt) AS attempt, count(*) AS replies FROM attempts WHERE paid
                            GROUP BY ordinal)
            SELECT count(*), total(o.state = ? AND o.attempt = f.attempt),
                   total(o.reason IN ({marks(len(final))}) AND o.attempt = f.attempt),
                   total(f.replies - 1), total(o.state = ? AND o.attempt <> f.attempt)
            FROM firsts f LEFT JOIN outcomes o ON o.ordinal = f.ordinal""",  # noqa: S608 (marks)
        (ACCEPTED, *final, ACCEPTED),
    ).fetchone()
    refused = connection.execute(
        """SELECT count(*) FROM outcomes WHERE state = ? AND attempt IS NOT NULL
           AND ordinal NOT IN (SELECT ordinal FROM attempts WHERE paid)""",
        (SET_ASIDE,),
    ).fetchone()[0]
    free = (LOST, CONTENT_FILTER, *map(str, NOT_THE_ROW), *map(str, ROW_FINAL), str(FailureKind.AUTH))
    failed = connection.execute(
        f"SELECT count(*) FROM attempts WHERE NOT paid AND verdict NOT IN ({marks(len(free))})",  # noqa: S608 (marks)
        free,
    ).fetchone()[0]
    waits = (LOST, *map(str, NOT_THE_ROW))
    busy = connection.execute(
        f"SELECT avg(took) FROM attempts WHERE verdict NOT IN ({marks(len(waits))})",  # noqa: S608 (marks)
        waits,
    ).fetchone()[0]
    rows, first_good, first_final, later, later_good = map(int, answered)
    return Fates(rows, first_good, first_final, later, later_good, refused, failed, busy)


def ended_rows(connection: sqlite3.Connection) -> set[str]:
    """Ids of the rows that have an outcome."""
    return {
        row_id
        for (row_id,) in connection.execute("SELECT r.row_id FROM rows r JOIN outcomes o ON o.ordinal = r.ordinal")
    }
