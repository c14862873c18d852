"""`smile plan`: what it prints, that it asks nobody unless told, and that what it says comes true."""

import json
import time
from pathlib import Path

import pytest

from tests.cli.conftest import ROWS, Serve, Smile, at
from tests.e2e.questions import questions, write_jsonl

PRICED = ("--price-in", "1", "--price-out", "4")


def test_without_a_run_it_rests_on_assumptions_and_says_so(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve()
    ended = smile("plan", source, *at(server), *PRICED, "--rpm", "20")
    assert ended.code == 0
    assert f"{ROWS} to ask" in ended.out
    assert "ASSUMED, not measured" in ended.out
    assert "what binds: requests a minute" in ended.out
    assert "requests a minute           20  " in ended.out
    assert server.stats["requests"] == 0
    told = smile("plan", source, *at(server), "--json").told
    assert (told["rows"], told["basis"]["from"], told["cost_usd"], told["uncertain"]) == (
        ROWS,
        "assumptions",
        None,
        None,
    )


def test_prices_and_a_budget_say_how_far_it_goes(smile: Smile, serve: Serve, source: Path) -> None:
    arguments = ("plan", source, *at(serve()), *PRICED)
    cost = smile(*arguments, "--json").told["cost_usd"]
    assert "the budget is enough" in smile(*arguments, "--budget", str(cost * 2)).out
    assert f"is enough for {ROWS // 2} rows" in smile(*arguments, "--budget", str(cost * 0.51)).out
    assert "--price-in" in smile("plan", source, *at(serve())).out


def test_a_pilot_is_kept_and_the_same_command_goes_on_with_it(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve()
    ended = smile("plan", source, "run", *at(server), *PRICED, "--pilot", "6", "--json")
    assert ended.code == 0
    assert server.stats["requests"] == 6
    assert (ended.told["rows"], ended.told["left_out"], ended.told["basis"]["replies"]) == (ROWS - 6, {"ended": 6}, 6)
    assert smile("status", "run", "--json").told["reason"] == "pilot"
    resumed = smile("resume", "run", "--json")
    assert (resumed.code, resumed.told["rows"]["accepted"]) == (0, ROWS)
    assert server.stats["requests"] == ROWS
    done = smile("plan", source, "run", *at(server), *PRICED)
    assert "0 to ask; not asked: ended 24" in done.out


def test_several_endpoints_are_planned_as_one_run(smile: Smile, serve: Serve, source: Path) -> None:
    """In `smile.toml`, each with a quota and prices of its own; the run's are those of the one that names none."""
    first, second = serve(), serve()
    Path("smile.toml").write_text(
        f"""
        prices = {{ input = 1.0, output = 4.0 }}
        limits = {{ requests_per_minute = 20 }}
        [[endpoint]]
        name = "dear"
        base_url = "{first.base_url}"
        model = "m"
        [[endpoint]]
        base_url = "{second.base_url}"
        model = "m"
        quota = {{ requests_per_minute = 60 }}
        prices = {{ input = 0.0, output = 0.0 }}
        """,
        "utf-8",
    )
    told = smile("plan", source, "--json").told
    assert (told["binds"], told["bounds"][0]["allows"]) == ("requests a minute", 80)
    host = second.base_url.split("/")[2]
    assert told["endpoints"] == [
        {"name": "dear", "share": 0.25, "binds": "requests a minute"},
        {"name": host, "share": 0.75, "binds": "requests a minute"},
    ]
    whole = told["tokens"]["prompt"] * 1e-6 + told["tokens"]["completion"] * 4e-6
    assert told["cost_usd"] == pytest.approx(whole / 4, rel=0.01)
    assert f"dear{' ' * (len(host) - 4)}   25.0% of the requests; requests a minute" in smile("plan", source).out
    assert (first.stats["requests"], second.stats["requests"]) == (0, 0)


def test_usage_errors_are_2(smile: Smile, serve: Serve, source: Path) -> None:
    assert smile("plan", "absent.json", *at(serve())).code == 2
    assert smile("plan", source, *at(serve()), "--pilot", "5").code == 2
    assert smile("plan", source, *at(serve()), "--like", "absent").code == 2


@pytest.mark.e2e
@pytest.mark.parametrize("limit", [("--rpm", "3000", "--window", "10"), ("--concurrency", "4")])
def test_what_it_says_of_500_rows_over_http_comes_true(
    smile: Smile, serve: Serve, tmp_path: Path, limit: tuple[str, ...]
) -> None:
    """Tokens, cost and time each within 15 percent, after a pilot of 20 rows, at a server that enforces the limit."""
    source = write_jsonl(tmp_path / "500.jsonl", questions(500))
    limits = {"requests": 500, "window": 10} if limit[0] == "--rpm" else {}
    server = serve(latency={"base": 0.1, "jitter": 0.2}, limits=limits, breaches={"too-few-turns": 0.08})
    flags = (*at(server), *PRICED, *limit)
    plan = smile("plan", source, "run", *flags, "--pilot", "20", "--json").told
    before = smile("status", "run", "--json").told
    began = time.monotonic()
    after = smile("generate", source, "run", *flags, "--json").told
    took = time.monotonic() - began
    for kind in ("prompt", "completion"):
        assert plan["tokens"][kind] == pytest.approx(after["tokens"][kind] - before["tokens"][kind], rel=0.15)
    assert plan["cost_usd"] == pytest.approx(after["spend_usd"] - before["spend_usd"], rel=0.15)
    assert plan["seconds"] == pytest.approx(took, rel=0.15), json.dumps(plan["bounds"])
    assert plan["binds"] == ("requests a minute" if limit[0] == "--rpm" else "requests in flight")
