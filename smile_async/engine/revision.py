"""Changes to what is settled, without asking anybody: give set-aside rows another chance, judge kept replies again."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from smile_async.engine import account
from smile_async.engine.feed import BAD_ROW, DUPLICATE
from smile_async.engine.job import Reply
from smile_async.engine.ledger import Ledger
from smile_async.engine.schema import legible, marks
from smile_async.engine.task import Accepted, Item, Task, Value

PAGE = 500  # rows judged before they are written: memory follows this
NEVER_ASKED = (BAD_ROW, DUPLICATE)


@dataclass(frozen=True, slots=True)
class Revision:
    """What judging again changed, in rows. `unjudged`: rows without any reply, left as they are."""

    accepted: int = 0
    set_aside: int = 0
    newly_accepted: int = 0
    newly_set_aside: int = 0
    unjudged: int = 0


def reopen(ledger: Ledger, reasons: Iterable[str] = ()) -> int:
    """Make set-aside rows pending again, with fresh budgets; `reasons` empty: all that were ever asked.

    Returns how many rows.
    """
    wanted = tuple(reasons)
    which = f"AND reason IN ({marks(len(wanted))})" if wanted else ""
    connection = ledger.connection
    with legible(ledger.folder):
        connection.execute("BEGIN IMMEDIATE")
        changed = connection.execute(
            f"DELETE FROM outcomes WHERE state = ? AND reason NOT IN (?, ?) {which}",  # noqa: S608 (marks)
            (account.SET_ASIDE, *NEVER_ASKED, *wanted),
        ).rowcount
        connection.execute(
            "INSERT OR REPLACE INTO meta SELECT 'budget_from', 1 + coalesce(max(attempt), 0) FROM attempts"
        )
        connection.execute("COMMIT")
    return changed


async def rejudge(
    ledger: Ledger, reader: sqlite3.Connection, task: Task[Item, Value], notes: Mapping[str, Any]
) -> Revision:
    """Judge every kept reply by `task.accept` as it is now: a row takes its first good reply (before one that had
    to be mended, its first that had not), or its last reply's reason. Rows still pending are settled only by a good
    reply. `notes` are kept with the run."""
    before = dict(reader.execute("SELECT ordinal, state FROM outcomes"))
    seen = {account.ACCEPTED: 0, account.SET_ASIDE: 0}
    newly = {account.ACCEPTED: 0, account.SET_ASIDE: 0}
    judged = settled = 0
    for ordinal, replies in groupby(account.kept_replies(reader), key=lambda kept: kept.ordinal):
        state, records = _verdict(task, ordinal, list(replies))
        if state == account.SET_ASIDE and ordinal not in before:
            continue  # pending: it may still be asked
        judged += 1
        settled += ordinal in before
        seen[state] += 1
        newly[state] += before.get(ordinal) != state
        ledger.write(records)
        if judged % PAGE == 0:
            await ledger.flush()
    for key, value in notes.items():
        ledger.write(meta=(key, value))
    await ledger.flush()
    return Revision(
        accepted=seen[account.ACCEPTED],
        set_aside=seen[account.SET_ASIDE],
        newly_accepted=newly[account.ACCEPTED],
        newly_set_aside=newly[account.SET_ASIDE],
        unjudged=len(before) - settled,
    )


def _verdict(
    task: Task[Item, Value], ordinal: int, replies: list[account.KeptReply]
) -> tuple[str, list[tuple[str, tuple[Any, ...]]]]:
    item = task.load_item(replies[0].item)
    reason = detail = ""
    best: tuple[int, Accepted[Value]] | None = None
    for kept in replies:
        verdict = task.accept(item, Reply(kept.text, kept.finish_reason, refusal=kept.refusal))
        if not isinstance(verdict, Accepted):
            reason, detail = verdict.code, verdict.detail
        elif not verdict.mended:
            best = (kept.attempt, verdict)
            break
        elif best is None:
            best = (kept.attempt, verdict)
    if best is None:
        return account.SET_ASIDE, [("outcomes", (ordinal, account.SET_ASIDE, reason, replies[-1].attempt, detail))]
    attempt, good = best
    outcome = (ordinal, account.ACCEPTED, "", attempt, " ".join(good.flags))
    return account.ACCEPTED, [("outcomes", outcome), ("results", (ordinal, task.dump_value(good.value)))]
