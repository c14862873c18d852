"""Several endpoints as one run: who gets what, and what happens when one of them fails."""

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from smile_async.engine import account, events, schema
from smile_async.engine.job import Failure, FailureKind, Request
from smile_async.engine.lane import Served
from smile_async.engine.run import RunReport
from smile_async.engine.switch import StopSwitch
from smile_async.errors import SettingsError
from smile_async.settings import Limits, Prices, Quota, RetryPolicy
from smile_async.testing import Answer, ScriptedProvider, replying, run_virtual
from tests.engine.asking import Told, ask_all, asking, fail, query, rows, word

GOOD = replying("good")


def serving(
    name: str, *, latency: float = 1.0, down: tuple[float, float] = (-1.0, -1.0), failure: Failure | None = None,
    **more: Any,
) -> Served:  # fmt: skip
    """An endpoint that answers, but fails between the two times of `down`."""

    def script(_request: Request, _number: int) -> Answer:
        now = asyncio.get_running_loop().time()
        return (failure or fail(FailureKind.DISCONNECTED)) if down[0] <= now < down[1] else GOOD

    return Served(ScriptedProvider(script, latency=latency), name, **more)


def asked(served: Served) -> list[float]:
    """When it was asked."""
    assert isinstance(served.provider, ScriptedProvider)
    return [at for at, _ in served.provider.asked]


def by_endpoint(folder: Path) -> Mapping[str, account.EndpointCounts]:
    with schema.reading(folder) as reader:
        return account.read_endpoints(reader)


def test_of_two_alike_each_gets_half_and_each_reply_says_who_gave_it(tmp_path: Path) -> None:
    a, b = serving("a"), serving("b")
    report = ask_all(tmp_path, rows(402), [a, b], limits=Limits(concurrency=10))
    assert report.counts.accepted == 402
    found = by_endpoint(tmp_path)
    assert abs(found["a"].replies - found["b"].replies) <= 2
    assert found["a"].models == ("scripted",)
    assert {name: one.attempts for name, one in found.items()} == {"a": len(asked(a)), "b": len(asked(b))}


def test_twice_the_weight_gets_twice_as_many(tmp_path: Path) -> None:
    """Both have room for all that are in flight: thirty rows a second come from the source, so to say."""
    a, b = serving("a", weight=2.0, quota=Quota(concurrency=20)), serving("b", quota=Quota(concurrency=10))
    ask_all(tmp_path, rows(900), [a, b])
    assert len(asked(a)) / len(asked(b)) == pytest.approx(2.0, rel=0.05)


def test_a_quick_replica_gets_more_than_a_slow_one_without_being_told(tmp_path: Path) -> None:
    quick, slow = serving("quick", latency=1.0), serving("slow", latency=4.0)
    ask_all(tmp_path, rows(1_000), [quick, slow], limits=Limits(concurrency=10))
    assert len(asked(quick)) / len(asked(slow)) == pytest.approx(4.0, rel=0.15)


def test_each_endpoint_keeps_to_its_own_limits_and_all_of_them_are_used(tmp_path: Path) -> None:
    """60 and 240 a minute: in three minutes 180 and 720, less what the first lone requests and the slack cost."""

    async def main() -> None:
        stop = StopSwitch()
        asyncio.get_running_loop().call_later(180.0, stop.abort)
        await asking(tmp_path, rows(2_000), [a, b], stop=stop)

    a = serving("a", quota=Quota(requests_per_minute=60))
    b = serving("b", quota=Quota(requests_per_minute=240))
    run_virtual(main())
    assert 176 <= len(asked(a)) <= 180
    assert 704 <= len(asked(b)) <= 720


def test_a_replica_that_is_killed_costs_no_row_and_takes_part_again_when_it_is_back(tmp_path: Path) -> None:
    """Down from 20 s to 200 s: it is knocked at by one request at a time, its rows go to the other."""
    dying, steady = serving("dying", down=(20.0, 200.0)), serving("steady")
    report = ask_all(
        tmp_path, rows(6_000), [dying, steady], limits=Limits(concurrency=10), retry=RetryPolicy(max_failures=3)
    )
    assert (report.state, report.counts.accepted, report.counts.set_aside) == ("done", 6_000, 0)
    assert len([at for at in asked(dying) if 25 < at < 199]) < 30
    assert len([at for at in asked(dying) if at > 270]) > 500
    busy = [at for at in asked(steady) if 30 < at < 190]
    assert len(busy) / 160 == pytest.approx(10, rel=0.05)  # ten a second, the whole time


