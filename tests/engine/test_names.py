"""What rows are called, and which the ledger knows: through real ledgers."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from smile_async.engine import schema
from smile_async.engine.ledger import Ledger
from smile_async.engine.names import Names
from smile_async.testing import run_virtual

IDENTITY = {"task": "names"}


def read(folder: Path, source: list[str], batch: int, most: int | None = None) -> tuple[list[str], list[str]]:
    """Read `source`, or its first `most` rows, as a feed does: what its rows are called, and what was new of that."""

    async def main() -> tuple[list[str], list[str]]:
        ledger = Ledger.open(folder, IDENTITY, threaded=False)
        called: list[str] = []
        new: list[str] = []
        with closing(schema.open_reader(folder)) as reader:
            names = Names(reader)
            for start in range(0, len(source[:most]), batch):
                found, known = names.of(source[:most][start : start + batch])
                fresh = [name for name in found if name not in known]
                first = names.noted + len(new)
                ledger.write([("rows", (first + at, name, "", 0, b"")) for at, name in enumerate(fresh)])
                called += found
                new += fresh
                await ledger.flush()
        await ledger.close()
        return called, new

    return run_virtual(main())


def test_a_repeated_row_is_called_by_its_number(tmp_path: Path) -> None:
    assert read(tmp_path, ["a", "b", "a", "a"], 2)[0] == ["a", "b", "a-1", "a-2"]


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_the_same_source_is_known_to_where_it_was_read_and_new_beyond_it(tmp_path: Path, batch: int) -> None:
    source = ["a", "b", "a", "c", "a", "b", "d"]
    assert read(tmp_path, source, 3, most=5)[1] == ["a", "b", "a-1", "c", "a-2"]
    assert read(tmp_path, source, batch) == (["a", "b", "a-1", "c", "a-2", "b-1", "d"], ["b-1", "d"])
    assert read(tmp_path, source, batch)[1] == []


@pytest.mark.parametrize(
    ("source", "new"),
    [
        (["x", "a", "b", "c", "d"], ["x"]),  # a row before all others
        (["a", "b", "x", "c", "d"], ["x"]),  # in the midst of a batch
        (["d", "c", "b", "a"], []),  # turned round
        (["a", "c", "d"], []),  # one is gone
        (["a", "b", "b", "c", "a"], ["b-1", "a-1"]),  # repeated only now
        (["c", "c", "c"], ["c-1", "c-2"]),
        ([], []),
    ],
)
def test_a_source_that_has_changed_gives_only_what_is_new(tmp_path: Path, source: list[str], new: list[str]) -> None:
    assert read(tmp_path, list("abcd"), 3)[1] == list("abcd")
    assert read(tmp_path, source, 3)[1] == new
    assert read(tmp_path, source, 2)[1] == []


def test_however_often_a_source_changes_every_row_of_it_is_in_the_ledger_once(tmp_path: Path) -> None:
    """Sources of few ids, cut and shuffled: after each reading the ledger has the most of each id that any had."""
    for seed in range(40):
        chance, folder = random.Random(seed), tmp_path / str(seed)
        most: dict[str, int] = {}
        noted: list[str] = []
        source = chance.choices("abcdef", k=12)
        for _ in range(4):
            if chance.random() < 0.5:
                chance.shuffle(source)
            called, new = read(folder, source, chance.randint(1, 6), most=chance.randint(6, 14))
            noted += new
            for name in called:
                row_id, _, times = name.partition("-")
                most[row_id] = max(most.get(row_id, 0), int(times or 0) + 1)
            source += chance.choices("abcdefg", k=2)
        wanted = [f"{row_id}-{at}" if at else row_id for row_id, count in most.items() for at in range(count)]
        assert sorted(noted) == sorted(wanted)


def test_a_ledger_of_schema_3_is_brought_up_to_date_and_its_rows_are_known(tmp_path: Path) -> None:
    """Until then the ids had an index, which stays where it is."""
    assert read(tmp_path, list("aba"), 2)[1] == ["a", "b", "a-1"]
    with closing(sqlite3.connect(tmp_path / schema.DATABASE, isolation_level=None)) as ledger:
        ledger.executescript("""
            ALTER TABLE rows RENAME TO others;
            CREATE TABLE rows (ordinal INTEGER PRIMARY KEY, row_id TEXT NOT NULL UNIQUE, source_id TEXT NOT NULL,
                               position INTEGER NOT NULL, item BLOB);
            INSERT INTO rows SELECT * FROM others;
            DROP TABLE others;
            UPDATE meta SET value = '3' WHERE key = 'schema';
        """)
    assert read(tmp_path, list("abac"), 2)[1] == ["c"]
    assert read(tmp_path, list("caba"), 2)[1] == []
    with closing(schema.open_reader(tmp_path)) as reader:
        assert schema.check_schema(reader, tmp_path) == schema.SCHEMA_VERSION == 4
