"""Decisions about failed attempts and rejected replies."""

import pytest

from smile_async.engine.job import FATAL, PERHAPS_BILLED, Failure, FailureKind
from smile_async.engine.retry import (
    CHARGED,
    NOT_THE_ROW,
    ROW_FINAL,
    Again,
    Decision,
    SetAside,
    StopRun,
    after_failure,
    after_rejection,
    backoff,
)
from smile_async.settings import RetryPolicy

POLICY = RetryPolicy(max_attempts=3, max_failures=3, first_wait=1.0, max_wait=10.0)


def decide(
    kind: FailureKind,
    *,
    charged: int = 1,
    streak: int = 1,
    probing: bool = False,
    retry_after: float | None = None,
    uniform: float = 0.0,
) -> Decision:
    failure = Failure(kind, "detail", retry_after=retry_after)
    return after_failure(failure, charged=charged, streak=streak, probing=probing, policy=POLICY, uniform=uniform)


@pytest.mark.parametrize(
    ("failures", "uniform", "seconds"),
    [
        (1, 0.0, 0.5),  # half of 1
        (1, 0.5, 0.75),  # 1 * (0.5 + 0.25)
        (2, 0.0, 1.0),  # half of 2
        (4, 0.0, 4.0),  # half of 8
        (5, 0.0, 5.0),  # half of 10, not of 16: max_wait
        (5, 0.5, 7.5),
        (10_000, 0.0, 5.0),  # no overflow
    ],
)
def test_waits_double_to_the_longest_and_are_drawn_from_the_upper_half(
    failures: int, uniform: float, seconds: float
) -> None:
    assert backoff(failures, POLICY, uniform) == seconds


@pytest.mark.parametrize("kind", sorted(FATAL))
def test_what_no_row_can_escape_stops_the_run_and_says_what_to_do(kind: FailureKind) -> None:
    decision = decide(kind)
    assert isinstance(decision, StopRun)
    assert decision.reason == kind
    assert decision.message.startswith("detail\n  ")


@pytest.mark.parametrize("kind", sorted(ROW_FINAL))
def test_what_asking_again_cannot_mend_sets_the_row_aside_at_once(kind: FailureKind) -> None:
    assert decide(kind) == SetAside(kind)


@pytest.mark.parametrize("kind", sorted(CHARGED))
def test_a_failure_that_may_be_the_rows_is_asked_again_until_its_budget_is_spent(kind: FailureKind) -> None:
    assert decide(kind, charged=1) == Again(0.5)
    assert decide(kind, charged=2) == Again(1.0)
    assert decide(kind, charged=3) == SetAside(kind)


@pytest.mark.parametrize("kind", sorted(NOT_THE_ROW))
def test_a_failure_that_says_nothing_about_the_row_never_sets_it_aside(kind: FailureKind) -> None:
    """A refusal for rate is everybody's and waits longer each time; one without a connection is only this row's, until
    so many have none that the server is probed."""
    limited = kind is FailureKind.RATE_LIMITED
    assert decide(kind, charged=0, streak=100) == (Again(5.0, everybody=True) if limited else Again(0.5))


@pytest.mark.parametrize(
    ("kind", "told", "decision"),
    [
        (FailureKind.RATE_LIMITED, 20.0, Again(20.0, everybody=True)),
        (FailureKind.RATE_LIMITED, None, Again(0.5, everybody=True)),
        (FailureKind.RATE_LIMITED, 0.0, Again(0.5, everybody=True)),  # 0 would ask without pause
        (FailureKind.OVERLOADED, 20.0, Again(20.0, everybody=True)),
        (FailureKind.OVERLOADED, None, Again(0.5)),
        (FailureKind.SERVER_ERROR, 20.0, Again(20.0)),
    ],
)
def test_the_servers_own_wait_wins_and_refusals_hold_everybody(
    kind: FailureKind, told: float | None, decision: Decision
) -> None:
    assert decide(kind, charged=0 if kind in NOT_THE_ROW else 1, retry_after=told) == decision


def test_while_nothing_shows_that_the_server_answers_everybody_waits_by_the_runs_streak() -> None:
    assert decide(FailureKind.SERVER_ERROR, charged=0, streak=3, probing=True) == Again(2.0, everybody=True)


def test_the_last_rows_answer_for_their_failures_even_then() -> None:
    assert decide(FailureKind.SERVER_ERROR, charged=3, streak=3, probing=True) == SetAside("server-error")


@pytest.mark.parametrize(
    ("code", "replies", "most", "decision"),
    [
        ("bad-start", 1, 3, Again(0.0)),
        ("bad-start", 2, 3, Again(0.0)),
        ("bad-start", 3, 3, SetAside("bad-start")),
        ("bad-start", 1, 1, SetAside("bad-start")),
        ("bad-start", 99, None, Again(0.0)),  # until valid
        ("content-filter", 1, None, SetAside("content-filter")),  # nor will the filter change its mind
    ],
)
def test_a_rejected_reply_is_asked_again_at_once_until_the_budget_is_spent(
    code: str, replies: int, most: int | None, decision: Decision
) -> None:
    assert after_rejection(code, replies=replies, policy=RetryPolicy(max_attempts=most)) == decision


def test_every_kind_of_failure_has_one_fate() -> None:
    groups = [FATAL, ROW_FINAL, NOT_THE_ROW, CHARGED]
    assert sum(map(len, groups)) == len(frozenset.union(*groups)) == len(FailureKind)
    assert PERHAPS_BILLED <= CHARGED  # what may have been billed is never asked without end


def test_a_refusal_for_rate_of_a_row_that_was_asked_alone_is_its_own_affair() -> None:
    limited = FailureKind.RATE_LIMITED
    assert decide(limited, charged=0) == Again(0.5, everybody=True)
    assert decide(limited, charged=1, probing=True) == Again(5.0)  # half of max_wait: limits are a minute's
    assert decide(limited, charged=3) == SetAside("rate-limited")
    assert decide(limited, charged=1, retry_after=20.0) == Again(20.0)
    assert decide(limited, charged=1, retry_after=9_999.0) == Again(9_999.0, everybody=True)  # a day's limit


def test_a_row_alone_is_not_waited_for_beyond_the_runs_patience() -> None:
    server_error = FailureKind.SERVER_ERROR
    assert decide(server_error, retry_after=POLICY.patience) == Again(POLICY.patience)
    assert decide(server_error, retry_after=POLICY.patience + 1) == SetAside("server-error")
    assert decide(server_error, retry_after=9_999.0, probing=True) == Again(9_999.0, everybody=True)


def test_what_to_do_names_no_flag_and_no_variable() -> None:
    messages = [stop.message for kind in FATAL if isinstance(stop := decide(kind), StopRun)]
    assert len(messages) == len(FATAL)
    assert not [message for message in messages if "--" in message or "OPENAI" in message or "`" in message]
