"""A run's pending rows as a Batch file for whoever works offline, and the results back: vLLM's run-batch, a cluster,
another account."""

import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from smile_async.batch.desk import BatchReport, Notify, at_desk, batch_report, rules_of, unquoted
from smile_async.batch.fetching import is_blameless, pages
from smile_async.batch.sending import (
    BatchSize,
    batch_dialect,
    begin,
    filling_of,
    first_of,
    unlimited,
    withdraw_unfinished,
)
from smile_async.engine.batches import OFFLINE, BatchNote, new_batch, note, read_batches
from smile_async.engine.collecting import Came, Collected, Collector
from smile_async.engine.run import identity_of
from smile_async.errors import UsageError
from smile_async.filing import exists_already, whole_file
from smile_async.options import Options
from smile_async.pipeline import planned
from smile_async.provider.batch_lines import Result, custom_id, is_torn, path_of, read_result, request_line
from smile_async.provider.chat import ChatDialect
from smile_async.rows import Given, Seed
from smile_async.run_folder import write_what_there_is
from smile_async.settings import Endpoint, Sampling
from smile_async.tasks import Following

_NO_KEY_NEEDED = {"x-no-key": SecretStr("needed")}
NOWHERE = "http://localhost/v1"  # nothing is asked: only the model's name and the sampling go into the file


async def export_batch(
    source: Given,
    out: str | Path,
    file: str | Path,
    *,
    provider: Endpoint | Sequence[Endpoint],
    options: Options | None = None,
    size: BatchSize | None = None,
    overwrite: bool = False,
    notify: Notify = lambda _text: None,
) -> BatchReport:
    """Write the pending rows of the run `out` as a Batch file, starting the run where there is none. They wait for
    `import_results`, and nobody else asks them meanwhile. Raises `UsageError` when no row is pending."""
    folder, path = Path(out), Path(file)
    _check_free(path, overwrite=overwrite)  # before the run is touched
    plan = await planned(source, folder, provider, options or Options(), Following(notify=notify))
    first = first_of(provider)
    asked = first if first.base_url else first.model_copy(update={"base_url": NOWHERE})
    keyless = asked.model_copy(update={"api_key_env": "", "headers": _NO_KEY_NEEDED})
    dialect = batch_dialect(keyless, plan)
    async with at_desk(folder, identity_of(plan.task, dialect.identity), notify) as desk:
        prices = await begin(desk, plan)
        filling, feed = filling_of(desk, plan, dialect, size or unlimited())
        empty = new_batch(desk.reader, str(path), prices, time.time())
        way = path_of(dialect.url)
        try:
            with whole_file(path, overwrite=overwrite) as stream:
                batch = await filling.fill(
                    empty,
                    stream,
                    lambda request, attempt: request_line(custom_id(empty.nonce, attempt), way, dialect.body(request)),
                    empty.made_at,
                )
                _check_it_holds_rows(folder, batch)
                await note(desk.ledger, batch.evolve(state=OFFLINE))  # before the file is there to be paid for
        except BaseException:
            await withdraw_unfinished(desk)
            raise
        finally:
            await feed.close()
        desk.note_waiting()
    return batch_report(folder, stopped_by=filling.stopped_by)


async def import_results(out: str | Path, file: str | Path, *, notify: Notify = lambda _text: None) -> BatchReport:
    """Record the results of an exported file, or of a batch whose results were downloaded by hand.

    A part of them will do, and the same ones twice do no harm. Raises `UsageError` for a file that holds none of this
    run's.
    """
    folder, path = Path(out), _there(Path(file))
    rules, done, ours = rules_of(folder), Collected(), 0
    dialect = ChatDialect(url=NOWHERE, headers={}, model="", sampling=Sampling())
    async with at_desk(folder, None, notify) as desk:
        batches = {batch.nonce: batch for batch in read_batches(desk.reader)}
        blameless = is_blameless(desk.reader, max([one.requests for one in batches.values()], default=0), [path])
        collectors: dict[str, Collector[Seed]] = {}
        for page in pages(path):
            results = [read_result(line, dialect, time.time()) for line in page]
            found = [one for one in results if one is not None and one.nonce in batches]
            ours += len(found)
            torn = is_torn(page[-1])
            done.torn += torn
            done.strange += len(page) - len(found) - torn
            for nonce in dict.fromkeys(one.nonce for one in found):
                if nonce not in collectors:
                    collectors[nonce] = Collector(
                        rules.task, desk.ledger, desk.reader, batches[nonce], rules.policy,
                        blameless=blameless, shown=unquoted,
                    )  # fmt: skip
                await collectors[nonce].take(_of(nonce, found))
        for collector in collectors.values():
            done.add(collector.done)
        desk.note_waiting()
    write_what_there_is(folder, notify)
    if not ours:
        raise UsageError(
            f"{path} holds no result of a batch of {folder}.", hint="Each line needs the custom_id of its request."
        )
    return batch_report(folder, done)


def _check_it_holds_rows(folder: Path, batch: BatchNote) -> None:
    if not batch.requests:
        raise UsageError(f"{folder}: no row is pending that does not wait in a batch already.")


def _there(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file.", hint="It is what the worker wrote, one JSON result a line.")
    return path


def _of(nonce: str, results: list[Result]) -> dict[int, Came]:
    return {one.attempt: one.came for one in reversed(results) if one.nonce == nonce}


def _check_free(path: Path, *, overwrite: bool) -> None:
    if path.is_dir() or (not overwrite and path.exists() and path.stat().st_size):
        raise exists_already(path)
