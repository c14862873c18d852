"""The budget holds, whatever is not known: replies without a count, answers that never arrived, a killed process."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from smile_async.engine.job import PERHAPS_BILLED, FailureKind, Reply, Request
from smile_async.engine.ledger import Ledger
from smile_async.engine.switch import StopSwitch
from smile_async.errors import SettingsError
from smile_async.settings import Limits, Prices, RetryPolicy
from smile_async.testing import Answer, ScriptedProvider, replying, run_virtual
from tests.engine.asking import ask_all, asking, counts_of, echo, fail, query, rows

A_TOKEN = Prices(input=1_000_000, output=1_000_000)  # a dollar each
CEILING = 8 + 16 + 100  # eight bytes of prompt, what a template may add, and max_tokens
CAPPED = replace(echo(), render=lambda item: replace(echo().render(item), max_tokens=100))


@pytest.mark.parametrize("prices", [None, Prices()])
def test_a_budget_without_prices_is_refused_before_anything_is_made(tmp_path: Path, prices: Prices | None) -> None:
    provider = ScriptedProvider(lambda _request, _number: replying("good"))
    with pytest.raises(SettingsError, match="A budget needs prices"):
        ask_all(tmp_path / "run", rows(3), provider, limits=Limits(budget_usd=1.0), prices=prices)
    assert (provider.asked, (tmp_path / "run").exists()) == ([], False)


def test_a_reply_that_the_server_did_not_count_costs_what_it_may_have_cost_at_most(tmp_path: Path) -> None:
    """124 dollars each; eight of them are 992, and a ninth would make 1,116."""
    provider = ScriptedProvider(lambda _request, _number: Reply("good", finish_reason="stop"), latency=1.0)
    report = ask_all(
        tmp_path, rows(100), provider, task=CAPPED, prices=A_TOKEN, limits=Limits(budget_usd=1_100.0, concurrency=4)
    )
    assert (report.state, report.reason, report.counts.accepted) == ("stopped", "budget", 8)
    assert report.counts.spend_usd == pytest.approx(992)
    assert (report.counts.prompt_tokens, query(tmp_path, "SELECT DISTINCT prompt_tokens FROM attempts")) == (
        0,
        [(None,)],
    )


@pytest.mark.parametrize("kind", sorted(PERHAPS_BILLED))
def test_what_may_have_been_billed_stays_reserved_over_resumes(tmp_path: Path, kind: FailureKind) -> None:
    def script(_request: Request, number: int) -> Answer:
        return fail(kind) if number % 2 else replying("good", prompt_tokens=8, completion_tokens=92)

    for budget in (1_000.0, 1_000.0, 2_000.0):
        provider = ScriptedProvider(script, latency=1.0)
        counts = ask_all(
            tmp_path, rows(100), provider, task=CAPPED, prices=A_TOKEN, limits=Limits(budget_usd=budget)
        ).counts
        assert counts.perhaps_usd == pytest.approx(CEILING * counts.perhaps_billed)
        assert counts.spend_usd == 100 * counts.replies
        assert budget - CEILING < counts.spend_usd + counts.perhaps_usd <= budget


def test_what_is_refused_or_never_left_reserves_nothing(tmp_path: Path) -> None:
    def script(_request: Request, number: int) -> Answer:
        kinds = [FailureKind.RATE_LIMITED, FailureKind.CONNECT, FailureKind.SERVER_ERROR]
        return fail(kinds[number % 4 - 1]) if number % 4 else replying("good")

    policy = RetryPolicy(max_failures=9)
    counts = ask_all(tmp_path, rows(20), ScriptedProvider(script), prices=A_TOKEN, retry=policy).counts
    assert (counts.accepted, counts.perhaps_usd) == (20, 0.0)


def test_answers_given_up_by_an_abort_stay_reserved(tmp_path: Path) -> None:
    async def main() -> None:
        stop = StopSwitch()
        asyncio.get_running_loop().call_later(7.0, stop.abort)
        provider = ScriptedProvider(lambda _request, _number: replying("good", prompt_tokens=8), latency=5.0)
        limits = Limits(concurrency=3, budget_usd=1_000.0)
        await asking(tmp_path, rows(50), provider, task=CAPPED, prices=A_TOKEN, limits=limits, stop=stop)

    run_virtual(main())
    counts = counts_of(tmp_path)
    assert (counts.replies, counts.perhaps_billed) == (1, 3)  # the first went alone
    assert counts.perhaps_usd == pytest.approx(3 * CEILING)


def test_answers_that_a_crash_took_stay_reserved_at_what_the_flight_may_cost(tmp_path: Path) -> None:
    async def main(*, crash: bool) -> None:
        ledger = Ledger.open(tmp_path, {"task": "echo"}, threaded=False)
        if crash:
            ledger.write([("rows", (0, "a", "", 0, b"a")), ("flights", (1, 0, 5.0, 108.8, "here"))])
        await ledger.close()

    run_virtual(main(crash=True))
    run_virtual(main(crash=False))
    counts = counts_of(tmp_path)
    assert (counts.perhaps_billed, counts.perhaps_usd, counts.spend_usd, counts.in_flight) == (1, 108.8, 0.0, 0)
