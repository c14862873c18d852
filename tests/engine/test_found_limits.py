"""A server that says nothing of its limits: within ten percent of its best after a minute, one in a hundred refused."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from smile_async.engine.found_limits import Finding, FoundLimits, _Found
from smile_async.engine.job import FailureKind, Request
from smile_async.engine.lane import Lane, Served
from smile_async.settings import Limits, Prices
from smile_async.simulate.limits import SlidingWindow, TokenBucket
from smile_async.testing import Answer, ScriptedProvider, replying
from tests.engine.asking import ask_all, fail, query, rows, word
from tests.engine.refusing_server import RefusingServer, ask_for

SERVERS: dict[str, tuple[Callable[[], RefusingServer], float]] = {
    "a bucket of 600 a minute": (lambda: RefusingServer(TokenBucket(600, 60), latency=0.2), 600),
    "a bucket, slow answers": (lambda: RefusingServer(TokenBucket(600, 60), latency=5.0), 600),
    "a bucket that says how long to wait": (lambda: RefusingServer(TokenBucket(600, 60), told=True), 600),
    "a sliding minute of 600": (lambda: RefusingServer(SlidingWindow(600, 60), latency=0.2), 600),
    "a sliding minute, slow answers": (lambda: RefusingServer(SlidingWindow(600, 60), latency=5.0), 600),
    "a sliding minute that says how long": (lambda: RefusingServer(SlidingWindow(600, 60), told=True), 600),
    "a bucket of ten seconds": (lambda: RefusingServer(TokenBucket(100, 10), latency=2.0), 600),
    "ten a second in a bucket, waits told": (lambda: RefusingServer(TokenBucket(10, 1), latency=5.0, told=True), 600),
    "ten in any second, quick answers": (lambda: RefusingServer(SlidingWindow(10, 1), latency=0.2), 600),
    "ten in any second, answers of a second": (lambda: RefusingServer(SlidingWindow(10, 1)), 600),
    "ten in any second, slow answers": (lambda: RefusingServer(SlidingWindow(10, 1), latency=5.0), 600),
    "a bucket of six seconds": (lambda: RefusingServer(TokenBucket(60, 6), latency=0.2), 600),
    "sixty in any six seconds": (lambda: RefusingServer(SlidingWindow(60, 6)), 600),
    "a hundred in any ten seconds": (lambda: RefusingServer(SlidingWindow(100, 10), latency=0.2), 600),
    "a sliding minute, quick answers, waits told": (
        lambda: RefusingServer(SlidingWindow(600, 60), latency=0.2, told=True),
        600,
    ),
    "ten places": (lambda: RefusingServer(places=10), 600),
    "forty places": (lambda: RefusingServer(latency=2.0, places=40), 40 / 2 * 60),
    "a hundred places, waits told": (lambda: RefusingServer(latency=1.0, places=100, told=True), 100 * 60),
    "a queue of forty workers": (lambda: RefusingServer(latency=2.0, queue=40), 40 / 2 * 60),
}


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_its_best_is_found_within_a_minute_and_hardly_anything_refused(tmp_path: Path, name: str) -> None:
    """Four minutes; what is used after the first is compared with the most that the server can give."""
    make, best = SERVERS[name]
    server = make()
    ask_for(240.0, tmp_path, server)
    assert sum(server.per_minute(4)[1:]) / 3 >= 0.9 * best
    assert server.refused_share <= 0.01


@pytest.mark.parametrize("share", [0.015, 0.05])
def test_a_server_that_refuses_at_random_is_used_all_the_same(tmp_path: Path, share: float) -> None:
    """Forty workers at two seconds an answer: 1,200 a minute. Holding back for a refusal that means nothing gains nothing."""
    server = RefusingServer(latency=2.0, queue=40, at_random=share)
    ask_for(240.0, tmp_path, server)
    assert sum(server.per_minute(4)[2:]) / 2 >= 0.9 * 1_200


MIXED: dict[str, tuple[Callable[[], RefusingServer], float, float]] = {
    "places and three in a hundred": (
        lambda: RefusingServer(latency=2.0, places=40, told=True, at_random=0.03),
        40 / 2 * 60,
        0.05,
    ),
    "a sliding minute and three in a hundred": (
        lambda: RefusingServer(SlidingWindow(600, 60), told=True, at_random=0.03),
        600,
        0.25,
    ),
    "a bucket and three in a hundred": (lambda: RefusingServer(TokenBucket(600, 60), at_random=0.03), 600, 0.08),
}


@pytest.mark.parametrize("name", sorted(MIXED))
def test_a_limit_is_found_beside_random_refusals_too(tmp_path: Path, name: str) -> None:
    """They were taken for limits, and what was asked was cut to a tenth, or half of all was refused."""
    make, best, most_refused = MIXED[name]
    server = make()
    ask_for(240.0, tmp_path, server)
    assert sum(server.per_minute(4)[1:]) / 3 >= 0.8 * best
    assert server.refused_share <= most_refused


def test_a_server_that_queues_is_not_given_more_and_more(tmp_path: Path) -> None:
    """Forty workers need forty in flight; what is above only waits. Without an end there would be a thousand."""
    server = RefusingServer(latency=2.0, queue=40)
    ask_for(300.0, tmp_path, server)
    assert server.refused == []
    assert query(tmp_path, "SELECT after FROM changes ORDER BY rowid DESC LIMIT 1")[0][0] < 130


def test_every_change_is_kept_with_its_reason(tmp_path: Path) -> None:
    ask_for(120.0, tmp_path, RefusingServer(SlidingWindow(600, 60), told=True))
    changes = query(tmp_path, "SELECT what, before, after, reason FROM changes ORDER BY rowid")
    assert ("in-flight", 8.0, 10.0, "slow start") in changes
    assert ("requests a minute", None, pytest.approx(600, abs=12), "refused") in changes


@pytest.mark.parametrize("kind", [SlidingWindow, TokenBucket])
def test_a_limit_that_the_user_took_for_twice_as_large_is_found_too(
    tmp_path: Path, kind: type[SlidingWindow | TokenBucket]
) -> None:
    server = RefusingServer(kind(600, 60))
    ask_for(240.0, tmp_path, server, Limits(requests_per_minute=1_200))
    assert sum(server.per_minute(4)[1:]) / 3 >= 540
    assert server.refused_share <= 0.02


@pytest.mark.parametrize("limit", [60, 120])
def test_a_refusal_long_after_the_last_is_compared_with_nothing(tmp_path: Path, limit: int) -> None:
    """Slow buckets are tried a little higher minutes after the last refusal, when that is forgotten."""
    server = RefusingServer(TokenBucket(limit, 60), latency=1.0)
    ask_for(1_500.0, tmp_path, server)
    assert sum(server.per_minute(25)[1:]) / 24 >= 0.9 * limit


def test_what_was_refused_comes_again_soon_after_an_outage_of_refusals(tmp_path: Path) -> None:
    """Half a minute of refusals, then every tenth row breaks a rule once: none waits for the end of the source."""
    seen: set[str] = set()
    waited: list[int] = []

    def script(request: Request, number: int) -> Answer:
        if asyncio.get_running_loop().time() < 30:
            return fail(FailureKind.RATE_LIMITED)
        row = word(request)
        if row.endswith("7") and row not in seen:
            seen.add(row)
            return replying("bad: rule")
        if row.endswith("7"):
            waited.append(number)
        return replying("good")

    provider = ScriptedProvider(script, latency=1.0)
    report = ask_all(tmp_path, rows(1_000), provider, limits=Limits(requests_per_minute=600))
    assert report.counts.accepted == 1_000
    assert len(waited) == 100
    assert sorted(waited)[50] < 0.75 * len(provider.asked)  # not all at the end


def test_a_window_that_turns_out_to_be_places_is_kept_to_no_more() -> None:
    lane = Lane(Served(ScriptedProvider(lambda _request, _number: replying("good"))), Limits(), Prices(), lambda: 0.0)
    lane._act_on(Finding("window", 10, 60.0), "refused")
    assert [window.limit for window in lane.windows] == [10]
    lane._act_on(Finding("places", 5), "refused")
    assert lane.windows == []
    assert lane.concurrency.limit == 5


def refuse(found: FoundLimits, at: float, beside: int, *, number: int) -> Finding | None:
    """One is refused; what that shows stands beside the next that leaves."""
    sent, _ = found.started(at, beside + 1, 100)
    found.not_admitted(sent, beside)
    found.refused(at + 0.01, sent, beside, number=number, fresh=True, hold=0.0)
    return found.started(at + 1.0, 1, 100)[1]


def test_beside_random_refusals_two_above_the_places_are_no_chance() -> None:
    """Forty places. Refused beside 40 others twice, each apart from other refusals: one more had been tried. Four close
    together were waited for, at every try."""
    found = FoundLimits(at_random=True)
    found._found = _Found("places", 40, 0.0)
    assert [refuse(found, 10.0 * number, 20, number=100 * number) for number in range(1, 6)] == [None] * 5
    assert refuse(found, 60.0, 40, number=600) is None
    assert refuse(found, 70.0, 40, number=700) == Finding("places", 40)


def test_a_count_is_kept_to_two_in_a_hundred_below_before_it_is_doubted() -> None:
    """Fifty a second, of which one was counted on the wrong side of a beginning: a rate was made up instead."""
    found = FoundLimits()
    found._found = _Found("window", 50, 1.0, exact=50)
    assert refuse(found, 10.0, 3, number=10) == Finding("window", 49, 1.0)
