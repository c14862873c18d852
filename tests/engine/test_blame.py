"""Whose fault a failure is: rows that the server never takes end set aside, and hold nobody up for long."""

from pathlib import Path

import pytest

from smile_async.engine.job import Failure, FailureKind, Request
from smile_async.settings import Limits, RetryPolicy
from smile_async.testing import Answer, ScriptedProvider, replying
from tests.engine.asking import ask_all, counts_of, fail, outcomes, query, rows, word

GOOD = replying("good")
TOO_LARGE = fail(FailureKind.RATE_LIMITED, detail="Request too large: Limit 10000, Requested 12000 tokens per min")


def refusing(words: set[str], failure: Failure) -> ScriptedProvider:
    """A server that always answers these rows with the failure and any other with a reply, after a second."""

    def script(request: Request, _number: int) -> Answer:
        return failure if word(request) in words else GOOD

    return ScriptedProvider(script, latency=1.0)


def test_bad_requests_of_a_run_that_had_replies_are_set_aside_again_after_a_retry(tmp_path: Path) -> None:
    bad = set(rows(6)[2:])
    provider = refusing(bad, fail(FailureKind.BAD_REQUEST))
    assert ask_all(tmp_path, rows(6), provider).counts.reasons == {"bad-request": 4}
    report = ask_all(tmp_path, rows(6), provider, retry_reasons=["bad-request"])
    assert (report.state, report.counts.reasons, report.counts.accepted) == ("done", {"bad-request": 4}, 2)
    assert report.counts.attempts == 6 + 4


@pytest.mark.parametrize("large", [1, 5])
def test_rows_that_are_always_refused_for_rate_end_and_others_are_not_held_up(tmp_path: Path, large: int) -> None:
    """Each is asked three times among the others, at 1 s holds, then alone, a minute apart, until its budget is spent."""
    bad = set(rows(1_000)[10 : 10 + large])
    provider = refusing(bad, TOO_LARGE)
    report = ask_all(tmp_path, rows(1_000), provider, limits=Limits(concurrency=20), retry=RetryPolicy(max_failures=4))
    assert (report.state, report.exit_code, report.counts.accepted) == ("done", 3, 1_000 - large)
    assert report.counts.reasons == {"rate-limited": large}
    last_good = max(at for at, request in provider.asked if word(request) not in bad)
    # a second each for twenty; for each refusal a hold, its last answers, and 0.5 s for each doubling up to 20
    assert last_good < 1_000 / 20 + 3 * large * (1 + 1 + 2.5) + 3
    alone = sorted(at for at, request in provider.asked if word(request) in bad and at > last_good)
    assert alone[-1] - last_good > 3 * 30  # a minute's wait is at least half a minute
    assert query(tmp_path, "SELECT DISTINCT sum(charged) FROM attempts GROUP BY ordinal ORDER BY 1") == [(0,), (4,)]


def test_a_row_that_is_too_large_ends_on_resume_too_when_no_other_is_left(tmp_path: Path) -> None:
    items = rows(3)
    policy = RetryPolicy(max_failures=4, patience=5)
    first = refusing({items[2]}, fail(FailureKind.RATE_LIMITED, retry_after=60))
    report = ask_all(tmp_path, items, first, retry=policy, limits=Limits(concurrency=1))
    assert (report.state, report.reason) == ("stopped", "rate-limited")  # told to wait beyond the patience
    report = ask_all(tmp_path, items, refusing({items[2]}, TOO_LARGE))
    assert (report.state, outcomes(tmp_path)[items[2]]) == ("done", ("set-aside", "rate-limited"))


def test_a_row_that_was_only_unlucky_is_asked_with_the_others_again_and_loses_nothing(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def script(request: Request, _number: int) -> Answer:
        seen[word(request)] = seen.get(word(request), 0) + 1
        return (
            fail(FailureKind.RATE_LIMITED)
            if word(request) in {"row00003", "row00004"} and seen[word(request)] <= 3
            else GOOD
        )

    provider = ScriptedProvider(script, latency=1.0)
    report = ask_all(tmp_path, rows(200), provider, limits=Limits(concurrency=10))
    assert (report.exit_code, report.counts.accepted, report.counts.attempts) == (0, 200, 206)
    assert query(tmp_path, "SELECT sum(charged) FROM attempts") == [(0,)]
    assert counts_of(tmp_path).in_flight == 0


def test_a_row_that_is_told_to_wait_for_days_is_set_aside_and_others_go_on(tmp_path: Path) -> None:
    provider = refusing({"row00003"}, fail(FailureKind.SERVER_ERROR, retry_after=2 * 86_400.0))
    report = ask_all(tmp_path, rows(100), provider)
    assert (report.state, report.counts.reasons, report.counts.accepted) == ("done", {"server-error": 1}, 99)
    assert max(at for at, _ in provider.asked) < 60
