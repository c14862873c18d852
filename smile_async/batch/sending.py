"""Rows into batches, and batches to the server; what a crash left half done is found again and finished."""

import asyncio
import math
import secrets
import sqlite3
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smile_async.answering import dialect_of
from smile_async.batch.desk import BatchReport, Desk, Notify, at_desk, batch_report, private_file, refused
from smile_async.engine import account, schema
from smile_async.engine.batches import (
    OFFLINE,
    PREPARED,
    WRITING,
    BatchNote,
    Filling,
    Room,
    held_back,
    new_batch,
    note,
    saved,
    withdraw,
)
from smile_async.engine.feed import Feed
from smile_async.engine.job import Failure, FailureKind
from smile_async.engine.run import identity_of
from smile_async.errors import SettingsError, SmileError
from smile_async.options import Options
from smile_async.pipeline import Plan, planned
from smile_async.provider.batch_api import NONCE, RUN, BatchApi, RemoteBatch
from smile_async.provider.batch_lines import MOST_BYTES, MOST_REQUESTS, custom_id, request_line
from smile_async.provider.dialect import Dialect
from smile_async.rows import Given
from smile_async.settings import Endpoint, Prices
from smile_async.tasks import Following

if TYPE_CHECKING:
    import httpx

SETTLE = 5.0  # seconds after which a batch whose making was cut off is in the server's list, or was never made
PERHAPS_MADE = frozenset({
    FailureKind.DISCONNECTED, FailureKind.TIMEOUT, FailureKind.SERVER_ERROR, FailureKind.GATEWAY,
    FailureKind.BROKEN_BODY,
})  # fmt: skip
"""Kinds after which the batch may have been made all the same."""


@dataclass(frozen=True, slots=True)
class BatchSize:
    """The most a file may hold, and the most prompt tokens (estimated) that may wait at the server at once."""

    requests: int = MOST_REQUESTS
    bytes: int = MOST_BYTES
    tokens: int | None = None


async def submit_batches(
    source: Given,
    out: str | Path,
    *,
    provider: Endpoint | Sequence[Endpoint],
    options: Options | None = None,
    size: BatchSize | None = None,
    client: "httpx.AsyncClient | None" = None,
    notify: Notify = lambda _text: None,
) -> BatchReport:
    """Hand all pending rows of the run `out` over to the Batch API, starting the run where there is none.

    Of several endpoints the first is asked. What an earlier call could not finish is finished first. Prices are the
    batch's, usually half of the others, and are not kept as the run's. Raises as `generate_corpus` does, and
    `StoppedError` when the server refuses.
    """
    folder = Path(out)
    plan = await planned(source, folder, provider, options or Options(), Following(notify=notify))
    dialect = batch_dialect(first_of(provider), plan)
    async with (
        aclosing(BatchApi(dialect, client=client)) as api,
        at_desk(folder, identity_of(plan.task, dialect.identity), notify) as desk,
    ):
        prices = await begin(desk, plan)
        await finish_half_made(desk, api)
        filling = filling_of(desk, plan, dialect, size or BatchSize())
        await send_all(desk, api, dialect, filling, prices)
        desk.note_waiting()
    return batch_report(folder, stopped_by=filling[0].stopped_by)


def first_of(provider: Endpoint | Sequence[Endpoint]) -> Endpoint:
    """Raises `SettingsError` where none is named."""
    if isinstance(provider, Endpoint):
        return provider
    if not provider:
        raise SettingsError("No endpoint is named.", hint="Say whom to ask.")
    return provider[0]


def batch_dialect(endpoint: Endpoint, plan: Plan) -> Dialect:
    """Raises `SettingsError` for a provider that has no batches of this kind."""
    if endpoint.provider == "anthropic":
        raise SettingsError(
            "Anthropic's Message Batches are another interface, which is not spoken here.",
            hint="`smile generate` asks Anthropic row by row.",
        )
    if endpoint.provider == "local":
        raise SettingsError(
            "The embedded model has no batches.", hint="Name a server, or `smile generate --provider local`."
        )
    return dialect_of(endpoint, plan.options.sampling.over(plan.recipe.sampling))


