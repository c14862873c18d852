"""Run any task over items in a run folder: whom to ask, limits, notes, results and resume are what every run has.

`generate_corpus` is one such task; embeddings, topic labels and a chatbot's answers are others.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from smile_async import run_folder
from smile_async.answering import Embeddings, answering
from smile_async.engine import account, schema
from smile_async.engine.events import Event, Listener, RunStarted
from smile_async.engine.feed import Unreadable
from smile_async.engine.ledger import Ledger
from smile_async.engine.revision import Revision, rejudge
from smile_async.engine.run import RunReport, run
from smile_async.engine.switch import StopSwitch
from smile_async.engine.task import Item, Task, Value
from smile_async.errors import RunMismatchError
from smile_async.notes import Whom, endpoint_notes
from smile_async.options import Options
from smile_async.run_folder import ASIDE, Files, aside_lines
from smile_async.settings import Sampling
from smile_async.task_note import TASK

if TYPE_CHECKING:
    import httpx

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Following:
    """How a run is watched and steered from outside; every part may be left out.

    `listener` gets every event on the loop (a `Pulse` each `pulse` seconds, if given), `stop` ends the run from
    outside, `notify` gets a line for a person now and then. `client`: your own `httpx.AsyncClient`, left open.
    `retry_reasons` first gives set-aside rows another chance: those with these reasons, or all that were ever asked
    when it is empty. `deterministic` makes it all happen on the event loop, for `smile_async.testing.run_virtual`.
    """

    listener: Listener | None = None
    stop: StopSwitch | None = None
    notify: Callable[[str], None] = lambda _text: None
    pulse: float | None = None
    client: "httpx.AsyncClient | None" = None
    retry_reasons: Iterable[str] | None = None
    deterministic: random.Random | None = None

    async def aside(self, read: Callable[[], _T]) -> _T:
        """`read` in a thread: what takes a while must not hold up a loop in which others live. A virtual clock waits
        for no thread: there it is read at once."""
        return await asyncio.to_thread(read) if self.deterministic is None else read()


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept in the run folder beside the ledger.

    `command` is what a person calls to go on with the run; `source` names where its items come from; `expected` is
    about how many there are. `notes` are kept under their keys, as JSON. `files` are the results by their names, each
    made from the ledger; `set-aside.jsonl` is written in any case.
    """

    command: str = ""
    source: str | None = None
    expected: int | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    files: Files = field(default_factory=dict)


async def run_task(
    task: Task[Item, Value],
    items: Iterable[Item | Unreadable],
    out: str | Path,
    *,
    provider: Whom,
    options: Options | None = None,
    sampling: Sampling | None = None,
    embeddings: Embeddings | None = None,
    keeping: Keeping | None = None,
    following: Following | None = None,
) -> RunReport:
    """Ask about every item and keep it all in the run folder `out`; the same call again goes on where it was left.

    `provider`: an `Endpoint`, several that serve the same model, or anything with `ask`. `options` are the limits,
    retries, prices and timeouts, and a sampling that goes over the task's own, `sampling` (without `max_tokens`: that
    is of the requests which `task.render` makes). Recipe and intake in the options are not looked at. `embeddings`:
    vectors are asked for (`provider.embeddings`), not words.

    Returns the report; `results(out, task)` then gives what was accepted. A run that stopped early
    (report.state == "stopped") goes on when the same call is made again. Raises `SmileError`s: `RunMismatchError` when
    `out` holds a run of another task or with other settings, `RunInUseError`, `SettingsError`.
    """
    keeping = keeping or Keeping()
    files = {ASIDE: aside_lines, **keeping.files}
    note = {"name": task.name, "command": keeping.command, "files": sorted(files)}
    options = options or Options()
    notes = {
        **keeping.notes,
        "source": keeping.source,
        "expected_rows": keeping.expected,
        "endpoint": endpoint_notes(provider),
        "options": options.as_notes(),
        TASK: note,
    }
    return await ask_all(
        task,
        items,
        Path(out),
        provider=provider,
        options=options,
        sampling=options.sampling.over(sampling or Sampling()),
        embeddings=embeddings,
        keeping=Keeping(notes=notes, files=files),
        following=following or Following(),
    )


