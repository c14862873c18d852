"""The event log: whole lines, their owner's alone, and a disk that refuses costs lines, not the run."""

import asyncio
import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from smile_async.engine import events
from smile_async.errors import SettingsError
from smile_async.observing.event_log import FLUSH, EventLog, line_of
from smile_async.testing import run_virtual

READ = events.SourceRead(7)


def names(path: Path) -> list[str]:
    return [json.loads(line)["name"] for line in path.read_text("utf-8").splitlines()]


def test_a_line_holds_time_name_and_fields_and_no_infinity() -> None:
    told = json.loads(line_of(events.LimitChanged("a", "in-flight", math.inf, 8.0, "found"), 12.5))
    assert told == {
        "ts": 12.5, "name": "limit.changed", "endpoint": "a", "what": "in-flight", "before": None, "after": 8.0,
        "reason": "found",
    }  # fmt: skip


def test_lines_are_written_each_second_and_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    async def main() -> list[int]:
        seen = []
        with EventLog(path) as log:
            log(READ)
            seen.append(path.stat().st_size)
            await asyncio.sleep(FLUSH + 0.1)
            seen.append(len(names(path)))
            log(READ)
        return seen

    assert run_virtual(main()) == [0, 1]
    assert names(path) == ["source.read"] * 2


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.jsonl"):
        assert stat.S_IMODE((tmp_path / "events.jsonl").stat().st_mode) == 0o600


def test_after_a_line_that_a_kill_tore_the_next_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"ts":1.0,"name":"run.started"}\n{"ts":2.0,"na')

    async def main() -> None:
        with EventLog(path) as log:
            log(READ)

    run_virtual(main())
    lines = path.read_bytes().splitlines()
    assert lines[1] == b'{"ts":2.0,"na'
    assert json.loads(lines[2])["name"] == "source.read"
    assert len(lines) == 3


def test_a_disk_that_is_full_for_a_while_costs_lines_that_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, told, full = tmp_path / "events.jsonl", list[str](), True
    write = os.write

    def refusing(file: int, data: Any) -> int:
        if full and len(data) > 10:
            return write(file, data[:10])  # what there is room for
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(os, "write", refusing)

    async def main() -> None:
        nonlocal full
        with EventLog(path, told.append) as log:
            for _ in range(3):
                log(READ)
                log.flush()
            full = False
            log(READ)

    run_virtual(main())
    good = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["name"] for line in good] == ["events.lost", "source.read"]
    assert good[0]["lines"] == 3
    assert len(told) == 1
    assert "No space left" in told[0]


def test_a_file_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="absent"):
        EventLog(tmp_path / "absent" / "events.jsonl")
