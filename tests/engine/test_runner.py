"""Whole runs on a virtual clock against a scripted server: what each kind of trouble costs, and that it costs no row."""

import asyncio
import gc
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from smile_async.engine import events
from smile_async.engine.job import Failure, FailureKind, Reply, Request
from smile_async.engine.queue import Job
from smile_async.engine.run import RunReport, run
from smile_async.engine.switch import StopSwitch
from smile_async.engine.task import Accepted, Rejected
from smile_async.errors import StoppedError
from smile_async.run_folder import read_status
from smile_async.settings import Limits, Prices, RetryPolicy
from smile_async.testing import Answer, ScriptedProvider, in_turn, replying, run_virtual
from tests.engine.asking import Told, ask_all, asking, counts_of, echo, fail, outcomes, query, results, rows, word

GOOD = replying("good")
LIMITED = FailureKind.RATE_LIMITED
DEAD = fail(FailureKind.SERVER_ERROR)


def timed(script: Callable[[float, Request], Answer], *, latency: float = 1.0) -> ScriptedProvider:
    """A server whose answer depends on the time at which it is given."""

    def answer(request: Request, _number: int) -> Answer:
        return script(asyncio.get_running_loop().time(), request)

    return ScriptedProvider(answer, latency=latency)


def dead_between(start: float, end: float, failure: Failure = DEAD) -> ScriptedProvider:
    return timed(lambda now, _request: failure if start <= now < end else GOOD)


def good(latency: float = 1.0) -> ScriptedProvider:
    return ScriptedProvider(in_turn([], then=GOOD), latency=latency)


def finished(folder: Path, items: list[str]) -> None:
    """Resume with a server that is well: every row ends accepted or as it had ended before, exactly once."""
    before = outcomes(folder)
    report = ask_all(folder, items, good())
    assert (report.state, report.counts.total, report.counts.pending) == ("done", len(items), 0)
    after = outcomes(folder)
    assert sorted(after) == sorted(items)
    assert {row: end for row, end in after.items() if row in before} == before
    assert report.counts.in_flight == 0


# Before the fan-out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FailureKind.AUTH, FailureKind.UNKNOWN_MODEL, FailureKind.QUOTA_EXHAUSTED])
def test_what_no_row_can_escape_costs_one_request_for_ten_thousand_rows(tmp_path: Path, kind: FailureKind) -> None:
    provider = ScriptedProvider(in_turn([], then=fail(kind)), latency=1.0)
    report = ask_all(tmp_path, rows(10_000), provider)
    assert len(provider.asked) == 1
    assert (report.state, report.reason, report.exit_code) == ("stopped", kind, 4)
    assert report.message.startswith(f"told {kind}\n")
    with pytest.raises(StoppedError, match="smile resume") as stopped:
        report.check()
    assert stopped.value.reason == kind
    assert report.counts.set_aside == 0


def test_one_request_is_in_flight_until_the_first_reply_and_then_as_many_as_may_be(tmp_path: Path) -> None:
    provider = good(latency=5.0)
    ask_all(tmp_path, rows(100), provider, limits=Limits(concurrency=10))
    times = [at for at, _ in provider.asked]
    assert [round(at) for at in times[:12]] == [0, *[5] * 10, 10]
    assert provider.most_in_flight == 10


@pytest.mark.parametrize("kind", [FailureKind.SERVER_ERROR, FailureKind.BAD_REQUEST, FailureKind.TIMEOUT])
def test_a_first_row_that_the_server_cannot_answer_does_not_stand_in_the_way_of_the_others(
    tmp_path: Path, kind: FailureKind
) -> None:
    provider = timed(lambda _now, request: fail(kind) if word(request) == "row00000" else GOOD)
    report = ask_all(tmp_path, rows(50), provider)
    assert report.state == "done"
    assert outcomes(tmp_path)["row00000"] == ("set-aside", kind)
    assert report.counts.accepted == 49


