"""Rows that wait in a batch: noted before it leaves, nobody else's, and settled exactly as the runner settles."""

import io
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from smile_async.engine import account, schema
from smile_async.engine.batches import (
    PREPARED,
    RELEASED,
    WRITING,
    BatchNote,
    Filling,
    Room,
    held_back,
    new_batch,
    note,
    read_batches,
    saved,
    waiting_rows,
    withdraw,
)
from smile_async.engine.collecting import Collector, NotRun
from smile_async.engine.feed import Feed
from smile_async.engine.job import Failure, FailureKind, Reply, Request, Usage
from smile_async.engine.ledger import Ledger
from smile_async.engine.run import identity_of
from smile_async.engine.task import Task
from smile_async.run_folder import read_status
from smile_async.settings import Limits, Prices, RetryPolicy
from smile_async.testing import ScriptedProvider, replying, run_virtual
from tests.engine.asking import ask_all, counts_of, echo, judge, outcomes, query, results, rows, word

SCRIPTED = {"model": "scripted"}
A_DOLLAR = Prices(input=1_000_000, output=1_000_000)  # a token


def line(request: Request, attempt: int) -> bytes:
    return f"{attempt} {word(request)}\n".encode()


class Hand:
    """An open run for batches, on the virtual clock."""

    def __init__(self, folder: Path, items: list[str], task: Task[str, str]) -> None:
        self.task = task
        identity = identity_of(task, SCRIPTED)
        self.ledger = Ledger.open(folder, identity, threaded=False)
        self.reader = schema.open_reader(folder)
        self.feed = Feed(items, task, self.ledger, self.reader, identity, threaded=False)

    async def fill(self, room: Room, *, prices: Prices | None = None) -> tuple[list[BatchNote], list[bytes], str]:
        """Batches of all there is, with their files."""
        filling = Filling(self.task, self.ledger, self.feed, room, first_attempt=1 + account.last_attempt(self.reader))
        made, files = [], []
        while not (filling.ended or filling.stopped_by):
            file = io.BytesIO()
            empty = new_batch(self.reader, "here", prices or Prices(), 100.0)
            batch = await filling.fill(empty, file, line, 100.0)
            if batch.requests:
                made.append(await note(self.ledger, batch.evolve(state=PREPARED)))
                files.append(file.getvalue())
        await saved(self.ledger)
        return made, files, filling.stopped_by

    async def close(self) -> None:
        await self.feed.close()
        self.reader.close()
        await self.ledger.close()


Work = Callable[[Hand], Coroutine[Any, Any, None]]


def at_hand(folder: Path, work: Work, items: list[str] | None = None, task: Task[str, str] | None = None) -> None:
    async def main() -> None:
        hand = Hand(folder, items or [], task or echo())
        try:
            await work(hand)
        finally:
            await hand.close()

    run_virtual(main())


def anything() -> ScriptedProvider:
    return ScriptedProvider(lambda _request, _number: replying("good"))


def room(requests: int = 1_000, size: int = 10**9, **more: Any) -> Room:
    return Room(requests, size, **more)


# Handing over ---------------------------------------------------------------------------------------------------------


def test_rows_are_parted_into_batches_by_number_and_by_bytes(tmp_path: Path) -> None:
    async def work(hand: Hand) -> None:
        made, files, stopped_by = await hand.fill(room(4, 30))
        # A line is "1 row00000\n": 11 bytes, two of which fit into 30; from attempt 10 on 12 bytes, still two.
        assert [batch.requests for batch in made] == [2, 2, 2, 2, 2, 1]
        assert files[0] == b"1 row00000\n2 row00001\n"
        assert stopped_by == ""
        assert waiting_rows(hand.reader) == {1: 2, 2: 2, 3: 2, 4: 2, 5: 2, 6: 1}

    at_hand(tmp_path, work, rows(11))
    assert query(tmp_path, "SELECT ordinal, attempt FROM batched ORDER BY 1") == [(at, at + 1) for at in range(11)]
    assert counts_of(tmp_path).in_batches == counts_of(tmp_path).pending == 11