async def ask_all(
    task: Task[Item, Value],
    items: Iterable[Item | Unreadable],
    folder: Path,
    *,
    provider: Whom,
    options: Options,
    sampling: Sampling,
    keeping: Keeping,
    following: Following,
    embeddings: Embeddings | None = None,
) -> RunReport:
    """What `run_task` and `generate_corpus` have in common: only these `keeping.notes` and `keeping.files` are kept,
    and `sampling` is what counts."""
    notify, files, started = following.notify, keeping.files, _Started(following.listener)
    asking = answering(provider, sampling, options, following.client, notify, embeddings=embeddings)
    async with asking as (asked, limits):
        try:
            report = await run(
                task,
                items,
                folder,
                provider=asked,
                limits=limits,
                retry=options.retry,
                prices=options.prices,
                notes=keeping.notes,
                listener=started,
                stop=following.stop,
                pulse=following.pulse,
                retry_reasons=following.retry_reasons,
                deterministic=following.deterministic,
            )
        except BaseException:
            if started.yes:  # else it may be another's run, which stays as it is
                run_folder.write_what_there_is(folder, notify, files)
            raise
    if report.state == "done":
        run_folder.write_results(folder, files)
    else:
        run_folder.write_what_there_is(folder, notify, files)
    return report


class _Started:
    """Hears with the listener whether the run began: then its folder is known to be this task's and nobody else's."""

    def __init__(self, listener: Listener | None) -> None:
        self.yes, self._listener = False, listener

    def __call__(self, event: Event) -> None:
        self.yes = self.yes or isinstance(event, RunStarted)
        if self._listener is not None:
            self._listener(event)


def results(folder: str | Path, task: Task[Item, Value]) -> Iterator[tuple[Item, Value]]:
    """What was accepted, with its items, in their order; also while the run goes on.

    Raises `RunNotFoundError`, and `RunMismatchError` when the run is another task's.
    """
    for row in task_rows(folder, task):
        yield task.load_item(row.item), task.load_value(row.value)


def task_rows(folder: str | Path, task: Task[Any, Any]) -> Iterator[account.ResultRow]:
    """As `results`, with row ids, source ids and flags, and neither items nor values read."""
    folder = Path(folder)
    with schema.reading(folder) as reader:
        _check_task(folder, account.read_meta(reader, "identity") or {}, task)
        yield from account.result_rows(reader)


@dataclass(frozen=True, slots=True)
class SetAsideItem(Generic[Item]):
    """An item without a result: why, and the text of the last reply to it (empty when none came). `item` is None
    where it could not be read."""

    item: Item | None
    reason: str
    detail: str
    text: str


def set_aside(folder: str | Path, task: Task[Item, Any]) -> Iterator[SetAsideItem[Item]]:
    """What was set aside, in the items' order. Raises as `results`."""
    folder = Path(folder)
    with schema.reading(folder) as reader:
        _check_task(folder, account.read_meta(reader, "identity") or {}, task)
        for row in account.set_aside_rows(reader):
            item = None if row.item is None else task.load_item(row.item)
            yield SetAsideItem(item, row.reason, row.detail, row.text)


async def rejudge_task(
    folder: str | Path, task: Task[Any, Any], files: Files | None = None
) -> tuple[Revision, account.Counts]:
    """Judge every reply of a run by `task.accept` as it is now, without asking anybody, and write its `files` anew.

    Raises as `results`, and `RunInUseError`.
    """
    folder = Path(folder)
    with schema.reading(folder) as reader:
        identity = account.read_meta(reader, "identity") or {}
        _check_task(folder, identity, task)
        ledger = Ledger.open(folder, identity)
        try:
            revision = await rejudge(ledger, reader, task, {})
        finally:
            await ledger.close()
        counts = account.read_counts(reader)
    run_folder.write_results(folder, {ASIDE: aside_lines, **(files or {})})
    return revision, counts


def _check_task(folder: Path, identity: Mapping[str, Any], task: Task[Any, Any]) -> None:
    found = identity.get("task")
    if found != task.name:
        raise RunMismatchError(f"{folder} holds {found}, not {task.name}.", hint="Name the run folder of that task.")
