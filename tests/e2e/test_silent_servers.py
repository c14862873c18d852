"""Endpoints that accept and never answer, drip for ever or cannot be found: the run ends in its patience, resumable."""

import time
from pathlib import Path

import pytest

from tests.e2e.processes import simulator, smile, started, until
from tests.e2e.questions import questions, write_jsonl
from tests.e2e.silent_servers import hanging

pytestmark = pytest.mark.e2e

ROWS = 300
CONFIG = """
[timeouts]
read = {read}
total = {total}
[retry]
first_wait = 0.1
max_wait = 0.4
patience = 4.0
first_patience = 3.0
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "qa.jsonl", questions(ROWS))


def _config(tmp_path: Path, *, read: float = 0.4, total: float = 1.0) -> str:
    path = tmp_path / "smile.toml"
    path.write_text(CONFIG.format(read=read, total=total))
    return str(path)


@pytest.mark.parametrize(("dripping", "words"), [(False, "nothing arrived"), (True, "no whole answer")])
def test_a_server_that_accepts_and_never_answers_ends_the_patience_and_another_one_ends_the_run(
    dripping: bool, words: str, source: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ("generate", str(source), str(run), "--model", "simulated", "--config", _config(tmp_path), "--json")
    with hanging(dripping=dripping) as server:
        began = time.monotonic()
        stopped = smile(*command, "--base-url", server.base_url)
        assert time.monotonic() - began < 60
        asked = server.accepted
    assert stopped.code == 4, stopped.err
    told = stopped.told
    assert (told["state"], told["reason"], told["rows"]["set_aside"]) == ("stopped", "timeout", 0)
    assert told["perhaps_billed"] == told["attempts"] == asked <= 12, "one at a time, while nothing answers"
    for part in (words, "patience ends", "smile resume"):
        assert part in stopped.err
    assert "Traceback" not in stopped.err

    with simulator("--latency", "base=0") as server_again:
        ended = smile("resume", str(run), "--base-url", server_again.base_url, "--json")
        assert server_again.counted("requests") == ROWS
    assert ended.code == 0, ended.err
    assert ended.told["rows"]["accepted"] == ROWS


def test_a_server_that_falls_silent_in_mid_run_stops_it_with_all_that_came(source: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with simulator("--latency", "base=0.05") as server:
        command = ("generate", str(source), str(run), *server.where, "--config", _config(tmp_path), "--json")
        with started(*command, "--concurrency", "16") as process:
            until(lambda: server.counted("served") > ROWS // 3)
            port, served = server.port, server.counted("served")
            server.child.kill()
            server.child.wait()
            with hanging(port=port):
                stopped = process.finish()
    assert stopped.code == 4, stopped.err
    told = stopped.told
    assert (told["state"], told["reason"]) == ("stopped", "timeout")
    assert served <= told["replies"] + 16
    assert told["rows"]["accepted"] == told["replies"]
    assert told["rows"]["set_aside"] == 0, "a silent server is no row's fault"


def test_a_name_that_nobody_knows_is_no_rows_fault(source: Path, tmp_path: Path) -> None:
    where = ("--base-url", "http://no-such-host.invalid/v1", "--model", "any", "--config", _config(tmp_path))
    stopped = smile("generate", str(source), str(tmp_path / "run"), *where, "--json")
    assert stopped.code == 4, stopped.err
    told = stopped.told
    assert (told["reason"], told["rows"]["set_aside"], told["perhaps_billed"]) == ("connect", 0, 0)
    assert "the name no-such-host.invalid is not known: check base_url" in stopped.err
    assert "Traceback" not in stopped.err