def test_a_row_that_is_larger_than_a_file_stops_instead_of_being_lost(tmp_path: Path) -> None:
    async def work(hand: Hand) -> None:
        made, _, stopped_by = await hand.fill(room(4, 5))
        assert (made, stopped_by) == ([], "bytes")

    at_hand(tmp_path, work, rows(3))
    assert (counts_of(tmp_path).pending, counts_of(tmp_path).in_batches) == (3, 0)


def test_the_budget_bounds_what_waits_and_is_reserved_for_it(tmp_path: Path) -> None:
    """8 bytes of prompt, 16 of template, 100 of answer: 124 dollars a row, of which 1,000 dollars hold eight."""

    async def work(hand: Hand) -> None:
        made, _, stopped_by = await hand.fill(room(3, usd=1_000.0), prices=A_DOLLAR)
        assert (sum(batch.requests for batch in made), stopped_by) == (8, "budget")

    task = echo()
    capped = Task(**{**_fields(task), "render": lambda item: Request(task.render(item).messages, 100)})
    at_hand(tmp_path, work, rows(20), capped)
    assert counts_of(tmp_path).reserved_usd == pytest.approx(8 * 124)
    # What waits counts against the budget of whoever asks the rest directly: none of the other twelve fits.
    provider = anything()
    report = ask_all(tmp_path, rows(20), provider, task=capped, prices=A_DOLLAR, limits=Limits(budget_usd=1_000.0))
    assert (report.reason, provider.asked) == ("budget", [])


def _fields(task: Task[str, str]) -> dict[str, Any]:
    return {name: getattr(task, name) for name in task.__dataclass_fields__}


def test_no_more_tokens_wait_than_were_allowed(tmp_path: Path) -> None:
    async def work(hand: Hand) -> None:
        made, _, stopped_by = await hand.fill(room(10, tokens=30))  # 8 characters, a token each at first
        assert ([batch.tokens for batch in made], stopped_by) == ([24], "tokens")
        assert held_back(hand.reader, [1]) == 24

    at_hand(tmp_path, work, rows(10))


# Nobody else's --------------------------------------------------------------------------------------------------------


def test_a_row_in_a_batch_is_asked_by_nobody_else_and_the_run_says_where_it_waits(tmp_path: Path) -> None:
    async def work(hand: Hand) -> None:
        await hand.fill(room(2))

    at_hand(tmp_path, work, rows(3))
    provider = anything()
    report = ask_all(tmp_path, rows(5), provider)
    assert sorted(word(request) for _, request in provider.asked) == ["row00003", "row00004"]
    assert (report.state, report.reason, report.exit_code) == ("stopped", "batch", 4)
    assert "3 rows wait in batches 1, 2" in report.message
    assert (report.counts.accepted, report.counts.in_batches, report.counts.perhaps_billed) == (2, 3, 0)
    assert query(tmp_path, "SELECT count(DISTINCT attempt), count(*) FROM attempts") == [(2, 2)]
    assert query(tmp_path, "SELECT min(attempt) FROM attempts") == [(4,)]  # 1 to 3 are the batches'


def test_the_same_row_cannot_wait_twice(tmp_path: Path) -> None:
    async def work(hand: Hand) -> None:
        await hand.fill(room(2))
        with pytest.raises(sqlite3.IntegrityError):
            hand.ledger.connection.execute("INSERT INTO batched VALUES (0, 99, 1, 0, 0)")

    at_hand(tmp_path, work, rows(1))


def test_what_was_half_written_when_the_process_died_is_withdrawn_without_a_trace(tmp_path: Path) -> None:
    async def dies(hand: Hand) -> None:
        filling = Filling(hand.task, hand.ledger, hand.feed, room(), first_attempt=1)
        await filling.fill(new_batch(hand.reader, "here", Prices(), 0.0), io.BytesIO(), line, 0.0)
        await saved(hand.ledger)

    async def goes_on(hand: Hand) -> None:
        [batch] = read_batches(hand.reader)
        assert batch.state == WRITING
        await withdraw(hand.ledger, hand.reader, batch, "its file was not whole")
        assert [one.state for one in read_batches(hand.reader)] == [RELEASED]

    at_hand(tmp_path, dies, rows(600))
    at_hand(tmp_path, goes_on)
    assert (counts_of(tmp_path).in_batches, counts_of(tmp_path).attempts) == (0, 0)
    provider = anything()
    assert ask_all(tmp_path, rows(600), provider).counts.accepted == 600
    assert len(provider.asked) == 600


