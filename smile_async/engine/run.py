"""Run a task over a stream of items, with everything the engine gives: the one function above all its parts."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smile_async.engine import account, schema
from smile_async.engine.batches import waiting_in_batches
from smile_async.engine.events import Event, Listener, RunEnded, RunStarted
from smile_async.engine.feed import Feed, Unreadable
from smile_async.engine.garbage import collected_seldom
from smile_async.engine.lane import MINUTE, Lane, Served
from smile_async.engine.ledger import Ledger
from smile_async.engine.limits import Gate
from smile_async.engine.retry import StopRun
from smile_async.engine.revision import reopen
from smile_async.engine.runner import Runner, finish
from smile_async.engine.silence import Silence
from smile_async.engine.switch import StopSwitch
from smile_async.engine.task import Item, Provider, Task, Value
from smile_async.errors import SettingsError, SmileError, StoppedError
from smile_async.settings import Limits, Prices, RetryPolicy

Tell = Callable[[Sequence[Event]], None]


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run stands. `state` is done (every row ended) or stopped (resumable); `reason` is a code, `message` for
    a person; both are empty when done."""

    folder: Path
    state: str
    reason: str
    message: str
    counts: account.Counts

    @property
    def exit_code(self) -> int:
        """0 every row accepted, 3 some set aside, 4 stopped before the end, 130 interrupted."""
        if self.state == "done":
            return 3 if self.counts.set_aside else 0
        return 130 if self.reason == "interrupted" else 4

    def check(self) -> "RunReport":
        """Raise `StoppedError` when the run stopped before its end; else return the report."""
        if self.state != "done":
            raise StoppedError(self.message, reason=self.reason, hint=f"smile resume {self.folder}")
        return self


async def run(  # noqa: PLR0913 (three things, the rest by keyword)
    task: Task[Item, Value],
    items: Iterable[Item | Unreadable],
    folder: Path,
    *,
    provider: Provider | Sequence[Served],
    limits: Limits | None = None,
    retry: RetryPolicy | None = None,
    prices: Prices | None = None,
    notes: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
    stop: StopSwitch | None = None,
    pulse: float | None = None,
    retry_reasons: Iterable[str] | None = None,
    deterministic: random.Random | None = None,
) -> RunReport:
    """Ask `provider` about every item, keep every reply in `folder`, and go on where an earlier call left off.

    `provider`: one, or several endpoints (`Served`) that serve the same model under limits of their own; the others'
    are `limits`, and the budget is one for all.

    `items` is read lazily, in a worker thread, and may be endless. Running again with the same folder, task and
    provider identity goes on; with another identity it raises `RunMismatchError`. `notes` are kept with the run
    under their keys, as JSON. `listener` is called on the event loop with each event, a row's once it is committed,
    and with a `Pulse` each `pulse` seconds. `retry_reasons` gives rows that were set aside for these reasons another
    chance, with fresh budgets (empty: all that were ever asked).

    Returns the report, also when the run stopped early (see `RunReport.check`). Raises what `items`, the task's
    functions, the provider or the listener raise, after what was in flight has been saved; `RunInUseError` when another
    process has the run.

    `deterministic` makes it all happen on the event loop with that randomness: for `smile_async.testing.run_virtual`.
    """
    limits, listen, threaded = limits or Limits(), listener or _nobody, deterministic is None
    served = [Served(provider)] if not isinstance(provider, Sequence) else list(provider)
    clock = asyncio.get_running_loop().time
    wall = clock if deterministic else time.time
    lanes = [Lane(one, one.quota or limits, one.prices or prices or Prices(), clock) for one in served]
    _check_lanes(lanes, limits)
    identity = identity_of(task, served[0].provider.identity)
    in_flight = sum(lane.concurrency.limit for lane in lanes)
    ledger = Ledger.open(folder, identity, in_flight=in_flight, threaded=threaded)
    try:
        if retry_reasons is not None:
            reopen(ledger, retry_reasons)
        with closing(schema.open_reader(folder)) as reader:
            with schema.legible(folder):  # not around the run itself: a source may be a database, too
                before = _begin(ledger, reader, {**(notes or {}), "began": wall()}, listen)
                first_attempt = 1 + account.last_attempt(reader)
                gate = _gate(lanes, limits, before, reader, clock=clock, wall=wall)
                _note_named(lanes, ledger, reader, wall())
            feed = Feed(items, task, ledger, reader, identity, threaded=threaded)
            runner = Runner(
                task,
                ledger,
                feed,
                gate,
                retry or RetryPolicy(),
                first_attempt=first_attempt,
                reserved_for=in_flight,
                listener=listen,
                uniform=(deterministic or random).random,
                wall=wall,
            )
            (stop or StopSwitch()).connect(runner)
            with _pulsing(gate, runner.tell, pulse), collected_seldom():
                try:
                    await runner.run()
                except BaseException as error:
                    ledger.write(meta=("stopped", {"reason": _reason_of(error, runner.stopped)}))
                    raise
                stopped = runner.stopped or waiting_in_batches(reader)
                if stopped is not None:
                    ledger.write(meta=("stopped", {"reason": stopped.reason}))
    finally:
        await finish(ledger.close())
    with schema.reading(folder) as reader:
        counts = account.read_counts(reader)
        # What the ledger says of the source may be an earlier process's word: this one must have read it to its end.
        done = stopped is None or (feed.exhausted and counts.exact and counts.pending == 0)
        return _report(folder, counts, None if done else stopped, listen)


