"""Judging kept replies again."""

from contextlib import closing
from pathlib import Path

import pytest

from smile_async.engine import account, schema
from smile_async.engine.job import Reply
from smile_async.engine.ledger import Ledger
from smile_async.engine.revision import Revision, rejudge, reopen
from smile_async.engine.switch import StopSwitch
from smile_async.engine.task import Accepted, Rejected
from smile_async.errors import SmileError
from smile_async.settings import Limits, RetryPolicy
from smile_async.testing import ScriptedProvider, replying, run_virtual
from tests.engine.asking import Judge, ask_all, echo, word

IDENTITY = {"task": "echo", "model": "scripted"}


def judged_again(folder: Path, judge: Judge) -> Revision:
    async def main() -> Revision:
        ledger = Ledger.open(folder, IDENTITY, threaded=False)
        with closing(schema.open_reader(folder)) as reader:
            revision = await rejudge(ledger, reader, echo(judge), {})
        await ledger.close()
        return revision

    return run_virtual(main())


def refusing(_item: str, _reply: Reply) -> Accepted[str] | Rejected:
    return Rejected("short", "2 turns, 10 wanted")


def test_a_row_that_is_set_aside_anew_says_what_is_wrong_by_the_new_rules(tmp_path: Path) -> None:
    provider = ScriptedProvider(lambda request, _number: replying("bad: old" if word(request) == "a" else "good"))
    ask_all(tmp_path, "ab", provider, retry=RetryPolicy(max_attempts=1))
    assert judged_again(tmp_path, refusing) == Revision(set_aside=2, newly_set_aside=1)
    with closing(schema.open_reader(tmp_path)) as reader:
        found = [(row.reason, row.detail) for row in account.set_aside_rows(reader)]
    assert found == [("short", "2 turns, 10 wanted")] * 2  # `a` had "detail" from when it was asked


def test_rows_without_a_reply_are_counted_apart_from_pending_ones_that_are_accepted(tmp_path: Path) -> None:
    """`a` and `a` again: one asked, one a duplicate, never asked; `b` is pending after a rejected reply."""

    def rejecting(_item: str, _reply: Reply) -> Accepted[str] | Rejected:
        return Rejected("old")

    provider = ScriptedProvider(lambda _request, _number: replying("good"), latency=1.0)
    policy = RetryPolicy(max_attempts=None)
    assert replies_until_stopped(tmp_path, provider, rejecting, policy) == 2
    revision = judged_again(tmp_path, lambda _item, reply: Accepted(reply.text))
    assert revision == Revision(accepted=1, newly_accepted=1, unjudged=1)


def replies_until_stopped(folder: Path, provider: ScriptedProvider, judge: Judge, policy: RetryPolicy) -> int:
    """Replies of a run over `aa` that is stopped at its second reply."""

    def accept(item: str, reply: Reply) -> Accepted[str] | Rejected:
        if len(provider.asked) == 2:
            stop.drain()
        return judge(item, reply)

    stop = StopSwitch()
    task = echo(accept)
    return ask_all(
        folder, "aa", provider, task=task, stop=stop, retry=policy, limits=Limits(concurrency=1)
    ).counts.replies


def test_a_reply_that_is_good_as_it_came_is_kept_before_one_that_had_to_be_mended(tmp_path: Path) -> None:
    """`a` was rejected, then accepted; by the new rules the first would do as well, mended."""
    provider = ScriptedProvider(lambda _request, number: replying("good" if number else "bad: old"))
    ask_all(tmp_path, "a", provider)

    def mending(_item: str, reply: Reply) -> Accepted[str] | Rejected:
        mended = reply.text == "bad: old"
        return Accepted(reply.text, ("salvaged:tail",) if mended else (), mended=mended)

    assert judged_again(tmp_path, mending) == Revision(accepted=1)
    with closing(schema.open_reader(tmp_path)) as reader:
        assert [(row.value, row.flags) for row in account.result_rows(reader)] == [(b"good", ())]


def test_a_ledger_that_refuses_to_reopen_rows_says_what_to_do(tmp_path: Path) -> None:
    ask_all(tmp_path, "a", ScriptedProvider(lambda _request, _number: replying("bad: old")))

    async def main() -> None:
        ledger = Ledger.open(tmp_path, IDENTITY, threaded=False)
        ledger.connection.execute("PRAGMA query_only=ON")  # as a file system does that was remounted read-only
        with pytest.raises(SmileError, match=r"ledger\.sqlite3: the ledger cannot be used"):
            reopen(ledger)
        await ledger.close()

    run_virtual(main())