# Bringing home --------------------------------------------------------------------------------------------------------


def good(text: str = "good") -> Reply:
    return Reply(text, finish_reason="stop", usage=Usage(10, 20), model="m")


def collected(
    folder: Path,
    page: dict[int, Any],
    *,
    policy: RetryPolicy | None = None,
    rest: str = "",
    task: Task[str, str] | None = None,
    blameless: bool = False,
) -> Any:
    done = []

    async def work(hand: Hand) -> None:
        [batch] = [one for one in read_batches(hand.reader) if one.number in waiting_rows(hand.reader)] or read_batches(
            hand.reader
        )
        collector = Collector(hand.task, hand.ledger, hand.reader, batch, policy or RetryPolicy(), blameless=blameless)
        done.append(collector.done)
        await collector.take(page)
        if rest:
            await collector.rest(rest, "")

    at_hand(folder, work, task=task)
    return done[0]


def handed_over(folder: Path, count: int, *, prices: Prices | None = None) -> None:
    async def work(hand: Hand) -> None:
        await hand.fill(room(), prices=prices)

    at_hand(folder, work, rows(count))


def test_replies_are_judged_kept_and_paid_for_at_the_batchs_price(tmp_path: Path) -> None:
    handed_over(tmp_path, 3, prices=Prices(input=1.0, output=2.0))
    done = collected(tmp_path, {1: good("a"), 2: good("bad: rule"), 3: good("c")})
    assert (done.accepted, done.again, done.set_aside) == (2, 1, 0)
    assert results(tmp_path) == {"row00000": "a", "row00002": "c"}
    counts = counts_of(tmp_path)
    assert counts.spend_usd == pytest.approx(3 * (10 * 1 + 20 * 2) / 1e6)
    assert (counts.pending, counts.in_batches, counts.replies, counts.reserved_usd) == (1, 0, 3, 0.0)
    assert query(tmp_path, "SELECT DISTINCT endpoint, took FROM attempts") == [("batch", None)]


def test_the_runner_and_a_batch_record_the_same_of_the_same_answers(tmp_path: Path) -> None:
    """One reply accepted, one rejected for good, one filtered; columns that tell of time and place apart."""
    answers: dict[str, Reply | Failure] = {
        "row00000": good("a"),
        "row00001": good("bad: rule"),
        "row00002": Failure(FailureKind.CONTENT_FILTER, "x", 400),
    }
    policy = RetryPolicy(max_attempts=1)
    ask_all(tmp_path / "run", rows(3), ScriptedProvider(lambda request, _: answers[word(request)]), retry=policy)
    handed_over(tmp_path / "batch", 3)
    collected(tmp_path / "batch", dict(enumerate(answers.values(), 1)), policy=policy)
    for table, columns in (
        ("attempts", "ordinal, paid, charged, verdict, status, prompt_tokens, completion_tokens, cost_usd, detail"),
        ("replies", "ordinal, text, finish_reason, refusal, model, raw"),
        ("outcomes", "ordinal, state, reason, note"),
        ("results", "ordinal, value"),
    ):
        both = [query(tmp_path / one, f"SELECT {columns} FROM {table} ORDER BY 1") for one in ("run", "batch")]
        assert both[0] == both[1], table


def test_a_row_is_set_aside_after_as_many_replies_as_it_may_cost_batches_and_requests_together(tmp_path: Path) -> None:
    policy = RetryPolicy(max_attempts=3)
    handed_over(tmp_path, 1)
    assert collected(tmp_path, {1: good("bad: rule")}, policy=policy).again == 1
    provider = ScriptedProvider(lambda _request, _number: Failure(FailureKind.AUTH, "wrong key"))
    ask_all(tmp_path, rows(1), provider, retry=policy)  # stops the run, costs the row nothing
    handed_over(tmp_path, 1)
    assert collected(tmp_path, {3: good("bad: rule")}, policy=policy).again == 1
    provider = ScriptedProvider(lambda _request, _number: good("bad: rule"))
    report = ask_all(tmp_path, rows(1), provider, retry=policy)
    assert (report.counts.replies, len(provider.asked)) == (3, 1)
    assert outcomes(tmp_path) == {"row00000": ("set-aside", "rule")}


