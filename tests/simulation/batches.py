"""Batches in a simulation: the steps of the real commands, at an office of the server's that outlives every process.

The office loses answers on their way, refuses, and is down when its server is. What it has done is the truth that the
ledger is compared with.
"""

# ruff: noqa: PT018 (an invariant is one sentence)

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from smile_async.batch import fetching, sending
from smile_async.batch.desk import Desk, RunsRules
from smile_async.engine import account, schema
from smile_async.engine.batches import Filling, saved
from smile_async.engine.collecting import ENDPOINT, Collected
from smile_async.engine.feed import Feed, Unreadable
from smile_async.engine.job import Failure, FailureKind, Reply
from smile_async.engine.ledger import Ledger
from smile_async.engine.run import identity_of
from smile_async.engine.runner import finish
from smile_async.engine.task import Task
from smile_async.provider.batch_api import BatchApi
from smile_async.provider.bulk import FileBody
from smile_async.provider.chat import ChatDialect
from smile_async.provider.connection import HttpAnswer
from smile_async.settings import Prices, RetryPolicy, Sampling
from smile_async.simulate.batches import BatchOffice
from smile_async.simulate.behaviour import Plan
from smile_async.simulate.settings import Fault
from smile_async.simulate.wire import HttpRequest
from tests.simulation.books import Attempt, Books
from tests.simulation.scenario import Scenario
from tests.simulation.server import KEY, Server
from tests.simulation.work import judge

ON_THE_WAY = 0.02  # seconds, there and back each
DIALECT = ChatDialect(url="http://simulated/v1/chat/completions", headers={}, model="simulated", sampling=Sampling())
UNKNOWN, TASK_ERROR = "unknown", "task-error"
CENT = 1e-9  # US dollars: sums of floats


class Office:
    """The batch office of `server`, with its troubles."""

    def __init__(self, server: Server, scenario: Scenario) -> None:
        assert scenario.batches is not None
        self.server = server
        self.office = BatchOffice(server.endpoint)
        self.size = scenario.batches.size
        site = server.site
        # Half of the usual price, as everywhere.
        self.prices = Prices() if site.prices is None else Prices(input=site.prices[0] / 2, output=site.prices[1] / 2)
        self._lost, self._refused = scenario.batches.lost, scenario.batches.refused
        self._chance = random.Random(f"{scenario.seed}/office")

    def calm_down(self) -> None:
        self._lost = self._refused = 0.0

    def answer(self, request: HttpRequest, now: float) -> tuple[HttpAnswer | Failure, float]:
        """What comes back, and after how many seconds."""
        if self.server.outage(now) is not None:
            return Failure(FailureKind.CONNECT, "nobody is there"), 0.0
        dice = self._chance.random()
        if dice < self._refused:
            return HttpAnswer(503, {}, b'{"error":{"message":"busy"}}'), 0.0
        answer = self.office.answer(request, now)
        if dice > 1 - self._lost:
            return Failure(FailureKind.DISCONNECTED, "the answer was lost"), answer.after
        return HttpAnswer(answer.status, {}, answer.body), answer.after

    def lines(self) -> Iterator["Line"]:
        """Every request of every batch that was ever made."""
        for batch in self.office._batches.values():
            done = dict(batch.done)
            for name, _ in batch.lines:
                nonce, _, attempt = name.partition("-")
                yield Line(batch.id, nonce, int(attempt), done.get(name))

    def charged(self) -> float:
        """US dollars."""
        return sum(line.charged(self.prices) for line in self.lines())


@dataclass(frozen=True, slots=True)
class Line:
    """A request of a batch at the server, and what was done; `plan` None: it was not run (yet)."""

    batch: str
    nonce: str
    attempt: int
    plan: Plan | None

    @property
    def reply(self) -> Reply | None:
        """What its line of the results says."""
        plan = self.plan
        if plan is None or plan.status != 200 or plan.completion is None:
            return None
        said = plan.completion
        if plan.fault == Fault.EMPTY_CHOICES:
            return Reply("", None, said.usage)
        return Reply(said.text or "", said.finish_reason, said.usage, refusal=said.refusal)

    def charged(self, prices: Prices) -> float:
        if self.plan is None or self.plan.completion is None or not self.plan.billed:
            return 0.0
        usage = self.plan.completion.usage
        return prices.cost(usage.prompt_tokens, usage.completion_tokens)


