"""The commands that serve: the simulated endpoint and the embedded model."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from smile_async.cli.flags import grouped


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Servers")(local)
    app.command(rich_help_panel="Servers")(simulate)


@grouped
def local(
    model: Annotated[Path | None, typer.Option(help="a GGUF file; default the embedded model")] = None,
    sha256: Annotated[str | None, typer.Option(help="what the file's SHA-256 must be")] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free port")] = 8080,
    slots: Annotated[int | None, typer.Option(help="answers written at a time")] = None,
    context: Annotated[int | None, typer.Option(help="tokens of prompt and answer together")] = None,
    threads: Annotated[int | None, typer.Option(help="default: one a core")] = None,
) -> None:
    """Serve a model on this machine (llama.cpp), OpenAI-compatible, until Ctrl-C.

    smile local --port 8080
    """
    from smile_async.cli.watch import to_stderr
    from smile_async.provider.local import prepare_server

    server = prepare_server(
        model,
        sha256=sha256,
        host=host,
        port=port,
        slots=slots,
        context_per_slot=context,
        threads=threads,
        notify=to_stderr,
    )
    with server:
        sys.stdout.write(f"listening on {server.endpoint.base_url} (model {server.endpoint.model})\n")
        sys.stdout.flush()
        server.wait()


@grouped
def simulate(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free port")] = 8000,
    rpm: Annotated[int | None, typer.Option(help="requests admitted a minute")] = None,
    tpm: Annotated[int | None, typer.Option(help="tokens admitted a minute")] = None,
    latency: Annotated[float, typer.Option(help="seconds to an answer")] = 0.2,
    per_token: Annotated[float, typer.Option(help="seconds for each token of it")] = 0.0,
    fault: Annotated[
        list[str] | None, typer.Option(help="share of requests that fail so: server-error=0.01; may be repeated")
    ] = None,
    breach: Annotated[
        list[str] | None, typer.Option(help="share of answers that break a rule: bad-start=0.02; may be repeated")
    ] = None,
    dialogues: Annotated[Path | None, typer.Option(help="answer with these dialogues (SMILECHAT-shaped JSONL)")] = None,
    settings: Annotated[Path | None, typer.Option(help="JSON file with every setting; flags win over it")] = None,
    seed: Annotated[int | None, typer.Option(help="of faults and answers")] = None,
) -> None:
    """Serve a simulated OpenAI-compatible endpoint with limits and faults, for trials that cost nothing.

    smile simulate --rpm 600 --tpm 300000 --fault server-error=0.02 --breach bad-start=0.01

    Answers are canned dialogues; GET /stats tells what the server counted.
    """
    from smile_async.simulate.__main__ import serve_command

    serve_command(
        host=host,
        port=port,
        settings=settings,
        changes={
            "seed": seed,
            "dialogues": dialogues,
            "latency": {"base": latency, "per_token": per_token},
            "limits": {"requests": rpm, "tokens": tpm},
            "faults": fault or (),
            "breaches": breach or (),
        },
    )
