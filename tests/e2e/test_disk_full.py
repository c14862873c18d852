"""A run on a disk that fills up: it stops, says so, keeps all that it received, and goes on once there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import in_ledger, read_jsonl, replies_kept, simulator, smile
from tests.e2e.questions import questions, write_jsonl

pytestmark = pytest.mark.e2e

ROWS = 1_500  # some 18 MB of ledger and corpus
IN_FLIGHT = "64"  # room for their replies, 4 MB, is kept free; for the thousand that may be found it would be 35 MB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB in memory."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        assert not os.environ.get("CI"), f"CI must be able to mount: {mounted.stderr}"
        pytest.skip(f"mounting a small disk needs root: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_stops_the_run_which_loses_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS)), small_disk / "run"
    with simulator("--latency", "base=0.02") as server:
        command = ("generate", str(source), str(run), *server.where, "--concurrency", IN_FLIGHT, "--json")
        stopped = smile(*command)
        stats = server.settled()
        assert stopped.code == 4, stopped.err
        assert "full" in stopped.err
        assert "Traceback" not in stopped.err
        told = stopped.told
        assert (told["state"], told["reason"]) == ("stopped", "disk")
        assert 0 < stats["requests"] < ROWS
        # What was in flight when the disk refused found room in the reserve.
        assert stats["served"]["completions"] == replies_kept(run) == told["replies"]
        assert in_ledger(run, "SELECT count(*) FROM results") == [(told["rows"]["accepted"],)]

        still_full = smile("resume", str(run))
        assert still_full.code == 4
        assert "Traceback" not in still_full.err
        # There may be just room for a reserve, and then for a few more rows; what they bring is kept all the same.
        assert server.settled()["served"]["completions"] == replies_kept(run)

        subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
        ended = smile(*command)
        assert ended.code == 0, ended.err
        assert ended.told["rows"]["accepted"] == ROWS
        assert server.settled()["requests"] == ROWS, "nothing was asked twice"
    assert [line["questionID"] for line in read_jsonl(run / "corpus.jsonl")] == [
        row["questionID"] for row in questions(ROWS)
    ]
    assert not list(run.glob(".*"))
    assert not (run / "reserve").exists()


def test_on_a_disk_that_is_still_full_the_advice_is_to_make_room(tmp_path: Path, small_disk: Path) -> None:
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS)), small_disk / "run"
    with simulator("--latency", "base=0") as server:
        assert smile("generate", str(source), str(run), *server.where, "--concurrency", IN_FLIGHT).code == 4
        again = smile("resume", str(run))
    assert again.code == 4
    assert "space" in again.err
    assert "Restore it from a copy" not in again.err  # the ledger is sound


def test_too_small_a_disk_is_refused_before_anything_is_asked(tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(6_000_000))
    source = write_jsonl(tmp_path / "qa.jsonl", questions(10))
    with simulator() as server:
        ended = smile("generate", str(source), str(small_disk / "run"), *server.where)
        assert server.counted("requests") == 0
    assert ended.code == 4
    assert "less than" in ended.err
    assert "Free some space" in ended.err
