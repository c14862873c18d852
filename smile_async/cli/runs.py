"""The commands that work on a run: generate, resume, retry, revalidate."""

import sys
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smile_async.cli.flags import EndpointFlags, LimitFlags, ObserverFlags, OutputFlags, SourceFlags, grouped
from smile_async.cli.following import follow_run
from smile_async.cli.show import print_json
from smile_async.cli.state import RunFolder

if TYPE_CHECKING:
    from smile_async.engine.run import RunReport
    from smile_async.tasks import Following


Salvage = Annotated[
    str | None,
    typer.Option(
        help="mend replies that break a rule: none, all, free, or some of speakers, tail, more-tokens, re-ask",
        metavar="STEPS",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Runs")(generate)
    app.command(rich_help_panel="Runs")(resume)
    app.command(rich_help_panel="Runs")(retry)
    app.command(rich_help_panel="Runs")(revalidate)


@grouped
def generate(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="PsyQA JSON, JSONL, CSV or Parquet; - for recipes that need none")
    ],
    run: RunFolder,
    endpoint: EndpointFlags,
    rows: SourceFlags,
    limits: LimitFlags,
    output: OutputFlags,
    observers: ObserverFlags,
    *,
    salvage: Salvage = None,
) -> None:
    """Make a validated dialogue of every row, kept in RUN; the same command again goes on.

    smile generate psyqa.json runs/first --model gpt-4o-mini --rpm 600 --tpm 300000

    RUN/corpus.jsonl holds the accepted dialogues in the source's order, RUN/set-aside.jsonl the rest with reasons.
    """
    from smile_async.cli.settings import endpoints_from, options_from, settings_from
    from smile_async.pipeline import generate_corpus

    settings = settings_from(output.config)
    options = replace(options_from(settings, endpoint, rows, limits, salvage), add_source=rows.add)
    at = endpoints_from(settings, endpoint)
    given = None if source == "-" else source

    def running(seen: "Following") -> Awaitable["RunReport"]:
        return generate_corpus(
            given, run, provider=at, options=options,
            listener=seen.listener, stop=seen.stop, notify=seen.notify, pulse=seen.pulse,
        )  # fmt: skip

    follow_run(running, f"smile generate {source} -> {run}", run, output, observers)


@grouped
def resume(
    run: RunFolder, endpoint: EndpointFlags, limits: LimitFlags, output: OutputFlags, observers: ObserverFlags
) -> None:
    """Go on with a run that was stopped or killed; limits may be other ones.

    smile resume runs/first --rpm 1200
    """
    _resume(run, endpoint, limits, output, observers, None)


@grouped
def retry(
    run: RunFolder,
    reason: Annotated[
        list[str] | None, typer.Option(help="only rows set aside for this reason; may be given several times")
    ] = None,
    *,
    endpoint: EndpointFlags,
    limits: LimitFlags,
    output: OutputFlags,
    observers: ObserverFlags,
) -> None:
    """Ask again for the rows that were set aside, with fresh budgets.

    smile retry runs/first --reason too-few-turns --reason timeout
    """
    from smile_async.run_folder import read_status

    there = read_status(run).counts.reasons
    if strange := set(reason or ()) - set(there):
        known = ", ".join(there) or "none"
        raise typer.BadParameter(f"no row was set aside for {min(strange)!r}; reasons: {known}", param_hint="--reason")
    _resume(run, endpoint, limits, output, observers, reason or ())


@grouped
def revalidate(
    run: RunFolder,
    *,
    recipe: Annotated[
        str | None,
        typer.Option(help="whose rules to judge by: a built-in name or your TOML file; default the run's own"),
    ] = None,
    salvage: Salvage = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON line on stdout")] = False,
) -> None:
    """Judge the replies that were paid for by other rules, without asking anybody.

    smile revalidate runs/first --recipe smile-checked

    smile revalidate runs/first --salvage all

    Answers of topic labels and of test cases are read again as this version reads them.
    """
    import asyncio

    from smile_async.cli.show import revision_text
    from smile_async.run_folder import read_status

    again = _rejudging(read_status(run).task)
    if again is None:
        from smile_async.pipeline import revalidate_corpus

        revision, counts = asyncio.run(revalidate_corpus(run, recipe, salvage=salvage))
    elif recipe is not None or salvage is not None:
        raise typer.BadParameter("a run of another task has no recipe", param_hint="--recipe, --salvage")
    else:
        revision, counts = asyncio.run(again(run))
    found = read_status(run)
    print_json(found.as_json()) if json else sys.stdout.write(revision_text(revision, counts, found.remarks))


def _rejudging(task: str) -> Any:
    """How the replies to another task than dialogues are judged again; None: as dialogues are, or not at all."""
    if task == "topics":
        from smile_async.analysis.topics import reread_topics

        return reread_topics
    if task == "responses":
        from smile_async.chatbot.respond import reread_responses

        return reread_responses
    return None


def _resume(
    run: Path,
    endpoint: EndpointFlags,
    limits: LimitFlags,
    output: OutputFlags,
    observers: ObserverFlags,
    reasons: "list[str] | tuple[()] | None",
) -> None:
    from smile_async.cli.settings import changed_endpoints, changed_options
    from smile_async.pipeline import resume_corpus

    def running(seen: "Following") -> Awaitable["RunReport"]:
        return resume_corpus(
            run,
            provider=changed_endpoints(run, output.config, endpoint),
            changes=lambda options: changed_options(options, output.config, endpoint, limits),
            retry_reasons=reasons,
            listener=seen.listener,
            stop=seen.stop,
            notify=seen.notify,
            pulse=seen.pulse,
        )

    follow_run(running, f"smile {'resume' if reasons is None else 'retry'} {run}", run, output, observers)
