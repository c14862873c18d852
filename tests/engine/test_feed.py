"""Where jobs come from, through real ledgers and whole runs."""

import asyncio
import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from smile_async.engine import account, schema
from smile_async.engine.account import Counts
from smile_async.engine.events import RowSetAside, SourceRead
from smile_async.engine.feed import BATCH, READ_FOR, Feed, Unreadable
from smile_async.engine.job import FailureKind, Reply, Request
from smile_async.engine.ledger import Ledger
from smile_async.engine.queue import Job
from smile_async.engine.revision import reopen
from smile_async.engine.run import run
from smile_async.engine.switch import StopSwitch
from smile_async.engine.task import Accepted, Rejected
from smile_async.settings import Limits, RetryPolicy
from smile_async.testing import ScriptedProvider, in_turn, replying, run_virtual
from tests.engine.asking import Told, ask_all, counts_of, echo, fail, judge, outcomes, query, rows, word

GOOD = replying("good")
IDENTITY = {"task": "echo"}


def good() -> ScriptedProvider:
    return ScriptedProvider(in_turn([], then=GOOD), latency=1.0)


def asked(provider: ScriptedProvider) -> list[str]:
    return [word(request) for _, request in provider.asked]


def jobs_of(folder: Path, items: Iterable[str | Unreadable], most: int = 10_000) -> list[Job[str]]:
    async def main() -> list[Job[str]]:
        ledger = Ledger.open(folder, IDENTITY, threaded=False)
        with closing(schema.open_reader(folder)) as reader:
            feed = Feed(items, echo(), ledger, reader, IDENTITY, threaded=False)
            jobs: list[Job[str]] = []
            while len(jobs) < most and (job := await feed.next()) is not None:
                jobs.append(job)
            await feed.close()
        await ledger.close()
        return jobs

    return run_virtual(main())


def test_jobs_come_in_the_sources_order_with_an_ordinal_and_an_id_each(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, rows(600))
    assert [job.item for job in jobs] == rows(600)
    assert [job.ordinal for job in jobs] == list(range(600))
    assert len({job.row_id for job in jobs}) == 600


def test_an_id_follows_from_the_item_and_from_all_that_shapes_the_request(tmp_path: Path) -> None:
    first = ask_all(tmp_path / "a", ["x"], good(), task=echo(version=1))
    ask_all(tmp_path / "b", ["x"], good(), task=echo(version=1))
    ask_all(tmp_path / "c", ["x"], good(), task=echo(version=2))
    ids = [query(tmp_path / name, "SELECT row_id FROM rows") for name in "abc"]
    assert first.counts.accepted == 1
    assert ids[0] == ids[1] != ids[2]


def test_the_source_is_read_ahead_by_no_more_than_two_batches(tmp_path: Path) -> None:
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        for item in rows(10_000):
            taken += 1
            yield item

    assert len(jobs_of(tmp_path, source(), most=1)) == 1
    assert BATCH <= taken <= 2 * BATCH


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH])
def test_a_source_of_any_length_ends_with_its_exact_number_of_rows(tmp_path: Path, count: int) -> None:
    told = Told()
    report = ask_all(tmp_path, rows(count), good(), listener=told)
    assert report.counts == Counts(
        total=count,
        exact=True,
        accepted=count,
        attempts=count,
        replies=count,
        prompt_tokens=100 * count,
        completion_tokens=100 * count,
    )
    assert [event.rows for event in told.all if isinstance(event, SourceRead)] == [count]
    assert report.exit_code == 0


def test_repeated_rows_are_set_aside_as_duplicates_and_counted_once_over_all_resumes(tmp_path: Path) -> None:
    source = ["a", "b", "a", "a", *rows(300), "b"]
    for attempt in range(3):
        provider = good()
        report = ask_all(tmp_path, source, provider)
        assert asked(provider) == (["a", "b", *rows(300)] if attempt == 0 else [])
        counts = report.counts
        assert (counts.total, counts.accepted, counts.set_aside, counts.pending) == (305, 302, 3, 0)
        assert counts.reasons == {"duplicate": 3}
        assert report.exit_code == 3