@pytest.mark.parametrize(
    ("came", "outcome", "charged"),
    [
        (Failure(FailureKind.CONTENT_FILTER, "x"), ("set-aside", "content-filter"), 0),
        (Failure(FailureKind.BAD_REQUEST, "x"), ("set-aside", "bad-request"), 0),
        (Failure(FailureKind.RATE_LIMITED, "x"), None, 0),
        (Failure(FailureKind.SERVER_ERROR, "x"), None, 1),
        (Failure(FailureKind.QUOTA_EXHAUSTED, "x"), None, 0),
        (NotRun("batch_expired"), None, 0),
    ],
)
def test_each_failure_has_its_consequence_and_costs_nothing(
    tmp_path: Path, came: Any, outcome: tuple[str, str] | None, charged: int
) -> None:
    handed_over(tmp_path, 1, prices=A_DOLLAR)
    done = collected(tmp_path, {1: came})
    assert outcomes(tmp_path).get("row00000") == outcome
    assert query(tmp_path, "SELECT charged, cost_usd, paid FROM attempts") == [(charged, 0.0, 0)]
    assert (counts_of(tmp_path).in_batches, counts_of(tmp_path).reserved_usd) == (0, 0.0)
    assert (done.stopped is not None) == (came == Failure(FailureKind.QUOTA_EXHAUSTED, "x"))


def test_failures_add_up_over_batches_to_what_a_row_may_have(tmp_path: Path) -> None:
    policy = RetryPolicy(max_failures=2)
    for attempt in (1, 2):
        handed_over(tmp_path, 1)
        collected(tmp_path, {attempt: Failure(FailureKind.SERVER_ERROR, "x")}, policy=policy)
    assert outcomes(tmp_path) == {"row00000": ("set-aside", "server-error")}


def test_where_nothing_was_ever_answered_a_refusal_sets_no_row_aside(tmp_path: Path) -> None:
    handed_over(tmp_path, 3)
    refused = Failure(FailureKind.BAD_REQUEST, "max_tokens is not supported", 400)
    done = collected(tmp_path, dict.fromkeys((1, 2, 3), refused), blameless=True)
    assert (done.again, done.stopped.reason) == (3, "bad-request")
    assert outcomes(tmp_path) == {}


def test_a_body_that_was_paid_for_and_is_no_answer_stays_on_the_bill(tmp_path: Path) -> None:
    handed_over(tmp_path, 1, prices=A_DOLLAR)
    [(reserved,)] = query(tmp_path, "SELECT ceiling_usd FROM batched")
    collected(tmp_path, {1: Failure(FailureKind.BROKEN_BODY, "x", 200, raw=b"{}")})
    counts = counts_of(tmp_path)
    assert (counts.perhaps_billed, counts.perhaps_usd) == (1, reserved)


def test_a_reply_that_was_not_counted_costs_its_ceiling(tmp_path: Path) -> None:
    handed_over(tmp_path, 1, prices=A_DOLLAR)
    [(reserved,)] = query(tmp_path, "SELECT ceiling_usd FROM batched")
    collected(tmp_path, {1: Reply("good")})
    assert counts_of(tmp_path).spend_usd == reserved


def test_reading_the_same_results_again_records_nothing_twice(tmp_path: Path) -> None:
    handed_over(tmp_path, 2)
    collected(tmp_path, {1: good()})
    done = collected(tmp_path, {1: good("other"), 2: good(), 7: good()})
    assert (done.accepted, done.strange) == (1, 2)
    assert results(tmp_path) == {"row00000": "good", "row00001": "good"}
    assert counts_of(tmp_path).replies == 2


