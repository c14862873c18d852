"""What observers count of a run with every kind of trouble is what the ledger holds."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from smile_async.engine import account, events, schema
from smile_async.engine.job import FailureKind, Request
from smile_async.engine.switch import StopSwitch
from smile_async.errors import SettingsError
from smile_async.observing.counters import BUCKETS, Counters, Durations
from smile_async.observing.event_log import EventLog
from smile_async.observing.metrics import RunCollector, serving_metrics
from smile_async.settings import Prices
from smile_async.testing import Answer, ScriptedProvider, replying
from tests.engine.asking import ask_all, fail, query, rows, word

PRICES = Prices(input=1.0, output=2.0)


def trouble(latency: float = 1.0) -> ScriptedProvider:
    """Of ten rows one breaks a rule, one meets a broken server, one a slow one; each at its first ask."""
    asked: Counter[str] = Counter()

    def answer(request: Request, _number: int) -> Answer:
        row = word(request)
        asked[row] += 1
        if asked[row] == 1:
            if row.endswith("3"):
                return replace(replying("bad: too-short"), model="served-1")
            if row.endswith("5"):
                return fail(FailureKind.SERVER_ERROR)
            if row.endswith("7"):
                return fail(FailureKind.TIMEOUT)
        return replace(replying("good"), model="served-2")

    return ScriptedProvider(answer, latency=latency)


def ledger_sums(folder: Path) -> dict[str, Any]:
    [(paid, prompt, completion, spent, perhaps)] = query(
        folder,
        "SELECT total(paid), total(prompt_tokens), total(completion_tokens), total(iif(paid, cost_usd, 0)),"
        " total(iif(paid, 0, cost_usd)) FROM attempts",
    )
    verdicts = dict(query(folder, "SELECT verdict, count(*) FROM attempts GROUP BY 1"))
    return {"paid": paid, "prompt": prompt, "completion": completion, "spent": spent, "perhaps": perhaps} | verdicts


def test_counters_agree_with_the_ledger(tmp_path: Path) -> None:
    counters = Counters()
    report = ask_all(tmp_path, rows(200), trouble(), prices=PRICES, listener=counters)
    sums = ledger_sums(tmp_path)
    assert report.counts.accepted == counters.rows["accepted", ""] == 200
    assert {outcome: count for (_, outcome), count in counters.attempts.items()} == {
        "accepted": sums["accepted"], "too-short": sums["too-short"], "server-error": sums["server-error"],
        "timeout": sums["timeout"],
    }  # fmt: skip
    assert counters.tokens["", "prompt"] == sums["prompt"]
    assert counters.tokens["", "completion"] == sums["completion"]
    assert counters.spend_usd[""] == pytest.approx(sums["spent"])
    assert counters.perhaps_usd[""] == pytest.approx(sums["perhaps"])
    assert sums["perhaps"] > 0
    assert sum(counters.durations[""].counts) == report.counts.attempts == 260
    assert counters.requeued == {"too-short": 20, "server-error": 20, "timeout": 20}


def test_what_an_abort_gives_up_is_counted_as_unknown(tmp_path: Path) -> None:
    counters, stop = Counters(), StopSwitch()

    def hear(event: events.Event) -> None:
        counters(event)
        if counters.rows["accepted", ""] == 20:
            asyncio.get_running_loop().call_later(0.5, stop.abort)  # when half of the next answers' second is over

    report = ask_all(tmp_path, rows(200), trouble(), prices=PRICES, listener=hear, stop=stop)
    lost = report.counts.failures[account.LOST]
    assert counters.attempts["", account.LOST] == lost > 0
    assert sum(counters.attempts.values()) == report.counts.attempts
    assert sum(counters.perhaps_usd.values()) == pytest.approx(report.counts.perhaps_usd)


def test_the_event_log_agrees_with_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    def hear(event: events.Event) -> None:
        log(event)  # opened in the run's own loop

    log: Callable[[events.Event], None]
    with EventLog(path) as log:
        ask_all(tmp_path / "run", rows(100), trouble(), prices=PRICES, listener=hear)
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    names = Counter(line["name"] for line in lines)
    sums = ledger_sums(tmp_path / "run")
    assert lines[0]["name"] == "run.started"
    assert lines[-1]["name"] == "run.ended"
    assert names["row.accepted"] == sums["accepted"] == 100
    assert names["reply.rejected"] == sums["too-short"]
    assert names["attempt.failed"] == sums["server-error"] + sums["timeout"]
    paid = [line for line in lines if line["name"] in {"row.accepted", "reply.rejected"}]
    assert sum(line["usage"]["prompt_tokens"] for line in paid) == sums["prompt"]
    assert sum(line["cost_usd"] for line in paid) == pytest.approx(sums["spent"])
    assert {round(line["took"], 3) for line in paid} == {1.0}
    assert {line["model"] for line in paid} == {"served-1", "served-2"}


def test_models_that_the_server_named_are_noted_by_endpoint(tmp_path: Path) -> None:
    ask_all(tmp_path, rows(20), trouble())
    with schema.reading(tmp_path) as reader:
        [endpoint] = account.read_endpoints(reader).values()
    assert endpoint.models == ("served-1", "served-2")
    assert (endpoint.attempts, endpoint.replies) == (26, 22)  # 20 rows, 2 asked again for each kind of trouble
    assert endpoint.failures == {"server-error": 2, "timeout": 2}


def test_a_scrape_tells_what_was_counted(tmp_path: Path) -> None:
    counters, registry = Counters(), CollectorRegistry()
    report = ask_all(tmp_path, rows(50), trouble(), prices=PRICES, listener=counters)
    registry.register(RunCollector(counters))

    def sample(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert sample("smile_rows_total", state="accepted", reason="") == 50
    assert sample("smile_attempts_total", endpoint="default", outcome="timeout") == report.counts.failures["timeout"]
    assert sample("smile_tokens_total", endpoint="default", kind="prompt") == report.counts.prompt_tokens
    assert sample("smile_spend_usd_total", endpoint="default") == pytest.approx(report.counts.spend_usd)
    assert sample("smile_request_duration_seconds_count", endpoint="default") == report.counts.attempts
    assert sample("smile_run_rows", state="accepted") == 50
    assert sample("smile_run_rows", state="pending") == 0


def test_of_a_resumed_run_counters_start_anew_and_its_rows_do_not(tmp_path: Path) -> None:
    ask_all(tmp_path, rows(30), trouble())
    counters, registry = Counters(), CollectorRegistry()
    ask_all(tmp_path, rows(50), trouble(), listener=counters)
    registry.register(RunCollector(counters))
    assert registry.get_sample_value("smile_rows_total", {"state": "accepted", "reason": ""}) == 20
    assert registry.get_sample_value("smile_run_rows", {"state": "accepted"}) == 50


def test_gauges_come_from_the_last_pulse() -> None:
    counters, registry = Counters(), CollectorRegistry()
    gauges = (
        events.Gauge("a", "in flight", 3, 8, None),
        events.Gauge("a", "tokens", 500.0, 1000.0, 60.0),
        events.Gauge("b", "requests", 5.0, 10.0, 86400.0),
    )
    counters(events.Pulse(3, 8, gauges, "tokens a minute", {"tokens a minute": 2.5}, 1.0, 0.5, 0.0, 9.0, 4.0, True))
    registry.register(RunCollector(counters))
    limits = {"endpoint": "a", "what": "tokens", "period": "60"}
    assert registry.get_sample_value("smile_limit_used", limits) == 500
    assert registry.get_sample_value("smile_limit", limits) == 1000
    assert registry.get_sample_value("smile_limit", {"endpoint": "b", "what": "requests", "period": "86400"}) == 10
    assert registry.get_sample_value("smile_in_flight", {"endpoint": "a"}) == 3
    assert registry.get_sample_value("smile_concurrency_limit", {"endpoint": "a"}) == 8
    assert registry.get_sample_value("smile_waited_seconds_total", {"what": "tokens a minute"}) == 2.5
    assert registry.get_sample_value("smile_paused") == 1
    assert registry.get_sample_value("smile_cooldown_seconds") == 4
    assert registry.get_sample_value("smile_budget_usd") == 9


def test_a_duration_is_in_the_first_bucket_that_holds_it() -> None:
    durations = Durations()
    for seconds in (BUCKETS[0], BUCKETS[0] * 1.01, BUCKETS[-1], BUCKETS[-1] + 1):
        durations.add(seconds)
    assert durations.counts[:2] == [1, 1]
    assert durations.counts[-2:] == [1, 1]
    assert durations.total == pytest.approx(0.1 + 0.101 + 600 + 601)


def test_a_port_that_is_taken_is_a_wrong_setting() -> None:
    with serving_metrics(Counters(), "127.0.0.1", 0) as address:
        port = int(address.rsplit(":", 1)[1].split("/")[0])
        with pytest.raises(SettingsError, match="--metrics-port"), serving_metrics(Counters(), "127.0.0.1", port):
            pass