def test_a_row_that_has_moved_in_the_source_is_no_duplicate(tmp_path: Path) -> None:
    ask_all(tmp_path, ["a", "b", "c"], good())
    provider = good()
    report = ask_all(tmp_path, ["new", "c", "a", "b", "c"], provider)
    assert asked(provider) == ["new"]
    assert (report.counts.accepted, report.counts.reasons) == (4, {"duplicate": 1})


def test_unreadable_rows_are_set_aside_with_what_is_wrong_and_are_never_asked(tmp_path: Path) -> None:
    told = Told()
    source: list[str | Unreadable] = [
        "a",
        Unreadable("f.csv, row 2: empty answer"),
        "b",
        Unreadable("twice"),
        Unreadable("twice"),
    ]
    for again in range(2):
        report = ask_all(tmp_path, source, good(), listener=told)
        assert (report.counts.total, report.counts.accepted, report.counts.set_aside) == (5, 2, 3)
        assert report.counts.reasons == {"bad-row": 3}, again
    aside = [event.detail for event in told.all if isinstance(event, RowSetAside)]
    assert aside == ["f.csv, row 2: empty answer", "twice", "twice"]
    with closing(schema.open_reader(tmp_path)) as reader:
        found = list(account.set_aside_rows(reader))
    assert [(row.item, row.detail) for row in found] == [(None, detail) for detail in aside]


def test_a_source_that_has_grown_gives_only_its_new_rows(tmp_path: Path) -> None:
    ask_all(tmp_path, rows(300), good())
    provider = good()
    report = ask_all(tmp_path, rows(700), provider)
    assert asked(provider) == rows(700)[300:]
    assert (report.counts.total, report.counts.accepted) == (700, 700)


def test_pending_rows_come_first_on_resume_with_their_budgets(tmp_path: Path) -> None:
    """Two rejections and one failure before the stop; max_attempts 3 leaves each row one reply."""

    def script(request: Request, _number: int) -> Reply:
        return replying("bad: no") if word(request) in "ab" else GOOD

    def stopping(item: str, reply: Reply) -> Accepted[str] | Rejected:
        if item == "b" and seen.count("b") == 2:
            raise ValueError("stop here")
        seen.append(item)
        return judge(item, reply)

    seen: list[str] = []
    with pytest.raises(ValueError, match="stop here"):
        ask_all(tmp_path, "abc", ScriptedProvider(script), task=echo(stopping), limits=Limits(concurrency=1))
    assert counts_of(tmp_path).pending == 2  # b, and c that was never reached
    provider = ScriptedProvider(script)
    report = ask_all(tmp_path, "abcd", provider)
    assert asked(provider) == ["b", "c", "d"]
    assert outcomes(tmp_path)["b"] == ("set-aside", "no")
    assert report.counts.pending == 0


def test_failures_count_over_resumes_but_not_those_of_a_server_that_was_down(tmp_path: Path) -> None:
    """`a` failed once on its own account, and twice while nothing answered."""
    dead = fail(FailureKind.SERVER_ERROR)
    policy = RetryPolicy(max_failures=2, first_patience=4, patience=4)
    first = in_turn([GOOD, dead, dead, dead], then=GOOD)
    ask_all(tmp_path, ["x", "a"], ScriptedProvider(first), retry=policy, limits=Limits(concurrency=1))
    assert outcomes(tmp_path) == {"x": ("accepted", ""), "a": ("set-aside", "server-error")}
    assert query(tmp_path, "SELECT charged FROM attempts ORDER BY attempt") == [(0,), (1,), (1,)]

    always = ScriptedProvider(in_turn([], then=dead))
    report = ask_all(tmp_path / "b", rows(50), always, retry=policy)
    assert (report.state, report.reason) == ("stopped", "server-error")
    assert query(tmp_path / "b", "SELECT sum(charged), count(*) > 1 FROM attempts") == [(0, 1)]
    with closing(schema.open_reader(tmp_path / "b")) as reader:
        assert {row.failures for row in account.pending_rows(reader)} == {0}


