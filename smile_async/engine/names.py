"""What the rows of a source are called: the id where a row stands first, `id-1`, `id-2`... where it is repeated.

The names that one reading of a source has passed, and those that the ledger knew before it, are kept in temporary
tables on the disk: memory stays flat. The ledger itself has no index of its names: ids are random, so that each commit
would write most of its pages again, the more of them the longer the run. A source that is read again gives its rows in
the order in which the ledger has them, so they are compared in that order; only what has changed is looked up.
"""

import sqlite3
from collections.abc import Sequence

from smile_async.engine import schema

PARTED = "-"  # between an id, which is hexadecimal, and the number of the repetition


class Names:
    """The names of the rows of one reading, in the order of the source. For one thread at a time."""

    def __init__(self, reader: sqlite3.Connection) -> None:
        self._execute = reader.execute
        last = self._execute("SELECT max(ordinal) FROM rows").fetchone()[0]
        self.noted = 0 if last is None else last + 1  # rows that the ledger knew before this reading
        self._followed = 0  # of them, those that this reading has passed in their order
        self._following = self.noted > 0
        self._looks_up = False
        # A batch's journal is not on the disk: in a file it would cost 5 us a row of system time, and nothing here has
        # to survive the process.
        self._execute("PRAGMA temp.journal_mode=MEMORY")
        self._execute("DROP TABLE IF EXISTS temp.passed")
        self._execute("DROP TABLE IF EXISTS temp.ahead")
        self._execute("CREATE TEMP TABLE passed (row_id TEXT PRIMARY KEY, times INTEGER) WITHOUT ROWID")

    def of(self, row_ids: list[str]) -> tuple[list[str], set[str]]:
        """The names of the next rows, and those of them that the ledger knew before this reading."""
        followed = self._follow(row_ids) if self._following else []
        if len(followed) == len(row_ids):
            return followed, set(followed)
        if self._following:
            self._stop_following()
        others = self._count(row_ids[len(followed) :])
        return followed + others, {*followed, *self._known(others)}

    def _follow(self, row_ids: Sequence[str]) -> list[str]:
        """The names of the first of the rows, as far as they stand in the ledger in the same order."""
        found = self._execute(
            "SELECT row_id FROM rows WHERE ordinal >= ? AND ordinal < ? ORDER BY ordinal LIMIT ?",
            (self._followed, self.noted, len(row_ids)),
        ).fetchall()
        names: list[str] = []
        for (name,), row_id in zip(found, row_ids, strict=False):
            if name != row_id and name.partition(PARTED)[0] != row_id:
                break
            names.append(name)
        self._followed += len(names)
        return names

    def _stop_following(self) -> None:
        """Note what was followed as passed, and what the ledger has beyond it, to be looked up."""
        self._following = False
        self._execute(
            f"""INSERT INTO passed
                SELECT substr(row_id, 1, instr(row_id || '{PARTED}', '{PARTED}') - 1) AS id, count(*) - 1
                FROM rows WHERE ordinal < ? GROUP BY id ORDER BY id""",  # noqa: S608 (our own constant)
            (self._followed,),
        )
        if self._followed < self.noted:
            self._looks_up = True
            self._execute("CREATE TEMP TABLE ahead (row_id TEXT PRIMARY KEY) WITHOUT ROWID")
            self._execute(
                "INSERT INTO ahead SELECT row_id FROM rows WHERE ordinal >= ? AND ordinal < ? ORDER BY row_id",
                (self._followed, self.noted),
            )

    def _count(self, row_ids: list[str]) -> list[str]:
        execute, names = self._execute, []
        execute("BEGIN")
        # One statement for all: where every row stands first, nothing more is to be asked.
        places = ",".join(["(?,0)"] * len(row_ids))
        if execute(f"INSERT OR IGNORE INTO passed VALUES {places}", row_ids).rowcount == len(row_ids):  # noqa: S608 (marks)
            execute("COMMIT")
            return row_ids
        execute("ROLLBACK")
        execute("BEGIN")
        for row_id in row_ids:
            times = execute(
                "INSERT INTO passed VALUES (?, 0) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times",
                (row_id,),
            ).fetchone()[0]
            names.append(f"{row_id}{PARTED}{times}" if times else row_id)
        execute("COMMIT")
        return names

    def _known(self, names: list[str]) -> set[str]:
        if not self._looks_up:
            return set()
        found = self._execute(
            f"SELECT group_concat(row_id) FROM ahead WHERE row_id IN ({schema.marks(len(names))})",  # noqa: S608 (marks)
            names,
        ).fetchone()[0]
        return set(found.split(",")) if found else set()
