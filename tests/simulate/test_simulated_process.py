"""`smile simulate` as a process of its own."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from smile_async.cli.app import main
from tests.simulate.raw_http import Wire, chat_bytes

SHARES = {"server-error": 0.03, "reset": 0.03, "cut-body": 0.03, "broken-json": 0.03, "rate-limited": 0.03}
FLAGS = [part for name, share in SHARES.items() for part in ("--fault", f"{name}={share}")]


@contextmanager
def simulator(*flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its base URL; ended by SIGTERM."""
    arguments = [sys.executable, "-m", "smile_async.cli", "simulate", "--port", "0", *flags]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:")
            yield process, line.split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)


async def soak(base_url: str, count: int, workers: int) -> tuple[Counter[str], dict[str, Any]]:
    """How each of `count` requests ended for its client, and the server's counts."""
    endings: Counter[str] = Counter()
    numbers = iter(range(count))

    async def work() -> None:
        while (ending := await on_one_connection()) != "done":
            endings[ending] += 1

    async def on_one_connection() -> str:
        """Ask on until the connection ends: how, or that nothing is left to ask."""
        async with Wire(base_url) as wire:
            for number in numbers:
                await wire.send(chat_bytes(f"问题{number}"))
                try:
                    endings[str((await wire.response()).status)] += 1
                except asyncio.IncompleteReadError as error:
                    return "cut" if error.partial else "closed before any byte"
                except ConnectionResetError:
                    return "reset"
        return "done"

    await asyncio.gather(*(work() for _ in range(workers)))
    async with Wire(base_url) as wire:
        return endings, (await wire.get("/stats")).json


@pytest.mark.e2e
def test_ten_thousand_requests_with_faults_end_for_the_client_as_the_server_counts_them() -> None:
    with simulator("--latency", "base=0.01", "--seed", "4", *FLAGS) as (process, base_url):
        endings, stats = asyncio.run(soak(base_url, 10_000, 100))
    assert sum(endings.values()) == stats["requests"] == stats["distinct_prompts"] == 10_000
    assert stats["resets"] == endings["reset"] == stats["by_fault"]["reset"]
    assert stats["by_fault"]["cut-body"] == endings["cut"]
    assert stats["by_status"] == {
        "200": endings["200"] + endings["cut"],
        "429": endings["429"],
        "500": endings["500"],
    }
    assert (stats["pending"], stats["in_flight"], stats["abandoned"]) == (0, 0, 0)
    for name, share in SHARES.items():
        # standard deviation of a share of 0.03 among 10,000: sqrt(0.03 * 0.97 / 10,000) = 0.0017
        assert stats["by_fault"][name] / 10_000 == pytest.approx(share, abs=5 * 0.0017)
    assert process.returncode == 0


@pytest.mark.e2e
def test_a_dialogue_file_answers_prompts_in_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [f'{{"id": {n}, "dialogue": [{{"role": "client", "content": "对话{n}"}}]}}' for n in range(3)]
    path.write_text("\n".join(rows), encoding="utf-8")

    async def ask(base_url: str) -> list[str]:
        async with Wire(base_url) as wire:
            return [(await wire.ask(prompt)).text[-3:] for prompt in ("甲", "乙", "甲", "丙")]

    with simulator("--dialogues", str(path), "--dialogues-by", "order", "--latency", "base=0") as (_, base_url):
        assert asyncio.run(ask(base_url)) == ["对话0", "对话1", "对话0", "对话2"]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--fault", "nonsense=0.1"], "nonsense"),
        (["--fault", "reset=2"], "faults.reset"),
        (["--limit", "requests=none"], "limits.requests"),
        (["--dialogues", "absent.jsonl"], "absent.jsonl"),
        (["--settings", "absent.json"], "absent.json"),
    ],
)
def test_a_flag_that_makes_no_sense_is_named_and_exits_with_2(
    flags: list[str], complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["smile", "simulate", *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.e2e
def test_settings_come_from_a_json_file_and_flags_win(tmp_path: Path) -> None:
    path = tmp_path / "simulator.json"
    path.write_text('{"faults": {"server-error": 1}, "latency": {"base": 0}, "seed": 5}', encoding="utf-8")

    async def statuses(base_url: str) -> int:
        async with Wire(base_url) as wire:
            return (await wire.ask("问")).status

    with simulator("--settings", str(path)) as (_, base_url):
        assert asyncio.run(statuses(base_url)) == 500
    with simulator("--settings", str(path), "--fault", "server-error=0") as (_, base_url):
        assert asyncio.run(statuses(base_url)) == 200
