"""The wall clock steps by hours, during a run and between its parts: nothing hangs, no limit breaks, books stay right.

By libfaketime, which is put under the process and reads the step from a file. The monotonic clock stays true, as it
does on a real machine whose clock is set.
"""

import signal
import time
from pathlib import Path

import pytest

from tests.e2e.processes import in_ledger, read_jsonl, simulator, smile, started, until
from tests.e2e.questions import questions, write_jsonl
from tests.provider.debian import missing

pytestmark = pytest.mark.e2e

ROWS = 240
HOUR = 3_600  # seconds
RPM = 1_200


class Clock:
    """The wall clock of the processes that get `env`."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            missing("libfaketime", "libfaketime")
        self._file = folder / "clock"
        self.env = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.step(0)

    def step(self, seconds: int) -> None:
        """So far from the true time."""
        self._file.write_text(f"{seconds:+d}s\n")


def _is_whole(run: Path) -> None:
    assert [line["questionID"] for line in read_jsonl(run / "corpus.jsonl")] == [
        row["questionID"] for row in questions(ROWS)
    ]


def test_steps_during_a_run_neither_hold_it_up_nor_break_its_limits(tmp_path: Path) -> None:
    clock, source, run = Clock(tmp_path), write_jsonl(tmp_path / "qa.jsonl", questions(ROWS)), tmp_path / "run"
    with simulator("--latency", "base=0.05", "--limit", f"requests={RPM}") as server:
        command = ("generate", str(source), str(run), *server.where, "--rpm", str(RPM), "--json")
        with started(*command, env=clock.env) as process:
            for served, step in ((60, HOUR), (120, -2 * HOUR)):
                until(lambda served=served: server.counted("served") >= served)  # type: ignore[misc]
                clock.step(step)
                time.sleep(1.5)  # until libfaketime has read it
                status = smile("status", str(run), "--json")
                assert status.code == 0, status.err
                assert 0 <= status.told["requests_per_minute"] <= 1.15 * RPM, "the pace, and what is caught up"
            ended = process.finish()
        stats = server.settled()
    assert ended.code == 0, ended.err
    assert stats["requests"] == stats["served"]["completions"] == ROWS, "nothing was refused"
    assert ROWS / (RPM / 60) * 0.8 < stats["seconds"] < 40, "it kept its pace"
    now = time.time()
    [(ahead, behind)] = in_ledger(
        run,
        f"SELECT sum(sent_at > {now} + 0.9 * {HOUR}), sum(sent_at < {now} - 1.9 * {HOUR}) FROM attempts",
    )
    assert min(ahead, behind) > 0, "both steps were seen"
    _is_whole(run)


@pytest.mark.parametrize("steps", [(0, -HOUR), (0, HOUR), (HOUR, 0, -HOUR)])
def test_a_run_goes_on_at_another_time_of_day(steps: tuple[int, ...], tmp_path: Path) -> None:
    clock, source, run = Clock(tmp_path), write_jsonl(tmp_path / "qa.jsonl", questions(ROWS)), tmp_path / "run"
    with simulator("--latency", "base=0.05", "--limit", f"requests={RPM}") as server:
        command = ("generate", str(source), str(run), *server.where, "--rpm", str(RPM), "--json")
        for part, step in enumerate(steps[:-1], start=1):
            clock.step(step)
            with started(*command, env=clock.env) as process:
                until(lambda part=part: server.counted("served") >= ROWS * part // len(steps))  # type: ignore[misc]
                process.send(signal.SIGINT)
                assert process.finish().code == 130
        clock.step(steps[-1])
        ended = smile(*command, env=clock.env)
        stats = server.settled()
    assert ended.code == 0, ended.err
    assert ended.told["replies"] == stats["requests"] == ROWS, "nothing was refused or asked twice"
    _is_whole(run)
