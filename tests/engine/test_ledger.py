"""The ledger on real SQLite, committing on the virtual loop and in its own thread."""

import asyncio
import sqlite3
import stat
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from smile_async.engine import account, schema
from smile_async.engine.events import Event, RowAccepted
from smile_async.engine.ledger import GATHER, RESERVE, Batch, Ledger, Row, gathering
from smile_async.errors import RunInUseError, RunMismatchError, RunNotFoundError, SmileError, StoppedError
from smile_async.testing import run_virtual
from tests.engine.asking import query, until

IDENTITY = {"task": "t", "model": "m"}


def row(ordinal: int) -> tuple[str, Row]:
    return ("rows", (ordinal, f"id-{ordinal}", "", ordinal, b"item"))


def reply(attempt: int, text: str = "text") -> list[tuple[str, Row]]:
    return [
        ("attempts", (attempt, attempt, 0.0, 1.0, 1, 0, "accepted", None, 10, 20, 0.5, "", "here")),
        ("replies", (attempt, attempt, text, "stop", None, "m", None)),
        ("outcomes", (attempt, "accepted", "", attempt, "")),
        ("results", (attempt, b"value")),
    ]


def told(attempt: int) -> RowAccepted:
    return RowAccepted(f"id-{attempt}", attempt, (), None, 0.5)


def open_here(folder: Path, *, threaded: bool = False) -> Ledger:
    return Ledger.open(folder, IDENTITY, threaded=threaded)


def listen(ledger: Ledger) -> tuple[list[Event], list[str]]:
    happened: list[Event] = []
    trouble: list[str] = []

    def on_commit(batch: Batch) -> None:
        happened.extend(batch.events)

    ledger.listen(on_commit, trouble.append)
    return happened, trouble


def run_both(main: Coroutine[Any, Any, None], *, threaded: bool) -> None:
    if threaded:
        asyncio.run(main)
    else:
        run_virtual(main)


# Commits --------------------------------------------------------------------------------------------------------------


def test_what_is_written_within_the_gathering_time_is_one_commit(tmp_path: Path) -> None:
    async def main() -> None:
        ledger = open_here(tmp_path)
        commits: list[str] = []
        ledger.connection.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
        for attempt in range(1, 101):
            ledger.write(reply(attempt), landed=(attempt, None))
        await asyncio.sleep(GATHER * 1.5)
        assert len(commits) == 1
        assert query(tmp_path, "SELECT count(*) FROM replies") == [(100,)]
        await ledger.close()

    run_virtual(main())


@pytest.mark.parametrize("threaded", [False, True])
def test_events_go_out_after_their_commit_and_never_before(tmp_path: Path, *, threaded: bool) -> None:
    async def main() -> None:
        ledger = open_here(tmp_path, threaded=threaded)
        seen_at_the_time: list[int] = []

        def on_commit(batch: Batch) -> None:
            seen_at_the_time.append(query(tmp_path, "SELECT count(*) FROM outcomes")[0][0] - len(batch.events))

        ledger.listen(on_commit, lambda _message: None)
        ledger.write(reply(1), landed=(1, None), events=[told(1)])
        ledger.write(reply(2), landed=(2, None), events=[told(2)])
        assert seen_at_the_time == []
        await ledger.flush()
        assert min(seen_at_the_time) >= 0  # as many outcomes are on the disk as are told
        await ledger.close()

    run_both(main(), threaded=threaded)


@pytest.mark.parametrize("threaded", [False, True])
def test_flush_waits_for_a_commit_that_is_already_under_way(tmp_path: Path, *, threaded: bool) -> None:
    """Rows too, which are no replies: the next reader must see them."""

    async def main() -> None:
        ledger = open_here(tmp_path, threaded=threaded)
        for ordinal in range(200):
            ledger.write([row(ordinal)])
            if ordinal % 3 == 0:
                await asyncio.sleep(0)
            await ledger.flush()
            assert query(tmp_path, "SELECT max(ordinal) FROM rows") == [(ordinal,)]
        await ledger.close()

    run_both(main(), threaded=threaded)


