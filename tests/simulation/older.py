"""A ledger as an older version of the package would have left it, so that a process has to bring it up to date."""

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.simulation.books import LEDGER, Books

BACK = {
    4: """
CREATE TABLE older (ordinal INTEGER PRIMARY KEY, row_id TEXT NOT NULL UNIQUE, source_id TEXT NOT NULL,
                    position INTEGER NOT NULL, item BLOB);
INSERT INTO older SELECT * FROM rows;
DROP TABLE rows;
ALTER TABLE older RENAME TO rows;
""",
    3: "DROP TABLE batches; DROP TABLE batched;",
    2: """
DROP TABLE changes;
DROP TABLE amended;
ALTER TABLE flights DROP COLUMN endpoint;
ALTER TABLE attempts DROP COLUMN endpoint;
""",
}
"""From each version to the one before, as far as nothing is lost that is looked at."""


def turn_back(folder: Path, books: Books, version: int) -> bool:
    """Make it one of that schema; False, and nothing done, where it holds what that version did not know."""
    path = folder / LEDGER
    endpoints = {attempt.endpoint for attempt in books.attempts.values()}
    endpoints |= {flight.endpoint for flight in books.flights.values()}
    if not path.exists() or (version < 3 and books.batches) or (version < 2 and (books.amended or endpoints - {""})):
        return False
    with closing(sqlite3.connect(path, isolation_level=None)) as ledger:
        found = int(ledger.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0])
        if found <= version:
            return False
        for step in range(found, version, -1):
            ledger.executescript(f"BEGIN;{BACK[step]}UPDATE meta SET value = '{step - 1}' WHERE key = 'schema';COMMIT;")
    return True
