"""The server dies in mid-run and comes back: the run waits for it and no row pays for that."""

import signal
from pathlib import Path

import pytest

from tests.e2e.processes import read_jsonl, simulator, started, until
from tests.e2e.questions import questions, write_jsonl

pytestmark = pytest.mark.e2e

ROWS, IN_FLIGHT = 1_000, 64


def test_a_server_that_is_killed_and_restarted_costs_no_row(tmp_path: Path) -> None:
    source, run, config = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS)), tmp_path / "run", tmp_path / "s.toml"
    config.write_text("[retry]\nfirst_wait = 0.1\nmax_wait = 0.4\npatience = 60\n")
    with simulator("--latency", "base=0.1") as server:
        command = ("generate", str(source), str(run), *server.where, "--config", str(config), "--json")
        with started(*command, "--concurrency", str(IN_FLIGHT)) as process:
            until(lambda: server.counted("served") > ROWS // 3)
            served = server.counted("served")
            server.child.send_signal(signal.SIGKILL)
            server.child.wait()
            with pytest.raises(Exception, match="timed out"):
                process.child.wait(1.5)  # it knocks again and again
            with simulator("--latency", "base=0.02", port=server.port) as again:
                ended = process.finish()
                stats = again.settled()
    assert ended.code == 0, ended.err
    told = ended.told
    assert told["rows"]["accepted"] == told["replies"] == ROWS
    # Asked of the second server: the rest, and again what the first one took along.
    assert ROWS - served - IN_FLIGHT <= stats["served"]["completions"] <= ROWS - served + IN_FLIGHT
    assert {prompt["answered"] for prompt in stats["per_prompt"].values()} == {1}
    assert [line["questionID"] for line in read_jsonl(run / "corpus.jsonl")] == [
        row["questionID"] for row in questions(ROWS)
    ]
