"""A run on the command line, of whatever task: signals, progress, who else listens, how it ended, the exit code."""

import contextlib
import re
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from smile_async.cli.flags import ObserverFlags, OutputFlags
from smile_async.cli.show import print_json
from smile_async.errors import SmileError

if TYPE_CHECKING:
    from smile_async.engine.run import RunReport
    from smile_async.engine.switch import StopSwitch
    from smile_async.tasks import Following

_RESUME = re.compile("`smile resume[^`]*`")
PULSE = 0.5  # seconds between two readings of the gauges
Outcome = tuple[list[str], dict[str, Any]]
Running = Callable[["Following"], Awaitable["RunReport"]]


def follow_run(
    running: Running,
    title: str,
    run: Path,
    output: OutputFlags,
    observers: ObserverFlags,
    *,
    again: bool = False,
    outcome: Callable[[], Outcome] | None = None,
) -> None:
    """Run with signals and a progress display, print how it ended, exit with its code. `again`: rows that were set
    aside are asked once more. `outcome` says what came of it: lines for a person, and fields for `--json`."""
    from smile_async.cli.observers import observed, together
    from smile_async.cli.show import report_text
    from smile_async.cli.watch import watching
    from smile_async.engine.switch import StopSwitch
    from smile_async.run_folder import read_status
    from smile_async.tasks import Following

    async def main() -> "RunReport":
        stop = StopSwitch()
        drain_on_signals(stop)
        with watching(title, run, quiet=output.quiet, verbose=output.verbose) as (listener, notify):
            async with observed(run, observers, stop, notify) as others:
                heard, reasons = together([listener, *others]), () if again else None
                return await running(Following(heard, stop, notify, PULSE, retry_reasons=reasons))

    try:
        report = run_loop(main())
    except SmileError as error:
        if (run / "ledger.sqlite3").exists():
            if output.json:
                print_json(read_status(run).as_json())  # programs want to know how it stands, all the more
            error.args = (in_own_words(str(error), read_status(run).go_on),)
        raise
    status = read_status(run)
    report = replace(report, message=in_own_words(report.message, status.go_on))
    lines, fields = outcome() if outcome is not None else ([], {})
    sys.stderr.write(report_text(report, status) + "".join(f"  {line}\n" for line in lines))
    if output.json:
        print_json({**status.as_json(), **fields})
    raise typer.Exit(report.exit_code)


def in_own_words(text: str, go_on: str) -> str:
    """The engine, which does not know what it is run for, says `smile resume`, which goes on with dialogues alone. In
    its place stands what goes on with a run of another task (`RunStatus.go_on`; empty: dialogues)."""
    if not go_on:
        return text
    command = go_on.removeprefix("Go on with: ")
    return _RESUME.sub(lambda _: f"`{command}`" if command != go_on else "the call that started it", text)


def as_typed() -> str:
    """This command line, to be called again: without what is meant for once, and without a key in an address."""
    from smile_async.notes import without_key

    typed = [one for one in sys.argv[1:] if one not in ("--retry", "--add")]
    return shlex.join(["smile", *(without_key(one) if "://" in one and "?" in one else one for one in typed)])


def run_loop(main: Any) -> Any:
    """On uvloop where it is installed: a fifth less CPU a request."""
    try:
        import uvloop
    except ImportError:
        import asyncio

        return asyncio.run(main)
    return uvloop.run(main)


def drain_on_signals(stop: "StopSwitch") -> None:
    """The first Ctrl-C or SIGTERM drains, the second stops now."""
    import asyncio

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C stops at once, and is resumable all the same
            loop.add_signal_handler(number, stop.drain)
