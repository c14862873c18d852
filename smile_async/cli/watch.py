"""Who hears a run's events: the display in a terminal, the log elsewhere, both if asked. All of it goes to stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smile_async.cli.progress import LiveDisplay
from smile_async.cli.tally import Tally, plain_line
from smile_async.engine import events

PLAIN_EVERY = 5.0  # seconds between two plain lines
QUIET_EVENTS = (events.RowAccepted, events.ReplyRejected, events.JobRequeued, events.RowSetAside, events.AttemptFailed)
"""Told one by one only when asked: there may be millions."""


def logger() -> Any:
    """A structlog logger of dotted facts with fields, on stderr. No event holds a key or dialogue text."""
    import structlog

    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, sort_keys=False),
        ],
    )


@contextmanager
def watching(
    title: str, run: Path, *, quiet: bool, verbose: bool
) -> Iterator[tuple[events.Listener, Callable[[str], None]]]:
    """The listener for a run's events, and how to tell a person something, while the block runs."""
    tally = Tally(clock=time.monotonic)
    if sys.stderr.isatty() and not quiet and not verbose:
        from rich.console import Console

        console = Console(stderr=True)
        with LiveDisplay(console, tally, title, run):
            yield _informed(tally, run), lambda text: console.print(text, highlight=False, markup=False)
        return
    log = None if quiet and not verbose else logger()
    yield _logging(tally, run, log, verbose=verbose), to_stderr


def to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")


def _informed(tally: Tally, run: Path) -> events.Listener:
    """Keeps the tally; when the run starts, reads how many rows are expected."""

    def hear(event: events.Event) -> None:
        tally.hear(event)
        if isinstance(event, events.Pulse) and tally.expected is None:
            tally.expected = _expected(run)

    return hear


def _logging(tally: Tally, run: Path, log: Any, *, verbose: bool) -> events.Listener:
    informed = _informed(tally, run)
    last = time.monotonic()

    def hear(event: events.Event) -> None:
        nonlocal last
        informed(event)
        if log is None:
            return
        if isinstance(event, events.Pulse):
            if time.monotonic() - last >= PLAIN_EVERY:
                last = time.monotonic()
                log.info("run.progress", **plain_line(tally))
        elif verbose or not isinstance(event, QUIET_EVENTS):
            log.info(event.name, **{name: _short(value) for name, value in asdict(event).items()})

    return hear


def _short(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def _expected(run: Path) -> int | None:
    from smile_async.engine import account, schema

    with schema.reading(run) as reader:
        expected = account.read_meta(reader, "expected_rows")
    return int(expected) if expected is not None else None