def test_when_every_request_is_bad_three_rows_show_it(tmp_path: Path) -> None:
    provider = ScriptedProvider(in_turn([], then=fail(FailureKind.BAD_REQUEST, detail="no such parameter")))
    report = ask_all(tmp_path, rows(10_000), provider)
    assert (report.state, report.reason) == ("stopped", "bad-request")
    assert "no such parameter" in report.message
    assert len(provider.asked) == 3
    assert report.counts.set_aside == 0


def test_a_stop_before_the_start_asks_nothing_and_is_not_done(tmp_path: Path) -> None:
    for press in (StopSwitch.drain, StopSwitch.abort):
        stop, provider = StopSwitch(), good()
        press(stop)
        report = ask_all(tmp_path, rows(10), provider, stop=stop)
        assert (report.state, report.reason, report.exit_code) == ("stopped", "interrupted", 130)
        assert provider.asked == []
    finished(tmp_path, rows(10))


def test_a_finished_run_whose_source_has_grown_is_not_done_when_it_is_stopped_before_reading_on(tmp_path: Path) -> None:
    assert ask_all(tmp_path, rows(5), good()).state == "done"
    stop = StopSwitch()
    stop.drain()
    report = ask_all(tmp_path, rows(10), good(), stop=stop)
    assert (report.state, report.counts.exact, report.counts.pending) == ("stopped", False, 0)


# Limits ---------------------------------------------------------------------------------------------------------------


def test_a_refusal_for_rate_holds_everybody_as_long_as_the_server_says_and_costs_rows_nothing(tmp_path: Path) -> None:
    refusal = fail(LIMITED, retry_after=20)
    provider = timed(lambda now, _request: refusal if 9.5 < now < 10.5 else GOOD)
    report = ask_all(tmp_path, rows(60), provider, limits=Limits(concurrency=5), retry=RetryPolicy(max_failures=1))
    assert report.counts.accepted == 60
    # Refused at 10 (asked at 9); those are asked again, and nobody starts before 30.
    assert not [at for at, _ in provider.asked if 10.001 < at < 30]
    assert [at for at, _ in provider.asked if at >= 30]
    assert query(tmp_path, "SELECT sum(charged) FROM attempts") == [(0,)]


@pytest.mark.parametrize("retry_after", [None, 8.0])
def test_a_burst_of_refusals_that_were_under_way_holds_once(tmp_path: Path, retry_after: float | None) -> None:
    """64 refusals for requests that left together, 10 ms apart, are one piece of news."""
    refusal = fail(LIMITED, retry_after=retry_after)

    async def script(_request: Request, number: int) -> Answer:
        await asyncio.sleep(number * 0.01)
        return refusal if 1 <= number <= 64 else GOOD

    told = Told()
    ask_all(tmp_path, rows(200), ScriptedProvider(script, latency=1.0), listener=told, limits=Limits(concurrency=64))
    held = [event.seconds for event in told.all if isinstance(event, events.Held)]
    assert len(held) == 1
    assert held[0] == 8.0 if retry_after else 0.5 <= held[0] <= 1.0  # the first wait, not the 64th
    assert counts_of(tmp_path).accepted == 200


def test_refusals_without_end_stop_the_run_when_patience_ends(tmp_path: Path) -> None:
    provider = timed(lambda now, _request: fail(LIMITED, retry_after=0) if now > 5 else GOOD)
    report = ask_all(tmp_path, rows(5_000), provider, retry=RetryPolicy(patience=600), limits=Limits(concurrency=4))
    assert (report.state, report.reason, report.counts.set_aside) == ("stopped", "rate-limited", 0)
    assert 500 < provider.asked[-1][0] < 620
    # retry-after 0 is no wait: they double to a minute, 4 requests each time, and do not ask without pause
    assert len(provider.asked) < 4 * 40
    finished(tmp_path, rows(5_000))


