"""Predictions from numbers: each one derived in sight."""

from dataclasses import replace
from typing import Any

import pytest

from smile_async.engine.experience import Fates
from smile_async.plan import CPU_A_REQUEST, DAY, NOTED, Place, Plan, Work, predict
from smile_async.rates import Rates, Seen, Size, assumed, learned, size_of
from smile_async.settings import Limits, Prices, Quota, RetryPolicy

RATES = Rates("a run", per_ascii=0.25, per_other=0.5, completion=400, latency=2.0, first=1.0, later=1.0)
CYCLE = 2.0 + NOTED  # seconds that a place is taken for one answer
WORK = Work(1_000, Size(ascii=800_000, other=400_000))
"""A thousand prompts of 800 ASCII and 400 other characters: 800 * 0.25 + 400 * 0.5 = 400 tokens each."""


def plan(rates: Rates = RATES, work: Work = WORK, attempts: int | None = 3, **limits: Any) -> Plan:
    given = {"concurrency": 100_000, **limits}
    return predict(
        work,
        rates,
        limits=Limits(**given),
        prices=Prices(input=1, output=10),
        policy=RetryPolicy(max_attempts=attempts),
    )


def test_tokens_and_money_are_those_of_all_requests() -> None:
    found = plan()
    assert (found.requests, found.replies, found.accepted) == (1_000, 1_000, 1_000)
    assert (found.prompt_tokens, found.completion_tokens) == (400_000, 400_000)
    assert found.cost_usd == pytest.approx(0.4 * 1 + 0.4 * 10)


@pytest.mark.parametrize(
    ("first", "later", "attempts", "replies", "accepted"),
    [
        (0.8, 0.5, 1, 1.0, 0.8),
        (0.8, 0.5, 2, 1.2, 0.8 + 0.2 * 0.5),
        (0.8, 0.5, 3, 1 + 0.2 + 0.1, 0.8 + 0.2 * 0.75),
        (0.8, 0.5, None, 1 + 0.2 / 0.5, 1.0),
        (0.9, 0.0, 3, 1 + 0.1 * 2, 0.9),  # rows that always fail
        (0.0, 0.0, 3, 3.0, 0.0),
    ],
)
def test_rejected_replies_are_asked_again_as_often_as_the_policy_says(
    first: float, later: float, attempts: int | None, replies: float, accepted: float
) -> None:
    found = plan(replace(RATES, first=first, later=later), attempts=attempts)
    assert found.replies == pytest.approx(1_000 * replies)
    assert found.accepted == pytest.approx(1_000 * accepted)
    assert found.prompt_tokens == pytest.approx(400_000 * replies)


def test_what_a_filter_ends_is_not_asked_again_and_failed_attempts_are_requests_without_tokens() -> None:
    """A tenth is refused without a reply; of the 900 others a tenth is filtered in the reply; each reply costs 0.2
    attempts that bring none."""
    found = plan(replace(RATES, first=0.9, final=0.1, refused=0.1, failed=0.2))
    assert found.replies == pytest.approx(900)
    assert found.accepted == pytest.approx(810)
    assert found.requests == pytest.approx(900 * 1.2 + 100)
    assert found.completion_tokens == pytest.approx(900 * 400)


@pytest.mark.parametrize(
    ("limits", "binds", "seconds"),
    [
        ({"requests_per_minute": 600}, "requests a minute", 100.0),  # 1,000 at 10 a second
        ({"tokens_per_minute": 240_000}, "tokens a minute", 200.0),  # 800,000 at 4,000 a second
        ({"input_tokens_per_minute": 60_000}, "input tokens a minute", 400.0),  # 400,000 at 1,000
        ({"output_tokens_per_minute": 60_000}, "output tokens a minute", 400.0),
        ({"requests_per_minute": 600, "tokens_per_minute": 240_000}, "tokens a minute", 200.0),
        ({"requests_per_minute": 600, "concurrency": 4}, "requests in flight", 1_000 * (2 + NOTED) / 4),
        ({}, "CPU of this machine", 1_000 * CPU_A_REQUEST),
        ({"requests_per_day": 400, "requests_per_minute": 600}, "requests a day", 2 * DAY + 200 / 1_000 * 100),
        ({"tokens_per_day": 800_000, "requests_per_minute": 600}, "requests a minute", 100.0),  # one day's worth
    ],
)
def test_the_slowest_limit_binds(limits: dict[str, Any], binds: str, seconds: float) -> None:
    """Beside what the limit itself takes: the answer to the last request (2 s), and that to the first, which is sent
    alone, as far as it is not caught up."""
    found = plan(**limits)
    assert found.binds == binds
    assert seconds + 2 <= found.seconds <= seconds + 4 + 1e-9
    assert [bound.seconds for bound in found.bounds] == sorted((bound.seconds for bound in found.bounds), reverse=True)


