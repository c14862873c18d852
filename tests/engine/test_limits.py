"""The gate against servers with exact limits, on a virtual clock; and its parts."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smile_async.engine.estimate import TokenEstimate
from smile_async.engine.job import Message, Request, Usage
from smile_async.engine.limits import BudgetSpentError, Gate
from smile_async.engine.window import SLACK, RateWindow
from smile_async.settings import Limits, Prices
from smile_async.testing import run_virtual
from tests.engine.server_limits import Load, arrivals, lane_under, lowest_level, most_in_a_window, one, tokens, used

REQUESTS, TOKENS = 600, 300_000  # a minute
LIMITS = Limits(requests_per_minute=REQUESTS, tokens_per_minute=TOKENS, concurrency=512)


def even(low: int, high: int) -> Load:
    return Load((low // 3, high // 3), lambda chance: chance.randint(2 * low // 3, 2 * high // 3))


LOADS = {
    "requests bind": even(100, 500),  # 600 * 300 = 180,000 tokens a minute
    "tokens bind": even(600, 1_400),  # 300,000 / 1,000 = 300 requests a minute
    "both bind": even(300, 700),  # 600 * 500 = 300,000
}


@settings(max_examples=9, deadline=None)
@given(load=st.sampled_from(sorted(LOADS)), seed=st.integers(0, 2**32))
def test_no_request_is_ever_over_the_limit_of_a_sliding_window_or_of_a_bucket(load: str, seed: int) -> None:
    """Ten minutes. A bucket holds a minute's limit, is full at the start and fills evenly."""
    seen = arrivals(LIMITS, LOADS[load], 600.0, seed)
    assert most_in_a_window(seen, one) <= REQUESTS
    assert most_in_a_window(seen, tokens) <= TOKENS
    assert lowest_level(seen, one, REQUESTS) >= 0
    assert lowest_level(seen, tokens, TOKENS) >= 0


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("load", sorted(LOADS))
def test_what_is_allowed_is_used_over_three_minutes_the_first_lone_request_included(load: str, seed: int) -> None:
    seen = arrivals(LIMITS, LOADS[load], 180.0, seed)
    share = {
        "requests bind": used(seen, one, 180.0) / (3 * REQUESTS),
        "tokens bind": used(seen, tokens, 180.0) / (3 * TOKENS),
        "both bind": max(used(seen, one, 180.0) / (3 * REQUESTS), used(seen, tokens, 180.0) / (3 * TOKENS)),
    }[load]
    assert share >= 0.97


def test_answers_of_very_uneven_length_stay_within_the_limit_too() -> None:
    """Log-normal, median 490, one in a hundred beyond 2,500: the reserve grows with the spread that was seen."""
    load = Load((200, 400), lambda chance: min(4_000, int(chance.lognormvariate(6.2, 0.7))))
    seen = arrivals(LIMITS, load, 600.0, seed=1)
    assert most_in_a_window(seen, tokens) <= TOKENS
    assert used(seen, tokens, 180.0) >= 0.96 * 3 * TOKENS


def test_once_what_was_lost_is_caught_up_requests_go_evenly() -> None:
    """600 a minute are 10 a second: in no second of the third minute more than 15 percent and a quarter second above."""
    seen = [arrival.at for arrival in arrivals(LIMITS, LOADS["requests bind"], 180.0, seed=2)]
    each = [sum(second <= at < second + 1 for at in seen) for second in range(120, 179)]
    assert max(each) <= 10 * 1.15 + 2.5
    assert min(each) >= 6


# The window -----------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_amount_fits_again_when_what_is_in_its_way_has_left_the_window() -> None:
    async def main() -> None:
        clock = Clock()
        window = RateWindow(10, 60.0, clock=clock)
        for at, amount in [(0.0, 6.0), (5.0, 3.0)]:
            clock.now = at
            window.remember(at, amount)
        assert window.wait(1.0) == 0.0
        assert window.wait(2.0) == 60 + SLACK - 5  # the first has to leave
        assert window.wait(8.0) == 65 + SLACK - 5  # both have to
        clock.now = 61.0
        assert window.used() == 3.0
        assert repr(window) == "<RateWindow [3 of 10 in 60 s]>"

    run_virtual(main())


