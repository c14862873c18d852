"""`smile` and the simulated endpoint as processes of their own, and what they leave behind."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SMILE = (sys.executable, "-m", "smile_async.cli")
MODEL = "simulated"
PATIENT = 90.0  # seconds: how long a process may take before its test fails
STEP = 0.004  # seconds between two looks at a process


def clean_environment(**changes: str) -> dict[str, str]:
    """Ours without what would change a run: keys, addresses and proxies of whoever runs the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "AZURE_OPENAI_", "ANTHROPIC_", "SMILE_"))
        and not name.lower().endswith("_proxy")
    }
    return kept | {"PYTHONUTF8": "1", "COLUMNS": "200"} | changes


@dataclass(frozen=True, slots=True)
class Finished:
    """How a process ended; `code` is negative for a signal."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        """The last line on stdout, which `--json` promises to be the result."""
        return dict(json.loads(self.out.splitlines()[-1]))


class Process:
    """A `smile` that was started. What it prints goes to files, so that no pipe fills up and stops it."""

    def __init__(
        self, arguments: Sequence[str], *, env: Mapping[str, str] | None, cwd: Path | None, **how: Any
    ) -> None:
        self._out, self._err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115 (`close` does)
        self.child = subprocess.Popen(
            [*SMILE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            env=clean_environment(**(env or {})),
            cwd=cwd,
            **how,
        )

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    def send(self, number: int) -> None:
        self.child.send_signal(number)

    def finish(self, timeout: float = PATIENT) -> Finished:
        """Wait for the end and read what was printed. Raises `subprocess.TimeoutExpired`."""
        code = self.child.wait(timeout)
        return Finished(code, _read(self._out), _read(self._err))

    def close(self) -> None:
        """End it, if it has not ended."""
        self.child.kill()
        self.child.wait()
        self._out.close()
        self._err.close()


def _read(file: Any) -> str:
    file.seek(0)
    text: str = file.read().decode("utf-8", "replace")
    return text


@contextmanager
def started(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, **how: Any
) -> Iterator[Process]:
    """A `smile` that runs while the block does; killed at its end if it is still there."""
    process = Process(arguments, env=env, cwd=cwd, **how)
    try:
        yield process
    finally:
        process.close()


def smile(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, **how: Any) -> Finished:
    """Run `smile` to its end."""
    with started(*arguments, env=env, cwd=cwd, **how) as process:
        return process.finish()


def until(holds: Callable[[], bool], *, timeout: float = PATIENT) -> None:
    """Look until `holds`: another process is watched here, nothing of ours is waited for."""
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(STEP)


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulated endpoint that listens."""

    base_url: str
    child: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.base_url.rsplit(":", 1)[1].split("/")[0])

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/stats?per_prompt=1", timeout=30) as answer:
            return dict(json.loads(answer.read()))

    def counted(self, name: str) -> int:
        """One of the sums of `/stats`, without the long list."""
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/stats", timeout=30) as answer:
            found = json.loads(answer.read())
        return int(found["served"]["completions"] if name == "served" else found[name])

    def settled(self) -> dict[str, Any]:
        """The counts once nothing is under way: connections of a killed client are seen a moment later."""
        until(lambda: self.counted("pending") == 0)
        return self.stats()

    @property
    def where(self) -> tuple[str, ...]:
        return "--base-url", self.base_url, "--model", MODEL


@contextmanager
def simulator(*flags: str, port: int = 0, settings: Path | None = None) -> Iterator[Simulated]:
    """`smile simulate`, listening until the block ends."""
    given = [*flags, *(("--settings", str(settings)) if settings else ())]
    command = [*SMILE, "simulate", "--port", str(port), *given]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as child:
        assert child.stdout is not None
        try:
            line = child.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:"), line
            yield Simulated(line.split()[-1], child)
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)


def in_ledger(run: Path, statement: str) -> list[tuple[Any, ...]]:
    """What a query finds in a run's ledger, whoever may be writing to it."""
    with closing(sqlite3.connect(f"{(run / 'ledger.sqlite3').as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(statement).fetchall()


def replies_kept(run: Path) -> int:
    """Replies that reached the ledger; 0 while there is none."""
    if not (run / "ledger.sqlite3").exists():
        return 0
    return int(in_ledger(run, "SELECT count(*) FROM attempts WHERE paid")[0][0])


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
