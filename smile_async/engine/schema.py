"""The ledger's tables, and how a run folder and its database are opened.

Slim tables hold what is counted, wide ones what is read row by row, so that `smile status` never walks over text.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from smile_async.errors import RunNotFoundError, SmileError, StoppedError

SCHEMA_VERSION = 4
DATABASE = "ledger.sqlite3"
PAGE = 16_384  # bytes: five dialogues to a page; at 8,192 two leave a third of it empty, and each byte costs
CHECKPOINT = 2_000  # pages of the log before it is folded back

BATCHES = """
CREATE TABLE batches  (batch INTEGER PRIMARY KEY, nonce TEXT NOT NULL UNIQUE, state TEXT NOT NULL, place TEXT NOT NULL,
                       made_at REAL NOT NULL, requests INTEGER NOT NULL, tokens INTEGER NOT NULL,
                       price_in REAL NOT NULL, price_out REAL NOT NULL, remote TEXT NOT NULL,
                       input_file TEXT NOT NULL, output_file TEXT NOT NULL, error_file TEXT NOT NULL,
                       completed INTEGER NOT NULL, failed INTEGER NOT NULL, expires_at REAL, checked_at REAL,
                       detail TEXT NOT NULL);
CREATE TABLE batched  (ordinal INTEGER PRIMARY KEY, attempt INTEGER NOT NULL UNIQUE, batch INTEGER NOT NULL,
                       sent_at REAL NOT NULL, ceiling_usd REAL NOT NULL);