@pytest.mark.parametrize("kind", [FailureKind.AUTH, FailureKind.UNKNOWN_MODEL, FailureKind.QUOTA_EXHAUSTED])
def test_a_wrong_key_at_one_of_two_retires_that_one_after_one_request(tmp_path: Path, kind: FailureKind) -> None:
    told = Told()
    wrong, right = serving("wrong", down=(0.0, 1e9), failure=fail(kind)), serving("right")
    report = ask_all(tmp_path, rows(100), [wrong, right], listener=told)
    assert (report.state, report.counts.accepted, len(asked(wrong))) == ("done", 100, 1)
    (rested,) = [event for event in told.all if isinstance(event, events.EndpointRested)]
    assert (rested.endpoint, rested.seconds) == ("wrong", float("inf"))
    assert rested.reason.startswith(str(kind))


def test_when_every_endpoint_has_a_wrong_key_the_run_stops_and_says_so(tmp_path: Path) -> None:
    both = [serving(name, down=(0.0, 1e9), failure=fail(FailureKind.AUTH)) for name in ("a", "b")]
    report = ask_all(tmp_path, rows(100), both)
    assert (report.state, report.reason, [len(asked(one)) for one in both]) == ("stopped", "auth", [1, 1])


def test_when_all_are_down_for_good_the_run_stops_resumable_with_the_reason(tmp_path: Path) -> None:
    both = [serving(name, down=(20.0, 1e9), failure=fail(FailureKind.CONNECT)) for name in ("a", "b")]
    report = ask_all(tmp_path, rows(3_000), both, limits=Limits(concurrency=10), retry=RetryPolicy(patience=300))
    assert (report.state, report.reason, report.counts.set_aside) == ("stopped", "connect", 0)
    assert ask_all(tmp_path, rows(3_000), [serving("a"), serving("b")]).counts.accepted == 3_000


def test_a_refusal_for_rate_holds_its_own_endpoint_alone(tmp_path: Path) -> None:
    refusing = serving("a", down=(10.5, 11.5), failure=fail(FailureKind.RATE_LIMITED, retry_after=20))
    other = serving("b")
    ask_all(tmp_path, rows(800), [refusing, other], limits=Limits(concurrency=5))
    assert not [at for at in asked(refusing) if 11.6 < at < 30.4]
    assert len([at for at in asked(other) if 12 < at < 30]) > 80


def test_prices_are_each_endpoints_own_and_the_budget_is_one_for_all(tmp_path: Path) -> None:
    """100 + 100 tokens a reply: 200 dollars at a, 400 at b; what a request may cost at most is far below the budget."""
    a = serving("a", prices=Prices(input=1e6, output=1e6))
    b = serving("b", prices=Prices(input=2e6, output=2e6))
    report = ask_all(tmp_path, rows(200), [a, b], limits=Limits(budget_usd=40_000.0))
    found = by_endpoint(tmp_path)
    assert found["a"].spend_usd == 200.0 * found["a"].replies
    assert found["b"].spend_usd == 400.0 * found["b"].replies
    assert (report.reason, report.counts.spend_usd <= 40_000.0) == ("budget", True)


def test_endpoints_that_would_answer_differently_are_refused(tmp_path: Path) -> None:
    a = Served(ScriptedProvider(lambda _request, _number: GOOD, identity={"model": "m"}), "a")
    b = Served(ScriptedProvider(lambda _request, _number: GOOD, identity={"model": "n"}), "b")
    with pytest.raises(SettingsError, match="'a' and 'b' would answer differently"):
        ask_all(tmp_path / "run", rows(3), [a, b])
    with pytest.raises(SettingsError, match="Two endpoints are named 'a'"):
        ask_all(tmp_path / "run", rows(3), [a, a])
    with pytest.raises(SettingsError, match="No endpoint is named"):
        ask_all(tmp_path / "run", rows(3), [])
    assert not (tmp_path / "run").exists()