def test_the_budget_in_dollars_is_never_exceeded_and_the_run_goes_on_with_more(tmp_path: Path) -> None:
    """Eight bytes of prompt and 16 tokens of template, an answer of at most 100: 124 dollars at a dollar a token."""
    task = echo()
    capped = type(task)(
        **{name: getattr(task, name) for name in task.__dataclass_fields__ if name != "render"},
        render=lambda item: Request(task.render(item).messages, max_tokens=100),
    )
    prices = Prices(input=1_000_000, output=1_000_000)
    provider = ScriptedProvider(
        lambda _request, number: replying("good", prompt_tokens=8, completion_tokens=1 + number * 37 % 100),
        latency=1.0,
    )
    report = ask_all(tmp_path, rows(500), provider, task=capped, prices=prices, limits=Limits(budget_usd=2_000))
    assert (report.state, report.reason) == ("stopped", "budget")
    assert 2_000 - 124 < report.counts.spend_usd <= 2_000
    spent = report.counts.spend_usd
    report = ask_all(tmp_path, rows(500), provider, task=capped, prices=prices, limits=Limits(budget_usd=3_000))
    assert spent < 3_000 - 124 < report.counts.spend_usd <= 3_000
    finished(tmp_path, rows(500))


def test_a_key_that_is_revoked_in_mid_run_is_no_rows_fault_however_often_it_is_tried(tmp_path: Path) -> None:
    revoked = fail(FailureKind.AUTH)
    for _ in range(3):
        provider = timed(lambda now, _request: revoked if now > 3 else GOOD)
        report = ask_all(tmp_path, rows(400), provider, retry=RetryPolicy(max_failures=1))
        assert (report.reason, report.counts.set_aside) == ("auth", 0)
    assert query(tmp_path, "SELECT sum(charged) FROM attempts") == [(0,)]
    finished(tmp_path, rows(400))


# Failures -------------------------------------------------------------------------------------------------------------


def test_a_row_that_the_server_fails_on_is_asked_as_often_as_its_budget_and_others_go_on(tmp_path: Path) -> None:
    provider = timed(lambda _now, request: DEAD if word(request) == "row00003" else GOOD)
    told = Told()
    report = ask_all(tmp_path, rows(2_000), provider, retry=RetryPolicy(max_failures=4), listener=told)
    times = [at for at, request in provider.asked if word(request) == "row00003"]
    assert len(times) == 4
    waits = [later - earlier - 1.0 for earlier, later in pairwise(times)]
    assert all(ceiling / 2 <= wait <= ceiling + 1.1 for wait, ceiling in zip(waits, (1, 2, 4), strict=True))
    assert report.counts.reasons == {"server-error": 1}
    assert (told.count(events.AttemptFailed), told.count(events.JobRequeued)) == (4, 3)


@pytest.mark.parametrize("kind", [FailureKind.SERVER_ERROR, FailureKind.OVERLOADED, FailureKind.CONNECT])
def test_a_server_that_is_dead_for_three_minutes_costs_no_row(tmp_path: Path, kind: FailureKind) -> None:
    provider = dead_between(20, 200, fail(kind))
    report = ask_all(tmp_path, rows(3_000), provider, limits=Limits(concurrency=50))
    assert (report.state, report.counts.accepted) == ("done", 3_000)
    assert len([at for at, _ in provider.asked if 22 < at < 199]) < 60  # it is knocked at, not hammered


@pytest.mark.parametrize("kind", [FailureKind.SERVER_ERROR, FailureKind.CONNECT, FailureKind.DISCONNECTED])
def test_a_server_that_stays_dead_stops_the_run_after_patience_with_no_row_set_aside(
    tmp_path: Path, kind: FailureKind
) -> None:
    provider = dead_between(20, 1e9, fail(kind))
    report = ask_all(tmp_path, rows(3_000), provider, retry=RetryPolicy(patience=300), limits=Limits(concurrency=64))
    assert (report.state, report.reason, report.counts.set_aside) == ("stopped", kind, 0)
    assert 200 < provider.asked[-1][0] < 321
    assert "patience ends at 300 s" in report.message
    finished(tmp_path, rows(3_000))