def test_rows_without_a_result_are_pending_again_and_free_of_charge(tmp_path: Path) -> None:
    handed_over(tmp_path, 600, prices=A_DOLLAR)
    done = collected(tmp_path, {1: good()}, rest="batch-expired")
    assert done.not_run == 599
    counts = counts_of(tmp_path)
    assert (counts.pending, counts.in_batches, counts.perhaps_usd, counts.reserved_usd) == (599, 0, 0.0, 0.0)
    assert counts.failures == {"batch-expired": 599}
    provider = anything()
    assert ask_all(tmp_path, rows(600), provider).state == "done"
    assert len(provider.asked) == 599


def test_a_killed_runs_requests_may_have_been_billed_and_its_batches_stay_reserved(tmp_path: Path) -> None:
    handed_over(tmp_path, 2, prices=A_DOLLAR)
    waiting = counts_of(tmp_path).reserved_usd
    with closing(sqlite3.connect(tmp_path / schema.DATABASE)) as connection, connection:
        connection.execute("INSERT INTO flights VALUES (90, 9, 0.0, 7.0, '')")
    money = read_status(tmp_path).as_json()["money"]
    assert (money["reserved_usd"], money["perhaps_usd"]) == (pytest.approx(waiting), pytest.approx(7.0))
    assert money["attempts"] == {"settled": 0, "refunded": 0, "unknown": 1, "reserved": 2}


def test_what_a_batch_did_is_told_with_the_model_that_its_replies_named(tmp_path: Path) -> None:
    handed_over(tmp_path, 3)
    collected(tmp_path, {1: good(), 2: good("bad: rule")})
    with schema.reading(tmp_path) as reader:
        [(name, found)] = account.read_endpoints(reader).items()
    assert (name, found.replies, found.models) == ("batch", 2, ("m",))


def test_what_is_given_up_may_have_been_billed(tmp_path: Path) -> None:
    handed_over(tmp_path, 2, prices=A_DOLLAR)
    reserved = counts_of(tmp_path).reserved_usd

    async def work(hand: Hand) -> None:
        [batch] = read_batches(hand.reader)
        await Collector(hand.task, hand.ledger, hand.reader, batch, RetryPolicy()).lost("given up")

    at_hand(tmp_path, work)
    counts = counts_of(tmp_path)
    assert (counts.perhaps_billed, counts.perhaps_usd, counts.reserved_usd) == (2, reserved, 0.0)


def test_a_row_that_ended_meanwhile_keeps_its_end_and_the_reply(tmp_path: Path) -> None:
    """As when rules were changed while it waited, and an older reply of the row became good."""
    handed_over(tmp_path, 1)

    async def ends(hand: Hand) -> None:
        hand.ledger.write([("outcomes", (0, "accepted", "", None, "")), ("results", (0, b"older"))])
        await saved(hand.ledger)

    at_hand(tmp_path, ends)
    collected(tmp_path, {1: good("newer")})
    assert results(tmp_path) == {"row00000": "older"}
    assert query(tmp_path, "SELECT text FROM replies") == [("newer",)]


def test_a_bug_of_the_task_loses_no_reply_of_the_page(tmp_path: Path) -> None:
    def breaks(item: str, reply: Reply) -> Any:
        if item == "row00001":
            raise ZeroDivisionError
        return judge(item, reply)

    handed_over(tmp_path, 3)
    with pytest.raises(ZeroDivisionError):
        collected(tmp_path, {1: good(), 2: good(), 3: good()}, task=echo(breaks))
    counts = counts_of(tmp_path)
    assert (counts.replies, counts.accepted, counts.pending) == (3, 2, 1)


def test_an_older_ledger_gets_the_tables_and_keeps_its_rows(tmp_path: Path) -> None:
    ask_all(tmp_path, rows(2), anything())
    with closing(sqlite3.connect(tmp_path / schema.DATABASE)) as connection, connection:
        connection.executescript("DROP TABLE batches; DROP TABLE batched; UPDATE meta SET value='2' WHERE key='schema'")
    handed_over(tmp_path, 4)
    counts = counts_of(tmp_path)
    assert (counts.accepted, counts.in_batches) == (2, 2)
