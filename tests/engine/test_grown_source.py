"""A source that has grown since the run was done."""

import sqlite3
from contextlib import closing
from pathlib import Path

from smile_async.testing import ScriptedProvider, replying
from tests.engine.asking import ask_all, rows

GOOD = replying("good")


def test_a_run_that_was_done_is_not_done_when_the_disk_refuses_before_its_new_rows_are_read(tmp_path: Path) -> None:
    """What the ledger says of the source's end is then the word of the process before."""
    ask_all(tmp_path, rows(2), ScriptedProvider(lambda _request, _number: GOOD))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as ledger:  # a disk that takes no note any more
        ledger.execute("CREATE TRIGGER refuse BEFORE INSERT ON meta BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    report = ask_all(tmp_path, rows(4), ScriptedProvider(lambda _request, _number: GOOD))
    assert (report.state, report.reason, report.exit_code) == ("stopped", "disk", 4)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as ledger:
        ledger.execute("DROP TRIGGER refuse")
    report = ask_all(tmp_path, rows(4), ScriptedProvider(lambda _request, _number: GOOD))
    assert (report.state, report.counts.accepted) == ("done", 4)