def test_a_commit_of_many_rows_of_every_table_holds_them_all(tmp_path: Path) -> None:
    """Chunks of 256, 64, 16, 4 and 1 rows a statement: 341 = 256 + 64 + 16 + 4 + 1."""

    async def main() -> None:
        ledger = open_here(tmp_path)
        for attempt in range(341):
            ledger.write([row(attempt), *reply(attempt), ("flights", (attempt, attempt, 0.0, 0.0, "here"))])
        ledger.write(meta=("note", {"a": 1}))
        for attempt in range(340):
            ledger.write(landed=(attempt, None))
        await ledger.close()

    run_virtual(main())
    for table in ("rows", "attempts", "replies", "outcomes", "results"):
        assert query(tmp_path, f"SELECT count(*) FROM {table}") == [(341,)]
    assert query(tmp_path, "SELECT attempt FROM flights") == [(340,)]
    with closing(schema.open_reader(tmp_path)) as reader:
        assert account.read_meta(reader, "note") == {"a": 1}
        assert account.read_meta(reader, "nothing") is None


@pytest.mark.parametrize(
    ("answers_take", "commits_take", "seconds"),
    [
        (0.0, 0.0, 0.01),  # nothing is known yet
        (0.1, 0.002, 0.01),
        (2.0, 0.002, 0.04),  # a fiftieth of an answer's time
        (30.0, 0.002, 0.1),
        (0.1, 0.04, 0.04),  # a busy machine: as long as a commit
        (0.1, 5.0, 0.1),  # a disk that hangs now and then
    ],
)
def test_a_commit_waits_for_company_as_long_as_answers_and_commits_allow(
    answers_take: float, commits_take: float, seconds: float
) -> None:
    assert gathering(answers_take, commits_take) == pytest.approx(seconds)


def test_a_row_once_read_is_never_written_over(tmp_path: Path) -> None:
    async def main() -> None:
        ledger = open_here(tmp_path)
        _, trouble = listen(ledger)
        ledger.write([row(0)])
        await ledger.flush()
        ledger.write([("rows", (0, "id-1", "", 1, b"another"))])
        await ledger.flush()
        await asyncio.sleep(0)
        assert "UNIQUE" in trouble[0]
        await ledger.close()

    run_virtual(main())
    assert query(tmp_path, "SELECT ordinal, item FROM rows") == [(0, b"item")]


def test_text_that_utf8_cannot_hold_is_kept_as_near_as_can_be(tmp_path: Path) -> None:
    async def main() -> None:
        ledger = open_here(tmp_path, threaded=True)
        ledger.write(reply(1, "好\ud83d"), landed=(1, None))
        ledger.write(reply(2, "好"), landed=(2, None))
        await ledger.close()

    asyncio.run(main())
    assert query(tmp_path, "SELECT text FROM replies") == [("好?",), ("好",)]


# Opening --------------------------------------------------------------------------------------------------------------


def test_another_identity_is_refused_with_what_differs(tmp_path: Path) -> None:
    async def main() -> None:
        await Ledger.open(tmp_path, {"model": "a", "temperature": 1.0, "same": [1]}, threaded=False).close()
        with pytest.raises(RunMismatchError) as refused:
            Ledger.open(tmp_path, {"model": "b", "top_p": 0.5, "same": [1]}, threaded=False)
        lines = [line.strip() for line in refused.value.message.splitlines()[1:]]
        assert lines == ['model: was "a", now "b"', "temperature: was 1.0, now null", "top_p: was null, now 0.5"]
        await Ledger.open(tmp_path, {"same": (1,), "temperature": 1.0, "model": "a"}, threaded=False).close()

    run_virtual(main())


def test_a_second_opener_is_told_that_the_run_is_in_use_and_may_have_it_afterwards(tmp_path: Path) -> None:
    async def main() -> None:
        first = open_here(tmp_path)
        with pytest.raises(RunInUseError, match="in use"):
            open_here(tmp_path)
        await first.close()
        await open_here(tmp_path).close()

    run_virtual(main())


def test_a_refused_opening_gives_the_run_free(tmp_path: Path) -> None:
    async def main() -> None:
        await open_here(tmp_path).close()
        with pytest.raises(RunMismatchError):
            Ledger.open(tmp_path, {"task": "other"}, threaded=False)
        await open_here(tmp_path).close()

    run_virtual(main())


def whole_ledger(folder: Path) -> bytes:
    async def main() -> None:
        ledger = open_here(folder)
        for attempt in range(100):
            ledger.write([row(attempt), *reply(attempt, "text" * 500)])
        await ledger.close()

    run_virtual(main())
    return (folder / schema.DATABASE).read_bytes()


