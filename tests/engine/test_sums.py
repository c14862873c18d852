"""What a ledger comes to, added up in the quick way and as SQL would say it plainly."""

import random
import sqlite3
from contextlib import closing

import pytest

from smile_async.engine.schema import TABLES
from smile_async.engine.sums import Sum, attempts_made, rows_ended

ENDPOINTS, VERDICTS = ("a", "b", ""), ("accepted", "too-few-turns", "rate-limited")


def filled(seed: int, attempts: int) -> sqlite3.Connection:
    chance, ledger = random.Random(seed), sqlite3.connect(":memory:")
    ledger.executescript(TABLES)
    for attempt in range(attempts):
        verdict = chance.choices(VERDICTS, (8, 1, 1))[0]
        paid = verdict != "rate-limited"
        tokens = (chance.randrange(1000), chance.randrange(1000)) if paid and chance.random() < 0.9 else (None, None)
        row = (attempt, attempt, 0.0, 1.0, paid, 0, verdict, None, *tokens, attempt / 64, "", chance.choice(ENDPOINTS))
        ledger.execute(f"INSERT INTO attempts VALUES ({','.join('?' * 13)})", row)
        if chance.random() < 0.9:
            state, reason = ("accepted", "") if paid else ("set-aside", chance.choice(("x", "y")))
            ledger.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?, '')", (attempt, state, reason, attempt))
    return ledger


@pytest.mark.parametrize("attempts", [0, 1, 2, 50])
@pytest.mark.parametrize("seed", range(5))
def test_the_sums_are_those_of_a_plain_group_by(seed: int, attempts: int) -> None:
    with closing(filled(seed, attempts)) as ledger:
        plain = ledger.execute(
            "SELECT endpoint, verdict, paid, count(*), total(prompt_tokens), total(completion_tokens), total(cost_usd)"
            " FROM attempts GROUP BY endpoint, verdict, paid"
        ).fetchall()
        assert sorted(attempts_made(ledger), key=str) == sorted([Sum(*row) for row in plain], key=str)
        ends = ledger.execute("SELECT state, reason, count(*) FROM outcomes GROUP BY state, reason").fetchall()
        assert sorted(end for end in rows_ended(ledger) if end[2]) == sorted(ends)