class Wire:
    """In place of the transport: carries requests of one process to the office."""

    def __init__(self, office: Office, now: Callable[[], float], note: Callable[..., None]) -> None:
        self._office = office
        self._now = now
        self._note = note

    async def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | FileBody = b"",
        into: BinaryIO | None = None,
    ) -> HttpAnswer | Failure:
        data = body if isinstance(body, bytes) else body.before + body.file.read_bytes() + body.after
        parts = urlsplit(url)
        request = HttpRequest(method.encode(), parts.path.encode(), parts.query.encode(), KEY, data, keep_alive=True)
        await asyncio.sleep(ON_THE_WAY)
        answer, after = self._office.answer(request, self._now())
        self._note("office", method, parts.path, answer.kind if isinstance(answer, Failure) else answer.status)
        await asyncio.sleep(ON_THE_WAY + after)
        if isinstance(answer, HttpAnswer) and into is not None and answer.status == 200:
            into.write(answer.body)
            return HttpAnswer(answer.status, {}, b"")
        return answer

    async def aclose(self) -> None:
        """Nothing is held open."""


async def work_on_batches(
    folder: Path,
    what: tuple[str, ...],
    office: Office,
    wire: Wire,
    task: Task[str, str],
    rows: Any,
    retry: Mapping[str, Any],
    budget_usd: float | None,
) -> None:
    """One process: what the commands do that are named in `what`, one after the other."""
    identity = identity_of(task, {"provider": "simulated", "model": "simulated"})
    api = BatchApi(DIALECT)
    api._transport = wire  # type: ignore[assignment]
    rules = RunsRules(task, RetryPolicy(**retry))  # type: ignore[arg-type]
    ledger = Ledger.open(folder, identity, threaded=False)
    try:
        with closing(schema.open_reader(folder)) as reader, schema.legible(folder):
            desk = Desk(folder, ledger, reader, lambda _text: None)
            for step in what:
                if step == "submit":
                    await _submit(desk, api, office, task, rows, identity, budget_usd)
                elif step == "collect":
                    await fetching.bring_home(desk, api, DIALECT, rules, Collected())
                else:
                    await fetching.give_back(desk)
                    await fetching.cancel_all(desk, api, DIALECT, rules, Collected(), forget=step == "forget")
            await saved(ledger)
    finally:
        await finish(ledger.close())


async def _submit(
    desk: Desk,
    api: BatchApi,
    office: Office,
    task: Task[str, str],
    rows: "Iterator[str | Unreadable]",
    identity: Mapping[str, Any],
    budget_usd: float | None,
) -> None:
    """As `submit_batches`, on the virtual clock."""
    for key in ("source_rows", "stopped"):
        desk.ledger.write(meta=(key, None))
    desk.ledger.write(meta=("run_id", "simulated"))
    await saved(desk.ledger)
    await sending.finish_half_made(desk, api)
    room = sending.room_for(desk, sending.BatchSize(requests=office.size), budget_usd)
    feed = Feed(rows, task, desk.ledger, desk.reader, identity, threaded=False)
    filling = Filling(task, desk.ledger, feed, room, first_attempt=1 + account.last_attempt(desk.reader))
    await sending.send_all(desk, api, DIALECT, (filling, feed), office.prices)
    desk.note_waiting()


