"""SIGKILL at random moments: no row lost, none twice, and asked again at most what was in flight."""

import random
import signal
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.processes import Simulated, in_ledger, read_jsonl, replies_kept, simulator, smile, started, until
from tests.e2e.questions import questions, write_jsonl

pytestmark = pytest.mark.e2e

ROWS, IN_FLIGHT, KILLS = 1_500, 64, 20


def _kill_when(server: Simulated, served: int, late: float, *command: str) -> None:
    """Start, and kill once the server has answered so many and `late` seconds more have passed."""
    with started(*command) as process:
        until(lambda: not process.running or server.counted("served") >= served)
        time.sleep(late)
        process.send(signal.SIGKILL)
        assert process.finish().code == -signal.SIGKILL, "it had ended before its kill: more rows are needed"


def test_twenty_kills_lose_no_row_double_none_and_cost_at_most_what_was_in_flight(tmp_path: Path) -> None:
    chance = random.Random(20)
    # Moments in answers, so that they are spread over the run on any machine; the first kills meet a run at its start.
    moments = sorted(chance.randrange(int(ROWS * 0.9)) for _ in range(KILLS))
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS)), tmp_path / "run"
    with simulator("--latency", "base=0.05") as server:
        command = ("generate", str(source), str(run), *server.where, "--concurrency", str(IN_FLIGHT), "--json")
        for moment in moments:
            _kill_when(server, moment, chance.random() * 0.03, *command)
            # What the ledger has is settled: nobody is ever asked for it again, which the sums below would show.
            assert replies_kept(run) <= server.counted("served")
        ended = smile(*command)
        prompts = server.settled()["per_prompt"].values()

    assert ended.code == 0, ended.err
    assert ended.told["rows"] | {"expected": None} == {
        "total": ROWS, "accepted": ROWS, "set_aside": 0, "pending": 0, "total_is_exact": True, "expected": None,
    }  # fmt: skip
    assert ended.told["replies"] == ROWS  # each row has one good reply: none is kept twice
    assert len(prompts) == ROWS
    assert sum(max(prompt["answered"] - 1, 0) for prompt in prompts) <= KILLS * IN_FLIGHT
    assert [line["questionID"] for line in read_jsonl(run / "corpus.jsonl")] == [
        row["questionID"] for row in questions(ROWS)
    ]
    out = tmp_path / "out.jsonl"
    assert smile("export", str(run), str(out)).code == 0
    assert [line["questionID"] for line in read_jsonl(out)] == [row["questionID"] for row in questions(ROWS)]


def test_a_kill_after_the_last_answer_leaves_a_run_that_ends_without_loss(tmp_path: Path) -> None:
    """Between the last answer and the end lie the last commits and the writing of the corpus."""
    rows = 300
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(rows)), tmp_path / "run"
    with simulator("--latency", "base=0.02") as server:
        command = ("generate", str(source), str(run), *server.where, "--json")
        with started(*command) as process:
            until(lambda: server.counted("served") >= rows)
            process.send(signal.SIGKILL)
            process.finish()
        kept, status = replies_kept(run), smile("status", str(run), "--json")
        ended = smile(*command)
        asked = server.settled()["requests"]
    if status.told["state"] != "done":  # (it may have got as far as its last commit)
        assert (status.told["state"], status.told["reason"]) == ("stopped", "killed")
    assert status.told["replies"] == kept
    assert ended.code == 0, ended.err
    assert asked == rows + (rows - kept)
    assert len(read_jsonl(run / "corpus.jsonl")) == rows
    assert in_ledger(run, "SELECT count(*) FROM flights") == [(0,)]
    assert not list(run.glob(".*")), "what was half written has been taken away or replaced"


def test_each_kill_costs_at_most_what_was_in_flight(tmp_path: Path) -> None:
    """Answers that the server gave and the ledger does not have, kill by kill, at 5 ms an answer."""
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(4_000)), tmp_path / "run"
    lost = [0]
    with simulator("--latency", "base=0.005") as server:
        command = ("generate", str(source), str(run), *server.where, "--concurrency", str(IN_FLIGHT))
        for late in (0.0, 0.01, 0.02, 0.005, 0.015, 0.025):
            _kill_when(server, server.counted("served") + 200, late, *command)
            lost.append(server.settled()["served"]["completions"] - replies_kept(run))
    assert max(after - before for before, after in pairwise(lost)) <= IN_FLIGHT