@pytest.mark.parametrize("damage", ["cut in half", "cut to nothing", "cut in a page", "garbage", "garbage head"])
def test_a_damaged_ledger_is_a_clear_error_and_is_left_as_it_is(tmp_path: Path, damage: str) -> None:
    whole = whole_ledger(tmp_path)
    path = tmp_path / schema.DATABASE
    path.write_bytes(
        {
            "cut in half": whole[: len(whole) // 2 // schema.PAGE * schema.PAGE],
            "cut to nothing": b"",
            "cut in a page": whole[:5_000],
            "garbage": b"garbage" * 1_000,
            "garbage head": b"x" * 100 + whole[100:],
        }[damage]
    )
    before = path.read_bytes()

    async def main() -> None:
        with pytest.raises(SmileError, match=r"ledger\.sqlite3: the ledger cannot be used") as error:
            open_here(tmp_path)
        assert "Nothing was changed" in error.value.hint

    run_virtual(main())
    assert path.read_bytes() == before
    with pytest.raises(SmileError, match="the ledger cannot be used"):
        schema.open_reader(tmp_path)


def test_another_versions_ledger_is_named_as_such(tmp_path: Path) -> None:
    whole_ledger(tmp_path)
    with closing(sqlite3.connect(tmp_path / schema.DATABASE)) as connection, connection:
        connection.execute("UPDATE meta SET value='99' WHERE key='schema'")

    async def main() -> None:
        with pytest.raises(RunNotFoundError, match=f"ledger schema 99, this one reads {schema.SCHEMA_VERSION}"):
            open_here(tmp_path)

    run_virtual(main())


def test_a_folder_without_a_ledger_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="is not a run"):
        schema.open_reader(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def main() -> None:
        with pytest.raises(RunNotFoundError, match="file: the run folder cannot be made"):
            open_here(tmp_path / "file")

    run_virtual(main())


@pytest.mark.parametrize("made_before", [False, True])
def test_the_folder_and_its_files_are_the_owners_alone(tmp_path: Path, *, made_before: bool) -> None:
    folder = tmp_path / "run"
    if made_before:
        folder.mkdir(mode=0o755)

    async def main() -> None:
        ledger = open_here(folder)
        ledger.write([row(0)])
        await ledger.flush()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert {"ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm", "lock", RESERVE} == set(modes)
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        await ledger.close()
        assert not (folder / RESERVE).exists()

    run_virtual(main())


def test_flights_that_a_crash_took_are_noted_as_unknown_and_perhaps_billed(tmp_path: Path) -> None:
    async def main() -> None:
        ledger = open_here(tmp_path)
        ledger.write([row(0), ("flights", (1, 0, 5.0, 0.25, "here"))])
        ledger.write([row(1), ("flights", (2, 1, 5.0, 0.0, "here")), *reply(2)], landed=(2, None))
        await ledger.close()
        await open_here(tmp_path).close()

    run_virtual(main())
    assert query(tmp_path, "SELECT attempt, verdict, paid, charged FROM attempts ORDER BY attempt") == [
        (1, "unknown", 0, 0),
        (2, "accepted", 1, 0),
    ]
    assert query(tmp_path, "SELECT count(*) FROM flights") == [(0,)]


# A full disk ----------------------------------------------------------------------------------------------------------


def set_pages(ledger: Ledger, more: int) -> None:
    """Let the database grow by so many pages from here."""
    (pages,) = ledger.connection.execute("PRAGMA page_count").fetchone()
    ledger.connection.execute(f"PRAGMA max_page_count={pages + more}")


def test_when_the_disk_is_full_the_reserve_is_given_up_and_trouble_told(tmp_path: Path) -> None:
    async def main() -> None:
        ledger = open_here(tmp_path)
        happened, trouble = listen(ledger)
        assert (tmp_path / RESERVE).stat().st_size == 2_000_000 + 64 * 32_768
        set_pages(ledger, 0)
        ledger.write(reply(1, "text" * 10_000), landed=(1, None), events=[told(1)])
        await ledger.flush()
        await asyncio.sleep(0)
        assert not (tmp_path / RESERVE).exists()
        assert trouble
        assert "full" in trouble[0]
        assert happened == []
        set_pages(ledger, 100)
        ledger.write(reply(2), landed=(2, None), events=[told(2)])
        await ledger.flush()
        await asyncio.sleep(1)
        assert happened == [told(1), told(2)]
        await ledger.close()

    run_virtual(main())
    assert query(tmp_path, "SELECT attempt FROM replies ORDER BY attempt") == [(1,), (2,)]


@pytest.mark.parametrize("threaded", [False, True])
def test_nothing_received_is_lost_once_the_disk_has_room_at_close(tmp_path: Path, *, threaded: bool) -> None:
    async def main() -> None:
        ledger = open_here(tmp_path, threaded=threaded)
        happened, trouble = listen(ledger)
        set_pages(ledger, 0)
        for attempt in range(1, 6):
            ledger.write(reply(attempt, "text" * 10_000), landed=(attempt, None), events=[told(attempt)])
            await ledger.flush()
        await until(lambda: bool(trouble))
        set_pages(ledger, 1_000)
        await ledger.close()
        await asyncio.sleep(0)
        assert happened == [told(attempt) for attempt in range(1, 6)]

    run_both(main(), threaded=threaded)
    assert query(tmp_path, "SELECT count(*) FROM replies") == [(5,)]


@pytest.mark.parametrize("threaded", [False, True])
def test_closing_on_a_disk_that_stays_full_says_how_much_was_not_saved(tmp_path: Path, *, threaded: bool) -> None:
    async def main() -> None:
        ledger = open_here(tmp_path, threaded=threaded)
        set_pages(ledger, 0)
        for attempt in (1, 2):
            ledger.write(reply(attempt, "text" * 10_000), landed=(attempt, None))
        with pytest.raises(StoppedError, match="2 replies could not be saved") as stopped:
            await ledger.close()
        assert stopped.value.reason == "disk"
        await open_here(tmp_path).close()  # and the run is free

    run_both(main(), threaded=threaded)


def test_a_disk_without_room_for_the_replies_in_flight_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)

    async def main() -> None:
        with pytest.raises(StoppedError, match="4 MB free for the replies in flight") as stopped:
            open_here(tmp_path)
        assert stopped.value.reason == "disk"
        monkeypatch.undo()
        await open_here(tmp_path).close()

    run_virtual(main())
    assert not (tmp_path / RESERVE).exists()


