"""Limits that a run's server told, as a quota."""

import pytest

from smile_async.engine.account import LimitChange
from smile_async.settings import Quota
from smile_async.told_quota import told_limits, within


def change(what: str, after: float | None, reason: str = "the server's headers", endpoint: str = "a") -> LimitChange:
    return LimitChange(0.0, endpoint, what, None, after, reason)


@pytest.mark.parametrize(
    ("what", "limit", "name", "amount"),
    [
        ("requests a minute", 600, "requests_per_minute", 600),
        ("output tokens a minute", 8_000, "output_tokens_per_minute", 8_000),
        ("requests a day", 14_400, "requests_per_day", 14_400),
        ("requests a 10 s", 100, "requests_per_minute", 600),
        ("tokens a 0.4 s", 400, "tokens_per_minute", 60_000),
    ],
)
def test_amounts_are_those_of_a_minute_or_a_day(what: str, limit: float, name: str, amount: float) -> None:
    assert told_limits([change(what, limit)]) == {"a": {name: pytest.approx(amount)}}


def test_the_last_word_counts_and_each_endpoint_has_its_own() -> None:
    words = [
        change("requests a minute", 600),
        change("requests a minute", 900, endpoint="b"),
        change("requests a minute", 300),
    ]
    assert told_limits(words) == {"a": {"requests_per_minute": 300}, "b": {"requests_per_minute": 900}}


@pytest.mark.parametrize(
    "other",
    [
        change("in flight", 64, "slow start"),
        change("requests a minute", 580, "refused"),  # found, not told: it may be tried higher
        change("requests a 3600 s", 100),  # an hour's: a plan knows minutes and days
        change("requests a minute", None),
    ],
)
def test_what_no_server_told_and_no_plan_knows_is_left_out(other: LimitChange) -> None:
    assert told_limits([other]) == {}


def test_of_the_user_s_and_the_server_s_the_smaller_is_kept_to() -> None:
    quota = Quota(requests_per_minute=300, tokens_per_minute=900_000)
    kept = within(quota, {"requests_per_minute": 600, "tokens_per_minute": 600_000, "requests_per_day": 10_000})
    assert (kept.requests_per_minute, kept.tokens_per_minute, kept.requests_per_day) == (300, 600_000, 10_000)
