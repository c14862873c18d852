"""Votes in SQLite: each is a transaction of its own, on the disk before it is acknowledged.

What is there is only ever added to: a changed vote is a later line, and the last one counts.
"""

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from smile_async.chatbot.ballots import Ballots
from smile_async.errors import SourceError, StoppedError, UsageError

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE raters (name TEXT PRIMARY KEY, secret TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE votes (
  number INTEGER PRIMARY KEY,
  rater TEXT NOT NULL REFERENCES raters (name),
  at REAL NOT NULL,  -- seconds since 1970
  "case" TEXT NOT NULL,
  pair TEXT NOT NULL,
  choice TEXT NOT NULL
) STRICT;
CREATE INDEX votes_by_place ON votes (rater, "case", pair, number);
"""
VERSION = 1
LAST = """
SELECT rater, "case", pair, choice, at FROM votes
WHERE number IN (SELECT max(number) FROM votes GROUP BY rater, "case", pair) ORDER BY number
"""
CHANGED = """
SELECT rater, sum(choice <> before) FROM (
  SELECT rater, choice, lag(choice) OVER (PARTITION BY rater, "case", pair ORDER BY number) AS before FROM votes
) WHERE before IS NOT NULL GROUP BY rater
"""
PATIENCE = 10.0  # seconds that a vote waits for another process to finish its own
NAME_LIMIT = 60  # characters of a rater's name


@dataclass(frozen=True, slots=True)
class Vote:
    """`choice` is a letter of `pair`, or `ballots.TIE`; `at` in seconds since 1970."""

    rater: str
    case: str
    pair: str
    choice: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Cast:
    """Votes as they stand. `drawn` names the draw of ballots that they are for; `changed[rater]` counts votes that
    were given and then given otherwise (absent: none)."""

    drawn: str
    raters: tuple[str, ...]
    votes: tuple[Vote, ...]
    changed: dict[str, int]


class VoteStore:
    """Open it with `VoteStore.open`; threads may share it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, drawn: str) -> None:
        self.path = path
        self._drawn = drawn
        self._connection = connection
        self._guard = threading.Lock()

    @classmethod
    def open(cls, path: Path, ballots: Ballots) -> Self:
        """Open or create (mode 0600). `UsageError` when the votes there are for other ballots, or no votes at all."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its side files the same mode
            connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"{path} cannot be opened: {error}.", hint="Check folder and rights.") from None
        try:
            connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
            _prepare(connection, path, ballots.drawn)
        except sqlite3.Error as error:
            connection.close()
            raise UsageError(f"{path} cannot be used for votes: {error}.", hint="Name another --votes.") from None
        except UsageError:
            connection.close()
            raise
        return cls(path, connection, ballots.drawn)

    def enrol(self, names: Iterable[str]) -> dict[str, str]:
        """Each rater's secret: made once, kept, so that links outlive the server. `UsageError` for unfit names."""
        wanted = list(names)
        for name in wanted:
            if not name.strip() or len(name) > NAME_LIMIT or not name.isprintable():
                raise UsageError(
                    f"{name!r} is no name for a rater.", hint=f"At most {NAME_LIMIT} printable characters."
                )
        with self._guard:
            for name in wanted:
                new = (name, secrets.token_urlsafe(24))
                self._connection.execute("INSERT OR IGNORE INTO raters VALUES (?, ?)", new)
            there = dict(self._connection.execute("SELECT name, secret FROM raters"))
        return {name: there[name] for name in wanted}

    def cast(self, vote: Vote) -> None:
        """Returns once it is on the disk. `StoppedError` when the disk refuses it."""
        self._write([vote])

    def bring(self, votes: Sequence[Vote]) -> int:
        """Add those that are not there already, in one transaction; returns how many that were. Of several on one pair
        the last one counts, and one older than what stands is none. Their raters need no link."""
        there = {(vote.rater, vote.case, vote.pair): vote for vote in self.cast_so_far()}
        brought = {(vote.rater, vote.case, vote.pair): vote for vote in votes}
        new = [vote for place, vote in brought.items() if _is_news(vote, there.get(place))]
        self.enrol(dict.fromkeys(vote.rater for vote in votes))
        self._write(new)
        return len(new)

    def _write(self, votes: Sequence[Vote]) -> None:
        rows = [(vote.rater, vote.at or time.time(), vote.case, vote.pair, vote.choice) for vote in votes]
        with self._guard:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                if _drawn(self._connection) != self._drawn:  # nobody had voted, and others were opened meanwhile
                    self._connection.execute("ROLLBACK")
                    raise StoppedError(
                        f"{self.path} is for other ballots now.", reason="ballots", hint="Start smile vote again."
                    )
                self._connection.executemany(
                    'INSERT INTO votes (rater, at, "case", pair, choice) VALUES (?, ?, ?, ?, ?)', rows
                )
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                message = f"{self.path}: the vote could not be written: {error}."
                raise StoppedError(message, reason="disk", hint="Make room on the disk, then vote again.") from None

    def cast_so_far(self, rater: str | None = None) -> list[Vote]:
        """As they stand; of one rater, or of all."""
        with self._guard:
            votes = [Vote(*row) for row in self._connection.execute(LAST)]
        return [vote for vote in votes if rater is None or vote.rater == rater]

    def close(self) -> None:
        with self._guard:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_news(vote: Vote, standing: Vote | None) -> bool:
    if standing is None:
        return True
    return vote.choice != standing.choice and (not vote.at or vote.at > standing.at)


def keep_voted(votes: Path, drawn: str) -> None:
    """Raises `UsageError` when `votes` belongs to ballots of another draw than `drawn`: a page may be open on them, and
    without their ballots and their key nobody could count what was voted."""
    if not votes.is_file() or not votes.stat().st_size:
        return
    there = read_votes(votes)
    if there.drawn != drawn:
        held = f"{len(there.votes):,} votes" if there.votes else "no vote yet, but a voting page was opened,"
        raise UsageError(
            f"{votes} holds {held} on ballots of another draw: they and their key are not replaced.",
            hint="Name another place (-o), or move the votes away with their ballots and key once nobody votes.",
        )


def _prepare(connection: sqlite3.Connection, path: Path, drawn: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('drawn', ?)", (drawn,))
        connection.execute(f"PRAGMA user_version = {VERSION}")
    elif connection.execute("SELECT count(*) FROM votes").fetchone() == (0,):  # nobody voted on those before
        connection.execute("UPDATE meta SET value = ? WHERE name = 'drawn'", (drawn,))
    connection.execute("COMMIT")
    if _drawn(connection) != drawn:
        raise UsageError(
            f"{path} holds votes on other ballots.", hint="Name another --votes, or the ballots they are for."
        )


def _drawn(connection: sqlite3.Connection) -> str:
    return str(connection.execute("SELECT value FROM meta WHERE name = 'drawn'").fetchone()[0])


def read_votes(path: Path) -> Cast:
    """What was cast so far, also while a server takes more. Errors: `SourceError`."""
    if not path.is_file():
        raise SourceError("there is no such file", file=str(path), hint="smile vote keeps votes as NAME.votes.sqlite3.")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=PATIENCE)) as connection:
            votes = tuple(Vote(*row) for row in connection.execute(LAST))
            changed = dict(connection.execute(CHANGED))
            raters = tuple(name for (name,) in connection.execute("SELECT name FROM raters ORDER BY name"))
            drawn = _drawn(connection)
    except sqlite3.Error as error:
        raise SourceError(f"holds no votes: {error}", file=str(path), hint="Name what smile vote wrote.") from None
    return Cast(drawn, raters, votes, changed)
