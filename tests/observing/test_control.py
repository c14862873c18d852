"""Steering a live run: what may be asked, by whom, and what is said where nobody can be asked."""

import asyncio
import contextlib
import json
import socket
import stat
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from filelock import FileLock

from smile_async.engine import account, events, schema
from smile_async.engine.lock import LOCK
from smile_async.engine.switch import StopSwitch
from smile_async.errors import NotLiveError, RunNotFoundError, UsageError
from smile_async.observing.control import FILE, ask_run
from smile_async.observing.desk import LONGEST, Asked, carry_out, controlled
from smile_async.settings import Limits
from smile_async.testing import ScriptedProvider, replying
from tests.engine.asking import ask_all, asking, rows

GOOD = replying("good")
PATIENT = 30.0  # seconds


def good(latency: float = 0.1) -> ScriptedProvider:
    return ScriptedProvider(lambda _request, _number: GOOD, latency=latency)


async def steering(folder: Path, steps: Callable[[Path, ScriptedProvider], None]) -> ScriptedProvider:
    """A run in real time that `steps` steers from a thread, and that is drained when they are done."""
    stop, provider, begun = StopSwitch(), good(), asyncio.Event()
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(controlled(folder, stop))

        def hear(event: events.Event) -> None:
            desk(event)
            if isinstance(event, events.RowAccepted):
                begun.set()

        running = asyncio.ensure_future(
            asking(folder, rows(100_000), provider, stop=stop, listener=hear, limits=Limits(concurrency=4))
        )
        await begun.wait()
        try:
            await asyncio.to_thread(steps, folder, provider)
        finally:
            stop.abort()
            await running
    return provider


def steered(folder: Path, steps: Callable[[Path, ScriptedProvider], None]) -> ScriptedProvider:
    return asyncio.run(steering(folder, steps))


def in_flight(folder: Path) -> int:
    return int(ask_run(folder, "status")["run"]["in_flight"])


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENT
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)  # the run goes on in another thread


def test_paused_nothing_starts_and_then_it_goes_on(tmp_path: Path) -> None:
    def steps(folder: Path, provider: ScriptedProvider) -> None:
        assert ask_run(folder, "pause")["run"]["paused"] is True
        until(lambda: in_flight(folder) == 0)
        asked = len(provider.asked)
        assert in_flight(folder) == 0
        assert len(provider.asked) == asked
        assert ask_run(folder, "resume")["run"]["paused"] is False
        until(lambda: len(provider.asked) > asked)

    steered(tmp_path, steps)


def test_another_concurrency_is_kept_with_its_reason(tmp_path: Path) -> None:
    def steps(folder: Path, provider: ScriptedProvider) -> None:
        until(lambda: provider.most_in_flight == 4)
        assert ask_run(folder, "concurrency", 9)["most"] == 9
        until(lambda: provider.most_in_flight == 9)
        assert ask_run(folder, "concurrency", 8)["run"]["concurrency"] == 8
        until(lambda: len(account_changes(folder)) == 2)

    assert steered(tmp_path, steps).most_in_flight == 9
    told = [(change.what, change.before, change.after, change.reason) for change in account_changes(tmp_path)]
    assert told == [("in-flight", 4.0, 9.0, "told to"), ("in-flight", 9.0, 8.0, "told to")]


def account_changes(folder: Path) -> list[account.LimitChange]:
    with schema.reading(folder) as reader:
        return account.limit_changes(reader)


def test_who_has_not_the_secret_is_refused_and_learns_nothing(tmp_path: Path) -> None:
    def steps(folder: Path, _provider: ScriptedProvider) -> None:
        assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
        port = json.loads((folder / FILE).read_bytes())["port"]
        for line in (
            b'{"secret":"guessed","do":"pause"}\n', b'{"do":"pause"}\n', b"[]\n", b"not json\n", b"\xff\n", b"\n",
        ):  # fmt: skip
            answer = exchange(port, line)
            assert answer["ok"] is False
            assert set(answer) == {"ok", "error"}
        assert ask_run(folder, "status")["run"]["paused"] is False

    steered(tmp_path, steps)


def exchange(port: int, line: bytes) -> dict[str, Any]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(line)
        with connection.makefile("rb") as stream:
            return dict(json.loads(stream.readline()))


def test_a_line_without_end_is_cut_off_and_harms_nobody(tmp_path: Path) -> None:
    def steps(folder: Path, _provider: ScriptedProvider) -> None:
        port = json.loads((folder / FILE).read_bytes())["port"]
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        with connection, contextlib.suppress(ConnectionError):  # it may be gone before all was sent
            connection.sendall(b"x" * (3 * LONGEST))
            assert connection.recv(100) == b""
        assert ask_run(folder, "status")["ok"]

    steered(tmp_path, steps)


def test_when_the_run_is_over_its_note_is_gone_and_nobody_is_asked(tmp_path: Path) -> None:
    def steps(folder: Path, _provider: ScriptedProvider) -> None:
        assert ask_run(folder, "status")["ok"]

    steered(tmp_path, steps)
    assert not (tmp_path / FILE).exists()
    with pytest.raises(NotLiveError, match="no process is at work") as told:
        ask_run(tmp_path, "pause")
    assert "smile resume" in str(told.value)


def test_the_note_of_a_killed_run_misleads_nobody(tmp_path: Path) -> None:
    ask_all(tmp_path, rows(2), good())
    (tmp_path / FILE).write_bytes(orjson.dumps({"port": 9, "secret": "old", "machine": "there"}))
    with pytest.raises(NotLiveError, match="no process is at work"):
        ask_run(tmp_path, "pause")


def test_a_run_that_takes_no_orders_is_told_apart(tmp_path: Path) -> None:
    ask_all(tmp_path, rows(2), good())
    with FileLock(tmp_path / LOCK):
        with pytest.raises(NotLiveError, match="takes no orders"):
            ask_run(tmp_path, "pause")
        (tmp_path / FILE).write_bytes(orjson.dumps({"port": closed_port(), "secret": "old", "machine": "another"}))
        with pytest.raises(NotLiveError, match="runs on another: ask there"):
            ask_run(tmp_path, "pause")


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_where_no_run_is_there_is_none_to_steer(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError):
        ask_run(tmp_path / "absent", "pause")


def test_a_second_process_that_is_refused_the_run_leaves_the_note_alone(tmp_path: Path) -> None:
    def steps(folder: Path, _provider: ScriptedProvider) -> None:
        async def refused() -> None:
            async with controlled(folder, StopSwitch()):
                pass  # no RunStarted ever came

        asyncio.run(refused())
        assert ask_run(folder, "status")["ok"]

    steered(tmp_path, steps)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (Asked("dance"), "is none of"),
        (Asked("concurrency"), "a number from 1"),
        (Asked("concurrency", 0), "a number from 1"),
    ],
)
def test_what_cannot_be_done_is_refused(asked: Asked, error: str) -> None:
    answer = carry_out(asked, StopSwitch(), lambda most: most)
    assert answer["ok"] is False
    assert error in answer["error"]


def test_more_than_files_may_be_open_is_cut_and_said() -> None:
    assert carry_out(Asked("concurrency", 5000), StopSwitch(), lambda _most: 960) == {"ok": True, "most": 960}


def test_a_refusal_reaches_who_asked(tmp_path: Path) -> None:
    def steps(folder: Path, _provider: ScriptedProvider) -> None:
        with pytest.raises(UsageError, match="is none of"):
            ask_run(folder, "dance")

    steered(tmp_path, steps)