def test_a_server_that_never_answered_is_given_up_sooner(tmp_path: Path) -> None:
    provider = dead_between(0, 1e9, fail(FailureKind.CONNECT))
    report = ask_all(tmp_path, rows(100), provider)
    assert report.reason == "connect"
    assert 15 < provider.asked[-1][0] < 31
    assert provider.most_in_flight == 1


@pytest.mark.parametrize("kind", [FailureKind.SERVER_ERROR, FailureKind.TIMEOUT, FailureKind.BAD_REQUEST])
@pytest.mark.parametrize("poisoned", [1, 2, 5])
def test_rows_that_nobody_can_answer_end_even_when_they_are_the_last_ones_left(
    tmp_path: Path, kind: FailureKind, poisoned: int
) -> None:
    """Also when the run goes on with nothing but them; it takes no more resumes than the budget."""
    items = rows(100)
    poison = set(items[-poisoned:])
    provider = timed(lambda _now, request: fail(kind) if word(request) in poison else GOOD)
    stop = StopSwitch()

    async def stopped_early() -> RunReport:
        asyncio.get_running_loop().call_later(30.5, stop.drain)
        return await asking(tmp_path, items, provider, stop=stop)

    run_virtual(stopped_early())
    for _ in range(6):
        report = ask_all(tmp_path, items, provider)
    assert report.state == "done"
    assert report.counts.reasons == {kind: poisoned}


def test_what_the_providers_filter_refuses_is_final(tmp_path: Path) -> None:
    filtered = Reply("", finish_reason="content_filter")
    answers: dict[str, Answer] = {"row00001": fail(FailureKind.CONTENT_FILTER), "row00002": filtered}
    provider = timed(lambda _now, request: answers.get(word(request), GOOD))
    report = ask_all(tmp_path, rows(10), provider, retry=RetryPolicy(max_attempts=None))
    assert (report.counts.reasons, len(provider.asked)) == ({"content-filter": 2}, 10)


def test_a_body_that_was_paid_for_and_is_no_answer_is_kept(tmp_path: Path) -> None:
    broken = Failure(FailureKind.BROKEN_BODY, "no choices", 200, raw=b'{"choices": []}')
    report = ask_all(tmp_path, ["a"], ScriptedProvider(in_turn([GOOD, broken], then=GOOD)))
    assert report.counts.replies == 1
    report = ask_all(tmp_path, ["a", "b"], ScriptedProvider(in_turn([broken], then=GOOD)))
    assert (report.counts.accepted, report.counts.replies, report.counts.perhaps_billed) == (2, 2, 1)
    assert query(tmp_path, "SELECT raw FROM replies WHERE text IS NULL") == [(b'{"choices": []}',)]


# Rejections -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_a_row_costs_at_most_its_budget_of_replies_and_all_of_them_are_kept(tmp_path: Path, budget: int) -> None:
    provider = ScriptedProvider(in_turn([], then=replying("bad: no-separator")))
    told = Told()
    report = ask_all(tmp_path, rows(20), provider, retry=RetryPolicy(max_attempts=budget), listener=told)
    assert (report.counts.reasons, report.exit_code) == ({"no-separator": 20}, 3)
    assert query(tmp_path, "SELECT count(*), sum(text = 'bad: no-separator') FROM replies") == [(20 * budget,) * 2]
    assert told.count(events.ReplyRejected) == 20 * budget


def test_until_valid_asks_until_a_reply_is_good(tmp_path: Path) -> None:
    provider = ScriptedProvider(in_turn([replying("bad: x")] * 50, then=GOOD))
    report = ask_all(tmp_path, ["a"], provider, retry=RetryPolicy(max_attempts=None))
    assert (report.counts.accepted, report.counts.replies) == (1, 51)


def test_flags_and_values_are_kept_with_the_row(tmp_path: Path) -> None:
    task = echo(lambda item, reply: Accepted(f"{item}={reply.text}", ("short", "odd")))
    ask_all(tmp_path, ["a", "b"], good(), task=task)
    assert results(tmp_path) == {"a": "a=good", "b": "b=good"}
    assert query(tmp_path, "SELECT DISTINCT note FROM outcomes") == [("short odd",)]


