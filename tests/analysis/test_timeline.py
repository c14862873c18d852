"""Rates over a run's own time, with the arithmetic in sight."""

from collections.abc import Iterable

import pytest

from smile_async.analysis.timeline import LONGEST_PAUSE, Timeline, timeline
from smile_async.engine.account import LimitChange
from smile_async.engine.history import Attempted
from smile_async.settings import Quota


def sent(at: float, took: float | None = 1.0, *, verdict: str = "accepted", paid: bool = True, tokens: int = 10,
         endpoint: str = "") -> Attempted:  # fmt: skip
    """Three tenths of the tokens are the prompt's."""
    return Attempted(at, took, endpoint, verdict, paid, tokens * 3 // 10, tokens * 7 // 10)


def over(attempts: Iterable[Attempted], *changes: LimitChange, now: float = 10_000.0, **quota: float) -> Timeline:
    given = list(attempts)
    found = timeline(lambda: given, {"": Quota.model_validate(quota)}, changes, now=now)
    assert found is not None
    return found


def test_the_peak_is_what_sixty_seconds_held_and_the_mean_what_a_bin_did() -> None:
    """Two requests every other second for 118 s: 60 in any full minute, 2, 2, 4, 4, ... before; in bins of a second
    the mean swings between 120 and 0."""
    found = over(sent(1_000.0 + 2 * (place // 2)) for place in range(120))
    [one] = found.endpoints
    assert (found.seconds, found.width, found.bins) == (119.0, 1, 120)
    assert one.requests.mean[:4] == (120.0, 0.0, 120.0, 0.0)
    assert one.requests.peak[:4] == (2.0, 2.0, 4.0, 4.0)
    assert max(one.requests.peak) == one.requests.peak[118] == 60.0
    assert max(one.tokens.peak) == 600.0  # 60 of 10


def test_a_bin_without_requests_still_holds_what_the_minute_before_it_held() -> None:
    """Three at once at 0 and one at 70 s: up to 60 s the minute holds three, then none, then one."""
    found = over([sent(0.0), sent(0.0), sent(0.0), sent(70.0)])
    peak = found.endpoints[0].requests.peak
    at = [peak[int(second / found.width)] for second in (0, 30, 59, 65, 70)]
    assert at == [3.0, 3.0, 3.0, 0.0, 1.0]


def test_every_attempt_ends_in_one_of_three_counts() -> None:
    kinds = [
        sent(0.0),
        sent(1.0, verdict="too-few-turns"),
        sent(2.0, verdict="timeout", paid=False),
        sent(3.0, None, verdict=""),
    ]
    found = over(kinds, now=10.0)
    sums = [sum(values) for values in (found.accepted, found.rejected, found.failed)]
    assert sums == [1, 1, 1]  # the fourth is under way


def test_in_flight_is_the_most_at_any_time_of_a_bin() -> None:
    """Two from 0 to 10 s, a third from 4 to 6 s."""
    found = over([sent(0.0, 10.0), sent(0.0, 10.0), sent(4.0, 2.0)])
    flying = found.endpoints[0].in_flight
    assert [flying[int(second / found.width)] for second in (0, 2, 4, 5, 8)] == [2, 2, 3, 3, 2]


def test_a_night_without_requests_is_cut_out_and_told() -> None:
    """Work from 0 to 10 s and from 30,000 to 30,005 s: 15 s of the run's own, 29,990 s cut out at 10 s."""
    found = over([sent(0.0, 10.0), sent(30_000.0, 5.0)], now=40_000.0)
    assert found.seconds == 15.0
    assert found.cuts == ((10.0, 29_990.0),)


def test_a_wait_for_a_slow_answer_is_no_pause() -> None:
    """The second leaves 200 s after the first, whose answer took 190 s."""
    found = over([sent(0.0, 190.0), sent(200.0)])
    assert LONGEST_PAUSE < 200.0
    assert found.cuts == ()
    assert found.seconds == 201.0


def test_limits_and_their_changes_stand_on_the_same_clock() -> None:
    change = LimitChange(30_002.0, "", "in-flight", 8.0, 10.0, "slow start")
    in_the_night = LimitChange(20_000.0, "", "in-flight", 10.0, 8.0, "told to")
    found = over([sent(0.0, 10.0), sent(30_000.0, 5.0)], in_the_night, change, requests_per_minute=90.0, now=40_000.0)
    [one] = found.endpoints
    assert one.limits == {"requests": 90.0}
    assert [(step.at, step.after) for step in one.steps] == [(10.0, 8.0), (12.0, 10.0)]


def test_endpoints_are_told_apart() -> None:
    given = [sent(0.0, endpoint="east"), sent(1.0, endpoint="west"), sent(2.0, endpoint="east")]
    found = timeline(lambda: given, {"east": Quota(concurrency=5)}, [], now=9.0)
    assert found is not None
    sent_at = {one.name: sum(one.requests.mean) * found.width / 60 for one in found.endpoints}
    assert sent_at == pytest.approx({"east": 2.0, "west": 1.0})
    assert [one.limits for one in found.endpoints] == [{"in-flight": 5.0}, {}]


def test_a_long_run_has_few_bins() -> None:
    """Ten hours, a request every 36 s: bins of 300 s would be 120 and one for the last answer, so they have 600."""
    found = over((sent(36.0 * place) for place in range(1_001)), now=40_000.0)
    assert (found.width, found.bins) == (600, 61)
    assert sum(found.endpoints[0].requests.mean) * found.width / 60 == pytest.approx(1_001)


def test_where_nothing_was_sent_there_is_no_time() -> None:
    assert timeline(list, {}, [], now=1.0) is None


def test_tokens_of_prompts_and_answers_are_told_apart() -> None:
    """Two a second apart, 10 tokens each: 6 of prompts and 14 of answers in the minute."""
    [one] = over([sent(0.0), sent(1.0)], input_tokens_per_minute=100, output_tokens_per_minute=200).endpoints
    assert (max(one.input.peak), max(one.output.peak), max(one.tokens.peak)) == (6.0, 14.0, 20.0)
    assert one.limits == {"input": 100.0, "output": 200.0}


def test_a_limit_a_day_stands_beside_what_24_hours_of_the_wall_clock_held() -> None:
    """Three in the first hour, then one 23 h 59 min after the first (4 in 24 h), and one 25 h after it (the last three
    of an hour have left: 2). The pauses between are cut out of the chart, not out of the day."""
    hour = 3_600.0
    given = [sent(0.0), sent(600.0), sent(1_200.0), sent(24 * hour - 60), sent(25 * hour)]
    found = over(given, now=30 * hour, requests_per_day=1_000, tokens_per_day=9_000)
    [one] = found.endpoints
    assert max(one.days["requests-day"]) == 4.0
    assert one.days["requests-day"][-1] == 2.0
    assert max(one.days["tokens-day"]) == 40.0
    assert one.limits == {"requests-day": 1_000.0, "tokens-day": 9_000.0}
    assert over(given, now=30 * hour).endpoints[0].days == {}