def test_where_the_number_in_flight_is_found_it_doubles_from_eight() -> None:
    """2 s an answer: 8 + 16 + ... + 256 = 504 in six rounds, the other 496 at 512 in flight; the first is sent alone."""
    found = plan(concurrency=None)
    [bound] = [bound for bound in found.bounds if bound.name == "requests in flight"]
    assert bound.limit == 1_000
    assert bound.seconds == pytest.approx(6 * CYCLE + 496 * CYCLE / 512)
    assert found.seconds == pytest.approx(bound.seconds + 2)


def test_where_a_limit_paces_it_begins_with_sixty_four() -> None:
    """64 + 128 + 256 + 512 = 960 in four rounds of 2 s, the other 40 at the ceiling of 1,000 in flight."""
    found = plan(concurrency=None, requests_per_minute=60_000)
    [bound] = [bound for bound in found.bounds if bound.name == "requests in flight"]
    assert bound.seconds == pytest.approx(4 * CYCLE + 40 * CYCLE / 1_000)


# Several endpoints ----------------------------------------------------------------------------------------------------


def places(*quotas: dict[str, Any], prices: tuple[Prices | None, ...] = ()) -> tuple[Place, ...]:
    given = prices or (None,) * len(quotas)
    return tuple(
        Place(name, Quota(**{"concurrency": 100_000, **quota}), price)
        for name, quota, price in zip("abc", quotas, given, strict=False)
    )


def among(*endpoints: Place, prices: Prices | None = None, **limits: Any) -> Plan:
    return predict(WORK, RATES, limits=Limits(**limits), prices=prices, policy=RetryPolicy(), places=endpoints)


def test_limits_of_a_kind_are_added_up_and_each_endpoint_does_what_it_can() -> None:
    """600 + 200 a minute: three quarters and one; 1,000 requests take 75 s."""
    found = among(*places({"requests_per_minute": 600}, {"requests_per_minute": 200}))
    assert found.bounds[0].name == "requests a minute"
    assert found.bounds[0].limit == 800
    assert found.bounds[0].seconds == pytest.approx(75)
    assert [one.name for one in found.shares] == ["a", "b"]
    assert [one.share for one in found.shares] == pytest.approx([0.75, 0.25])


def test_each_may_have_a_limit_of_another_kind() -> None:
    """One does 10 requests a second, the other 8,000 tokens a second, which are 10 requests: together 50 s, in which
    each limit is used up."""
    found = among(*places({"requests_per_minute": 600}, {"tokens_per_minute": 480_000}))
    assert [one.share for one in found.shares] == [pytest.approx(0.5)] * 2
    assert [one.binds for one in found.shares] == ["requests a minute", "tokens a minute"]
    assert [bound.seconds for bound in found.bounds[:2]] == [pytest.approx(50)] * 2


def test_two_that_find_their_number_in_flight_double_both() -> None:
    """Each does 500: 8 + 16 + ... + 128 = 248 in five rounds of 2 s, the other 252 at 256 in flight."""
    found = among(Place("a"), Place("b"))
    assert (found.binds, found.bounds[0].limit) == ("requests in flight", 2_000)
    assert found.bounds[0].seconds == pytest.approx(5 * CYCLE + 252 * CYCLE / 256)


def test_a_day_that_one_has_used_up_is_not_waited_for() -> None:
    """400 of the first day, and the other does the rest: 600 at one a second."""
    found = among(*places({"requests_per_day": 400}, {"requests_per_minute": 60}))
    assert [one.share for one in found.shares] == [pytest.approx(0.4, abs=1e-3), pytest.approx(0.6, abs=1e-3)]
    assert found.binds == "requests a minute"
    assert found.bounds[0].seconds == pytest.approx(600, rel=1e-2)


def test_the_machine_is_one_however_many_are_asked() -> None:
    found = among(*places({}, {}, {}))
    assert found.binds == "CPU of this machine"
    assert found.bounds[0].seconds == pytest.approx(1_000 * CPU_A_REQUEST)
    assert [one.share for one in found.shares] == [pytest.approx(1 / 3)] * 3


def test_money_is_that_of_each_share_and_unknown_where_one_has_no_prices() -> None:
    """Three quarters at 4.4 dollars (0.4 * 1 + 0.4 * 10) and one at half of that."""
    cheap = Prices(input=0.5, output=5)
    two = ({"requests_per_minute": 600}, {"requests_per_minute": 200})
    found = among(*places(*two, prices=(None, cheap)), prices=Prices(input=1, output=10))
    assert found.cost_usd == pytest.approx(0.75 * 4.4 + 0.25 * 2.2)
    assert among(*places(*two, prices=(None, cheap))).cost_usd is None


def test_no_rows_are_shared_out_evenly() -> None:
    found = predict(
        Work(0, Size()), RATES, limits=Limits(), prices=None, policy=RetryPolicy(), places=(Place("a"), Place("b"))
    )
    assert ([one.share for one in found.shares], found.seconds) == ([0.5, 0.5], 0)


