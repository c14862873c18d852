"""A run folder belongs to one process, and to one set of settings."""

import hashlib
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.processes import Finished, Simulated, in_ledger, simulator, smile, started, until
from tests.e2e.questions import questions, write_jsonl

pytestmark = pytest.mark.e2e

ROWS = 400


def _begun(tmp_path: Path, server: Simulated, *flags: str) -> tuple[str, ...]:
    source = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS))
    return ("generate", str(source), str(tmp_path / "run"), *server.where, *flags)


def test_a_second_process_is_turned_away_and_the_first_is_undisturbed(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    with simulator("--latency", "base=0.4") as server, ExitStack() as stack:
        command = _begun(tmp_path, server, "--concurrency", "8")  # it must outlast the start of the five others
        first = stack.enter_context(started(*command, "--json"))
        until(lambda: server.counted("served") > 10)
        others = (command, ("resume", run), ("retry", run), ("revalidate", run), ("status", run, "--json"))
        *turned_away, looking = [
            process.finish() for process in [stack.enter_context(started(*other)) for other in others]
        ]
        assert first.running
        ended = first.finish()
        stats = server.settled()
    for second in turned_away:
        assert second.code == 2
        assert "is in use: another process is working on this run" in second.err
        assert "Traceback" not in second.err
    assert looking.code == 0
    assert looking.told["state"] == "running"
    assert 0 < looking.told["in_flight"] <= 32
    assert ended.code == 0
    assert ended.told["rows"]["accepted"] == ROWS == stats["requests"]


def _fingerprint(run: Path) -> dict[str, str]:
    """All that a process could have changed: the files' contents, and the rows of the ledger."""
    tables = ("meta", "rows", "attempts", "replies", "outcomes", "results", "flights")
    held = {table: repr(in_ledger(run, f"SELECT * FROM {table}")) for table in tables}
    held |= {file.name: repr((file.read_bytes(), file.stat().st_mtime_ns)) for file in run.glob("*.jsonl")}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in held.items()}


DIFFERENCES = {
    ("--model", "another"): 'model: was "simulated", now "another"',
    ("--temperature", "0.5"): "temperature: was 1.0, now 0.5",
    ("--recipe", "smile-checked"): 'recipe: was "smile", now "smile-checked"',
}


def test_a_run_taken_up_with_another_setting_is_refused_with_the_difference_and_nothing_changes(tmp_path: Path) -> None:
    with simulator("--latency", "base=0") as server:
        command = _begun(tmp_path, server)
        assert smile(*command, "--limit", "20").code == 0
        before, asked = _fingerprint(tmp_path / "run"), server.counted("requests")
        refused = {flags: smile("resume", str(tmp_path / "run"), *flags) for flags in DIFFERENCES}
        again = smile(*command, "--model", "another", "--top-p", "0.9")
        assert server.counted("requests") == asked
    for flags, difference in DIFFERENCES.items():
        told = refused[flags]
        assert (told.code, "Traceback" in told.err) == (2, False), told.err
        assert "was started with other settings" in told.err
        assert difference in told.err
    assert again.code == 2
    assert 'model: was "simulated", now "another"' in again.err
    assert "top_p: was 1.0, now 0.9" in again.err, "several differences are listed together"
    assert _fingerprint(tmp_path / "run") == before


def test_other_limits_retries_and_addresses_are_fine(tmp_path: Path) -> None:
    with simulator("--latency", "base=0") as server:
        command = _begun(tmp_path, server)
        assert smile(*command, "--limit", "20").code == 0
        with simulator("--latency", "base=0") as other:
            moved = ("--base-url", other.base_url, "--concurrency", "7", "--rpm", "60000", "--max-attempts", "5")
            ended: Finished = smile(*command, *moved, "--timeout", "30", "--json")
            assert other.counted("requests") == ROWS - 20
            assert other.stats()["max_in_flight"] <= 7
    assert ended.code == 0, ended.err
    assert ended.told["rows"]["accepted"] == ROWS


def test_the_same_command_again_asks_nothing(tmp_path: Path) -> None:
    with simulator("--latency", "base=0") as server:
        command = _begun(tmp_path, server, "--json")
        first, corpus = smile(*command), (tmp_path / "run" / "corpus.jsonl")
        written = corpus.read_bytes()
        second = smile(*command)
        assert server.counted("requests") == ROWS
    assert (first.code, second.code) == (0, 0)
    for name in ("rows", "reasons", "attempts", "replies", "tokens", "state"):
        assert first.told[name] == second.told[name]
    assert corpus.read_bytes() == written
