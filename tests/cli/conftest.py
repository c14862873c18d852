"""`smile` in this process, with a simulated endpoint that listens in a thread of it."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from smile_async.cli.app import main
from smile_async.simulate.server import SimulatorServer
from smile_async.simulate.settings import SimulatorSettings
from tests.e2e.questions import questions, write_jsonl

KEY = "sk-test-2718281828459045235360287471352662"
ROWS = 24


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        """What `--json` printed: stdout is that one line and nothing else."""
        [line] = self.out.splitlines()
        return dict(json.loads(line))


Smile = Callable[..., Ended]
Serve = Callable[..., SimulatorServer]


@pytest.fixture
def smile(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Smile:
    """Runs a command line, in an empty folder, with no settings but those of the test."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "AZURE_OPENAI_")):
            monkeypatch.delenv(name)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["smile", *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        assert KEY not in told.out + told.err
        return Ended(code, told.out, told.err)

    return run


@contextmanager
def _listening(settings: SimulatorSettings) -> Iterator[SimulatorServer]:
    server, ready, loop = SimulatorServer(settings), threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts simulated endpoints that answer at once; they end with the test."""
    with ExitStack() as stack:

        def start(**settings: Any) -> SimulatorServer:
            chosen = SimulatorSettings.model_validate({"latency": {"base": 0}} | settings)
            return stack.enter_context(_listening(chosen))

        yield start


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "qa.jsonl", questions(ROWS))


def at(server: SimulatorServer) -> tuple[str, ...]:
    return "--base-url", server.base_url, "--model", "simulated"