def identity_of(task: Task[Any, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """All that shapes a run's requests; `answers` is the provider's part (`Provider.identity`)."""
    return {"task": task.name, **task.identity, **answers}


def _check_lanes(lanes: Sequence[Lane], limits: Limits) -> None:
    """Endpoints of one run must be told apart and answer alike; a budget needs to know what they cost."""
    if not lanes:
        raise SettingsError("No endpoint is named.", hint="Say whom to ask.")
    if limits.budget_usd is not None and any(lane.prices.cost(1, 1) == 0 for lane in lanes):
        raise SettingsError("A budget needs prices.", hint="Say what a million tokens cost: `Prices(input, output)`.")
    names = [lane.name for lane in lanes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SettingsError(f"Two endpoints are named {twice!r}.", hint="Give each a name of its own (`name`).")
    first = lanes[0].served.provider.identity
    for lane in lanes[1:]:
        if (other := lane.served.provider.identity) != first:
            raise SettingsError(
                f"The endpoints {lanes[0].name!r} and {lane.name!r} would answer differently: {first} and {other}.",
                hint="All endpoints of a run serve one model with one sampling.",
            )


def _gate(
    lanes: Sequence[Lane],
    limits: Limits,
    before: account.Counts,
    reader: sqlite3.Connection,
    *,
    clock: Callable[[], float],
    wall: Callable[[], float],
) -> Gate:
    """The gate as the processes before this one left it: what they spent, and what they sent a moment ago."""
    gate = Gate(
        lanes,
        clock=clock,
        budget_usd=limits.budget_usd,
        spent_usd=before.spend_usd,
        perhaps_usd=before.perhaps_usd,
        reserved_usd=before.reserved_usd,
    )
    now = wall()
    sent = account.sent_since(reader, now - _memory(lanes), now)
    gate.remember((now - at, prompt, completion, name) for at, prompt, completion, name in sent)
    for lane in lanes:
        lane.silence = Silence(proven=before.replies > 0)
        lane.models = set(account.read_meta(reader, account.MODELS + lane.name) or ())
    return gate


def _memory(lanes: Sequence[Lane]) -> float:
    """How long, in seconds, what an earlier process sent counts against a limit."""
    return max([MINUTE, *(window.period for lane in lanes for window in lane.windows)]) + 1.0


def _begin(ledger: Ledger, reader: sqlite3.Connection, notes: Mapping[str, Any], listen: Listener) -> account.Counts:
    """Note and tell that the run goes on; returns how it stands."""
    for key, value in notes.items():
        ledger.write(meta=(key, value))
    ledger.write(meta=("source_rows", None))  # it may have grown since it was last read to its end
    ledger.write(meta=("stopped", None))  # left so by a process that is killed
    before = account.read_counts(reader)
    listen(RunStarted(before.accepted, before.set_aside, before.pending, before.reasons))
    return before


def _reason_of(error: BaseException, stopped: StopRun | None) -> str:
    """Why a run stops that raises: so that nobody takes it for one that was killed."""
    if stopped is not None:
        return stopped.reason
    return "source" if isinstance(error, SmileError | OSError) else "internal"


def _note_named(lanes: Sequence[Lane], ledger: Ledger, reader: sqlite3.Connection, now: float) -> None:
    """Limits that the user named otherwise than for the process before are changes like others."""
    before: dict[str, dict[str, float]] = account.read_meta(reader, "named_limits") or {}
    named = {lane.name: lane.named() for lane in lanes}
    for lane, limits in named.items():
        was = before.get(lane, limits)
        for what in sorted(was.keys() | limits.keys()):
            if was.get(what) != limits.get(what):
                ledger.write([("changes", (now, lane, what, was.get(what), limits.get(what), account.NAMED))])
    ledger.write(meta=("named_limits", named))


def _report(
    folder: Path, counts: account.Counts, stopped: StopRun | None, listen: Callable[[Event], None]
) -> RunReport:
    reason, message = ("", "") if stopped is None else (stopped.reason, stopped.message)
    state = "done" if stopped is None else "stopped"
    listen(RunEnded(state, reason, counts.accepted, counts.set_aside, counts.pending))
    return RunReport(folder, state, reason, message, counts)


@contextmanager
def _pulsing(gate: Gate, tell: Tell, every: float | None) -> Iterator[None]:
    """Tell the gauges each `every` seconds, meanwhile; None: never."""
    pulse = None if every is None else asyncio.ensure_future(_pulse(gate, tell, every))
    try:
        yield
    finally:
        if pulse is not None:
            pulse.cancel()


async def _pulse(gate: Gate, tell: Tell, every: float) -> None:
    while True:
        tell([gate.pulse()])
        await asyncio.sleep(every)


def _nobody(_event: Event) -> None:
    """Listens to nothing."""