def test_retry_gives_rows_fresh_budgets(tmp_path: Path) -> None:
    policy = RetryPolicy(max_attempts=2)
    rejecting = ScriptedProvider(in_turn([], then=replying("bad: no")))
    assert ask_all(tmp_path, "ab", rejecting, retry=policy).counts.replies == 4

    async def again() -> int:
        ledger = Ledger.open(tmp_path, {"task": "echo", "model": "scripted"}, threaded=False)
        changed = reopen(ledger)
        await ledger.close()
        return changed

    assert run_virtual(again()) == 2
    with closing(schema.open_reader(tmp_path)) as reader:
        assert [row.replies for row in account.pending_rows(reader)] == [0, 0]
    report = ask_all(tmp_path, "ab", ScriptedProvider(in_turn([], then=replying("bad: no"))), retry=policy)
    assert (report.counts.replies, report.counts.set_aside) == (8, 2)


def test_pending_rows_are_read_by_pages_in_order(tmp_path: Path) -> None:
    jobs_of(tmp_path, rows(600))  # read and never asked
    with closing(schema.open_reader(tmp_path)) as reader:
        pending = list(account.pending_rows(reader, page=7))
        assert [row.item.decode() for row in pending] == rows(600)
        assert not reader.in_transaction
    assert [job.item for job in jobs_of(tmp_path, rows(600))] == rows(600)


def test_its_repr_says_how_far_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        ledger = Ledger.open(tmp_path, IDENTITY, threaded=False)
        with closing(schema.open_reader(tmp_path)) as reader:
            feed = Feed(rows(3), echo(), ledger, reader, IDENTITY, threaded=False)
            assert repr(feed) == "<Feed [0 ready, 0 rows read]>"
            await feed.next()
            assert repr(feed) == "<Feed [2 ready, 3 rows read, ended]>"
            left = []
            for _ in range(3):
                left.append(feed.exhausted)
                await feed.next()
            assert left == [False, False, True]  # two to come, one, none
        await ledger.close()

    run_virtual(main())


def test_an_unreadable_row_with_a_key_is_known_again_however_it_is_described(tmp_path: Path) -> None:
    for path in ("./f.csv", "/data/f.csv"):
        report = ask_all(tmp_path, ["a", Unreadable(f"{path}, row 2: empty", key=b"row 2: empty")], good())
        assert (report.counts.total, report.counts.reasons) == (2, {"bad-row": 1})


# In a worker thread, on a real loop -----------------------------------------------------------------------------------


def test_the_source_is_read_in_a_worker_thread_and_the_loop_goes_on(tmp_path: Path) -> None:
    threads = set()

    def source() -> Iterator[str]:
        for item in rows(700):
            threads.add(threading.get_ident())
            yield item

    async def main() -> Counts:
        provider = ScriptedProvider(in_turn([], then=GOOD))
        return (await run(echo(), source(), tmp_path, provider=provider)).counts

    counts = asyncio.run(main())
    assert (counts.accepted, counts.replies, counts.exact) == (700, 700, True)
    assert threading.get_ident() not in threads