# Stops ----------------------------------------------------------------------------------------------------------------


async def pressing(
    folder: Path, provider: ScriptedProvider, at: float, press: Callable[[StopSwitch], None], told: Told | None = None
) -> RunReport:
    stop = StopSwitch()
    asyncio.get_running_loop().call_later(at, press, stop)
    return await asking(folder, rows(100), provider, stop=stop, limits=Limits(concurrency=10), listener=told)


def twice(stop: StopSwitch) -> None:
    stop.drain()
    stop.drain()


def test_a_drain_starts_nothing_more_and_saves_what_is_in_flight(tmp_path: Path) -> None:
    provider, told = good(latency=5.0), Told()
    report = run_virtual(pressing(tmp_path, provider, 12.0, StopSwitch.drain, told))
    # canary at 0, ten each at 5 and 10; these are waited for
    assert len(provider.asked) == 21
    assert (report.counts.accepted, report.counts.pending, report.exit_code) == (21, 79, 130)
    assert [event for event in told.all if isinstance(event, events.Draining)] == [events.Draining("interrupted", 10)]
    assert "unknown" not in {verdict for (verdict,) in query(tmp_path, "SELECT verdict FROM attempts")}
    finished(tmp_path, rows(100))


@pytest.mark.parametrize("press", [StopSwitch.abort, twice])
def test_an_abort_gives_up_what_is_in_flight_and_notes_it_as_unknown(
    tmp_path: Path, press: Callable[[StopSwitch], None]
) -> None:
    provider = good(latency=5.0)
    report = run_virtual(pressing(tmp_path, provider, 12.0, press))
    assert (report.counts.accepted, report.counts.perhaps_billed, report.exit_code) == (11, 10, 130)
    assert query(tmp_path, "SELECT verdict, detail, count(*) FROM attempts WHERE paid = 0") == [
        ("unknown", "interrupted", 10)
    ]
    assert provider.in_flight == 0
    finished(tmp_path, rows(100))