def test_a_budget_is_enough_or_for_so_many_rows() -> None:
    assert plan(budget_usd=5).budget_rows == 1_000
    assert plan(budget_usd=2.2).budget_rows == 500
    assert plan().budget_rows is None
    found = predict(
        WORK, RATES, limits=Limits(budget_usd=5), prices=Prices(input=1, output=10), policy=RetryPolicy(), spent_usd=2.8
    )
    assert found.budget_usd == pytest.approx(2.2)
    assert found.budget_rows == 500


def test_no_rows_take_nothing() -> None:
    found = plan(work=Work(0, Size()), requests_per_minute=1)
    assert (found.requests, found.cost_usd, found.seconds) == (0, 0, 0)


def test_a_ceiling_bounds_the_answer() -> None:
    found = predict(WORK, RATES, limits=Limits(), prices=None, policy=RetryPolicy(), max_tokens=100)
    assert found.completion_tokens == 100_000
    assert found.cost_usd is None


# Rates from replies ---------------------------------------------------------------------------------------------------


def seen(ascii_: float, other: float, completion: float = 400, took: float = 2.0) -> Seen:
    """The model takes 0.25 tokens for an ASCII character and 0.7 for another."""
    return Seen(Size(ascii_, other), round(ascii_ * 0.25 + other * 0.7), round(completion), took)


def test_two_kinds_of_characters_are_told_apart_so_that_longer_rows_are_foreseen() -> None:
    """The recipe's English part is the same in all; the replies are to rows of 100 to 300, the others have 2,000."""
    rates = learned("a run", [seen(1_000, other) for other in range(100, 300, 10)], Fates(20, 20), assumed("zh", None))
    assert rates.prompt_tokens(Size(1_000, 2_000)) == pytest.approx(1_000 * 0.25 + 2_000 * 0.7, rel=0.01)


def test_few_or_equal_prompts_give_one_ratio() -> None:
    rates = learned("a run", [seen(1_000, 200)] * 20, Fates(20, 20), assumed("zh", None))
    assert rates.per_ascii == rates.per_other == pytest.approx(390 / 1_200)


def test_answers_that_grow_with_their_prompts_are_foreseen_and_chance_is_not_taken_for_growth() -> None:
    grows = [seen(0, size, completion=100 + size / 2) for size in range(100, 300, 10)]
    rates = learned("a run", grows, Fates(20, 20), assumed("zh", None))
    assert rates.completion_tokens(1_000, None) == pytest.approx(600, rel=0.01)
    noise = [seen(0, size, completion=400 + (size * 7919) % 100) for size in range(100, 300, 10)]
    assert learned("a run", noise, Fates(20, 20), assumed("zh", None)).slope == 0


def test_how_rows_fared_is_told_apart_by_first_and_later_replies() -> None:
    """20 rows answered, 15 at once; 6 later replies, 3 of them good: (3 + 2 * 0.75) / (6 + 2)."""
    fates = Fates(answered=20, first_good=15, first_final=1, later=6, later_good=3, refused=5, failed=13)
    rates = learned("a run", [seen(1, 1)], fates, assumed("zh", None))
    assert (rates.first, rates.final, rates.refused) == (0.75, 0.05, 0.2)
    assert rates.later == pytest.approx(4.5 / 8)
    assert rates.failed == pytest.approx(0.5)


def test_failed_attempts_that_end_sooner_leave_their_places_sooner() -> None:
    """1,000 requests of 1.5 s on average through 10 places: 150 s, though a reply takes 2 s."""
    found = plan(replace(RATES, busy=1.5), concurrency=10)
    assert 150 + 2 <= found.seconds <= 150 + 4


def test_a_server_that_counts_no_tokens_teaches_speed_and_fates_alone() -> None:
    otherwise = assumed("zh", None)
    rates = learned("a run", [Seen(Size(1, 1), 0, 0, 3.0)] * 9, Fates(9, 9), otherwise)
    assert (rates.latency, rates.first, rates.replies) == (3.0, 1.0, 0)
    assert (rates.per_other, rates.completion) == (otherwise.per_other, otherwise.completion)
    assert rates.assumptions == otherwise.assumptions[:2]


def test_more_replies_make_a_plan_surer_and_assumptions_give_no_measure_of_it() -> None:
    lengths = [300, 500] * 10
    few = learned("a run", [seen(500, 100 + n, length) for n, length in enumerate(lengths)], Fates(20, 20), RATES)
    many = replace(few, replies=2_000)
    assert 0 < (plan(many).uncertain or 0) < (plan(few).uncertain or 0) < 0.2
    assert plan(assumed("zh", None)).uncertain is None


def test_what_is_assumed_is_said() -> None:
    rates = assumed("zh", None)
    assert rates.completion == 940 * 0.75
    assert len(rates.assumptions) == 4
    assert "0.75 tokens a Chinese character" in rates.assumptions[0]


def test_characters_are_counted_by_kind() -> None:
    assert size_of(["abc 你好", "。"]) == Size(4, 3)