def test_damage_that_shows_only_while_reading_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    whole_ledger(tmp_path)
    path = tmp_path / schema.DATABASE
    whole = path.read_bytes()
    path.write_bytes(whole[: 2 * schema.PAGE] + b"\xff" * (len(whole) - 2 * schema.PAGE))

    def read() -> None:
        with schema.reading(tmp_path) as reader:
            list(account.result_rows(reader))
            account.read_counts(reader)

    with pytest.raises(SmileError, match="the ledger cannot be used"):
        read()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (sqlite3.SQLITE_FULL, "the disk is full"),
        (sqlite3.SQLITE_BUSY, "another program holds the ledger"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "another program holds the ledger"),
        (sqlite3.SQLITE_CORRUPT, "the ledger cannot be used"),
    ],
)
def test_what_stands_in_the_way_of_reading_is_told_apart(tmp_path: Path, code: int, message: str) -> None:
    error = sqlite3.OperationalError("told so")
    error.sqlite_errorcode = code
    with pytest.raises(SmileError, match=f"{message}: told so"), schema.legible(tmp_path):
        raise error


def test_a_mistake_of_ours_is_not_taken_for_damage(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.ProgrammingError), schema.legible(tmp_path):
        raise sqlite3.ProgrammingError("closed")


def test_an_older_ledger_is_brought_up_to_date_whoever_opens_it_and_loses_nothing(tmp_path: Path) -> None:
    whole_ledger(tmp_path)
    with closing(sqlite3.connect(tmp_path / schema.DATABASE)) as connection, connection:
        before = connection.execute("SELECT attempt, verdict, cost_usd FROM attempts").fetchall()
        for table in ("flights", "attempts"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN endpoint")
        for table in ("changes", "amended", "batches", "batched"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema'")
    with closing(schema.open_reader(tmp_path)) as reader:
        assert account.limit_changes(reader) == []
        assert account.read_remarks(reader).amended == {}
        assert reader.execute("SELECT attempt, verdict, cost_usd FROM attempts").fetchall() == before
        assert set(account.read_endpoints(reader)) == {""}