def test_an_amount_above_the_whole_limit_goes_when_the_window_is_empty() -> None:
    async def main() -> None:
        window = RateWindow(10, 60.0, clock=Clock())
        assert window.wait(25.0) == 0.0
        window.remember(0.0, 1.0)
        assert window.wait(25.0) == 60 + SLACK

    run_virtual(main())


def test_a_correction_counts_at_once() -> None:
    window = RateWindow(10, 60.0, clock=Clock())
    entry = window.remember(0.0, 9.0)
    window.correct(entry, 4.0)
    assert window.used() == 4.0
    window.correct(entry, 0.0)
    assert window.used() == 0.0


def test_a_correction_that_comes_after_the_window_leaves_no_trace() -> None:
    """An answer that takes longer than the period: its amount has left, whatever it was."""
    clock = Clock()
    window = RateWindow(100, 60.0, clock=clock)
    late = window.remember(0.0, 50.0)
    clock.now = 30.0
    window.remember(30.0, 10.0)
    clock.now = 61.0  # the first has left, and nobody has looked since
    window.correct(late, 20.0)
    assert window.used() == 10.0
    clock.now = 61.5
    window.remember(clock.now, 1.0)
    clock.now = 91.0
    assert window.used() == 1.0


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 50), st.one_of(st.none(), st.integers(0, 50))), max_size=40)
)
def test_what_is_used_is_always_the_sum_of_what_is_in_the_window(steps: list[tuple[int, int, int | None]]) -> None:
    clock = Clock()
    window = RateWindow(100, 60.0, clock=clock)
    entries = []
    for later, amount, corrected in steps:
        clock.now += later / 10
        entries.append(window.remember(clock.now, float(amount)))
        if corrected is not None:
            window.correct(entries[corrected % len(entries)], float(corrected))
        inside = sum(entry.amount for entry in entries if entry.at > clock.now - 60 - SLACK)
        assert window.used() == pytest.approx(inside)


# The gate -------------------------------------------------------------------------------------------------------------


def request(max_tokens: int | None = None) -> Request:
    return Request((Message("user", "字" * 100),), max_tokens)


def test_no_more_are_in_flight_than_allowed_and_one_more_starts_as_one_is_settled() -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        lane = lane_under(Limits(concurrency=2), clock=clock, name="here")
        gate = Gate([lane], clock=clock)
        first, _second = await gate.enter(request()), await gate.enter(request())
        assert repr(gate) == "<Gate [2 in flight at here]>"
        assert repr(lane) == "<Lane here [2 of 2 in flight, []]>"
        asyncio.get_running_loop().call_later(7.0, gate.settle, first, request(), None)
        await gate.room()
        assert clock() == pytest.approx(7.0, abs=0.001)

    run_virtual(main())


def test_a_hold_is_shared_and_a_shorter_one_never_ends_a_longer_one() -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        lane = lane_under(Limits(), clock=clock)
        gate = Gate([lane], clock=clock)
        assert gate.hold(lane, 20.0) == 20.0
        assert gate.hold(lane, 5.0) == 0.0
        assert gate.hold(lane, 21.0) == pytest.approx(1.0, abs=0.001)
        await gate.room()
        assert clock() == pytest.approx(21.0, abs=0.001)

    run_virtual(main())


def test_a_refused_request_gives_its_tokens_back() -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        lane = lane_under(Limits(tokens_per_minute=10_000), clock=clock)
        gate, (tokens,) = Gate([lane], clock=clock), lane.windows
        admission = await gate.enter(request())
        assert tokens.used() == 1_100.0  # 100 characters and the first guess of 1,000
        gate.settle(admission, request(), None, refused=True)
        assert tokens.used() == 0.0
        admission = await gate.enter(request())
        gate.settle(admission, request(), None)  # failed: the server may have counted it
        assert tokens.used() == 1_100.0

    run_virtual(main())