async def begin(desk: Desk, plan: Plan) -> Prices:
    """Note that the run goes on; returns the prices of its batches."""
    ledger, reader = desk.ledger, desk.reader
    before = account.read_meta(reader, "options") or {"prices": None}
    told = plan.options.prices or _noted_prices(reader)
    options = {**plan.options.as_notes(), "prices": before["prices"]}
    for key, value in {**plan.notes, "options": options, "source_rows": None, "stopped": None}.items():
        ledger.write(meta=(key, value))
    if told is not None:
        ledger.write(meta=("batch_prices", told.model_dump(mode="json")))
    if account.read_meta(reader, "run_id") is None:
        ledger.write(meta=("run_id", secrets.token_hex(8)))
    await saved(ledger)
    return told or Prices()


def batch_prices(folder: Path) -> Prices | None:
    """What the run's last batch was told to cost; None where there is none, or nothing was told."""
    with schema.reading(folder) as reader:
        return _noted_prices(reader)


def _noted_prices(reader: sqlite3.Connection) -> Prices | None:
    noted = account.read_meta(reader, "batch_prices")
    return None if noted is None else Prices(**noted)


def filling_of(desk: Desk, plan: Plan, dialect: Dialect, size: BatchSize) -> "tuple[Filling[Any], Feed[Any]]":
    """What takes the pending rows into batches, within the budget and what may wait."""
    reader, room = desk.reader, room_for(desk, size, plan.options.limits.budget_usd)
    feed = Feed(plan.rows, plan.task, desk.ledger, reader, identity_of(plan.task, dialect.identity))
    return Filling(plan.task, desk.ledger, feed, room, first_attempt=1 + account.last_attempt(reader)), feed


def room_for(desk: Desk, size: BatchSize, budget_usd: float | None) -> Room:
    """What may be handed over beside all that was spent, may have been, or waits."""
    room = Room(size.requests, size.bytes)
    if size.tokens is not None:
        room.tokens = size.tokens - held_back(desk.reader, [one.number for one in desk.live() if one.state != OFFLINE])
    if budget_usd is not None:
        counts = account.read_counts(desk.reader)
        room.usd = budget_usd - counts.spend_usd - counts.perhaps_usd - counts.reserved_usd
    return room


async def send_all(
    desk: Desk, api: BatchApi, dialect: Dialect, parts: "tuple[Filling[Any], Feed[Any]]", prices: Prices
) -> None:
    filling, feed = parts
    try:
        while not (filling.ended or filling.stopped_by):
            batch = await _written(desk, api, dialect, filling, prices)
            if batch is not None:
                await send(desk, api, batch)
    finally:
        await feed.close()
        await saved(desk.ledger)


async def _written(
    desk: Desk, api: BatchApi, dialect: Dialect, filling: "Filling[Any]", prices: Prices
) -> BatchNote | None:
    """The next batch, its rows noted and its file whole; None when there is no more to hand over."""
    now = time.time()
    empty = new_batch(desk.reader, api.place, prices, now)
    path = desk.file(empty, "requests")
    try:
        with private_file(path) as file:
            batch = await filling.fill(
                empty,
                file,
                lambda request, attempt: request_line(custom_id(empty.nonce, attempt), api.path, dialect.body(request)),
                now,
            )
        if batch.requests:
            return await note(desk.ledger, batch.evolve(state=PREPARED))
    except Exception:  # the source's, the disk's
        path.unlink(missing_ok=True)
        await withdraw_unfinished(desk)
        raise
    path.unlink()
    return None


async def withdraw_unfinished(desk: Desk) -> None:
    """Nothing of a batch has left whose file was not whole."""
    await saved(desk.ledger)
    for batch in desk.live():
        if batch.state == WRITING:
            desk.file(batch, "requests").unlink(missing_ok=True)
            await withdraw(desk.ledger, desk.reader, batch, "its file was not whole")