class _Clock:
    """In place of the module `time`."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.time = time


@contextmanager
def wall_clock(time: Callable[[], float]) -> Iterator[None]:
    """What works on batches reads this clock, in the block."""
    modules, clock = (vars(sending), vars(fetching)), _Clock(time)
    before = [module["time"] for module in modules]
    for module in modules:
        module["time"] = clock
    try:
        yield
    finally:
        for module, real in zip(modules, before, strict=True):
            module["time"] = real


# What must hold -------------------------------------------------------------------------------------------------------


def check_batches(before: Books, books: Books, office: Office, *, hard_ceilings: bool, forgot: bool) -> None:
    """The ledger against what the office did: nothing there that was not noted, nothing there twice, what was paid for
    is kept, and what was not run is not counted."""
    lines = list(office.lines())
    made = {line.batch: line.nonce for line in lines}
    assert len(set(made.values())) == len(made), "batch-twice: the server has two batches of one"
    closed = {ordinal for ordinal in before.outcomes if ordinal in books.outcomes}
    for line in lines:
        number = line.attempt
        record = books.attempts.get(number)
        waiting = books.batched.get(number)
        assert (record is None) != (waiting is None), (
            f"batch-unnoted: the server has attempt {number} of {line.batch}, the ledger {record or waiting}"
        )
        ordinal = record.ordinal if record else waiting.ordinal if waiting else -1
        new = number not in before.batched and number not in before.attempts
        assert not new or ordinal not in closed, f"asked-again: row {ordinal} had ended and was put into {line.batch}"
        if record is not None:
            _check_line(line, record, books, office.prices, new=number not in before.attempts, forgot=forgot)
            if hard_ceilings:
                charged = line.charged(office.prices)
                assert record.cost_usd >= charged - CENT, (
                    f"ceiling: attempt {number} of {line.batch} may have cost {record.cost_usd}, {charged} was charged"
                )
    there = {line.attempt for line in lines}
    for number, old in before.batched.items():
        kept = number in books.batched or number in books.attempts
        assert kept or number not in there, f"history: row {old.ordinal} waited in a batch, of which nothing is noted"
    for number, found in books.attempts.items():
        known = found.endpoint != ENDPOINT or number in there or not found.paid
        assert known, f"invented: attempt {number} is of no batch at the server"


def _check_line(line: Line, record: Attempt, books: Books, prices: Prices, *, new: bool, forgot: bool) -> None:
    where = f"row {record.ordinal}, attempt {line.attempt} of {line.batch}"
    assert record.endpoint == ENDPOINT, f"endpoint: {where}: recorded as {record.endpoint!r}"
    answer = line.reply
    if not record.paid:
        assert answer is None or (forgot and record.verdict == UNKNOWN), (
            f"batch-lost: {where}: it was answered, recorded as {record.verdict}"
        )
        return
    assert answer is not None and answer.usage is not None, f"invented: {where}: {record.verdict}, and not answered"
    kept = books.replies.get(line.attempt)
    assert kept is not None and kept.text == answer.text, f"reply: {where}: another text was kept"
    tokens = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert (record.prompt_tokens, record.completion_tokens) == tokens, f"tokens: {where}: {tokens} were taken"
    cost = prices.cost(*tokens)
    assert abs(record.cost_usd - cost) < CENT, f"cost: {where}: {cost} charged, {record.cost_usd} recorded"
    if new:
        code = judge(books.rules, answer.text, answer.finish_reason, answer.refusal) or "accepted"
        assert record.verdict in {code, TASK_ERROR}, f"verdict: {where}: {code}, recorded as {record.verdict}"


def check_nothing_is_left(folder: Path, books: Books) -> None:
    """Files of batches hold what is sensitive: they go with the batch, also those that a crash had left."""
    waiting = {waiting.nonce for waiting in books.batched.values()}
    left = [path.name for path in folder.iterdir() if "batch-" in path.name]
    assert len(left) <= len(waiting), f"left-behind: {', '.join(sorted(left))}, and {len(waiting)} batches wait"


def count_of(office: Office) -> dict[str, int]:
    """What the office met, for the campaign's sums."""
    states = [batch.status for batch in office.office._batches.values()]
    return {f"batches {state}": states.count(state) for state in set(states)}
