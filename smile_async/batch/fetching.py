"""How far the server is, and what it has done brought home: judged, recorded, the rest released to be asked again."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from smile_async.answering import dialect_of
from smile_async.batch.desk import (
    BatchReport,
    Desk,
    Notify,
    RunsRules,
    at_desk,
    batch_report,
    check_there_are_any,
    refused,
    rules_of,
    unquoted,
)
from smile_async.batch.sending import check_place, finish_half_made, first_of, told
from smile_async.engine import account
from smile_async.engine.batches import (
    OFFLINE,
    PAGE,
    PREPARED,
    RELEASED,
    WRITING,
    BatchNote,
    note,
    waiting_rows,
    withdraw,
)
from smile_async.engine.collecting import Collected, Collector
from smile_async.engine.job import FATAL, Failure, FailureKind
from smile_async.engine.retry import ROW_FINAL
from smile_async.errors import RunInUseError, RunNotFoundError, StoppedError
from smile_async.notes import noted_endpoints, read_notes
from smile_async.options import Options
from smile_async.prompt.recipe import Recipe
from smile_async.provider.batch_api import ENDED, TOO_MUCH_WAITS, BatchApi
from smile_async.provider.batch_lines import is_reply, is_torn, read_result
from smile_async.provider.dialect import Dialect
from smile_async.rows import Seed
from smile_async.run_folder import write_what_there_is
from smile_async.settings import Endpoint

if TYPE_CHECKING:
    import httpx

FIRST_LOOK, LAST_LOOK = 30.0, 300.0  # seconds between two looks: grows by half each time
PASSING = frozenset(set(map(str, FailureKind)) - set(map(str, FATAL | ROW_FINAL)))
"""Reasons that pass by themselves: a server that is down for an hour ends no waiting."""
BLAMELESS_FROM = 3  # requests: where all were refused, and nothing was ever answered, it is not the rows
FEWER = "Too much waits at the server already: let some batches end first, or hand over less at a time (--enqueued)."


async def look(
    out: str | Path,
    *,
    provider: Endpoint | Sequence[Endpoint] | None = None,
    client: "httpx.AsyncClient | None" = None,
    notify: Notify = lambda _text: None,
) -> BatchReport:
    """Ask the server how the run's batches stand, and note it; where another process works on the run, it is not
    noted. Raises `RunNotFoundError` for a run without batches, `StoppedError` when the server cannot be asked."""
    folder = Path(out)
    check_there_are_any(folder)
    if not _is_anything_there(folder):
        return batch_report(folder)
    try:
        async with _asking(folder, provider, client, notify) as (desk, api, _):
            await finish_half_made(desk, api, sending=False)
            for batch in _at_server(desk):
                await _looked_at(desk, api, batch)
    except RunInUseError:
        notify("Another process works on this run: this is how its batches stood when they were last looked at.")
    return batch_report(folder)


async def collect_batches(
    out: str | Path,
    *,
    provider: Endpoint | Sequence[Endpoint] | None = None,
    delete_files: bool = False,
    client: "httpx.AsyncClient | None" = None,
    notify: Notify = lambda _text: None,
) -> BatchReport:
    """Bring home what ended: every reply is kept and judged, what broke a rule or was not run is pending again.

    May be called at any time, and again after a crash: nothing is recorded twice. `delete_files`: the server's copies
    of requests and results are deleted once they are collected. Raises as `look` does.
    """
    folder = Path(out)
    check_there_are_any(folder)
    done = Collected()
    if _is_anything_there(folder):
        rules = rules_of(folder)
        async with _asking(folder, provider, client, notify) as (desk, api, dialect):
            await bring_home(desk, api, dialect, rules, done, delete_files=delete_files)
    if done != Collected() or not batch_report(folder).at_server:  # else this is one of many looks
        write_what_there_is(folder, notify)
    return batch_report(folder, done)


async def bring_home(
    desk: Desk, api: BatchApi, dialect: Dialect, rules: RunsRules, done: Collected, *, delete_files: bool = False
) -> None:
    """Look at every batch, and collect those that ended; `done` adds up what they brought."""
    await finish_half_made(desk, api, sending=False)
    for batch in _at_server(desk):
        found = await _looked_at(desk, api, batch)
        if found.state in ENDED:
            done.add(await _fetch(desk, api, dialect, rules, found))
            if delete_files:
                await _delete_files(desk, api, found)
    desk.note_waiting()


async def wait_for_batches(
    out: str | Path,
    *,
    provider: Endpoint | Sequence[Endpoint] | None = None,
    delete_files: bool = False,
    client: "httpx.AsyncClient | None" = None,
    notify: Notify = lambda _text: None,
    first_look: float = FIRST_LOOK,
    each: "Notify | None" = None,
) -> BatchReport:
    """Look again and again until no batch is left at the server, and collect each as it ends.

    The run is free between two looks: others may work on it. `each` gets a line at each look.
    """
    wait, done, tell = first_look, Collected(), each or (lambda _text: None)
    while True:
        try:
            report = await collect_batches(
                out, provider=provider, delete_files=delete_files, client=client, notify=notify
            )
        except (StoppedError, RunInUseError) as error:
            if isinstance(error, StoppedError) and error.reason not in PASSING:
                raise
            tell(error.message)
        else:
            done.add(report.collected)
            if not report.at_server:
                return batch_report(Path(out), done)
            tell(", ".join(f"batch {one.note.number} {_progress(one.note)}" for one in report.at_server))
        await asyncio.sleep(wait)
        wait = min(wait * 1.5, max(LAST_LOOK, first_look))


async def cancel_batches(
    out: str | Path,
    *,
    provider: Endpoint | Sequence[Endpoint] | None = None,
    forget: bool = False,
    client: "httpx.AsyncClient | None" = None,
    notify: Notify = lambda _text: None,
) -> BatchReport:
    """Have the server stop, which it does within minutes: what it has done by then is paid for, and collected as usual.

    Rows of exports and of batches that never left are released at once. `forget` also gives up batches that the server
    does not answer for (any more): their rows are asked again, and may have been billed.
    """
    folder = Path(out)
    check_there_are_any(folder)
    async with at_desk(folder, None, notify) as desk:
        await give_back(desk)
    if not _is_anything_there(folder):
        return batch_report(folder)
    done = Collected()
    rules = rules_of(folder)
    async with _asking(folder, provider, client, notify) as (desk, api, dialect):
        await cancel_all(desk, api, dialect, rules, done, forget=forget)
    write_what_there_is(folder, notify)
    return batch_report(folder, done)


async def give_back(desk: Desk) -> None:
    """Release the rows of what never left, and of exports."""
    for batch in desk.live():
        if batch.state in (OFFLINE, WRITING) or (batch.state == PREPARED and batch.checked_at is None):
            desk.file(batch, "requests").unlink(missing_ok=True)
            await withdraw(desk.ledger, desk.reader, batch, "given back")
    desk.sweep()


async def cancel_all(
    desk: Desk, api: BatchApi, dialect: Dialect, rules: RunsRules, done: Collected, *, forget: bool
) -> None:
    """Cancel what is at the server; `forget` also gives up what it does not answer for."""
    for batch in desk.live():
        if batch.state == OFFLINE:
            continue
        failure = await _cancelled(desk, api, batch)
        if forget:
            done.add(await _given_up(desk, api, dialect, rules, batch, failure))
        elif failure is not None:
            hint = f"`smile batch cancel {desk.folder} --forget` gives it up: its rows may have been billed."
            raise refused(desk.folder, f"batch {batch.number} could not be cancelled", failure, hint=hint)
    desk.note_waiting()


@asynccontextmanager
async def _asking(
    folder: Path, provider: Endpoint | Sequence[Endpoint] | None, client: "httpx.AsyncClient | None", notify: Notify
) -> AsyncIterator[tuple[Desk, BatchApi, Dialect]]:
    """The desk and the server of a run; `provider` replaces the endpoint that it was last asked at."""
    notes = read_notes(folder)
    if provider is None:
        if notes["endpoint"] is None:
            raise RunNotFoundError(f"{folder}: its provider was an object of the caller's.", hint="Pass provider=.")
        provider = noted_endpoints(notes["endpoint"])
    recipe = Recipe.model_validate(notes["recipe"])
    sampling = Options.from_notes(notes["options"], recipe).sampling.over(recipe.sampling)
    dialect = dialect_of(first_of(provider), sampling)
    async with aclosing(BatchApi(dialect, client=client)) as api, at_desk(folder, None, notify) as desk:
        yield desk, api, dialect


def _is_anything_there(folder: Path) -> bool:
    """Whether a server has to be asked: something waits that is no export."""
    return any(
        one.note.state != OFFLINE for one in batch_report(folder).batches if one.waiting or one.note.state == WRITING
    )


def _at_server(desk: Desk) -> list[BatchNote]:
    return [batch for batch in desk.live() if batch.remote and batch.state not in (PREPARED, OFFLINE, RELEASED)]


async def _looked_at(desk: Desk, api: BatchApi, batch: BatchNote) -> BatchNote:
    check_place(batch, api)
    remote = await api.retrieve(batch.remote)
    if isinstance(remote, Failure):
        again = "Check the key and the address." if remote.kind in FATAL else "Nothing is lost: try again later."
        raise refused(desk.folder, f"batch {batch.number} ({batch.remote})", remote, hint=again)
    return await note(desk.ledger, told(batch, remote))


async def _cancelled(desk: Desk, api: BatchApi, batch: BatchNote) -> Failure | None:
    """Cancel it at the server, if it is there; one whose making was cut off is looked for first."""
    check_place(batch, api)
    if batch.state == PREPARED:
        found = await api.find(batch.input_file, batch.nonce)
        if isinstance(found, Failure):
            return found
        desk.file(batch, "requests").unlink(missing_ok=True)  # it is there, or never will be
        if not found:
            await withdraw(desk.ledger, desk.reader, batch, "given back")
            return None
        batch = told(batch, found[-1])
    now = await api.retrieve(batch.remote)
    remote = now if isinstance(now, Failure) or now.ended else await api.cancel(batch.remote)
    if isinstance(remote, Failure):
        return remote
    await note(desk.ledger, told(batch, remote))
    return None


async def _given_up(
    desk: Desk, api: BatchApi, dialect: Dialect, rules: RunsRules, batch: BatchNote, failure: Failure | None
) -> Collected:
    """What it brought, if it can still be had; else its rows are free, and may have been billed. One that the server
    is still stopping is left alone."""
    batch = next((one for one in desk.live() if one.number == batch.number), batch)
    if failure is None and batch.state not in ENDED:
        return Collected()
    if failure is None:
        with contextlib.suppress(StoppedError):
            return await _fetch(desk, api, dialect, rules, batch)
    files = [path for kind in ("results", "errors") if (path := desk.file(batch, kind)).exists()]
    collector = _collector(desk, rules, batch, files)
    for path in files:  # one came, and the other did not
        await _take(collector, path, batch, dialect)
    await collector.lost("given up")
    await note(desk.ledger, batch.evolve(state=RELEASED, detail="given up"))
    for path in [*files, desk.file(batch, "requests")]:  # the latter of one of which nobody knows whether it was made
        path.unlink(missing_ok=True)
    return collector.done


def _collector(desk: Desk, rules: RunsRules, batch: BatchNote, files: list[Path]) -> Collector[Seed]:
    blameless = is_blameless(desk.reader, batch.requests, files)
    return Collector(rules.task, desk.ledger, desk.reader, batch, rules.policy, blameless=blameless, shown=unquoted)


async def _fetch(desk: Desk, api: BatchApi, dialect: Dialect, rules: RunsRules, batch: BatchNote) -> Collected:
    """Record what an ended batch brought, and release what it did not."""
    if batch.state == "completed" and batch.completed and not batch.output_file:
        desk.notify(f"Batch {batch.number} is completed, and the server names no file with its results yet.")
        return Collected()
    files = []
    for kind, name in (("results", batch.output_file), ("errors", batch.error_file)):
        if name:
            path = desk.file(batch, kind)
            if (failure := await api.download(name, path)) is not None:
                hint = "Nothing is lost: try again later."
                raise refused(
                    desk.folder, f"the {kind} of batch {batch.number} could not be fetched", failure, hint=hint
                )
            files.append(path)
    collector = _collector(desk, rules, batch, files)
    for path in files:
        await _take(collector, path, batch, dialect)
    await _release_rest(desk, collector, batch)
    for path in files:
        path.unlink()
    return collector.done


async def _delete_files(desk: Desk, api: BatchApi, batch: BatchNote) -> None:
    if waiting_rows(desk.reader).get(batch.number):
        return  # its results are not there yet
    for name in filter(None, (batch.input_file, batch.output_file, batch.error_file)):
        if (failure := await api.delete(name)) is not None:
            desk.notify(f"{name} of batch {batch.number} could not be deleted at the server: {failure.detail}")


async def _take(collector: Collector[Seed], path: Path, batch: BatchNote, dialect: Dialect) -> None:
    now = time.time()
    for page in pages(path):
        results = [read_result(line, dialect, now) for line in page]
        ours = [one for one in results if one is not None and one.nonce == batch.nonce]
        torn = is_torn(page[-1])
        collector.done.torn += torn
        collector.done.strange += len(page) - len(ours) - torn
        await collector.take({one.attempt: one.came for one in reversed(ours)})


async def _release_rest(desk: Desk, collector: Collector[Seed], batch: BatchNote) -> None:
    if batch.state == "failed":
        if TOO_MUCH_WAITS in batch.detail:
            desk.notify(f"Batch {batch.number} was refused. {FEWER}")
        else:
            desk.notify(f"Batch {batch.number} was refused: {batch.detail or 'the server does not say why'}")
        await collector.rest("batch-failed", batch.detail)
    elif batch.state == "completed":
        await collector.lost("no line in the results")
    else:
        await collector.rest(f"batch-{batch.state}", "no line in the results")


def is_blameless(reader: sqlite3.Connection, requests: int, files: Iterable[Path]) -> bool:
    """Whether nothing shows that the requests of a run are right: none was ever answered, here or before."""
    if requests < BLAMELESS_FROM or account.read_counts(reader).replies:
        return False
    return not any(is_reply(line) for path in files for page in pages(path) for line in page)


def pages(path: Path) -> Iterator[list[bytes]]:
    """The lines of a file that are not blank, some at a time."""
    with path.open("rb") as file:
        page = []
        for line in file:
            if line.strip():
                page.append(line)
            if len(page) == PAGE:
                yield page
                page = []
        if page:
            yield page


def _progress(batch: BatchNote) -> str:
    return f"{batch.state} {batch.completed + batch.failed:,} of {batch.requests:,}"
