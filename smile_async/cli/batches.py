"""`smile batch`: a run's rows through the Batch API, or through a file that somebody else works on."""

import sys
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smile_async.cli.flags import EndpointFlags, LimitFlags, OutputFlags, SourceFlags, grouped, option
from smile_async.cli.show import print_json

if TYPE_CHECKING:
    from smile_async.batch.desk import BatchReport
    from smile_async.options import Options
    from smile_async.settings import Endpoint

BATCHES = "Batches"
MB = 1_000_000  # bytes

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="the run folder", show_default=False)]
SourceAndRun = Annotated[
    list[str],
    typer.Argument(metavar="[SOURCE] RUN", help="RUN alone goes on with what it was started with", show_default=False),
]

HELP = """A run's rows through OpenAI's Batch API, or as a file for vllm run-batch.

Half the price, within a day.

smile batch submit psyqa.json runs/first --model gpt-4o-mini

smile batch status runs/first --wait

smile batch submit runs/first

The last one sends what broke a rule or was not run; `smile resume runs/first` asks for it at once instead.
"""


@dataclass(frozen=True, slots=True)
class ServerFlags:
    base_url: Annotated[str | None, option(BATCHES, "where the batch was made, if the run's is another now")] = None
    api_key_env: Annotated[str | None, option(BATCHES, "environment variable with the key", metavar="NAME")] = None
    config: Annotated[Path | None, option(BATCHES, "settings file with the endpoint's headers", metavar="TOML")] = None
    json: Annotated[bool, option(BATCHES, "print the result as one JSON line on stdout", "--json")] = False


DeleteFiles = Annotated[
    bool, option(BATCHES, "delete the server's copies of requests and results then", "--delete-files")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help=HELP, no_args_is_help=True)
    for command in (submit, status, collect, cancel, export):
        group.command()(command)
    group.command(name="import")(import_)
    app.add_typer(group, name="batch", rich_help_panel="Runs")


@grouped
def submit(
    where: SourceAndRun,
    *,
    most_rows: Annotated[int | None, option(BATCHES, "requests a batch; default 50,000", metavar="N")] = None,
    most_mb: Annotated[float | None, option(BATCHES, "megabytes a file; default 100", metavar="N")] = None,
    enqueued: Annotated[
        int | None, option(BATCHES, "prompt tokens that may wait at the server at once; default any", metavar="N")
    ] = None,
    endpoint: EndpointFlags,
    rows: SourceFlags,
    limits: LimitFlags,
    output: OutputFlags,
) -> None:
    """Hand all pending rows over in batches. The same command again finishes what was interrupted.

    smile batch submit psyqa.json runs/first --model gpt-4o-mini --price-in 0.075 --price-out 0.3

    Prices are the batch's. Rows wait in their batch until `smile batch collect`; nobody else asks them meanwhile.
    """
    from smile_async.batch.sending import BatchSize, submit_batches
    from smile_async.provider.batch_lines import MOST_BYTES, MOST_REQUESTS

    size = BatchSize(most_rows or MOST_REQUESTS, int(most_mb * MB) if most_mb else MOST_BYTES, enqueued)
    source, run, at, options = _asked(where, endpoint, rows, limits, output)
    report = _run(submit_batches(source, run, provider=at, options=options, size=size, notify=_tell))
    _show(report, json=output.json)


@grouped
def status(
    run: RunFolder,
    *,
    wait: Annotated[
        bool, option(BATCHES, "look again until all have ended (30 s to 5 min), and collect each", "--wait")
    ] = False,
    poll: Annotated[float, option(BATCHES, "with --wait: seconds between the first two looks", metavar="S")] = 30.0,
    delete_files: DeleteFiles = False,
    server: ServerFlags,
) -> None:
    """Ask the server how the batches stand: states, counts, age, time left.

    smile batch status runs/first --wait
    """
    from smile_async.batch.fetching import look, wait_for_batches

    at = _server(run, server)
    if not wait:
        _show(_run(look(run, provider=at, notify=_tell)), json=server.json)
        return
    report = _run(
        wait_for_batches(run, provider=at, delete_files=delete_files, notify=_tell, first_look=poll, each=_tell)
    )
    _show(report, json=server.json)
    raise typer.Exit(report.exit_code)


@grouped
def collect(run: RunFolder, *, delete_files: DeleteFiles = False, server: ServerFlags) -> None:
    """Bring home what ended: replies are kept and judged as ever, the rest is pending again.

    smile batch collect runs/first
    """
    from smile_async.batch.fetching import collect_batches

    report = _run(collect_batches(run, provider=_server(run, server), delete_files=delete_files, notify=_tell))
    _show(report, json=server.json)
    raise typer.Exit(report.exit_code)


