"""The commands that look at a run and steer it: status, control. Apart from those that work on one (`runs.py`), since
`smile status` is called again and again and needs little of what they do."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from smile_async.cli.show import print_json
from smile_async.errors import SmileError

PATIENCE = 1.0  # seconds that `status` waits for a live run's answer
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="the run folder", show_default=False)]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Runs")(status)
    app.command(rich_help_panel="Runs")(control)


def status(
    run: RunFolder,
    *,
    json: Annotated[bool, typer.Option("--json", help="one JSON line on stdout")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="every two seconds until the run ends")] = False,
) -> None:
    """Rows by state and reason, spend, rates and time left, also while the run goes on.

    smile status runs/first --json | jq .rows
    """
    from smile_async.cli.show import status_text
    from smile_async.run_folder import read_status

    while True:
        found = read_status(run)
        live = _live(run) if found.state == "running" else None
        print_json({**found.as_json(), "live": live}) if json else sys.stdout.write(status_text(found, live))
        if not follow or found.state != "running":
            return
        sys.stdout.flush()
        time.sleep(2.0)
        if not json:
            sys.stdout.write("\n")


def _live(run: Path) -> dict[str, Any] | None:
    """What the process at work on a run says of itself; None when it says nothing."""
    from smile_async.observing.control import ask_run

    try:
        return dict(ask_run(run, "status", patience=PATIENCE)["run"])
    except (SmileError, KeyError):
        return None


def control(
    run: RunFolder,
    do: Annotated[
        str | None, typer.Argument(metavar="[pause|resume|status]", help="what to do", show_default=False)
    ] = None,
    *,
    concurrency: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="from now on at most so many requests in flight")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON line on stdout")] = False,
) -> None:
    """Steer a run that is at work: pause it, let it go on, change its concurrency.

    smile control runs/first pause

    smile control runs/first --concurrency 32
    """
    from smile_async.cli.show import control_text
    from smile_async.observing.control import ask_run

    if do not in (None, "pause", "resume", "status"):
        raise typer.BadParameter(f"{do!r}: one of pause, resume, status", param_hint="what to do")
    asked: list[tuple[str, int | None]] = [] if concurrency is None else [("concurrency", concurrency)]
    if do is not None or not asked:
        asked.append((do or "status", None))
    for action, most in asked:
        answer = ask_run(run, action, most)
        print_json(answer) if json else sys.stdout.write(control_text(run, action, answer))