def test_a_row_that_comes_back_while_the_source_is_being_read_to_its_end_is_asked_again(tmp_path: Path) -> None:
    """The last reply is rejected while the dispatcher waits for the source: it must not wait for ever."""
    rejected = threading.Event()

    def source() -> Iterator[str]:
        yield from rows(BATCH)
        assert rejected.wait(10)
        time.sleep(0.05)  # the loop has settled by now, with nothing in flight

    def accept(item: str, reply: Reply) -> Accepted[str] | Rejected:
        if item == rows(BATCH)[-1] and not rejected.is_set():
            rejected.set()
            return Rejected("no")
        return judge(item, reply)

    async def slow_at_the_last(request: Request, _number: int) -> Reply:
        await asyncio.sleep(0.2 if word(request) == rows(BATCH)[-1] and not rejected.is_set() else 0)
        return GOOD

    async def main() -> Counts:
        async with asyncio.timeout(10):
            return (await run(echo(accept), source(), tmp_path, provider=ScriptedProvider(slow_at_the_last))).counts

    assert asyncio.run(main()).accepted == BATCH


def test_threaded_runs_record_each_row_once_with_duplicates_in_neighbouring_batches(tmp_path: Path) -> None:
    chance = random.Random(3)
    source = [f"row{chance.randrange(900)}" for _ in range(3_000)]
    distinct = len(set(source))

    async def main() -> Counts:
        provider = ScriptedProvider(in_turn([], then=GOOD))
        return (await run(echo(), source, tmp_path, provider=provider, limits=Limits(concurrency=256))).counts

    for _ in range(2):
        counts = asyncio.run(main())
        assert (counts.accepted, counts.set_aside, counts.total) == (distinct, 3_000 - distinct, 3_000)
        assert counts.replies == distinct


def one_by_one(step: threading.Semaphore) -> Iterator[str]:
    """A source that gives a row each time it is allowed to, and waits forever in between."""
    for item in rows(BATCH):
        assert step.acquire(timeout=10)
        yield item


def test_rows_of_a_slow_source_are_asked_as_they_come(tmp_path: Path) -> None:
    """Each row may be read only once the one two before it was answered: a full batch would never come together."""
    step = threading.Semaphore(2)

    def script(_request: Request, _number: int) -> Reply:
        step.release()
        time.sleep(READ_FOR / BATCH)
        return GOOD

    def slowly() -> Iterator[str]:
        for item in one_by_one(step):
            time.sleep(READ_FOR * 0.6)
            yield item
            if item == rows(BATCH)[20]:
                return

    async def main() -> Counts:
        async with asyncio.timeout(20):
            return (await run(echo(), slowly(), tmp_path, provider=ScriptedProvider(script))).counts

    assert asyncio.run(main()).accepted == 21


def test_an_abort_waits_for_the_row_that_is_being_read_and_no_longer(tmp_path: Path) -> None:
    step, stop = threading.Semaphore(1), StopSwitch()

    def script(_request: Request, _number: int) -> Reply:
        stop.abort()
        asyncio.get_running_loop().call_later(0.01, step.release, 2)
        return GOOD

    async def main() -> Counts:
        async with asyncio.timeout(5):
            provider = ScriptedProvider(script)
            return (await run(echo(), aware(), tmp_path, provider=provider, stop=stop)).counts

    def aware() -> Iterator[str]:
        for item in one_by_one(step):
            time.sleep(READ_FOR * 1.1)
            yield item

    assert not asyncio.run(main()).exact


def test_rows_that_are_due_again_do_not_wait_for_a_source_that_brings_nothing(tmp_path: Path) -> None:
    """The source stands still until the rejected row has had its second try."""
    again = threading.Event()

    def source() -> Iterator[str]:
        yield "first"
        yield "second"
        time.sleep(READ_FOR * 1.1)
        yield "third"
        assert again.wait(10)

    def script(request: Request, number: int) -> Reply:
        if word(request) == "third" and sum(word(asked) == "third" for _, asked in provider.asked) == 1:
            return replying("bad: once")
        if word(request) == "third":
            again.set()
        return GOOD

    provider = ScriptedProvider(script)

    async def main() -> Counts:
        async with asyncio.timeout(9):
            return (await run(echo(), source(), tmp_path, provider=provider)).counts

    counts = asyncio.run(main())
    assert (counts.accepted, counts.replies) == (3, 4)