def test_the_budget_waits_for_what_is_in_flight_and_ends_when_nothing_can_give_any_back() -> None:
    """A dollar a token: 300 bytes of prompt and 16 of template, and 100 for max_tokens, are 416 at most; 900 admit two
    at once, and one more when 484 are left."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        prices = Prices(input=1_000_000, output=1_000_000)
        gate = Gate([lane_under(Limits(), clock=loop.time, prices=prices)], clock=loop.time, budget_usd=900)
        asked = request(max_tokens=100)
        first, second = await gate.enter(asked), await gate.enter(asked)
        loop.call_later(1.0, gate.settle, first, asked, Usage(100, 50))  # 150 spent, 416 reserved
        loop.call_later(2.0, gate.settle, second, asked, Usage(100, 166))  # 416 spent
        third = await gate.enter(asked)  # 416 + 416 = 832
        assert loop.time() == pytest.approx(2.0, abs=0.001)
        assert gate.settle(third, asked, Usage(100, 100)) == 200.0  # 616 spent: no room for 416
        with pytest.raises(BudgetSpentError):
            await gate.enter(asked)
        assert gate.spent_usd == 616.0

    run_virtual(main())


def test_whatever_the_order_of_answers_the_budget_is_never_exceeded() -> None:
    async def main(seed: int) -> float:
        loop, chance = asyncio.get_running_loop(), random.Random(seed)
        prices = Prices(input=1_000_000, output=2_000_000)
        lane = lane_under(Limits(concurrency=50), clock=loop.time, prices=prices)
        gate = Gate([lane], clock=loop.time, budget_usd=5_000, estimate=TokenEstimate())
        asked = request(max_tokens=100)
        while True:
            try:
                admission = await gate.enter(asked)
            except BudgetSpentError:
                return gate.spent_usd
            usage = Usage(chance.randint(50, 100), chance.randint(1, 100))
            loop.call_later(chance.uniform(0, 9), gate.settle, admission, asked, usage)

    for seed in range(20):
        spent = run_virtual(main(seed))
        assert 5_000 - 516 < spent <= 5_000  # what is left is less than one request's ceiling


def test_what_was_let_through_counts_until_it_has_left_and_a_period_after_that() -> None:
    """A commit that takes longer than the window, or a process that stood still, must not hide what then leaves."""
    clock = Clock()
    window = RateWindow(2, 1.0, clock=clock)

    async def main() -> None:
        assert window.wait(1.0) == 0.0
        entry = await window.take(1.0)
        clock.now += 3.0
        assert window.used() == 1
        window.departed(entry, clock.now)
        clock.now += 1.0  # at a server that counts a sliding second it may still stand
        assert window.used() == 1
        clock.now += 0.1
        assert window.used() == 0

    run_virtual(main())


def test_a_row_goes_to_no_endpoint_unfit_for_it_while_the_money_for_the_other_is_held_by_batches() -> None:
    """Of 1,000 dollars 999.5 are reserved: 100 tokens at a dollar each are payable later, not now. The cheap endpoint
    refused the request as too large, and would again, as often as it was asked."""
    cheap = lane_under(Limits(), clock=lambda: 0.0, name="cheap", prices=Prices(output=0.001))
    dear = lane_under(Limits(), clock=lambda: 0.0, name="dear", prices=Prices(output=1e6))
    gate = Gate([cheap, dear], clock=lambda: 0.0, budget_usd=1_000.0, reserved_usd=999.5)
    request = Request((Message("user", "words"),), max_tokens=100)

    with pytest.raises(BudgetSpentError):
        run_virtual(gate.enter(request, unfit=frozenset({"cheap"})))

    assert [lane.name for lane in gate.payable(request)] == ["cheap", "dear"]


def test_an_attempt_is_counted_out_once_whatever_breaks_after_that() -> None:
    """Ten and ten tokens at a dollar each; lost afterwards, it would be one less than nothing in flight, and perhaps
    billed on top of what it cost."""

    async def main() -> None:
        prices = Prices(input=1e6, output=1e6)
        lane = lane_under(Limits(), clock=lambda: 0.0, prices=prices)
        gate = Gate([lane], clock=lambda: 0.0, budget_usd=1_000.0)
        request = Request((Message("user", "words"),), max_tokens=100)
        admission = await gate.enter(request)
        assert gate.settle(admission, request, Usage(10, 10), replied=True) == 20.0
        assert gate.settle(admission, request, None, perhaps=True) == 20.0
        assert (lane.in_flight, gate.spent_usd, gate.perhaps_usd, gate.reserved_usd) == (0, 20.0, 0.0, 0.0)

    run_virtual(main())
