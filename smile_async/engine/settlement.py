"""How an attempt that has ended is recorded, whoever asked: the runner's requests one by one, a batch's by the file.

Functions from what came back to records of the ledger and events; who asks again, and when, is the caller's.
"""

from dataclasses import dataclass, field
from typing import Any

from smile_async.engine import events
from smile_async.engine.account import ACCEPTED, SET_ASIDE
from smile_async.engine.job import Failure, Reply, Usage
from smile_async.engine.ledger import Row
from smile_async.engine.queue import Job
from smile_async.engine.task import Accepted, Item, Rejected, Task

TASK_ERROR = "task-error"  # verdict of a reply that the task could not judge for a bug of its own


@dataclass(slots=True)
class Settled:
    """What an attempt came to: how it is recorded, what follows, and what to tell once that is committed."""

    verdict: str
    paid: bool = False
    charged: bool = False
    detail: str = ""
    status: int | None = None
    usage: Usage | None = None
    cost_usd: float = 0.0
    records: list[tuple[str, Row]] = field(default_factory=list)
    told: list[events.Event] = field(default_factory=list)


def settle_reply(
    task: Task[Item, Any],
    job: Job[Item],
    attempt: int,
    reply: Reply,
    cost_usd: float,
    endpoint: str = "",
    took: float = 0.0,
) -> tuple[Settled, Rejected | Exception | None]:
    """Judge a reply, which is kept whatever it is worth. Beside it the rejection, if the row has to be asked again, or
    what the task raised: a bug, after which the reply is kept and its row pending."""
    kept = ("replies", (attempt, job.ordinal, reply.text, reply.finish_reason, reply.refusal, reply.model, None))
    settled = Settled(ACCEPTED, paid=True, usage=reply.usage, cost_usd=cost_usd, records=[kept])
    try:
        verdict = task.accept(job.item, reply)
        if isinstance(verdict, Accepted):
            value = task.dump_value(verdict.value)
            settled.records += [
                ("outcomes", (job.ordinal, ACCEPTED, "", attempt, " ".join(verdict.flags))),
                ("results", (job.ordinal, value)),
            ]
            told = job.row_id, attempt, verdict.flags, reply.usage, cost_usd, endpoint, took, reply.model
            settled.told.append(events.RowAccepted(*told))
            return settled, None
        trouble: Rejected | Exception = verdict
        settled.verdict, settled.detail = verdict.code, verdict.detail
    except Exception as error:  # noqa: BLE001  (the task's own)
        trouble = error
        settled.verdict, settled.detail = TASK_ERROR, type(error).__name__
    code, detail = settled.verdict, settled.detail
    rejected = job.row_id, attempt, code, detail, reply.usage, cost_usd, endpoint, took, reply.model
    settled.told.append(events.ReplyRejected(*rejected))
    return settled, trouble


def settle_failure(
    job: Job[Any], attempt: int, failure: Failure, *, charged: bool, cost_usd: float, took: float, endpoint: str = ""
) -> Settled:
    """An attempt that brought no reply; `cost_usd` is the most it may have cost all the same, `took` seconds."""
    kind = str(failure.kind)
    settled = Settled(kind, charged=charged, detail=failure.detail, status=failure.status, cost_usd=cost_usd)
    if failure.raw:
        settled.records.append(("replies", (attempt, job.ordinal, None, None, None, None, failure.raw)))
    told = events.AttemptFailed(
        job.row_id, attempt, kind, failure.status, failure.detail, took, endpoint, perhaps_usd=cost_usd
    )
    settled.told.append(told)
    return settled


def set_aside(settled: Settled, job: Job[Any], attempt: int, reason: str) -> None:
    """The row ends with this attempt."""
    settled.records.append(("outcomes", (job.ordinal, SET_ASIDE, reason, attempt, "")))
    settled.told.append(events.RowSetAside(job.row_id, reason, settled.detail))


def attempt_record(
    settled: Settled, attempt: int, ordinal: int, *, sent_at: float, took: float | None, endpoint: str
) -> tuple[str, Row]:
    """The attempt's own row; `took` None: nobody knows how long."""
    usage = settled.usage
    row = (
        attempt,
        ordinal,
        sent_at,
        took,
        int(settled.paid),
        int(settled.charged),
        settled.verdict,
        settled.status,
        usage.prompt_tokens if usage else None,
        usage.completion_tokens if usage else None,
        settled.cost_usd,
        settled.detail,
        endpoint,
    )
    return "attempts", row
