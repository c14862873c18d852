"""A thousand requests in flight are a thousand open files: more than many systems allow at first."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.processes import simulator, smile
from tests.e2e.questions import questions, write_jsonl

pytestmark = pytest.mark.e2e

ROWS, IN_FLIGHT = 3_000, 1_000
ENOUGH = IN_FLIGHT + 200


def _allowed(soft: int, hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < ENOUGH, reason="the hard limit of open files is too low here"
)
def test_the_soft_limit_is_raised_as_far_as_a_thousand_in_flight_need(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS))
    with simulator("--latency", "base=0.5") as server:
        command = ("generate", str(source), str(tmp_path / "run"), *server.where, "--concurrency", str(IN_FLIGHT))
        ended = smile(*command, "--json", preexec_fn=_allowed(256, ENOUGH))
        stats = server.settled()
    assert ended.code == 0, ended.err
    assert ended.told["rows"]["accepted"] == ROWS == stats["requests"]
    assert stats["max_in_flight"] > 800


def test_under_a_hard_limit_fewer_are_in_flight_and_a_line_says_why(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS))
    with simulator("--latency", "base=0.02") as server:
        command = ("generate", str(source), str(tmp_path / "run"), *server.where, "--concurrency", str(IN_FLIGHT))
        ended = smile(*command, "--json", preexec_fn=_allowed(256, 256))
        stats = server.settled()
    assert ended.code == 0, ended.err
    assert ended.told["rows"]["accepted"] == ROWS == stats["requests"], "no attempt failed for want of a file"
    assert stats["max_in_flight"] <= 256 - 64
    assert "may open 256 files: 192 requests in flight, not 1,000" in ended.err
    assert "ulimit -n" in ended.err