def test_what_an_earlier_process_sent_counts_at_the_endpoint_it_was_sent_to(tmp_path: Path) -> None:
    """600 a minute each; the first part asks only a. Resumed at once, b takes the load while a waits for its window."""

    async def main() -> tuple[RunReport, float]:
        stop, loop = StopSwitch(), asyncio.get_running_loop()
        loop.call_later(50.0, stop.drain)
        quota = Quota(requests_per_minute=600)
        await asking(tmp_path, rows(1_500), [serving("a", quota=quota, latency=0.05)], stop=stop)
        again, start = [serving(name, quota=quota, latency=0.05) for name in ("a", "b")], loop.time()
        report = await asking(tmp_path, rows(1_500), again)
        early = [at for at in asked(again[0]) if at < start + 5]
        return report, len(early)

    report, early = run_virtual(main())
    assert (report.exit_code, report.counts.attempts) == (0, 1_500)
    assert early <= 600 - 480  # what of a's minute is left


def test_pausing_starts_nothing_and_going_on_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        stop, loop = StopSwitch(), asyncio.get_running_loop()
        loop.call_later(10.0, stop.pause)
        loop.call_later(60.0, stop.go_on)
        loop.call_later(80.0, stop.limit_concurrency, 2)
        await asking(tmp_path, rows(1_000), one.provider, stop=stop, limits=Limits(concurrency=10))

    one = serving("a")
    run_virtual(main())
    times = asked(one)
    assert not [at for at in times if 10.1 < at < 60]
    assert len([at for at in times if 60 <= at < 80]) == pytest.approx(200, abs=10)
    assert len([at for at in times if 85 <= at < 105]) == pytest.approx(40, abs=3)  # two a second
    changes = query(tmp_path, "SELECT what, after, reason FROM changes")
    assert ("in-flight", 2.0, "told to") in changes


def test_rows_of_an_endpoint_that_dies_are_asked_elsewhere_at_once(tmp_path: Path) -> None:
    """Few are lost in one moment, too few to call it dead; the other has room, and none waits its half second or more."""
    dying = serving("dying", down=(5.5, 1e9), failure=fail(FailureKind.CONNECT), quota=Quota(concurrency=5))
    steady = serving("steady", quota=Quota(concurrency=60), weight=0.01)
    ask_all(tmp_path, rows(400), [dying, steady])
    waited = query(
        tmp_path,
        "SELECT max(later.sent_at - a.sent_at - a.took) FROM attempts a JOIN attempts later ON later.ordinal = a.ordinal"
        " AND later.attempt = (SELECT min(attempt) FROM attempts WHERE ordinal = a.ordinal AND attempt > a.attempt)"
        " WHERE a.verdict = 'connect'",
    )
    assert waited[0][0] < 0.3


def test_what_is_too_dear_at_one_endpoint_is_asked_at_another(tmp_path: Path) -> None:
    dear, cheap = (
        serving("dear", prices=Prices(input=1e9, output=1e9)),
        serving("cheap", prices=Prices(input=1, output=1)),
    )
    report = ask_all(tmp_path, rows(50), [dear, cheap], limits=Limits(budget_usd=3.0))
    assert (report.counts.accepted, len(asked(dear))) == (50, 0)


def test_a_dead_endpoint_does_not_end_the_run_in_a_short_outage_of_the_other(tmp_path: Path) -> None:
    dead = serving("dead", down=(0.0, 1e9), failure=fail(FailureKind.CONNECT))
    other = serving("other", down=(100.0, 130.0), failure=fail(FailureKind.CONNECT))
    report = ask_all(tmp_path, rows(2_000), [dead, other], limits=Limits(concurrency=10))
    assert (report.state, report.counts.accepted) == ("done", 2_000)


def test_two_endpoints_that_both_refuse_every_request_end_the_run(tmp_path: Path) -> None:
    both = [serving(name, down=(0.0, 1e9), failure=fail(FailureKind.BAD_REQUEST)) for name in ("a", "b")]
    report = ask_all(tmp_path, rows(1_000), both)
    assert (report.state, report.reason, report.counts.set_aside) == ("stopped", "bad-request", 0)
    assert len(asked(both[0])) + len(asked(both[1])) < 10


