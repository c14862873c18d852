"""The limits against an oracle that recounts everything each time, and the headers that tell of them."""

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smile_async.engine.job import LimitWord, ServerPace
from smile_async.simulate import LimitSettings
from smile_async.simulate.limits import (
    RateLimits,
    SlidingWindow,
    TokenBucket,
    format_duration,
    pace_headers,
    retry_headers,
)

# Steps in eighths of a second are exact in binary: the oracle needs no tolerance.
STEPS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=60)
WINDOW = 4.0  # seconds


def used_within(log: Sequence[tuple[float, int]], now: float) -> int:
    return sum(amount for at, amount in log if now - WINDOW < at <= now)


@settings(deadline=None)
@given(STEPS, st.integers(1, 30))
def test_a_sliding_window_admits_exactly_what_a_recount_of_the_last_seconds_leaves_room_for(
    steps: list[tuple[int, int]], limit: int
) -> None:
    window, log, now = SlidingWindow(limit, WINDOW), list[tuple[float, int]](), 0.0
    for eighths, amount in steps:
        now += eighths / 8
        assert window.remaining(now) == limit - used_within(log, now)
        fits = used_within(log, now) + amount <= limit
        assert (window.wait(now, amount) == 0) == fits
        if fits:
            window.take(now, amount)
            log.append((now, amount))
    assert window.peak == max((used_within(log, at) for at, _ in log), default=0)


@settings(deadline=None)
@given(STEPS, st.integers(1, 30), st.integers(1, 40))
def test_the_wait_of_a_sliding_window_is_the_earliest_instant_at_which_the_amount_fits(
    steps: list[tuple[int, int]], limit: int, wanted: int
) -> None:
    window, log, now = SlidingWindow(limit, WINDOW), list[tuple[float, int]](), 0.0
    for eighths, amount in steps:
        now += eighths / 8
        if window.wait(now, amount) == 0:
            window.take(now, amount)
            log.append((now, amount))
    instants = [now, *sorted(at + WINDOW for at, _ in log if at + WINDOW > now)]
    fitting = [at for at in instants if used_within(log, at) + wanted <= limit]
    expected = min(fitting) - now if fitting else math.inf
    assert window.wait(now, wanted) == expected


@settings(deadline=None)
@given(STEPS, st.integers(1, 30))
def test_a_bucket_admits_exactly_what_exact_arithmetic_says_it_holds(steps: list[tuple[int, int]], limit: int) -> None:
    bucket, now = TokenBucket(limit, WINDOW), 0.0
    level, rate = Fraction(limit), Fraction(limit) / Fraction(WINDOW)
    for eighths, amount in steps:
        now += eighths / 8
        level = min(Fraction(limit), level + Fraction(eighths, 8) * rate)
        assert bucket.remaining(now) == math.floor(level)
        assert bucket.reset(now) == pytest.approx(float((limit - level) / rate))
        if amount > limit:
            assert bucket.wait(now, amount) == math.inf
        elif amount <= level:
            assert bucket.wait(now, amount) == 0
            bucket.take(now, amount)
            level -= amount
        else:
            assert bucket.wait(now, amount) == pytest.approx(float((amount - level) / rate))


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.floats(0.1, 1e6), st.sampled_from([SlidingWindow, TokenBucket]))
def test_who_waits_exactly_as_long_as_told_is_admitted(
    first: int, second: int, start: float, kind: type[SlidingWindow] | type[TokenBucket]
) -> None:
    limit = kind(50, 60.0)
    limit.take(start, first)
    wait = limit.wait(start + 0.3, second)
    assert limit.wait(start + 0.3 + wait, second) == 0


def test_a_refused_request_takes_neither_requests_nor_tokens() -> None:
    limits = RateLimits(LimitSettings(requests=10, tokens=100))
    assert limits.admit(0.0, 90) is None
    refusal = limits.admit(1.0, 20)
    assert refusal is not None
    assert (refusal.what, refusal.wait) == ("tokens", 59.0)
    assert limits.pace(1.0) == ServerPace(
        (LimitWord("requests", 60.0, 10, 9, 59.0), LimitWord("tokens", 60.0, 100, 10, 59.0))
    )


def test_prompt_and_answer_are_limited_apart() -> None:
    limits = RateLimits(LimitSettings(input_tokens=100, output_tokens=10))
    assert limits.admit(0.0, 60, 9) is None
    refusal = limits.admit(1.0, 40, 2)  # 9 + 2 > 10, while 60 + 40 fits
    assert refusal is not None
    assert (refusal.what, refusal.wait) == ("output_tokens", 59.0)
    assert limits.admit(1.0, 40, 1) is None
    assert limits.peaks() == {"input_tokens": {"limit": 100, "peak": 100}, "output_tokens": {"limit": 10, "peak": 10}}


def test_the_longer_of_both_waits_is_told() -> None:
    limits = RateLimits(LimitSettings(requests=1, tokens=100, window=10))
    limits.admit(0.0, 10)
    refusal = limits.admit(4.0, 500)
    assert refusal is not None
    assert (refusal.what, refusal.wait) == ("tokens", math.inf)
    refusal = limits.admit(4.0, 5)
    assert refusal is not None
    assert (refusal.what, refusal.wait) == ("requests", 6.0)


def test_a_bucket_lets_twice_the_limit_through_in_its_first_window_and_a_sliding_window_never_does() -> None:
    admitted = {}
    for kind in ("bucket", "sliding"):
        limits = RateLimits(LimitSettings.model_validate({"requests": 60, "kind": kind}))
        admitted[kind] = sum(limits.admit(step / 4, 0) is None for step in range(240))  # 60 s in steps of 0.25 s
    # full at the start: 60, and one more each second: 59 within [0, 59.75]
    assert admitted == {"bucket": 119, "sliding": 60}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0005, "1ms"),
        (0.5, "500ms"),
        (0.9999, "1s"),
        (8.64, "8.64s"),
        (60, "1m0s"),
        (90, "1m30s"),
        (86.4, "1m26.4s"),
        (7200, "2h0m0s"),
    ],
)
def test_reset_durations_have_openais_form_and_are_rounded_up(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_headers_carry_limit_remaining_and_reset_of_what_is_limited_and_nothing_else() -> None:
    pace = ServerPace((LimitWord("requests", 60.0, 600, 599, 0.1), LimitWord("input_tokens", 60.0, 9, 8, 90.0)))
    assert pace_headers(pace) == {
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "599",
        "x-ratelimit-reset-requests": "100ms",
        "x-ratelimit-limit-input-tokens": "9",
        "x-ratelimit-remaining-input-tokens": "8",
        "x-ratelimit-reset-input-tokens": "1m30s",
    }


def test_retry_after_is_rounded_up_and_absent_for_what_never_fits() -> None:
    assert retry_headers(1.2341) == {"retry-after": "2", "retry-after-ms": "1235"}
    assert retry_headers(math.inf) == {}
