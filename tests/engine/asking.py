"""A small task and short ways to run it, for tests of the whole engine on the virtual clock."""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from smile_async.engine import account, events, schema
from smile_async.engine.feed import Unreadable
from smile_async.engine.job import Failure, FailureKind, Message, Reply, Request
from smile_async.engine.lane import Served
from smile_async.engine.run import RunReport, run
from smile_async.engine.switch import StopSwitch
from smile_async.engine.task import Accepted, Provider, Rejected, Task
from smile_async.settings import Limits, Prices, RetryPolicy
from smile_async.testing import run_virtual

Judge = Callable[[str, Reply], Accepted[str] | Rejected]


def judge(_item: str, reply: Reply) -> Accepted[str] | Rejected:
    """`bad: code` is rejected with that code; anything else is good."""
    if reply.finish_reason == "content_filter":
        return Rejected("content-filter")
    return Rejected(reply.text[5:], "detail") if reply.text.startswith("bad: ") else Accepted(reply.text)


def echo(accept: Judge = judge, **identity: Any) -> Task[str, str]:
    """Rows are words; the prompt is the word."""
    return Task(
        name="echo",
        render=lambda item: Request((Message("user", item),)),
        accept=accept,
        dump_item=str.encode,
        load_item=bytes.decode,
        dump_value=str.encode,
        identity=identity,
        source_id=lambda item: f"id-{item}",
    )


def word(request: Request) -> str:
    """The row that a request asks about."""
    return request.messages[0].content


def rows(count: int) -> list[str]:
    return [f"row{number:05}" for number in range(count)]


def fail(kind: FailureKind, *, retry_after: float | None = None, detail: str = "") -> Failure:
    return Failure(kind, detail or f"told {kind}", retry_after=retry_after)


@dataclass
class Told:
    """A listener that keeps everything."""

    all: list[events.Event] = field(default_factory=list)

    def __call__(self, event: events.Event) -> None:
        self.all.append(event)

    def count(self, *kinds: type[events.Event]) -> int:
        return sum(isinstance(event, kinds) for event in self.all)


async def asking(
    folder: Path,
    items: Iterable[str | Unreadable],
    provider: Provider | Sequence[Served],
    *,
    task: Task[str, str] | None = None,
    limits: Limits | None = None,
    retry: RetryPolicy | None = None,
    prices: Prices | None = None,
    listener: events.Listener | None = None,
    stop: StopSwitch | None = None,
    retry_reasons: Iterable[str] | None = None,
    seed: int = 0,
) -> RunReport:
    return await run(
        task or echo(),
        items,
        folder,
        provider=provider,
        limits=limits,
        retry=retry,
        prices=prices,
        listener=listener,
        stop=stop,
        retry_reasons=retry_reasons,
        deterministic=random.Random(seed),
    )


def ask_all(
    folder: Path, items: Iterable[str | Unreadable], provider: Provider | Sequence[Served], **options: Any
) -> RunReport:
    """One run, from its start to its end, on a virtual clock."""
    return run_virtual(asking(folder, items, provider, **options))


def query(folder: Path, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(schema.open_reader(folder)) as reader:
        return reader.execute(statement, values).fetchall()


def outcomes(folder: Path) -> dict[str, tuple[str, str]]:
    """State and reason of each row that has ended, by its word."""
    found = query(folder, "SELECT r.item, o.state, o.reason FROM outcomes o JOIN rows r ON r.ordinal = o.ordinal")
    return {bytes(item).decode(): (state, reason) for item, state, reason in found if item is not None}


def results(folder: Path) -> dict[str, str]:
    with closing(schema.open_reader(folder)) as reader:
        return {row.item.decode(): row.value.decode() for row in account.result_rows(reader)}


def counts_of(folder: Path) -> account.Counts:
    with closing(schema.open_reader(folder)) as reader:
        return account.read_counts(reader)


def stored_meta(connection: sqlite3.Connection, key: str) -> Any:
    found = connection.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
    return orjson.loads(found[0]) if found else None


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go round until it is so: for real loops with a writer thread."""
    while not condition():  # noqa: ASYNC110 (what another thread does sets no event)
        await asyncio.sleep(0.001)
