"""What a batch brings back, line by line: judged and recorded as the runner does it, whoever did the work.

A row that has been answered waits in the batch no longer, by the same commit that keeps its answer; so a file may be
read again after a crash, or twice, and nothing is recorded twice.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from smile_async.engine.account import LOST, MODELS, read_meta
from smile_async.engine.batches import PAGE, BatchNote, saved
from smile_async.engine.job import Failure, FailureKind, Reply, Request
from smile_async.engine.ledger import Ledger
from smile_async.engine.queue import Job
from smile_async.engine.retry import CHARGED, ROW_FINAL, SetAside, StopRun, after_failure, after_rejection
from smile_async.engine.schema import marks
from smile_async.engine.settlement import Settled, attempt_record, note_model, set_aside, settle_failure, settle_reply
from smile_async.engine.task import Item, Rejected, Task
from smile_async.settings import RetryPolicy

ENDPOINT = "batch"  # under which name its attempts stand in the ledger: they count against no other's limits


@dataclass(frozen=True, slots=True)
class NotRun:
    """A request that nobody ran: nothing is billed. `code` is why: `batch_expired`, `batch_cancelled`."""

    code: str


Came = Reply | Failure | NotRun
"""What one request of a batch came to."""


@dataclass(slots=True)
class Collected:
    """What was brought back, in rows. `again`: they are pending, to be asked once more, and did not run `not_run`;
    `strange`: lines that belong to no row that waits (they were collected before, or are another run's); `torn`: last
    lines that were not written to their end."""

    accepted: int = 0
    set_aside: int = 0
    again: int = 0
    not_run: int = 0
    strange: int = 0
    torn: int = 0
    stopped: StopRun | None = None
    """What no row could escape: a wrong model, an empty account."""

    def add(self, other: "Collected") -> None:
        self.accepted += other.accepted
        self.set_aside += other.set_aside
        self.again += other.again
        self.not_run += other.not_run
        self.strange += other.strange
        self.torn += other.torn
        self.stopped = self.stopped or other.stopped


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item]):
    """A row in the batch. `ended`: it has its outcome all the same (rules were changed meanwhile), which stays."""

    attempt: int
    job: Job[Item]
    sent_at: float
    ceiling_usd: float
    ended: bool


class Collector(Generic[Item]):
    """Records what one batch brings. `blameless`: nothing shows that the requests are right, so that a refusal of one
    sets no row aside; `shown` takes out of an error's words what they quote of the request."""

    def __init__(
        self,
        task: Task[Item, Any],
        ledger: Ledger,
        reader: sqlite3.Connection,
        batch: BatchNote,
        policy: RetryPolicy,
        *,
        blameless: bool = False,
        shown: Callable[[str, Request], str] = lambda words, _request: words,
    ) -> None:
        self._task = task
        self._ledger = ledger
        self._reader = reader
        self._batch = batch
        self._policy = policy
        self._blameless = blameless
        self._shown = shown
        self._fault: Exception | None = None
        self._models: set[str] = set(read_meta(reader, MODELS + ENDPOINT) or ())
        self.done = Collected()
        self._count_tries()

    def _count_tries(self) -> None:
        """Replies and failures of the batch's rows since the last `smile retry`, counted once for all."""
        since = read_meta(self._reader, "budget_from") or 0
        table = self._tried = f"tried_{self._batch.number:d}"
        self._reader.execute(f"DROP TABLE IF EXISTS temp.{table}")
        self._reader.execute(f"CREATE TEMP TABLE {table} (ordinal INTEGER PRIMARY KEY, replies REAL, failures REAL)")
        self._reader.execute(
            f"""INSERT INTO temp.{table} SELECT ordinal, total(paid), total(charged) FROM attempts
               WHERE attempt >= ? AND ordinal IN (SELECT ordinal FROM batched WHERE batch = ?) GROUP BY ordinal""",  # noqa: S608 (a number)
            (since, self._batch.number),
        )

    async def take(self, page: Mapping[int, Came]) -> None:
        """Record what these attempts came to. Raises what the task raised, after all of it was saved."""
        found = self._waiting(list(page))
        self.done.strange += len(page) - len(found)
        for row in found:
            settled = self._settle(row, page[row.attempt])
            self._record(row.attempt, row.job.ordinal, row.sent_at, settled)
        await saved(self._ledger)
        if self._fault is not None:
            raise self._fault

    async def rest(self, verdict: str, detail: str, *, perhaps_billed: bool = False) -> None:
        """No more will come: release what still waits. `perhaps_billed` keeps what it may have cost on the bill."""
        statement = "SELECT attempt, ordinal, sent_at, ceiling_usd FROM batched WHERE batch = ? LIMIT ?"
        while rows := self._reader.execute(statement, (self._batch.number, PAGE)).fetchall():
            for attempt, ordinal, sent_at, ceiling in rows:
                settled = Settled(verdict, detail=detail, cost_usd=ceiling if perhaps_billed else 0.0)
                self._record(attempt, ordinal, sent_at, settled)
            self.done.not_run += len(rows)
            await saved(self._ledger)

    async def lost(self, detail: str) -> None:
        """Give up what still waits: nobody knows whether it was billed."""
        await self.rest(LOST, detail, perhaps_billed=True)

    def _record(self, attempt: int, ordinal: int, sent_at: float, settled: Settled) -> None:
        row = attempt_record(settled, attempt, ordinal, sent_at=sent_at, took=None, endpoint=ENDPOINT)
        self._ledger.write([row, *settled.records], released=[ordinal], events=settled.told)

    def _waiting(self, attempts: list[int]) -> list[_Waiting[Item]]:
        if not attempts:
            return []
        rows = self._reader.execute(
            f"""SELECT b.attempt, b.ordinal, r.row_id, r.item, t.replies, t.failures, b.sent_at, b.ceiling_usd,
                       o.ordinal IS NOT NULL
                FROM batched b JOIN rows r ON r.ordinal = b.ordinal
                     LEFT JOIN temp.{self._tried} t ON t.ordinal = b.ordinal
                     LEFT JOIN outcomes o ON o.ordinal = b.ordinal
                WHERE b.batch = ? AND b.attempt IN ({marks(len(attempts))})""",  # noqa: S608 (marks)
            (self._batch.number, *attempts),
        ).fetchall()
        return [
            _Waiting(
                attempt,
                Job(ordinal, row_id, self._task.load_item(bytes(item)), int(replies or 0), int(failures or 0)),
                sent_at,
                ceiling,
                bool(ended),
            )
            for attempt, ordinal, row_id, item, replies, failures, sent_at, ceiling, ended in rows
        ]

    def _settle(self, row: _Waiting[Item], came: Came) -> Settled:
        if isinstance(came, NotRun):
            self.done.not_run += 1
            return Settled(came.code.replace("_", "-"))
        settled = self._replied(row, came) if isinstance(came, Reply) else self._failed(row, came)
        if row.ended:
            settled.records = [record for record in settled.records if record[0] == "replies"]
        return settled

    def _replied(self, row: _Waiting[Item], reply: Reply) -> Settled:
        usage = reply.usage
        cost = (
            row.ceiling_usd if usage is None else self._batch.prices.cost(usage.prompt_tokens, usage.completion_tokens)
        )
        note_model(self._ledger, self._models, ENDPOINT, reply.model)
        # `took` 0: nobody says how long it took.
        settled, trouble = settle_reply(self._task, row.job, row.attempt, reply, cost, endpoint=ENDPOINT, took=0.0)
        if isinstance(trouble, Exception):
            self._fault = self._fault or trouble
            self.done.again += 1
        elif isinstance(trouble, Rejected):
            self._after(settled, row, after_rejection(trouble.code, replies=row.job.replies + 1, policy=self._policy))
        else:
            self.done.accepted += 1
        return settled

    def _failed(self, row: _Waiting[Item], failure: Failure) -> Settled:
        kind = failure.kind
        charged = kind in CHARGED
        decision = after_failure(
            failure,
            charged=row.job.failures + 1 if charged else 0,
            streak=1,
            probing=False,
            policy=self._policy,
            uniform=0.0,
        )
        if failure.detail:
            detail = self._shown(failure.detail, self._task.render(row.job.item))
            failure = Failure(kind, detail, failure.status, raw=failure.raw)
        cost = row.ceiling_usd if kind is FailureKind.BROKEN_BODY else 0.0  # others did not bring anything to pay for
        settled = settle_failure(
            row.job, row.attempt, failure, charged=charged, cost_usd=cost, endpoint=ENDPOINT, took=0.0
        )
        if kind in ROW_FINAL and self._blameless:
            decision = StopRun(str(kind), failure.detail)
        self._after(settled, row, decision)
        return settled

    def _after(self, settled: Settled, row: _Waiting[Item], decision: object) -> None:
        if isinstance(decision, SetAside):
            set_aside(settled, row.job, row.attempt, decision.reason)
            self.done.set_aside += 1
            return
        self.done.again += 1
        if isinstance(decision, StopRun):
            self.done.stopped = self.done.stopped or decision
