"""One changed request a row, after a reply to its own was rejected: when it is asked, when not, and how it is counted."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from smile_async.engine import account, schema
from smile_async.engine.job import FailureKind, Message, Reply, Request
from smile_async.engine.lane import Served
from smile_async.engine.switch import StopSwitch
from smile_async.engine.task import Amended, Rejected, Task
from smile_async.settings import RetryPolicy
from smile_async.testing import Answer, ScriptedProvider, replying
from tests.engine.asking import ask_all, counts_of, echo, fail, outcomes, query, results

BAD, GOOD = replying("bad: short"), replying("good")


def amended(item: str, reply: Reply, rejected: Rejected) -> Amended | None:
    """Names the rule, but for `final`, which has nothing to name."""
    if rejected.code == "final":
        return None
    messages = (Message("user", item), Message("assistant", reply.text), Message("user", rejected.code))
    return Amended(Request(messages), "re-ask")


def task(amend: Callable[[str, Reply, Rejected], Amended | None] = amended) -> Task[str, str]:
    return replace(echo(), amend=amend)


def remarks(folder: Path) -> account.Remarks:
    with closing(schema.open_reader(folder)) as reader:
        return account.read_remarks(reader)


def asked(provider: ScriptedProvider) -> list[tuple[str, ...]]:
    return [tuple(message.content for message in request.messages) for _, request in provider.asked]


def answering(answers: list[Answer]) -> ScriptedProvider:
    return ScriptedProvider(lambda _request, number: answers[number], latency=1.0)


RE_ASK = ("a", "bad: short", "short")


def test_a_rejected_reply_is_followed_by_the_changed_request_which_is_counted(tmp_path: Path) -> None:
    provider = answering([BAD, GOOD])
    ask_all(tmp_path, "a", provider, task=task())
    assert asked(provider) == [("a",), RE_ASK]
    assert results(tmp_path) == {"a": "good"}
    assert remarks(tmp_path).amended == {"re-ask": (1, 1)}


def test_the_changed_request_may_go_to_another_endpoint(tmp_path: Path) -> None:
    """The row belongs to none: here the first endpoint is lost before it is asked again."""
    bad = answering([BAD, fail(FailureKind.AUTH)])
    good = ScriptedProvider(lambda request, _number: GOOD if len(request.messages) > 1 else BAD, latency=5.0)
    served = [Served(bad, "a"), Served(good, "b", weight=0.001)]
    ask_all(tmp_path, "a", served, task=task())
    assert asked(bad) == [("a",), RE_ASK]
    assert asked(good) == [RE_ASK]
    assert query(tmp_path, "SELECT endpoint, verdict FROM attempts ORDER BY attempt") == [
        ("a", "short"),
        ("a", "auth"),
        ("b", "accepted"),
    ]
    assert remarks(tmp_path).amended == {"re-ask": (1, 1)}


def test_it_is_asked_once_a_row_and_then_the_rows_own_request_again(tmp_path: Path) -> None:
    provider = answering([BAD] * 4)
    ask_all(tmp_path, "a", provider, task=task(), retry=RetryPolicy(max_attempts=4))
    assert asked(provider) == [("a",), RE_ASK, ("a",), ("a",)]
    assert outcomes(tmp_path) == {"a": ("set-aside", "short")}
    assert remarks(tmp_path).amended == {"re-ask": (1, 0)}


def test_a_rule_without_a_changed_request_leaves_it_for_the_next(tmp_path: Path) -> None:
    provider = answering([replying("bad: final"), BAD, GOOD])
    ask_all(tmp_path, "a", provider, task=task())
    assert asked(provider) == [("a",), ("a",), RE_ASK]


def test_where_no_further_attempt_is_allowed_none_is_made(tmp_path: Path) -> None:
    provider = answering([BAD])
    ask_all(tmp_path, "a", provider, task=task(), retry=RetryPolicy(max_attempts=1))
    assert asked(provider) == [("a",)]
    assert remarks(tmp_path).amended == {}


def test_a_task_without_amend_asks_as_before(tmp_path: Path) -> None:
    provider = answering([BAD, GOOD])
    ask_all(tmp_path, "a", provider)
    assert asked(provider) == [("a",), ("a",)]


def test_what_brought_no_reply_is_asked_again_as_it_was(tmp_path: Path) -> None:
    provider = answering([BAD, fail(FailureKind.SERVER_ERROR), GOOD])
    ask_all(tmp_path, "a", provider, task=task())
    assert asked(provider) == [("a",), RE_ASK, RE_ASK]
    assert remarks(tmp_path).amended == {"re-ask": (1, 1)}, "replies are counted"


@pytest.mark.parametrize("kind", [FailureKind.BAD_REQUEST, FailureKind.CONTENT_FILTER])
def test_a_changed_request_that_the_server_refuses_does_not_end_the_row(tmp_path: Path, kind: FailureKind) -> None:
    """It is longer than the row's own: perhaps too long."""
    provider = answering([BAD, fail(kind), GOOD])
    ask_all(tmp_path, "a", provider, task=task())
    assert asked(provider) == [("a",), RE_ASK, ("a",)]
    assert results(tmp_path) == {"a": "good"}


def test_after_a_stop_the_row_is_asked_plainly(tmp_path: Path) -> None:
    stop = StopSwitch()

    def script(_request: Request, _number: int) -> Answer:
        stop.drain()
        return BAD

    ask_all(tmp_path, "a", ScriptedProvider(script), task=task(), stop=stop)
    provider = answering([GOOD])
    ask_all(tmp_path, "a", provider, task=task())
    assert asked(provider) == [("a",)]


def test_a_task_that_cannot_amend_loses_no_reply(tmp_path: Path) -> None:
    def broken(_item: str, _reply: Reply, _rejected: Rejected) -> Amended | None:
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        ask_all(tmp_path, "a", answering([BAD]), task=task(broken))
    assert counts_of(tmp_path).replies == 1
    assert query(tmp_path, "SELECT verdict FROM attempts") == [("task-error",)]
