"""Any model's answers to test cases, through the one engine (section 6): what `smile evaluate` compares."""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from smile_async.engine import account
from smile_async.engine.job import Message, Reply, Request
from smile_async.engine.retry import CONTENT_FILTER
from smile_async.engine.revision import Revision
from smile_async.engine.run import RunReport
from smile_async.engine.task import Accepted, Rejected, Task
from smile_async.errors import SourceError
from smile_async.notes import Whom, endpoints_of
from smile_async.options import Options
from smile_async.settings import Sampling
from smile_async.tasks import Following, Keeping, rejudge_task, run_task

SAMPLING = Sampling(temperature=0.8, top_p=0.8)  # section 6's inference
RESPONSES = "responses.jsonl"
NAME = "system"  # the key under which a run notes who answers
TRUNCATED = "truncated"  # the flag of an answer that was cut off


class Turn(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Case(BaseModel):
    """A history that ends on the user's words; `reference` is what the counselor really said, if it is known."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, BeforeValidator(lambda found: str(found) if isinstance(found, int) else found)]
    messages: tuple[Turn, ...] = Field(min_length=1)
    reference: str | None = None


def read_cases(path: str | Path) -> list[Case]:
    """JSONL of {id, messages, reference}. Raises `SourceError` with the line that is no case, ends on other words than
    the user's, or repeats an id."""
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", file=str(path)) from error
    cases: dict[str, Case] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        case = _case(line, str(path), number)
        if case.id in cases:
            raise SourceError("repeats the id of an earlier case", file=str(path), row=number, field="id")
        cases[case.id] = case
    if not cases:
        raise SourceError("holds no case", file=str(path), hint='One a line: {"id": ..., "messages": [...]}')
    return list(cases.values())


def _case(line: bytes, file: str, row: int) -> Case:
    try:
        case = Case.model_validate(orjson.loads(line))
    except orjson.JSONDecodeError as error:
        raise SourceError(f"is not JSON: {error.msg}", file=file, row=row) from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, problem["loc"])) or None
        raise SourceError(problem["msg"], file=file, row=row, field=field) from error
    if case.messages[-1].role != "user":
        raise SourceError(
            "the last message is not the user's", file=file, row=row, field="messages",
            hint="What is to be answered stands last; what was answered goes into reference.",
        )  # fmt: skip
    return case


def response_task(*, system: str | None = None, max_tokens: int | None = None) -> Task[Case, str]:
    """Asks for what comes next. `system` goes before a case that has no system message of its own.

    Rejected are `empty`, `refused` and `content-filter`; an answer that was cut off is kept, with the flag `truncated`.
    """

    def render(case: Case) -> Request:
        own = [Message(turn.role, turn.content) for turn in case.messages]
        head = [Message("system", system)] if system and own[0].role != "system" else []
        return Request((*head, *own), max_tokens)

    def accept(_case: Case, reply: Reply) -> Accepted[str] | Rejected:
        if reply.finish_reason == CONTENT_FILTER.replace("-", "_"):
            return Rejected(CONTENT_FILTER, reply.filtered or "finish_reason content_filter")
        text = reply.text.strip()
        if not text:
            return Rejected("refused" if reply.refusal else "empty")
        return Accepted(text, (TRUNCATED,) if reply.finish_reason == "length" else ())

    return Task(
        name="responses",
        render=render,
        accept=accept,
        dump_item=lambda case: orjson.dumps(case.model_dump(mode="json")),
        load_item=Case.model_validate_json,
        dump_value=orjson.dumps,
        identity={
            "system_prompt": None if system is None else hashlib.sha256(system.encode()).hexdigest()[:16],
            "max_tokens": max_tokens,
        },
        source_id=lambda case: case.id,
    )


async def respond(
    cases: Iterable[Case],
    out: str | Path,
    *,
    provider: Whom,
    name: str = "",
    system: str | None = None,
    options: Options | None = None,
    keeping: Keeping | None = None,
    following: Following | None = None,
) -> RunReport:
    """Answers to all cases in the run folder `out`; the same call again goes on.

    `responses.jsonl` then has a line a case: id, response, reference (if there is one) and system, which is `name`, or
    the model's. Without another sampling in `options` the paper's is taken: temperature 0.8, top_p 0.8. Raises as
    `run_task`.
    """
    options, keeping = options or Options(), keeping or Keeping()
    return await run_task(
        response_task(system=system, max_tokens=options.sampling.max_tokens),
        cases,
        out,
        provider=provider,
        options=options,
        sampling=SAMPLING,
        keeping=replace(
            keeping,
            notes={**keeping.notes, NAME: name or _model_of(provider)},
            files={RESPONSES: response_lines},
        ),
        following=following,
    )


async def reread_responses(folder: str | Path) -> tuple[Revision, account.Counts]:
    """Judge every answer of a run again, as answers are judged now, without asking anybody."""
    return await rejudge_task(folder, response_task(), {RESPONSES: response_lines})


def _model_of(provider: Whom) -> str:
    named: Sequence[Any] = [endpoint.model for endpoint in endpoints_of(provider)]
    return str(named[0]) if named and named[0] else ""


def response_lines(reader: sqlite3.Connection) -> Iterator[bytes]:
    """The lines of `responses.jsonl`, in the order of the cases."""
    name = account.read_meta(reader, NAME) or str((account.read_meta(reader, "identity") or {}).get("model", ""))
    for row in account.result_rows(reader):
        case = Case.model_validate_json(row.item)
        line: dict[str, Any] = {"id": case.id, "response": orjson.loads(row.value)}
        if case.reference is not None:
            line["reference"] = case.reference
        line["system"] = name
        if row.flags:
            line["flags"] = row.flags
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
