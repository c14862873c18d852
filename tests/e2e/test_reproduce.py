"""`smile reproduce` in a process of its own: killed in the middle, called again, no step and no row done twice."""

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.processes import read_jsonl, replies_kept, simulator, smile, started, until
from tests.e2e.questions import questions, write_jsonl

pytestmark = pytest.mark.e2e

ROWS, A_REQUEST, IN_FLIGHT = 24, 8, 4
METHODS = ("standard", "standardT", "smile")


def test_a_kill_in_the_middle_repeats_no_step_and_loses_no_row(tmp_path: Path) -> None:
    """24 dialogues of 3 methods are 72 requests, vectors of 4 sets 4 x 3, topics 72 at an endpoint of their own. Killed
    twice, in standardT and in the first topics: asked again is at most what was in flight there, 4 requests each."""
    source, out = write_jsonl(tmp_path / "qa.jsonl", questions(60)), tmp_path / "study"
    answers = tmp_path / "labels.json"
    answers.write_text(json.dumps({"answers": ["焦虑, 压力", "抑郁、自杀倾向", "孤独，家庭冲突"]}), "utf-8")
    latency = ("--latency", "base=0.05")
    with simulator(*latency) as server, simulator(*latency, settings=answers) as labeller:
        command = (
            "reproduce", str(out), "--source", str(source), "-n", str(ROWS), *server.where, "--embed-model", "simulated",
            "--embed-batch-size", str(A_REQUEST), "--topics-config", str(tmp_path / "labeller.toml"),
            "--concurrency", str(IN_FLIGHT), "--json",
        )  # fmt: skip
        (tmp_path / "labeller.toml").write_text(
            f'[endpoint]\nbase_url = "{labeller.base_url}"\nmodel = "labeller"\n[limits]\nconcurrency = {IN_FLIGHT}\n'
        )
        for step in ("standardT", "topics/standard"):
            with started(*command) as process:
                until(lambda step=step: not process.running or replies_kept(out / step) >= 6)  # type: ignore[misc]
                process.send(signal.SIGKILL)
                assert process.finish().code == -signal.SIGKILL
        ended = smile(*command)
        asked = server.settled()
        labelled = labeller.settled()["served"]["completions"]

    assert ended.code == 0, ended.err
    told = ended.told
    assert (told["state"], len(told["steps"])) == ("done", 10)
    assert {name: told["steps"][name]["rows"]["accepted"] for name in METHODS} == dict.fromkeys(METHODS, ROWS)
    assert all(told["steps"][f"topics/{name}"]["replies"] == ROWS for name in METHODS)
    needed = 3 * ROWS + 4 * ROWS // A_REQUEST
    assert needed <= asked["served"]["completions"] <= needed + IN_FLIGHT
    assert 3 * ROWS <= labelled <= 3 * ROWS + IN_FLIGHT
    # The prompt of standard is the same for every row: done before the first kill, it was answered 24 times.
    assert max(prompt["answered"] for prompt in asked["per_prompt"].values()) == ROWS
    for method in METHODS:
        ids = Counter(line["id"] for line in read_jsonl(out / method / "corpus.jsonl"))
        vectors = Counter(line["id"] for line in read_jsonl(out / "vectors" / method / "ids.jsonl"))
        topics = Counter(line["id"] for line in read_jsonl(out / "topics" / method / "topics.jsonl"))
        assert ids == vectors == topics
        assert list(ids.values()) == [1] * ROWS
    assert len(read_jsonl(out / "vectors" / "psyqa" / "ids.jsonl")) == ROWS
    assert (out / "tables.md").read_text("utf-8").count("\n## ") == 7
