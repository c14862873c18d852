"""Who hears a run's events beside the person at the terminal: a file, a scraper, a collector, where flags ask for them,
and `smile control`."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from smile_async.cli.flags import ObserverFlags
from smile_async.engine.events import Event, Listener
from smile_async.engine.switch import StopSwitch
from smile_async.errors import MissingExtraError


@asynccontextmanager
async def observed(
    run: Path, flags: ObserverFlags, stop: StopSwitch, notify: Callable[[str], None]
) -> AsyncIterator[list[Listener]]:
    """The listeners that the flags ask for, while the block runs. Raises `SettingsError` for what cannot be had."""
    from smile_async.observing.desk import controlled

    async with AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(controlled(run, stop, notify))]
        if flags.events is not None:
            from smile_async.observing.event_log import EventLog

            listeners.append(stack.enter_context(EventLog(flags.events, notify)))
        if flags.metrics_port is not None:
            from smile_async.observing.counters import Counters
            from smile_async.observing.metrics import serving_metrics

            listeners.append(counters := Counters())
            address = stack.enter_context(serving_metrics(counters, flags.metrics_host, flags.metrics_port))
            notify(f"metrics at {address}")
        if flags.otel:
            listeners.append(stack.enter_context(_telemetry(run)))
        yield listeners


def _telemetry(run: Path) -> AbstractContextManager[Listener]:
    try:
        from smile_async.observing.telemetry import exporting, whom_of
    except ImportError as error:
        raise MissingExtraError("--otel", "otel") from error
    return exporting(whom_of(run))


def together(listeners: Sequence[Listener]) -> Listener:
    """One that tells them all, in their order."""
    if len(listeners) == 1:
        return listeners[0]

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