def test_a_row_too_large_for_one_endpoint_is_asked_at_the_other(tmp_path: Path) -> None:
    small = serving("small", down=(0.0, 1e9), failure=fail(FailureKind.TOO_LARGE))
    large = serving("large")
    report = ask_all(tmp_path, rows(20), [small, large])
    assert (report.state, report.counts.accepted) == ("done", 20)
    assert (
        query(tmp_path, "SELECT count(*), count(DISTINCT ordinal) FROM attempts WHERE endpoint='small'")[0]
        == (len(asked(small)),) * 2
    ), "no row is asked there twice"


def test_a_row_too_large_for_every_endpoint_ends_there_with_that_reason(tmp_path: Path) -> None:
    def script(request: Request, _number: int) -> Answer:
        return fail(FailureKind.TOO_LARGE) if word(request) == "row00003" else GOOD

    both = [Served(ScriptedProvider(script), name) for name in ("a", "b")]
    report = ask_all(tmp_path, rows(20), both)
    assert (report.state, report.counts.accepted, dict(report.counts.reasons)) == ("done", 19, {"too-large": 1})
    assert query(tmp_path, "SELECT endpoint FROM attempts WHERE verdict='too-large' ORDER BY 1") == [("a",), ("b",)]


def test_a_pause_is_no_silence_of_the_servers(tmp_path: Path) -> None:
    """Refused at 20 s, paused for 700 s, refused once more: patience (600 s) has not ended."""

    async def main() -> RunReport:
        stop, loop = StopSwitch(), asyncio.get_running_loop()
        loop.call_later(21.0, stop.pause)
        loop.call_later(721.0, stop.go_on)
        return await asking(tmp_path, rows(400), one.provider, stop=stop, limits=Limits(concurrency=5))

    def script(_request: Request, _number: int) -> Answer:
        now = asyncio.get_running_loop().time()
        return fail(FailureKind.RATE_LIMITED) if 20 <= now < 22 or 721 <= now < 724 else GOOD

    one = Served(ScriptedProvider(script, latency=1.0), "a")
    assert run_virtual(main()).counts.accepted == 400


def test_no_more_in_flight_than_told_in_all_and_none_above_an_endpoints_own_quota(tmp_path: Path) -> None:
    async def main() -> None:
        stop = StopSwitch()
        stop.limit_concurrency(2)
        asyncio.get_running_loop().call_later(60.0, stop.limit_concurrency, 50)
        await asking(tmp_path, rows(1_500), served, stop=stop)

    served = [serving("small", quota=Quota(concurrency=2)), *[serving(name) for name in ("b", "c", "d")]]
    run_virtual(main())
    early = sum(len([at for at in asked(one) if 10 <= at < 50]) for one in served)
    assert early == pytest.approx(80, abs=6)  # two a second
    assert isinstance(served[0].provider, ScriptedProvider)
    assert served[0].provider.most_in_flight <= 2


def too_large_for(name: str, words: set[str], *, latency: float = 1.0, **more: Any) -> Served:
    def script(request: Request, _number: int) -> Answer:
        return fail(FailureKind.TOO_LARGE) if word(request) in words else GOOD

    return Served(ScriptedProvider(script, latency=latency), name, **more)


def test_a_row_that_only_a_slow_endpoint_can_answer_holds_no_other_back(tmp_path: Path) -> None:
    """Two rows of 200 are too large for a; b answers in 300 s, one at a time. a is asked all the while."""
    large = {rows(200)[5], rows(200)[6]}
    a = too_large_for("a", large, quota=Quota(concurrency=4))
    b = serving("b", latency=300.0, quota=Quota(concurrency=1))
    report = ask_all(tmp_path, rows(200), [a, b])
    assert (report.state, report.counts.accepted) == ("done", 200)
    times = asked(a)
    assert max(after - before for before, after in pairwise(times)) < 5.0


def test_a_row_too_large_for_all_that_answer_is_set_aside_when_the_other_never_does(tmp_path: Path) -> None:
    large = {rows(100)[5]}
    a = too_large_for("a", large, quota=Quota(concurrency=4))
    b = serving("b", down=(0.0, 1e9), failure=fail(FailureKind.CONNECT), quota=Quota(concurrency=1))
    report = ask_all(tmp_path, rows(100), [a, b])
    assert (report.state, report.counts.accepted, report.counts.reasons) == ("done", 99, {"too-large": 1})