"""
TABLES = """
CREATE TABLE meta     (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rows     (ordinal INTEGER PRIMARY KEY, row_id TEXT NOT NULL, source_id TEXT NOT NULL,
                       position INTEGER NOT NULL, item BLOB);
CREATE TABLE flights  (attempt INTEGER PRIMARY KEY, ordinal INTEGER NOT NULL, sent_at REAL NOT NULL,
                       ceiling_usd REAL NOT NULL DEFAULT 0, endpoint TEXT NOT NULL DEFAULT '');
CREATE TABLE attempts (attempt INTEGER PRIMARY KEY, ordinal INTEGER NOT NULL, sent_at REAL NOT NULL, took REAL,
                       paid INTEGER NOT NULL, charged INTEGER NOT NULL, verdict TEXT NOT NULL, status INTEGER,
                       prompt_tokens INTEGER, completion_tokens INTEGER, cost_usd REAL NOT NULL, detail TEXT NOT NULL,
                       endpoint TEXT NOT NULL DEFAULT '');
CREATE TABLE replies  (attempt INTEGER PRIMARY KEY, ordinal INTEGER NOT NULL, text TEXT, finish_reason TEXT,
                       refusal TEXT, model TEXT, raw BLOB);
CREATE TABLE outcomes (ordinal INTEGER PRIMARY KEY, state TEXT NOT NULL, reason TEXT NOT NULL, attempt INTEGER,
                       note TEXT NOT NULL);
CREATE TABLE results  (ordinal INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE changes  (at REAL NOT NULL, endpoint TEXT NOT NULL, what TEXT NOT NULL, before REAL, after REAL,
                       reason TEXT NOT NULL);
CREATE TABLE amended  (attempt INTEGER PRIMARY KEY, step TEXT NOT NULL);
"""
# meta      one JSON text a key: schema, identity, settings, source_rows, budget_from
# rows      every row that was read, numbered without a gap; item NULL: it could not be read and was set aside;
#           ledgers of before schema 4 have an index of the ids, which nothing uses any more (`engine/names.py`)
# flights   attempts under way and the most each may cost, written before they leave; after a crash: attempts whose
#           fate is unknown
# attempts  every attempt that ended; paid 1: a reply arrived, paid 0: none did; charged 1: a failure that counts
#           against the row's budget; cost_usd of an unpaid one: the most it may have cost if it was billed after all;
#           verdict: accepted, a rule's code or a kind of failure; `unknown`: a crash took
#           the answer
# replies   every reply that was paid for, the rejected ones too; raw: a paid body that was no answer
# outcomes  where a row ended: accepted or set-aside with its reason; a row without one is pending; note: the flags of
#           an accepted row, or what was wrong with a row that was never asked
# results   the values of the accepted rows
# batches   what was handed over as one file, to a server's Batch API or to whoever works offline (`engine/batches.py`)
# batched   rows that wait in a batch, and which attempt that is: in one batch at most, and nobody else asks them
# changes   limits that were changed while the run went on: in-flight, rate, what headers told; before NULL: none known
# amended   replies to a request that the task had changed after a rejection, and how

MIGRATIONS = {
    1: """
ALTER TABLE flights ADD COLUMN endpoint TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN endpoint TEXT NOT NULL DEFAULT '';
CREATE TABLE changes (at REAL NOT NULL, endpoint TEXT NOT NULL, what TEXT NOT NULL, before REAL, after REAL,
                      reason TEXT NOT NULL);
CREATE TABLE amended (attempt INTEGER PRIMARY KEY, step TEXT NOT NULL);
""",
    2: BATCHES,
    3: "",  # the index of the row ids stays where it is: to take it out would write the whole table anew
}
"""From each older version to the next."""


def make_private_folder(folder: Path) -> None:
    """Create the run folder, open to its owner only: the text inside is sensitive."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.name == "posix" and not any(folder.iterdir()):
            folder.chmod(0o700)
    except OSError as error:
        raise RunNotFoundError(f"{folder}: the run folder cannot be made: {error.strerror}.") from error


def open_writer(folder: Path, *, durable: bool = True) -> sqlite3.Connection:
    """Open or create the database for the one writer. `durable`: a commit is done when it has reached the disk; else
    when the system has it, which outlives the process but no loss of power."""
    path = folder / DATABASE
    if not path.exists():
        try:
            _create(path)
        except (OSError, sqlite3.Error) as error:
            raise RunNotFoundError(f"{path}: the ledger cannot be made: {error}.") from error
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    try:
        connection.execute("PRAGMA query_only=ON")  # until it is known to be a ledger: what is not stays untouched
        found = check_schema(connection, folder)
        connection.execute("PRAGMA query_only=OFF")
        for version in range(found, SCHEMA_VERSION):
            noted = f"UPDATE meta SET value = '{version + 1}' WHERE key = 'schema'"  # noqa: S608 (our own number)
            connection.executescript(f"BEGIN IMMEDIATE;{MIGRATIONS[version]};{noted};COMMIT;")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT}")
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        connection.execute("PRAGMA cache_size=-4000")  # kB: a commit's pages are at the ends of the tables
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise broken(folder, error) from error
        raise
    return connection


def _create(path: Path) -> None:
    """Make an empty ledger under another name and move it in: one that is found is whole, an empty file is damage."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_WRONLY, 0o600))  # SQLite's side files take their mode from this one
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(f"BEGIN;{TABLES}{BATCHES}INSERT INTO meta VALUES('schema','{SCHEMA_VERSION}');COMMIT;")
    new.replace(path)


def open_reader(folder: Path) -> sqlite3.Connection:
    """Open an existing run for reading, while another process may be writing to it."""
    path = folder / DATABASE
    if not path.is_file():
        raise RunNotFoundError(
            f"{folder} is not a run: {f'it holds no {DATABASE}' if folder.exists() else 'there is no such folder'}.",
            hint="Start one with `smile generate SOURCE RUN`.",
        )
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, isolation_level=None
        )
    except sqlite3.DatabaseError as error:
        raise broken(folder, error) from error
    try:
        if check_schema(connection, folder) < SCHEMA_VERSION:
            open_writer(folder).close()  # which brings it up to date
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise broken(folder, error) from error
        raise
    return connection


@contextmanager
def reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """An existing run, open for reading while the block runs; what SQLite raises in it becomes an error of ours."""
    with closing(open_reader(folder)) as connection, legible(folder):
        yield connection


@contextmanager
def legible(folder: Path) -> Iterator[None]:
    """What SQLite raises in the block, about the ledger in `folder`, becomes an error that says what to do."""
    try:
        yield
    except sqlite3.ProgrammingError:  # a mistake of ours, not of the file
        raise
    except sqlite3.DatabaseError as error:
        raise broken(folder, error) from error


def marks(count: int) -> str:
    """Places for so many values in a statement."""
    return ",".join("?" * count)


def check_schema(connection: sqlite3.Connection, folder: Path) -> int:
    """The version that the ledger was written by. Raises `RunNotFoundError` for one that cannot be read here."""
    found = connection.execute("SELECT value FROM meta WHERE key='schema'").fetchone()
    if found is None or not min(MIGRATIONS) <= int(found[0]) <= SCHEMA_VERSION:
        raise RunNotFoundError(
            f"{folder}: written by another version of this package (ledger schema {found and found[0]}, "
            f"this one reads {SCHEMA_VERSION}).",
            hint="Use the version that made it, or start a new run.",
        )
    return int(found[0])


def broken(folder: Path, error: Exception) -> SmileError:
    """A ledger that cannot be read is never started over: that would pay for everything twice."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what SQLite calls the extended part
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return SmileError(
            f"{folder / DATABASE}: another program holds the ledger: {error}.",
            hint="Nothing was changed. Close what has it open, then try again.",
        )
    if code == sqlite3.SQLITE_FULL:
        return StoppedError(
            f"{folder}: the disk is full: {error}.", reason="disk", hint="Free some space and go on: nothing is lost."
        )
    return SmileError(
        f"{folder / DATABASE}: the ledger cannot be used: {error}.",
        hint="Nothing was changed. Restore it from a copy, or try `sqlite3 ledger.sqlite3 .recover`; "
        "a new run would pay for its rows again.",
    )
