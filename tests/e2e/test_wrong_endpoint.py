"""An endpoint that cannot be asked: the run stops at once, says what to do, and has cost one request at most."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import Simulated, simulator, smile
from tests.e2e.questions import questions, write_jsonl

pytestmark = pytest.mark.e2e

ROWS = 2_000
KEY = "sk-live-0123456789abcdefghijklmnopqrstuvwxyz"
WRONG = "sk-typo-0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("source") / "qa.jsonl", questions(ROWS))


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Simulated]:
    """A server that knows one key and one model."""
    settings = tmp_path / "simulator.json"
    settings.write_text(f'{{"api_key": "{KEY}", "models": ["good"], "latency": {{"base": 0}}}}')
    with simulator(settings=settings) as server:
        yield server


def test_a_wrong_key_costs_one_request_and_the_right_one_goes_on(
    source: Path, tmp_path: Path, guarded: Simulated
) -> None:
    run = tmp_path / "run"
    command = ("generate", str(source), str(run), "--base-url", guarded.base_url, "--model", "good", "--json")
    stopped = smile(*command, "--verbose", env={"OPENAI_API_KEY": WRONG})
    assert guarded.counted("requests") == 1
    assert stopped.code == 4
    assert stopped.told["reason"] == "auth"
    assert stopped.told["rows"]["set_aside"] == 0, "a wrong key is no row's fault"
    assert "OPENAI_API_KEY" in stopped.err
    assert "Traceback" not in stopped.err

    ended = smile(*command, "--verbose", env={"OPENAI_API_KEY": KEY})
    assert ended.code == 0, ended.err
    assert ended.told["rows"]["accepted"] == ROWS
    assert guarded.counted("requests") == 1 + ROWS
    said = (stopped.out, stopped.err, ended.out, ended.err, *(file.read_bytes() for file in run.iterdir()))
    for key in (WRONG, KEY):
        assert not [place for place in said if (key if isinstance(place, str) else key.encode()) in place]


def test_an_unknown_model_costs_one_request(source: Path, tmp_path: Path, guarded: Simulated) -> None:
    where = ("--base-url", guarded.base_url, "--model", "bad")
    stopped = smile("generate", str(source), str(tmp_path / "run"), *where, "--json", env={"OPENAI_API_KEY": KEY})
    assert guarded.counted("requests") == 1
    assert stopped.code == 4
    assert (stopped.told["reason"], stopped.told["rows"]["set_aside"]) == ("unknown-model", 0)
    assert "--model" in stopped.err
    assert "`bad` does not exist" in stopped.err


def test_a_wrong_path_costs_one_request_and_the_address_is_named(source: Path, tmp_path: Path) -> None:
    with simulator() as server:
        where = ("--base-url", server.base_url.replace("/v1", "/v7"), "--model", "any")
        stopped = smile("generate", str(source), str(tmp_path / "run"), *where)
    assert stopped.code == 4
    assert "--base-url" in stopped.err


def test_nobody_there_ends_the_first_patience_with_what_to_check(source: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = tmp_path / "smile.toml"
    config.write_text("[retry]\nfirst_patience = 1.5\nfirst_wait = 0.2\n")
    where = ("--base-url", f"http://127.0.0.1:{port}/v1", "--model", "any", "--config", str(config))
    began = time.monotonic()
    stopped = smile("generate", str(source), str(tmp_path / "run"), *where, "--json")
    assert time.monotonic() - began < 15
    assert stopped.code == 4
    told = stopped.told
    assert (told["reason"], told["rows"]["set_aside"], told["replies"]) == ("connect", 0, 0)
    assert told["perhaps_billed"] == 0, "nothing was ever sent"
    for words in (f"nobody listens at 127.0.0.1:{port}", "is the server running", "patience", "smile resume"):
        assert words in stopped.err
    assert "Traceback" not in stopped.err


def test_an_empty_account_stops_the_run_and_keeps_what_it_has(source: Path, tmp_path: Path) -> None:
    settings = tmp_path / "simulator.json"
    settings.write_text('{"quota_requests": 300, "latency": {"base": 0.01}}')
    with simulator(settings=settings) as server:
        stopped = smile("generate", str(source), str(tmp_path / "run"), *server.where, "--json", "--concurrency", "32")
        stats = server.settled()
    assert stopped.code == 4
    told = stopped.told
    assert (told["reason"], told["rows"]["set_aside"]) == ("quota-exhausted", 0)
    assert told["replies"] == stats["served"]["completions"] == 300
    assert stats["requests"] <= 300 + 32, "those in flight, and nothing after the first refusal"
    assert "top it up" in stopped.err
