"""How an attempt that has ended is recorded, whoever asked: the runner's requests one by one, a batch's by the file.

Functions from what came back to records of the ledger and events; who asks again, and when, is the caller's.
"""

from dataclasses import dataclass, field
from typing import Any

from smile_async.engine import events
from smile_async.engine.account import ACCEPTED, MODELS, SET_ASIDE
from smile_async.engine.job import Failure, Reply, Usage
from smile_async.engine.ledger import Ledger, Row
from smile_async.engine.queue import Job
from smile_async.engine.task import Accepted, Item, Rejected, Task

MOST_MODELS = 16  # names noted for an endpoint: a server that invents one for each reply fills no ledger
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
    task: Task[Item, Any], job: Job[Item], attempt: int, reply: Reply, cost_usd: float, *, endpoint: str, took: float
) -> tuple[Settled, Rejected | Exception | None]:
    """Judge a reply, which is kept whatever it is worth. Beside it the rejection, if the row has to be asked again, or
    what the task raised: a bug, after which the reply is kept and its row pending. `took` seconds."""
    trouble: Rejected | Exception
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
    except Exception as error:  # noqa: BLE001  (the task's own)
        settled.verdict, settled.detail, trouble = TASK_ERROR, type(error).__name__, error
    else:
        settled.verdict, settled.detail, trouble = verdict.code, verdict.detail, verdict
    rejected = job.row_id, attempt, settled.verdict, settled.detail, reply.usage, cost_usd, endpoint, took, reply.model
    settled.told.append(events.ReplyRejected(*rejected))
    return settled, trouble


def note_model(ledger: Ledger, known: set[str], endpoint: str, model: str | None) -> None:
    """Note which model a reply named, unless it is among those `known` of its endpoint."""
    if model is not None and model not in known and len(known) < MOST_MODELS:
        known.add(model)
        ledger.write(meta=(MODELS + endpoint, sorted(known)))


def settle_failure(
    job: Job[Any], attempt: int, failure: Failure, *, charged: bool, cost_usd: float, endpoint: str, took: float
) -> Settled:
    """An attempt that brought no reply; `cost_usd` is the most it may have cost all the same, `took` seconds."""
    kind = str(failure.kind)
    settled = Settled(kind, charged=charged, detail=failure.detail, status=failure.status, cost_usd=cost_usd)
    if failure.raw:
        settled.records.append(("replies", (attempt, job.ordinal, None, None, None, None, failure.raw)))
    told = job.row_id, attempt, kind, failure.status, failure.detail, took, endpoint, cost_usd
    settled.told.append(events.AttemptFailed(*told))
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
