"""`smile embed` in a process of its own: killed half way, called again, no text paid for twice."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import replies_kept, simulator, smile, started, until
from tests.e2e.questions import write_jsonl

pytestmark = pytest.mark.e2e

ROWS, A_REQUEST, IN_FLIGHT = 240, 4, 4


def test_a_kill_costs_at_most_what_was_in_flight_and_every_text_has_its_vector(tmp_path: Path) -> None:
    """240 dialogues, 4 a request: 60 requests; one that the server answered and the kill took may be asked again."""
    dialogues: list[dict[str, Any]] = [
        {"id": str(row), "dialogue": [{"role": "client", "content": f"第{row}次来访"}, {"role": "counselor", "content": "你好"}]}
        for row in range(ROWS)
    ]  # fmt: skip
    corpus, run = write_jsonl(tmp_path / "corpus.jsonl", dialogues), tmp_path / "run"
    with simulator("--latency", "base=0.05", "--fault", "server-error=0.05") as server:
        command = (
            "embed", str(corpus), str(run), *server.where, "--what", "dialogue", "--batch-size", str(A_REQUEST),
            "--concurrency", str(IN_FLIGHT), "--json",
        )  # fmt: skip
        with started(*command) as process:
            until(lambda: not process.running or replies_kept(run) >= 10)
            process.send(signal.SIGKILL)
            process.finish()
        status = smile("status", str(run), "--json")
        resumed = smile("resume", str(run))
        ended = smile(*command)
        answered = server.settled()["served"]["completions"]

    assert (status.told["task"], status.told["reason"]) == ("embeddings", "killed")
    assert resumed.code == 2
    assert f"smile embed {corpus} {run}" in resumed.err
    assert ended.code == 0, ended.err
    assert ended.told["vectors"] == {"rows": ROWS, "columns": 256, "cut": 0}
    assert ended.told["replies"] == ROWS // A_REQUEST
    assert answered <= ROWS // A_REQUEST + IN_FLIGHT
    ids = [json.loads(line)["id"] for line in (run / "ids.jsonl").read_text().splitlines()]
    assert ids == [str(row) for row in range(ROWS)]