@grouped
def cancel(
    run: RunFolder,
    *,
    forget: Annotated[
        bool, option(BATCHES, "also give up batches that the server does not answer for: perhaps billed", "--forget")
    ] = False,
    server: ServerFlags,
) -> None:
    """Have the server stop; what it has done is paid for and collected as usual. Exported rows are free at once.

    smile batch cancel runs/first
    """
    from smile_async.batch.fetching import cancel_batches

    _show(_run(cancel_batches(run, provider=_server(run, server), forget=forget, notify=_tell)), json=server.json)


@grouped
def export(
    where: Annotated[
        list[str], typer.Argument(metavar="[SOURCE] RUN OUT", help="OUT: the Batch file to write", show_default=False)
    ],
    *,
    most_rows: Annotated[int | None, option(BATCHES, "requests in the file; default all", metavar="N")] = None,
    overwrite: Annotated[bool, option(BATCHES, "replace what is there", "--overwrite")] = False,
    endpoint: EndpointFlags,
    rows: SourceFlags,
    limits: LimitFlags,
    output: OutputFlags,
) -> None:
    """Write the pending rows as a Batch file, for vllm run-batch or anybody else who works offline.

    smile batch export psyqa.json runs/first requests.jsonl --model Qwen/Qwen3-32B

    vllm run-batch -i requests.jsonl -o results.jsonl --model Qwen/Qwen3-32B

    smile batch import runs/first results.jsonl
    """
    from smile_async.batch.offline import export_batch
    from smile_async.batch.sending import unlimited

    *where, out = where
    size = unlimited() if most_rows is None else replace(unlimited(), requests=most_rows)
    source, run, at, options = _asked(where, endpoint, rows, limits, output)
    report = _run(
        export_batch(source, run, out, provider=at, options=options, size=size, overwrite=overwrite, notify=_tell)
    )
    _show(report, json=output.json)


@grouped
def import_(
    run: RunFolder,
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="what the worker wrote", show_default=False)],
    *,
    json: Annotated[bool, option(BATCHES, "print the result as one JSON line on stdout", "--json")] = False,
) -> None:
    """Record the results of an exported file, all or a part, in any order; twice does no harm.

    smile batch import runs/first results.jsonl
    """
    from smile_async.batch.offline import import_results

    report = _run(import_results(run, results, notify=_tell))
    _show(report, json=json)
    raise typer.Exit(report.exit_code)


def _asked(
    where: list[str], endpoint: EndpointFlags, rows: SourceFlags, limits: LimitFlags, output: OutputFlags
) -> "tuple[str | None, Path, Sequence[Endpoint], Options]":
    """Source, run, endpoint and options: as told, or, for a run alone, as it was started but for what is told."""
    from smile_async.batch.sending import batch_prices
    from smile_async.cli.settings import changed_endpoints, changed_options, endpoints_from, options_from, settings_from
    from smile_async.pipeline import taken_up

    if len(where) not in (1, 2):
        raise typer.BadParameter("give [SOURCE] RUN", param_hint="RUN")
    run = Path(where[-1])
    if len(where) == 2:
        settings = settings_from(output.config)
        source = None if where[0] == "-" else where[0]
        options = replace(options_from(settings, endpoint, rows, limits), add_source=rows.add)
        return source, run, endpoints_from(settings, endpoint), options
    prices = batch_prices(run)
    source, provider, options = taken_up(
        run,
        changed_endpoints(run, output.config, endpoint),
        lambda noted: changed_options(replace(noted, prices=prices or noted.prices), output.config, endpoint, limits),
    )
    if not isinstance(provider, Sequence):
        raise typer.BadParameter("its provider was an object of the caller's", param_hint="RUN")
    return source, run, provider, options


def _server(run: Path, flags: ServerFlags) -> "Sequence[Endpoint] | None":
    from smile_async.cli.settings import changed_endpoints

    return changed_endpoints(run, flags.config, EndpointFlags(base_url=flags.base_url, api_key_env=flags.api_key_env))


def _run(work: "Coroutine[Any, Any, BatchReport]") -> "BatchReport":
    import asyncio

    return asyncio.run(work)


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _show(report: "BatchReport", *, json: bool) -> None:
    from smile_async.cli.show import batches_text

    if json:
        print_json(report.as_json())
    sys.stderr.write(batches_text(report, time.time())) if json else sys.stdout.write(batches_text(report, time.time()))
