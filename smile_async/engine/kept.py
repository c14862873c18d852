"""Replies as they were kept, for results that lie in the reply itself: large ones need not be kept twice."""

import sqlite3
from collections.abc import Iterator


def accepted_items(connection: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
    """The attempt that brought each accepted row's reply, and the row's item, in the source's order."""
    rows = connection.execute(
        """SELECT o.attempt, r.item FROM rows r CROSS JOIN outcomes o ON o.ordinal = r.ordinal
           WHERE o.state = 'accepted' ORDER BY r.ordinal"""
    )
    for attempt, item in rows:  # not `yield from`: it would close the cursor, perhaps too late
        yield attempt, bytes(item)


def asked_items(connection: sqlite3.Connection) -> Iterator[bytes]:
    """The items of all rows that could be read, whatever became of them, in the source's order."""
    for (item,) in connection.execute("SELECT item FROM rows WHERE item IS NOT NULL ORDER BY ordinal"):
        yield bytes(item)


def count_asked(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM rows WHERE item IS NOT NULL").fetchone()[0])


def reply_text(connection: sqlite3.Connection, attempt: int) -> str:
    """The text of a reply that is there."""
    found = connection.execute("SELECT text FROM replies WHERE attempt = ?", (attempt,)).fetchone()
    return str(found[0])
