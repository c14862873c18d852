"""Rows are read by pages: whoever reads them slowly does not keep the ledger's log from being folded back."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from smile_async.engine import account, schema
from smile_async.engine.job import Reply, Request
from smile_async.testing import ScriptedProvider, replying
from tests.engine.asking import ask_all, rows, word


def odd_are_bad(request: Request, _number: int) -> Reply:
    name = word(request)
    return replying(f"bad: {name}" if int(name[-1]) % 2 else name)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Ten rows, of which 0, 2, 4, 6, 8 are accepted and the others set aside."""
    ask_all(tmp_path, rows(10), ScriptedProvider(odd_are_bad))
    return tmp_path


@pytest.mark.parametrize("page", [1, 2, 5, 6, 100])
def test_every_row_comes_once_and_in_order_whatever_fits_on_a_page(run: Path, page: int) -> None:
    with schema.reading(run) as reader:
        accepted = [(row.item, row.value) for row in account.result_rows(reader, page=page)]
        values = [value for _, _, value, _ in account.result_values(reader, page=page)]
        aside = [row.item for row in account.set_aside_rows(reader, page=page)]

    even = [name.encode() for name in rows(10)[::2]]
    assert accepted == [(name, name) for name in even]
    assert values == even
    assert aside == [name.encode() for name in rows(10)[1::2]]


@pytest.mark.parametrize("read", [account.result_rows, account.result_values, account.set_aside_rows])
def test_between_two_rows_the_log_can_be_folded_back_to_nothing(run: Path, read: Any) -> None:
    """`wal_checkpoint(TRUNCATE)` answers busy (1) while anybody has a snapshot open; and page 2 of 5 rows: with every
    second row a statement is made anew."""
    with schema.reading(run) as reader, closing(schema.open_writer(run)) as writer:
        writer.execute("PRAGMA busy_timeout=0")
        seen = 0
        for _row in read(reader, page=2):
            seen += 1
            writer.execute("INSERT OR REPLACE INTO meta VALUES('x', ?)", (str(seen),))
            assert folded(writer)
    assert seen == 5


def folded(writer: sqlite3.Connection) -> bool:
    busy, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return bool(busy == 0)
