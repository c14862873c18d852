"""The commands that serve: the simulated endpoint and the embedded model."""

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from smile_async.cli.flags import grouped
from smile_async.errors import SmileError

WATCH = 1.0  # seconds between two looks at whether the model's process lives


def pairs(text: str) -> Any:
    return typer.Option(help=text, metavar="NAME=VALUE")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Servers")(local)
    app.command(rich_help_panel="Servers")(simulate)


@grouped
def local(
    model: Annotated[Path | None, typer.Option(help="a GGUF file; default the embedded model")] = None,
    sha256: Annotated[str | None, typer.Option(help="what the file's SHA-256 must be")] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="a LoRA adapter for it as GGUF, with its .jinja beside it (smile merge)")
    ] = None,
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
        **(_adapted(adapter, embedded=model is None) if adapter else {}),
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
        _until_told_to_stop(lambda: server.running)


def _adapted(adapter: Path, *, embedded: bool) -> dict[str, Any]:
    from smile_async.chatbot.speakers import adapter_gguf, template_of

    file = adapter_gguf(adapter)
    return {"adapter": file, "template": template_of(file, embedded=embedded)}


def _until_told_to_stop(alive: Callable[[], bool]) -> None:
    """Until Ctrl-C or SIGTERM. Raises `SmileError` when the server ends by itself."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    while not told.wait(WATCH):
        if not alive():
            raise SmileError("The local server ended by itself.", hint="Start it again; was there memory enough?")


@grouped
def simulate(
    *,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free port")] = 8000,
    latency: Annotated[list[str] | None, pairs("base=0.2, per_token=0.01, jitter=0.1: seconds to an answer")] = None,
    limit: Annotated[
        list[str] | None,
        pairs("requests=600, tokens=300000 (or input_tokens, output_tokens), window=60, kind=sliding or bucket"),
    ] = None,
    fault: Annotated[list[str] | None, pairs("server-error=0.01: share of requests that fail so")] = None,
    breach: Annotated[list[str] | None, pairs("bad-start=0.02: share of answers that break a rule")] = None,
    dialogues: Annotated[Path | None, typer.Option(help="answer with these dialogues (SMILECHAT-shaped JSONL)")] = None,
    dialogues_by: Annotated[str | None, typer.Option(help="hash of the prompt, or order of arrival")] = None,
    max_concurrency: Annotated[int | None, typer.Option(help="503 above so many in flight")] = None,
    speakers: Annotated[
        str | None, typer.Option(help="labels that the answers use, for a recipe of your own: 咨询者,律师")
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="JSON file with every setting; flags win over it")] = None,
    seed: Annotated[int | None, typer.Option(help="of faults and answers")] = None,
) -> None:
    """Serve a simulated OpenAI-compatible endpoint with limits and faults.

    smile simulate --limit requests=600 --limit tokens=300000 --fault server-error=0.02 --breach bad-start=0.01

    It answers chats (whole or streamed), embeddings, Anthropic's Messages, Azure's paths and OpenAI's batches. A prompt
    for topics is answered with topics, a conversation with its next turn, any other with a dialogue. Flags that take
    NAME=VALUE may be repeated. GET /stats tells what the server counted.

    Faults: rate-limited, rate-limited-bare, server-error, bad-gateway, unavailable, content-filter, filtered-answer,
    reset, cut-body, hang, broken-json, empty-choices, empty-content, truncated, refusal, refusal-text, slow,
    blank-lines. Breaches: bad-start, no-separator, bad-speaker, english-tail, too-few-turns, repetition.
    docs/simulation.md says what each does.
    """
    from smile_async.simulate import run_server
    from smile_async.simulate.settings import read_settings, settings_with

    tables = {"latency": latency, "limits": limit, "faults": fault, "breaches": breach}
    chosen = {
        "seed": seed,
        "dialogues": dialogues,
        "dialogues_by": dialogues_by,
        "speakers": tuple(speakers.split(",")) if speakers else None,
        "max_concurrency": max_concurrency,
        **{name: dict(_pair(text) for text in given) for name, given in tables.items() if given},
    }
    run_server(settings_with(read_settings(settings), chosen), host, port, _announce)


def _announce(base_url: str) -> None:
    sys.stdout.write(f"listening on {base_url}\n")
    sys.stdout.flush()


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value
