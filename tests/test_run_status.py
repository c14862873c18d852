"""What is told of a run whose machine had its clock set back, and of one that starts while it is looked at."""

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from smile_async.engine import account, schema
from smile_async.engine.ledger import WIDTHS, Ledger
from smile_async.engine.lock import LOCK
from smile_async.run_folder import read_status
from smile_async.testing import run_virtual


def test_what_lies_in_the_future_is_no_rate_of_the_last_minute(tmp_path: Path) -> None:
    """Of four replies, sent at 900, 970, 980 and 4,600, two fall into the minute before 1,000."""

    async def main() -> None:
        ledger = Ledger.open(tmp_path, {}, threaded=False)
        rest = [""] * (WIDTHS["attempts"] - 11)
        for number, sent_at in enumerate((900.0, 970.0, 980.0, 4_600.0)):
            ledger.write([("attempts", (number, number, sent_at, 1.0, 1, 0, "accepted", None, 30, 20, 0.0, *rest))])
        await ledger.close()

    run_virtual(main())
    status = read_status(tmp_path, now=1_000.0)

    assert (status.requests_per_minute, status.tokens_per_minute) == (2.0, 100.0)


def test_the_rate_is_that_of_the_time_that_the_process_has_lived(tmp_path: Path) -> None:
    """Five replies in the 15 seconds since it began are 20 a minute; one of the process before is not of this one."""

    async def main() -> None:
        ledger = Ledger.open(tmp_path, {}, threaded=False)
        rest = [""] * (WIDTHS["attempts"] - 11)
        for number, sent_at in enumerate((970.0, 990.0, 991.0, 992.0, 993.0, 994.0)):
            ledger.write([("attempts", (number, number, sent_at, 1.0, 1, 0, "accepted", None, 30, 20, 0.0, *rest))])
        ledger.write(meta=("began", 985.0))
        await ledger.close()

    run_virtual(main())
    status = read_status(tmp_path, now=1_000.0)

    assert (status.requests_per_minute, status.tokens_per_minute) == (20.0, 1_000.0)
    assert read_status(tmp_path, now=984.0).requests_per_minute == 1.0, "its clock was set back: of the last minute one"


def test_a_run_that_starts_between_the_look_at_the_lock_and_the_counts_was_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request has left when the counts are read: it is in flight, not lost."""

    async def made() -> None:
        await Ledger.open(tmp_path, {}, threaded=False).close()

    run_virtual(made())
    read_account = account.read_account
    with ExitStack() as run:

        def started_meanwhile(reader: sqlite3.Connection) -> Any:
            run.enter_context(FileLock(tmp_path / LOCK))
            with closing(schema.open_writer(tmp_path)) as writer:
                writer.execute("INSERT INTO flights(attempt, ordinal, sent_at) VALUES(1, 0, 1.0)")
            return read_account(reader)

        monkeypatch.setattr(account, "read_account", started_meanwhile)
        status = read_status(tmp_path)

    assert (status.state, status.stopped_by) == ("running", "")
    assert (status.counts.in_flight, status.counts.perhaps_billed) == (1, 0)