async def send(desk: Desk, api: BatchApi, batch: BatchNote) -> BatchNote:
    """Upload the file and have a batch made of it, each step noted before the next. Raises `StoppedError`."""
    path = desk.file(batch, "requests")
    if not batch.input_file:
        uploaded = await api.upload(path, path.name)
        if isinstance(uploaded, Failure):
            raise await _not_sent(desk, batch, "the file was not taken", uploaded)
        batch = await note(desk.ledger, batch.evolve(input_file=uploaded))
    batch = await note(desk.ledger, batch.evolve(checked_at=time.time()))
    run = account.read_meta(desk.reader, "run_id")
    made = await api.create(batch.input_file, {RUN: run, NONCE: batch.nonce})
    if isinstance(made, Failure):
        if made.kind not in PERHAPS_MADE:
            raise await _not_sent(desk, batch, "no batch was made", made)
        found = await look_for(desk, api, batch)
        if found is None:
            raise refused(
                desk.folder,
                f"whether batch {batch.number} was made is not known",
                made,
                hint=f"Its {batch.requests:,} rows wait. The same command again looks for it and goes on.",
            )
        made = found
    path.unlink(missing_ok=True)
    return await note(desk.ledger, told(batch, made))


async def _not_sent(desk: Desk, batch: BatchNote, what: str, failure: Failure) -> SmileError:
    """It is certain that no batch was made: its rows are pending again."""
    await withdraw(desk.ledger, desk.reader, batch, failure.detail)
    desk.file(batch, "requests").unlink(missing_ok=True)
    return refused(desk.folder, what, failure, hint="Nothing was billed, and its rows are pending as before.")


def told(batch: BatchNote, remote: RemoteBatch) -> BatchNote:
    """The batch as the server tells of it now."""
    return replace(
        batch,
        state=remote.status,
        remote=remote.id,
        output_file=remote.output_file,
        error_file=remote.error_file,
        completed=remote.completed,
        failed=remote.failed,
        expires_at=remote.expires_at or batch.expires_at,
        checked_at=time.time(),
        detail=": ".join(part for part in (remote.code, remote.detail) if part),
    )


async def look_for(desk: Desk, api: BatchApi, batch: BatchNote) -> RemoteBatch | None:
    """The batch at the server, if it was made there. One too many, which only a race could make, is cancelled."""
    if batch.checked_at is None:
        return None
    left = SETTLE - (time.time() - batch.checked_at)
    if 0 < left <= SETTLE:
        await asyncio.sleep(left)
    found = await api.find(batch.input_file, batch.nonce)
    if isinstance(found, Failure):
        raise refused(
            desk.folder,
            f"whether batch {batch.number} was made cannot be found out",
            found,
            hint=f"Try again later; or give it up with `smile batch cancel {desk.folder} --forget`.",
        )
    for other in found[:-1]:
        desk.notify(f"Batch {batch.number} is there twice: {other.id} is cancelled.")
        await api.cancel(other.id)
    return found[-1] if found else None


async def finish_half_made(desk: Desk, api: BatchApi, *, sending: bool = True) -> None:
    """What a crash left: withdraw what never left, find what is at the server; with `sending`, send what is not."""
    await withdraw_unfinished(desk)
    desk.sweep()
    for batch in desk.live():
        if batch.state != PREPARED:
            continue
        check_place(batch, api)
        found = await look_for(desk, api, batch)
        if found is not None:
            desk.notify(f"Batch {batch.number} is at the server: {found.id}.")
            desk.file(batch, "requests").unlink(missing_ok=True)
            await note(desk.ledger, told(batch, found))
        elif not batch.input_file and not desk.file(batch, "requests").exists():
            await withdraw(desk.ledger, desk.reader, batch, "its file is gone")
        elif sending:
            await send(desk, api, batch)


def check_place(batch: BatchNote, api: BatchApi) -> None:
    """Another server would not know the batch, and must not get this one's key."""
    if batch.place != api.place:
        raise SettingsError(
            f"Batch {batch.number} was made at {batch.place}, and the run's server is {api.place} now.",
            hint="Name that server (--base-url) until the batch is collected.",
        )


def unlimited() -> BatchSize:
    """For whoever works offline."""
    return BatchSize(requests=10**9, bytes=int(math.ldexp(1, 62)))
