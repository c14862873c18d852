"""What a run makes of a server that brings no replies."""

import pytest

from smile_async.engine.job import Failure, FailureKind
from smile_async.engine.retry import Again, Decision, SetAside, StopRun
from smile_async.engine.silence import BAD_REQUESTS, SILENT_AFTER, Silence
from smile_async.settings import RetryPolicy

POLICY = RetryPolicy(patience=600.0, first_patience=30.0, first_wait=1.0)
DEAD = Failure(FailureKind.SERVER_ERROR, "told 500")
LIMITED = Failure(FailureKind.RATE_LIMITED, "told 429")
BAD = Failure(FailureKind.BAD_REQUEST, "too long")
FILTERED = Failure(FailureKind.CONTENT_FILTER)


def after_reply(*, proven: bool = False) -> Silence:
    silence = Silence(proven=proven)
    silence.end(0.0)
    return silence


def overruled(
    silence: Silence, decision: Decision, failure: Failure, now: float = 0.0, *, row: str = "a", last: bool = False
) -> Decision:
    return silence.overrule(decision, failure, row, now, POLICY, last=last)


def test_a_run_begins_without_a_sign_of_life_and_the_first_reply_is_one() -> None:
    silence = Silence()
    assert silence.deep
    silence.end(0.0)
    assert not silence.deep


@pytest.mark.parametrize(
    ("failures", "deep"),
    [
        ([DEAD] * (SILENT_AFTER - 1), False),
        ([DEAD] * SILENT_AFTER, True),
        ([LIMITED] * 100, False),  # who refuses for rate is alive
        ([FILTERED, BAD] * 100, False),  # and so is who answers about rows
        ([FILTERED] * 100 + [DEAD], False),
        ([DEAD] * (SILENT_AFTER - 1) + [FILTERED] + [DEAD] * (SILENT_AFTER - 1), False),
    ],
)
def test_a_streak_of_failures_is_a_silence_unless_the_server_answered_in_between(
    failures: list[Failure], deep: bool
) -> None:
    silence = after_reply()
    for failure in failures:
        silence.note(failure, 0.0, fresh=True)
    assert silence.deep is deep


def test_failures_of_attempts_that_began_before_the_last_hold_say_nothing_new() -> None:
    silence = after_reply()
    for _ in range(100):
        silence.note(DEAD, 0.0, fresh=False)
    assert (silence.failures, silence.deep) == (0, False)


def test_a_reply_ends_the_streak() -> None:
    silence = after_reply()
    for _ in range(SILENT_AFTER):
        silence.note(DEAD, 0.0, fresh=True)
    silence.end(0.0)
    assert (silence.failures, silence.since, silence.deep) == (0, None, False)


@pytest.mark.parametrize(
    ("silence", "failure", "patience"),
    [
        (after_reply(), DEAD, 600.0),
        (after_reply(), LIMITED, 600.0),
        (Silence(), DEAD, 30.0),
        (Silence(proven=True), DEAD, 600.0),  # it answered this very run before
        (Silence(proven=True), Failure(FailureKind.CONNECT), 30.0),  # a wrong address now, perhaps
        (Silence(), LIMITED, 600.0),  # alive: it will answer later
    ],
)
def test_patience_counts_from_the_first_failure_and_covers_the_wait_to_come(
    silence: Silence, failure: Failure, patience: float
) -> None:
    silence.note(failure, 100.0, fresh=True)
    again = Again(10.0, everybody=True)
    assert overruled(silence, again, failure, 100 + patience - 10) is again
    stopped = overruled(silence, again, failure, 100 + patience - 9)
    assert isinstance(stopped, StopRun)
    assert stopped.reason == failure.kind
    assert f"patience ends at {patience:.0f} s" in stopped.message


def test_patience_is_not_spent_by_a_run_whose_rows_are_answered_by_the_filter() -> None:
    silence = after_reply()
    silence.note(FILTERED, 0.0, fresh=True)
    silence.note(LIMITED, 5_000.0, fresh=True)
    again = Again(10.0, everybody=True)
    assert overruled(silence, again, LIMITED, 5_000.0) is again


def test_a_row_that_waits_alone_is_not_the_runs_affair() -> None:
    silence = after_reply()
    silence.note(DEAD, 0.0, fresh=True)
    assert overruled(silence, Again(10.0), DEAD, 9_999.0) == Again(10.0)


def test_before_any_reply_a_bad_request_lets_others_go_first_and_the_third_row_stops_the_run() -> None:
    silence = Silence()
    aside = SetAside("bad-request")
    assert [overruled(silence, aside, BAD, row=row) for row in "aab"] == [Again(1.0)] * 3
    stopped = overruled(silence, aside, BAD, row="c")
    assert BAD_REQUESTS == 3
    assert stopped == StopRun("bad-request", "The server refuses every request: too long")


def test_after_a_reply_a_bad_request_is_the_rows_fault() -> None:
    assert overruled(after_reply(), SetAside("bad-request"), BAD) == SetAside("bad-request")


def test_when_the_run_was_answered_before_a_bad_request_is_the_rows_fault_from_the_first_on() -> None:
    aside, silence = SetAside("bad-request"), Silence(proven=True)
    assert [overruled(silence, aside, BAD, row=row) for row in "abcd"] == [aside] * 4


def test_when_no_other_row_is_left_and_none_was_ever_answered_the_run_stops() -> None:
    aside = SetAside("bad-request")
    assert isinstance(overruled(Silence(), aside, BAD, last=True), StopRun)


MOVED = Failure(FailureKind.SERVER_ERROR, "301 Moved", status=301)


def test_a_redirect_before_the_first_answer_is_a_wrong_address_and_afterwards_a_fault_that_passes() -> None:
    again = Again(1.0)
    for resumed in (False, True):
        first = overruled(Silence(proven=resumed), again, MOVED)
        assert isinstance(first, StopRun)
        assert "301 Moved" in first.message
    assert overruled(after_reply(), again, MOVED) is again
