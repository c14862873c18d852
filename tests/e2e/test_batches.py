"""SIGKILL while rows are handed over and while results come home: nothing lost, nothing asked or paid twice."""

import json
import random
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Simulated, in_ledger, read_jsonl, replies_kept, simulator, smile, started, until
from tests.e2e.questions import questions, write_jsonl

pytestmark = pytest.mark.e2e


def listed(server: Simulated) -> list[dict[str, Any]]:
    """The server's batches, the newest first."""
    with urllib.request.urlopen(f"{server.base_url}/batches?limit=1000", timeout=30) as answer:
        return list(json.loads(answer.read())["data"])


def settings(folder: Path, **values: Any) -> Path:
    path = folder / "simulator.json"
    path.write_text(json.dumps({"latency": {"base": 0}} | values))
    return path


def table(run: Path, name: str) -> int:
    """Rows of a table of a run, which may not be there yet."""
    if not (run / "ledger.sqlite3").exists():
        return 0
    return int(in_ledger(run, f"SELECT count(*) FROM {name}")[0][0])


def each_answered_once(server: Simulated, rows: int) -> None:
    prompts = server.settled()["per_prompt"].values()
    assert [prompt["answered"] for prompt in prompts] == [1] * rows


@pytest.mark.parametrize("metadata", [True, False], ids=["by its nonce", "by its file"])
def test_killed_between_the_making_of_a_batch_and_the_answer_it_is_found_again(tmp_path: Path, metadata: bool) -> None:
    rows = 60
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(rows)), tmp_path / "run"
    slow = settings(tmp_path, batches={"answer_after": 30.0, "metadata": metadata})
    with simulator(settings=slow) as server:
        with started("batch", "submit", str(source), str(run), *server.where) as process:
            until(lambda: len(listed(server)) == 1)
            process.send(signal.SIGKILL)
            process.finish()
        assert in_ledger(run, "SELECT state, remote FROM batches") == [("prepared", "")]
        # Meanwhile nobody else asks its rows, though nobody knows whether the batch was made.
        assert smile("resume", str(run)).code == 4
        ended = smile("batch", "collect", str(run), "--json")
        assert ended.code == 0, ended.err
        assert "is at the server: batch_1" in ended.err
        assert len(listed(server)) == 1
        each_answered_once(server, rows)
    assert ended.told["rows"]["accepted"] == rows
    assert not list(run.glob("*batch*"))


def test_killed_at_any_moment_of_handing_over_each_row_is_in_one_batch(tmp_path: Path) -> None:
    rows, kills, chance = 3_000, 6, random.Random(8)
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(rows)), tmp_path / "run"
    with simulator(settings=settings(tmp_path, batches={"answer_after": 0.05, "duration": 3600.0})) as server:
        command = ("batch", "submit", str(source), str(run), *server.where, "--most-rows", "250")
        killed = 0
        for kill in range(kills):
            with started(*command) as process:
                # Half of the kills meet the writing of a file, half of them the server's part.
                if kill % 2:
                    made = len(listed(server))
                    until(lambda made=made: not process.running or len(listed(server)) > made)  # type: ignore[misc]
                else:
                    noted = table(run, "batched")
                    until(lambda noted=noted: not process.running or table(run, "batched") > noted)  # type: ignore[misc]
                time.sleep(chance.random() * 0.06)
                process.send(signal.SIGKILL)
                killed += process.finish().code == -signal.SIGKILL
        assert killed > kills // 2, "most had ended before their kill: more rows are needed"
        submitted = smile(*command, "--json")
        assert submitted.code == 0, submitted.err
        assert submitted.told["in_batches"] == rows
        there = [one for one in listed(server) if one["status"] == "in_progress"]
        assert sum(one["request_counts"]["total"] for one in there) == rows
    remotes = in_ledger(run, "SELECT remote FROM batches WHERE batch IN (SELECT batch FROM batched)")
    assert sorted(one["id"] for one in there) == sorted(remote for (remote,) in remotes)
    assert not list(run.glob("*batch*"))


def test_killed_while_results_come_home_every_reply_is_kept_once(tmp_path: Path) -> None:
    rows, chance = 2_500, random.Random(5)
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(rows)), tmp_path / "run"
    faults = {"faults": {"server-error": 0.05}, "breaches": {"bad-start": 0.05}, "seed": 5}
    with simulator(settings=settings(tmp_path, **faults)) as server:
        assert smile("batch", "submit", str(source), str(run), *server.where).code == 0
        for moment in sorted(chance.randrange(rows * 7 // 10) for _ in range(4)):
            with started("batch", "collect", str(run)) as process:
                until(lambda at=moment: not process.running or replies_kept(run) >= at)  # type: ignore[misc]
                process.send(signal.SIGKILL)
                assert process.finish().code == -signal.SIGKILL, "it had ended before its kill: more rows are needed"
        ended = smile("batch", "collect", str(run), "--json")
        stats = server.settled()
        assert ended.code == 4, ended.err
        told = ended.told
        assert (told["attempts"], told["in_batches"]) == (rows, 0)
        assert told["replies"] == stats["served"]["completions"]
        assert told["tokens"]["completion"] == stats["served"]["completion_tokens"]
        assert told["rows"]["pending"] == stats["by_fault"]["server-error"] + stats["by_fault"]["bad-start"]
        for _ in range(5):  # and the rest, both ways
            smile("batch", "submit", str(run))
            if smile("batch", "collect", str(run)).code == 0:
                break
        assert smile("resume", str(run)).code in (0, 3)
        assert smile("status", str(run), "--json").told["attempts"] == server.settled()["requests"]
    assert [line["questionID"] for line in read_jsonl(run / "corpus.jsonl")][:10] == [
        row["questionID"] for row in questions(10)
    ]
    assert not list(run.glob("*batch*"))


def test_killed_while_the_server_is_waited_for_nothing_is_lost(tmp_path: Path) -> None:
    rows = 200
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(rows)), tmp_path / "run"
    with simulator(settings=settings(tmp_path, batches={"duration": 4.0, "window": 2.0})) as server:
        smile("batch", "submit", str(source), str(run), *server.where)
        with started("batch", "status", str(run), "--wait", "--poll", "0.2") as process:
            time.sleep(1.0)
            process.send(signal.SIGKILL)
            process.finish()
        ended = smile("batch", "status", str(run), "--wait", "--poll", "0.2", "--json")
        assert ended.code == 4
        done = ended.told["rows"]["accepted"]
        assert 0 < done < rows  # it expired half way
        assert ended.told["replies"] == done == server.settled()["served"]["completions"]
        assert smile("resume", str(run), "--json").told["rows"]["accepted"] == rows
        each_answered_once(server, rows)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_memory_does_not_follow_the_size_of_a_batch(tmp_path: Path) -> None:
    """10,000 requests are a file of some 30 MB, and their results another."""
    rows = 10_000
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(rows)), tmp_path / "run"
    with simulator(settings=settings(tmp_path)) as server:
        peaks = []
        for command in (("batch", "submit", str(source), str(run), *server.where), ("batch", "collect", str(run))):
            with started(*command) as process:
                peak = 0
                while process.running:
                    peak = max(peak, _resident(process.child.pid))
                    time.sleep(0.02)
                assert process.finish().code == 0
            peaks.append(peak)
    assert max(peaks) < 150_000, peaks  # kB


def _resident(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
