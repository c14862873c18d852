"""Ctrl-C and SIGTERM, once and twice, with and without a terminal."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import SMILE, Simulated, clean_environment, read_jsonl, simulator, smile, started, until
from tests.e2e.questions import questions, write_jsonl

pytestmark = pytest.mark.e2e

ROWS, IN_FLIGHT = 600, 32
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def _command(tmp_path: Path, server: Simulated) -> list[str]:
    source = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS))
    return ["generate", str(source), str(tmp_path / "run"), *server.where, "--concurrency", str(IN_FLIGHT)]


def _ends_whole(tmp_path: Path, server: Simulated, *flags: str) -> dict[str, Any]:
    """Resume; the corpus then holds every row once. Returns the server's counts."""
    ended = smile("resume", str(tmp_path / "run"), "--json", *flags)
    assert ended.code == 0, ended.err
    assert ended.told["rows"]["accepted"] == ROWS
    assert [line["questionID"] for line in read_jsonl(tmp_path / "run" / "corpus.jsonl")] == [
        row["questionID"] for row in questions(ROWS)
    ]
    return server.settled()


@SIGNALS
def test_one_signal_lets_what_is_in_flight_come_home_and_nothing_is_asked_twice(
    tmp_path: Path, number: signal.Signals
) -> None:
    with simulator("--latency", "base=0.1") as server:
        with started(*_command(tmp_path, server), "--json") as process:
            until(lambda: server.counted("served") > 50)
            process.send(number)
            ended = process.finish()
        assert ended.code == 130
        assert "smile resume" in ended.err
        assert "Traceback" not in ended.err
        told = ended.told
        assert (told["state"], told["reason"], told["in_flight"]) == ("stopped", "interrupted", 0)
        drained = server.settled()
        # All that was asked was answered, and all answers were kept.
        assert drained["requests"] == drained["served"]["completions"] == told["replies"]
        stats = _ends_whole(tmp_path, server)
    assert stats["requests"] == ROWS
    assert {prompt["asked"] for prompt in stats["per_prompt"].values()} == {1}


@SIGNALS
def test_the_second_signal_stops_at_once_and_only_what_was_in_flight_is_asked_again(
    tmp_path: Path, number: signal.Signals
) -> None:
    with simulator("--latency", "base=0", "--fault", "hang=0.1", "--seed", "3") as server:
        with started(*_command(tmp_path, server), "--json") as process:
            until(lambda: server.counted("in_flight") == IN_FLIGHT)  # none of these will ever be answered
            process.send(number)
            with pytest.raises(subprocess.TimeoutExpired):
                process.child.wait(0.5)  # it waits for them
            process.send(number)
            ended = process.finish(timeout=10)
        stats = server.settled()
    assert ended.code == 130
    assert "Traceback" not in ended.err
    told = ended.told
    assert told["state"] == "stopped"
    assert told["perhaps_billed"] == IN_FLIGHT == stats["hangs"]
    assert told["replies"] == told["rows"]["accepted"] == stats["served"]["completions"]
    with simulator("--latency", "base=0") as server:
        stats = _ends_whole(tmp_path, server, "--base-url", server.base_url)
    assert stats["requests"] == ROWS - told["replies"]


class Terminal:
    """A terminal of our own, in which `smile` runs as a person would run it: keys go in, the screen comes out."""

    def __init__(self, arguments: list[str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.child = subprocess.Popen(
            [*SMILE, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=clean_environment(TERM="xterm-256color", COLUMNS=""),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (nothing but one system call)
        )
        os.close(theirs)
        self._seen: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65_536)
            except OSError:  # what Linux says when the last process has left the terminal
                return
            self._seen.append(data)

    @property
    def screen(self) -> str:
        return b"".join(self._seen).decode("utf-8", "replace")

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def finish(self) -> int:
        code = self.child.wait(30)
        self._reader.join(10)
        os.close(self._ours)
        return code


CTRL_C = b"\x03"


def test_in_a_terminal_the_display_lives_and_ctrl_c_drains(tmp_path: Path) -> None:
    with simulator("--latency", "base=0.1") as server:
        terminal = Terminal(_command(tmp_path, server))
        until(lambda: server.counted("served") > 150)
        until(lambda: "in flight" in terminal.screen)
        terminal.type(CTRL_C)
        code = terminal.finish()
        drained = server.settled()
        stats = _ends_whole(tmp_path, server)
    assert code == 130
    assert "Traceback" not in terminal.screen
    for told in ("accepted", " replies, ", "in flight", "waiting for", "stopped (interrupted)", "smile resume"):
        assert told in terminal.screen
    assert drained["requests"] == drained["served"]["completions"]
    assert stats["requests"] == ROWS


def test_in_a_terminal_each_limit_is_shown_what_binds_and_that_somebody_paused(tmp_path: Path) -> None:
    with simulator("--latency", "base=0.1") as server:
        terminal = Terminal([*_command(tmp_path, server), "--rpm", "900", "--tpm", "90000000"])
        until(lambda: server.counted("served") > 20)
        # 600 rows at 15 a second: the limit of requests is all that holds them up.
        until(lambda: "< binds" in terminal.screen)
        assert smile("control", str(tmp_path / "run"), "pause").code == 0
        until(lambda: "go on with: smile control " in terminal.screen)
        terminal.type(CTRL_C)
        code = terminal.finish()
    assert code == 130
    for told in ("requests a minute", "tokens a minute", "of 900", "of 90M", "paused"):
        assert told in terminal.screen


def test_in_a_terminal_the_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    with simulator("--latency", "base=0", "--fault", "hang=0.1", "--seed", "3") as server:
        terminal = Terminal(_command(tmp_path, server))
        until(lambda: server.counted("in_flight") == IN_FLIGHT)
        terminal.type(CTRL_C)
        until(lambda: "Ctrl-C again stops now" in terminal.screen)
        terminal.type(CTRL_C)
        code = terminal.finish()
    assert code == 130
    assert "Traceback" not in terminal.screen
    with simulator("--latency", "base=0") as server:
        _ends_whole(tmp_path, server, "--base-url", server.base_url)
