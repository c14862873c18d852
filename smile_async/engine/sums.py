"""What a ledger comes to when it is added up.

SQLite sorts all rows before it groups them, which takes four times as long as to add them up. So what most rows have in
common is added up by itself, and only the rest is grouped.
"""

import sqlite3
from dataclasses import dataclass

ADDED = "count(*), total(prompt_tokens), total(completion_tokens), total(cost_usd)"


@dataclass(frozen=True, slots=True)
class Sum:
    """Attempts at one endpoint with one verdict."""

    endpoint: str
    verdict: str
    paid: int
    attempts: int
    prompt_tokens: float
    completion_tokens: float
    cost_usd: float


def rows_ended(connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """How many rows ended how: state, reason, rows."""
    accepted = connection.execute("SELECT count(*) FROM outcomes WHERE state = 'accepted'").fetchone()[0]
    others = connection.execute(
        "SELECT state, reason, count(*) FROM outcomes WHERE state <> 'accepted' GROUP BY state, reason"
    ).fetchall()
    return [("accepted", "", accepted), *others]


def attempts_made(connection: sqlite3.Connection) -> list[Sum]:
    """The attempts by endpoint, verdict and whether a reply came."""
    usual = connection.execute("SELECT endpoint, verdict, paid FROM attempts WHERE paid LIMIT 1").fetchone()
    if usual is None:
        usual = "", "", 1  # nobody's
    alike = "endpoint = ? AND verdict = ? AND paid = ?"
    found = connection.execute(f"SELECT {ADDED} FROM attempts WHERE {alike}", usual).fetchone()  # noqa: S608 (our own)
    others = connection.execute(
        f"SELECT endpoint, verdict, paid, {ADDED} FROM attempts WHERE NOT ({alike})"  # noqa: S608 (our own)
        " GROUP BY endpoint, verdict, paid",
        usual,
    ).fetchall()
    return [Sum(*row) for row in ([(*usual, *found)] if found[0] else []) + others]