def test_cancelling_the_run_itself_saves_all_that_arrived_and_raises(tmp_path: Path) -> None:
    provider = good(latency=5.0)

    async def main() -> None:
        running = asyncio.ensure_future(asking(tmp_path, rows(100), provider, limits=Limits(concurrency=10)))
        await asyncio.sleep(12.0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run_virtual(main())
    counts = counts_of(tmp_path)
    assert (counts.accepted, counts.perhaps_billed, counts.in_flight) == (11, 10, 0)
    finished(tmp_path, rows(100))


def test_cancelling_again_and_again_loses_nothing_either(tmp_path: Path) -> None:
    async def main() -> None:
        running = asyncio.ensure_future(asking(tmp_path, rows(100), good(5.0), limits=Limits(concurrency=10)))
        await asyncio.sleep(12.0)
        for _ in range(20):
            running.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await running

    run_virtual(main())
    assert counts_of(tmp_path).accepted == 11
    finished(tmp_path, rows(100))  # and the run is free


def test_a_provider_that_cancels_itself_ends_no_run_as_done_while_a_row_is_left(tmp_path: Path) -> None:
    """Another library's cancel scope, say: the row was counted as asked, and the report said done, exit code 0."""

    class Cancelling(ScriptedProvider):
        async def ask(self, request: Request) -> Reply | Failure:
            if word(request) == "row00003":
                raise asyncio.CancelledError
            return await super().ask(request)

    report = ask_all(tmp_path, rows(20), Cancelling(in_turn([], then=GOOD)))
    assert (report.state, report.reason, report.exit_code) == ("stopped", "interrupted", 130)
    assert report.counts.perhaps_billed == 1
    finished(tmp_path, rows(20))


def test_what_breaks_after_an_answer_was_settled_counts_it_once_and_ends_the_run(tmp_path: Path) -> None:
    """Counted out twice, one less than nothing was in flight, and the run waited for it for ever."""

    def cancelled(item: str, reply: Reply) -> Accepted[str] | Rejected:
        if item == "row00003":
            raise asyncio.CancelledError
        return Accepted(reply.text)

    prices, limits = Prices(input=1.0, output=1.0), Limits(concurrency=1)
    told = Told()
    provider = ScriptedProvider(in_turn([], then=GOOD), latency=1.0)
    report = ask_all(tmp_path, rows(20), provider, task=echo(cancelled), prices=prices, limits=limits, listener=told)
    assert (report.state, report.reason) == ("stopped", "interrupted")
    assert (report.counts.attempts, report.counts.replies, report.counts.perhaps_billed) == (4, 3, 1)
    assert report.counts.in_flight == 0
    finished(tmp_path, rows(20))


def test_a_loop_that_starts_tasks_eagerly_lets_a_run_end(tmp_path: Path) -> None:
    """As `asyncio.eager_task_factory` of Python 3.12: an attempt was over before it was noted as under way."""

    class Instant(ScriptedProvider):
        async def ask(self, _request: Request) -> Reply | Failure:
            return replying("good")

    def eager(loop: asyncio.AbstractEventLoop, coroutine: Any) -> "asyncio.Future[Any]":
        if coroutine.__name__ != "_carry":
            return asyncio.Task(coroutine, loop=loop)
        ended = loop.create_future()
        with pytest.raises(StopIteration):  # it never waits
            coroutine.send(None)
        ended.set_result(None)
        return ended

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(eager)
        report = await asyncio.wait_for(asking(tmp_path, rows(20), Instant(in_turn([], then=GOOD))), 1_000.0)
        assert (report.state, report.counts.accepted) == ("done", 20)

    run_virtual(main())


def test_a_source_that_raises_in_the_middle_keeps_what_was_paid_and_raises(tmp_path: Path) -> None:
    def source() -> Iterator[str]:
        yield from rows(700)
        raise OSError("disk gone")

    provider = good()
    with pytest.raises(OSError, match="disk gone"):
        ask_all(tmp_path, source(), provider)
    counts = counts_of(tmp_path)
    assert counts.accepted == counts.replies == len(provider.asked) == 512  # two whole batches
    assert read_status(tmp_path).stopped_by == "source", "nobody killed it"
    finished(tmp_path, rows(1_000))


def test_a_bug_in_accept_keeps_the_reply_and_raises(tmp_path: Path) -> None:
    def accept(item: str, reply: Reply) -> Accepted[str] | Rejected:
        if item == "row00030":
            raise ZeroDivisionError("a bug")
        return Accepted(reply.text)

    provider = good()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        ask_all(tmp_path, rows(100), provider, task=echo(accept), limits=Limits(concurrency=10))
    counts = counts_of(tmp_path)
    assert counts.replies == len(provider.asked) == counts.accepted + 1
    assert query(tmp_path, "SELECT ordinal, detail FROM attempts WHERE verdict = 'task-error'") == [
        (30, "ZeroDivisionError")
    ]
    finished(tmp_path, rows(100))


def test_a_bug_in_render_raises_after_what_is_in_flight_was_saved(tmp_path: Path) -> None:
    task = echo()

    def render(item: str) -> Request:
        if item == "row00030":
            raise ZeroDivisionError("a bug")
        return task.render(item)

    broken = type(task)(**{name: getattr(task, name) for name in task.__dataclass_fields__} | {"render": render})
    provider = good()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        ask_all(tmp_path, rows(100), provider, task=broken)
    assert counts_of(tmp_path).accepted == len(provider.asked) == 30
    finished(tmp_path, rows(100))


@pytest.mark.parametrize("answer", [ValueError("a bug"), None])
def test_a_bug_in_the_provider_stops_the_run_and_raises(tmp_path: Path, answer: ValueError | None) -> None:
    provider = timed(lambda _now, request: answer if word(request) == "row00030" else GOOD)  # type: ignore[arg-type, return-value]
    with pytest.raises((ValueError, AttributeError)):
        ask_all(tmp_path, rows(100), provider, limits=Limits(concurrency=10))
    assert counts_of(tmp_path).accepted == len(provider.asked) - 1
    finished(tmp_path, rows(100))


def test_a_bug_in_the_listener_stops_the_run_and_raises_with_all_that_arrived_saved(tmp_path: Path) -> None:
    def listener(event: events.Event) -> None:
        if isinstance(event, events.RowAccepted):
            raise KeyError("a bug")

    provider = good()
    with pytest.raises(KeyError, match="a bug"):
        ask_all(tmp_path, rows(100), provider, listener=listener)
    assert counts_of(tmp_path).accepted == len(provider.asked)
    finished(tmp_path, rows(100))


def test_resuming_a_run_that_is_done_asks_nothing(tmp_path: Path) -> None:
    ask_all(tmp_path, rows(20), good())
    provider = good()
    assert ask_all(tmp_path, rows(20), provider).exit_code == 0
    assert provider.asked == []


# All through ----------------------------------------------------------------------------------------------------------


def test_an_endless_source_is_read_as_fast_as_it_is_asked_and_memory_stays_flat(tmp_path: Path) -> None:
    """Jobs alive at any time: two batches of 256 read ahead and those in flight, after 1,000 rows as after 5,000."""
    alive: list[int] = []
    taken = count()

    def source() -> Iterator[str]:
        for number in taken:
            yield f"row{number}"

    stop = StopSwitch()

    def script(_request: Request, number: int) -> Answer:
        if number % 1_000 == 999:
            gc.collect()  # what is dead already does not count
            alive.append(sum(isinstance(thing, Job) for thing in gc.get_objects()))
        if number == 5_000:
            stop.drain()
        return GOOD

    provider = ScriptedProvider(script, latency=1.0)
    report = ask_all(tmp_path, source(), provider, stop=stop, limits=Limits(concurrency=50))
    assert len(alive) == 5
    assert max(alive) <= 2 * 256 + 2 * 50
    assert next(taken) <= 5_000 + 50 + 3 * 256
    assert report.counts.exact is False


def test_a_kill_at_any_request_costs_no_more_answers_than_may_be_in_flight(tmp_path: Path) -> None:
    """A place is free as soon as its answer came, but who gets it leaves only when that answer is on the disk: of all
    that have left, no more than may be in flight are not yet saved."""
    unsaved: list[int] = []

    def script(_request: Request, number: int) -> Answer:
        unsaved.append(number + 1 - query(tmp_path, "SELECT count(*) FROM attempts")[0][0])
        return GOOD

    provider = ScriptedProvider(script, latency=0.004)  # several answers to a commit
    report = ask_all(tmp_path, rows(300), provider, limits=Limits(concurrency=8))
    assert report.counts.accepted == len(unsaved) == 300
    assert max(unsaved) == 8


def test_the_events_add_up_to_the_counts(tmp_path: Path) -> None:
    def script(_request: Request, number: int) -> Answer:
        answers: list[Answer] = [GOOD, replying("bad: x"), DEAD, GOOD, fail(LIMITED, retry_after=1)]
        return answers[number % 5]

    told = Told()
    policy = RetryPolicy(max_attempts=2, max_failures=2)
    provider = ScriptedProvider(script, latency=1.0)
    source = [*rows(300), "row00000"]
    counts = ask_all(tmp_path, source, provider, listener=told, retry=policy, prices=Prices(input=1, output=1)).counts
    assert told.count(events.RowAccepted) == counts.accepted
    assert told.count(events.RowSetAside) == counts.set_aside
    assert told.count(events.RowAccepted, events.ReplyRejected) == counts.replies
    assert told.count(events.RowAccepted, events.ReplyRejected, events.AttemptFailed) == counts.attempts
    ends = (events.RowAccepted, events.RowSetAside)
    not_asked = 1  # the duplicate
    assert told.count(events.JobRequeued) == counts.attempts - told.count(*ends) + not_asked
    paid = [event for event in told.all if isinstance(event, events.RowAccepted | events.ReplyRejected)]
    assert sum(event.cost_usd for event in paid) == pytest.approx(counts.spend_usd)
    assert isinstance(told.all[0], events.RunStarted)
    assert told.all[-1] == events.RunEnded("done", "", counts.accepted, counts.set_aside, 0)
    assert counts.accepted + counts.set_aside == counts.total == 301


def test_the_pulse_tells_the_gauges_each_so_many_seconds(tmp_path: Path) -> None:
    told = Told()

    async def main() -> None:
        await run(
            echo(),
            rows(41),
            tmp_path,
            provider=good(10.0),
            limits=Limits(concurrency=20, requests_per_minute=6_000),
            listener=told,
            pulse=7.0,
            deterministic=random.Random(0),
        )

    run_virtual(main())
    pulses = [event for event in told.all if isinstance(event, events.Pulse)]
    # canary 0 to 10, twenty 10 to 20, twenty 20 to 30; pulses at 0, 7, 14, 21 and 28
    assert [pulse.in_flight for pulse in pulses] == [0, 1, 20, 20, 20]
    assert {(pulse.concurrency, tuple((it.what, it.limit, it.period) for it in pulse.gauges)) for pulse in pulses} == {
        (20, (("in flight", 20, None), ("requests", 6_000.0, 60.0)))
    }


def test_reprs_say_how_things_stand(tmp_path: Path) -> None:
    stop = StopSwitch()
    assert repr(stop) == "<StopSwitch [not pressed]>"
    stop.drain()
    assert repr(stop) == "<StopSwitch [drain]>"
    stop.drain()
    assert repr(stop) == "<StopSwitch [abort]>"


def test_an_attempt_that_is_aborted_before_it_leaves_costs_nothing_and_nothing_stays_in_flight(tmp_path: Path) -> None:
    """The abort comes while the fourth row is rendered; the two before were admitted in the same round of the loop."""
    stop, task = StopSwitch(), echo()

    def render(item: str) -> Request:
        if item == "row00003":
            stop.abort()
        return task.render(item)

    provider = good()
    report = ask_all(tmp_path, rows(9), provider, task=replace(task, render=render), stop=stop)
    # the canary was answered; 1 and 2 were started and cancelled at once; 3 was not started
    assert (report.counts.accepted, report.counts.in_flight, len(provider.asked)) == (1, 0, 1)
    assert (report.counts.perhaps_billed, report.counts.attempts) == (0, 1)
    finished(tmp_path, rows(9))


def test_an_abort_by_what_judges_a_reply_keeps_that_reply_and_counts_it_once(tmp_path: Path) -> None:
    stop = StopSwitch()

    def accept(item: str, reply: Reply) -> Accepted[str]:
        if item == "row00005":
            stop.abort()
        return Accepted(reply.text)

    report = ask_all(tmp_path, rows(40), good(), task=echo(accept), stop=stop, limits=Limits(concurrency=10))
    # the canary; then ten land together: those judged after this one are given up, itself is not
    assert outcomes(tmp_path)["row00005"] == ("accepted", "")
    assert (report.counts.accepted + report.counts.perhaps_billed, report.counts.attempts) == (11, 11)
    assert (report.counts.in_flight, report.counts.perhaps_billed > 0) == (0, True)
    finished(tmp_path, rows(40))


def test_a_listener_that_fails_at_a_pulse_stops_the_run_and_its_error_is_raised(tmp_path: Path) -> None:
    def listener(event: events.Event) -> None:
        if isinstance(event, events.Pulse) and event.in_flight:
            raise ValueError("no such display")

    async def main() -> None:
        await run(
            echo(),
            rows(500),
            tmp_path,
            provider=good(),
            listener=listener,
            pulse=3.0,
            deterministic=random.Random(0),
            limits=Limits(concurrency=10),
        )

    with pytest.raises(ValueError, match="no such display"):
        run_virtual(main())
    finished(tmp_path, rows(500))
