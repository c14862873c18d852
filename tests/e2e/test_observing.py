"""A live run from outside: steered by `smile control`, scraped over HTTP, followed by its event log."""

import json
import signal
import socket
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.processes import Simulated, in_ledger, simulator, smile, started, until
from tests.e2e.questions import questions, write_jsonl

pytestmark = pytest.mark.e2e

ROWS = 2_000


def _command(tmp_path: Path, server: Simulated, *flags: str) -> list[str]:
    source = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS))
    return ["generate", str(source), str(tmp_path / "run"), *server.where, *flags]


def _scraped(address: str) -> dict[tuple[str, str], float]:
    """Samples by name and the values of their labels."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        text = answer.read().decode()
    return {
        (
            sample.name,
            " ".join(value for name, value in sorted(sample.labels.items()) if name != "endpoint"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_pause_stops_requests_resume_goes_on_and_concurrency_is_what_the_server_sees(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    with simulator("--latency", "base=0.2") as server, started(*_command(tmp_path, server, "--concurrency", "4")) as it:
        until(lambda: server.counted("served") > 8)
        paused = smile("control", run, "pause")
        assert paused.code == 0, paused.err
        assert "paused" in paused.out
        until(lambda: server.counted("in_flight") == 0)
        asked = server.counted("requests")
        told = json.loads(smile("control", run, "--json").out)["run"]
        assert (told["paused"], told["in_flight"]) == (True, 0)
        assert "paused" in smile("status", run).out
        assert server.counted("requests") == asked
        assert server.counted("max_in_flight") == 4

        more = smile("control", run, "resume", "--concurrency", "24")
        assert more.code == 0, more.err
        until(lambda: server.counted("in_flight") == 24)
        assert smile("control", run, "--concurrency", "2").code == 0
        until(lambda: server.counted("in_flight") <= 2)
        assert server.counted("max_in_flight") == 24
        live = json.loads(smile("status", run, "--json").out)["live"]
        assert (live["concurrency"], live["binding"]) == (2, "in flight")

        it.send(signal.SIGTERM)
        ended = it.finish()
    assert ended.code == 130
    changes = json.loads(smile("status", run, "--json").out)["changes"]
    assert [(change["before"], change["after"], change["reason"]) for change in changes] == [
        (4, 24, "told to"),
        (24, 2, "told to"),
    ]
    assert "in flight: 4 -> 24 (told to)" in ended.err
    late = smile("control", run, "pause")
    assert late.code == 2
    assert "no process is at work" in late.err
    assert f"smile resume {run}" in late.err


def test_a_killed_run_is_told_apart_and_can_be_steered_again_when_resumed(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    with simulator("--latency", "base=0.2") as server:
        with started(*_command(tmp_path, server, "--concurrency", "4")) as it:
            until(lambda: server.counted("served") > 8)
            it.send(signal.SIGKILL)
            it.finish()
        assert (tmp_path / "run" / "control.json").exists()
        dead = smile("control", run, "pause")
        assert (dead.code, dead.out) == (2, "")
        assert "no process is at work" in dead.err
        before = server.counted("served")
        with started("resume", run) as it:
            until(lambda: server.counted("served") > before + 8)
            assert smile("control", run, "pause").code == 0
            it.send(signal.SIGTERM)
            assert it.finish().code == 130
    assert not (tmp_path / "run" / "control.json").exists()


FLAGS = ("--latency", "base=0.1", "--fault", "server-error=0.05", "--breach", "too-few-turns=0.1", "--seed", "5")
PRICES = ("--price-in", "1", "--price-out", "2")


def test_a_scrape_and_the_event_log_agree_with_the_ledger(tmp_path: Path) -> None:
    run, log, address = tmp_path / "run", tmp_path / "events.jsonl", f"http://127.0.0.1:{(port := _port())}/metrics"
    flags = ("--concurrency", "16", "--max-attempts", "1", "--metrics-port", str(port), "--events", str(log), *PRICES)
    with simulator(*FLAGS) as server, started(*_command(tmp_path, server, *flags), "--json") as it:
        until(lambda: server.counted("served") > 300)
        assert smile("control", str(run), "pause").code == 0
        until(lambda: server.counted("in_flight") == 0)
        until(lambda: _scraped(address)["smile_in_flight", ""] == 0)  # gauges are half a second old at most

        scraped = _scraped(address)
        verdicts = dict(in_ledger(run, "SELECT verdict, count(*) FROM attempts GROUP BY 1"))
        outcomes = {name: value for (metric, name), value in scraped.items() if metric == "smile_attempts_total"}
        assert outcomes == verdicts
        assert set(verdicts) == {"accepted", "too-few-turns", "server-error"}
        rows = {
            f"{reason} {state}": count
            for state, reason, count in in_ledger(run, "SELECT state, reason, count(*) FROM outcomes GROUP BY 1, 2")
        }
        assert {name: value for (metric, name), value in scraped.items() if metric == "smile_rows_total"} == rows
        [(prompt, completion, spent)] = in_ledger(
            run, "SELECT total(prompt_tokens), total(completion_tokens), total(cost_usd) FROM attempts WHERE paid"
        )
        assert scraped["smile_tokens_total", "prompt"] == prompt
        assert scraped["smile_tokens_total", "completion"] == completion
        assert scraped["smile_spend_usd_total", ""] == pytest.approx(spent)
        assert scraped["smile_request_duration_seconds_count", ""] == sum(verdicts.values())
        assert (scraped["smile_concurrency_limit", ""], scraped["smile_paused", ""]) == (16, 1)

        assert smile("control", str(run), "resume").code == 0
        ended = it.finish()
    assert ended.code == 3
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    names, told = Counter(line["name"] for line in lines), ended.told
    assert names["row.accepted"] == told["rows"]["accepted"]
    assert names["row.set-aside"] == told["rows"]["set_aside"]
    assert names["row.accepted"] + names["reply.rejected"] == told["replies"]
    assert names["attempt.failed"] == sum(told["failures"].values())
    assert sum(line["cost_usd"] for line in lines if "cost_usd" in line) == pytest.approx(told["spend_usd"], abs=1e-5)
    assert [line["paused"] for line in lines if line["name"] == "run.paused"] == [True, False]
    assert (lines[0]["name"], lines[-1]["name"]) == ("run.started", "run.ended")
    assert log.stat().st_mode & 0o777 == 0o600
    assert not [character for character in log.read_text("utf-8") if "\u4e00" <= character <= "\u9fff"]
    money = told["money"]
    assert sum(money["attempts"].values()) == told["attempts"]
    assert money["attempts"]["settled"] == told["replies"]
    [endpoint] = told["endpoints"].values()
    assert (endpoint["attempts"], endpoint["models"]) == (told["attempts"], ["simulated"])


def test_an_event_log_that_a_kill_tore_goes_on_in_a_line_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    with simulator("--latency", "base=0.1") as server:
        with started(*_command(tmp_path, server, "--events", str(log))) as it:
            until(lambda: log.exists() and log.stat().st_size > 2_000)
            it.send(signal.SIGKILL)
            it.finish()
        whole = log.read_bytes().rpartition(b"\n")[0]
        log.write_bytes(whole + b'\n{"ts":1.0,"na')
        ended = smile("resume", str(tmp_path / "run"), "--events", str(log))
        assert ended.code == 0, ended.err
    broken = []
    for line in log.read_bytes().splitlines():
        try:
            json.loads(line)
        except ValueError:
            broken.append(line)
    assert broken == [b'{"ts":1.0,"na']


def test_a_metrics_port_that_is_taken_stops_before_anything_is_asked(tmp_path: Path) -> None:
    with simulator() as server:
        ended = smile(*_command(tmp_path, server, "--metrics-port", str(server.port)))
        assert ended.code == 2
        assert "--metrics-port" in ended.err
        assert server.counted("requests") == 0
