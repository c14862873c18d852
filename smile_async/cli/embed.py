"""smile embed: the texts of a corpus as vectors."""

from collections.abc import Awaitable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from smile_async.cli.flags import AskFlags, CorpusFlags, LimitFlags, ObserverFlags, OutputFlags, WhomFlags, grouped
from smile_async.cli.following import Outcome, as_typed, follow_run
from smile_async.errors import CorpusError

if TYPE_CHECKING:
    from smile_async.corpora import Corpus
    from smile_async.dialogue.model import QAPair
    from smile_async.engine.run import RunReport
    from smile_async.settings import Endpoint, FileSettings
    from smile_async.tasks import Following


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Corpus")(embed)


@grouped
def embed(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="a run, an export, SMILECHAT; or a QA source")],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder for the vectors", show_default=False)],
    *,
    what: Annotated[str, typer.Option(help="qa, dialogue or both, of each record")] = "both",
    max_characters: Annotated[int, typer.Option(min=1, help="longer texts are cut, and marked so", metavar="N")] = 6000,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="texts a request; default 64, the embedded model 8 (DashScope takes at most 10)"
        ),
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="shorter vectors, where the model can (text-embedding-3)")
    ] = None,
    encoding: Annotated[str, typer.Option(help="how the server sends vectors: base64 or float")] = "base64",
    whom: WhomFlags,
    limits: LimitFlags,
    again: CorpusFlags,
    output: OutputFlags,
    observers: ObserverFlags,
) -> None:
    """QAs and dialogues as vectors, by any /v1/embeddings or the embedded model.

    smile embed runs/first vectors/first --model text-embedding-ada-002 --tpm 1000000

    smile embed smilechat/ vectors/local

    RUN/vectors.npy holds the vectors (n, d; float32), RUN/ids.jsonl says whose each is. Without --model the embedded
    multilingual-e5-small is asked (extra: analysis), which is right for some hundred texts. The same command goes on.
    """
    from smile_async.analysis.embedding import (
        BOTH,
        CHARACTERS,
        TEXTS,
        TEXTS_LOCAL,
        Batching,
        embed_corpus,
        embed_pairs,
    )
    from smile_async.answering import Embeddings
    from smile_async.cli.settings import settings_from, task_options
    from smile_async.tasks import Keeping

    settings, asking = settings_from(output.config), AskFlags(**asdict(whom))
    at = _endpoints(settings, asking)
    local = at[0].provider == "local"
    kinds, sent = _one_of(what, "--what", ("both", "qa", "dialogue")), _one_of(encoding, "--encoding", ENCODINGS)
    opened = _opened(corpus, "qa" if kinds == "qa" else "")
    given: dict[str, Any] = {
        "provider": at,
        "max_characters": max_characters,
        "batching": Batching(batch_size or (TEXTS_LOCAL if local else TEXTS), CHARACTERS),
        "embeddings": Embeddings(sent, dimensions),
        "options": replace(task_options(settings, asking, limits), add_source=again.add),
        "keeping": Keeping(command=as_typed(), source=str(corpus.absolute())),
    }

    def running(seen: "Following") -> Awaitable["RunReport"]:
        if opened is None:
            return embed_pairs(lambda: _pairs(corpus), run, **given, following=seen)
        return embed_corpus(opened, run, what=BOTH if kinds == "both" else (kinds,), **given, following=seen)

    follow_run(
        running, f"smile embed {corpus} -> {run}", run, output, observers, again=again.retry,
        outcome=lambda: _outcome(run),
    )  # fmt: skip


ENCODINGS = ("base64", "float")


def _endpoints(settings: "FileSettings", asking: AskFlags) -> "list[Endpoint]":
    """Where no model is named, the embedded one."""
    from smile_async.cli.settings import endpoints_from
    from smile_async.settings import Endpoint

    named = endpoints_from(settings, asking)
    return named if any(one.model for one in named) or asking.base_url else [Endpoint(provider="local")]


def _opened(corpus: Path, what: str) -> "Corpus | None":
    """None: a QA source, where only QAs are asked for."""
    from smile_async.corpora import open_corpus

    try:
        return open_corpus(corpus)
    except CorpusError:
        if what != "qa" or not corpus.is_file():
            raise
        return None


def _pairs(source: Path) -> "Iterator[QAPair]":
    from smile_async.rows import opened
    from smile_async.settings import Intake
    from smile_async.source.rows import SourceRow

    rows = opened(str(source), Intake())
    assert rows is not None
    return (row.pair for row in rows if isinstance(row, SourceRow))


def _outcome(run: Path) -> Outcome:
    """How many vectors there are, and of how many texts only the beginning was embedded."""
    from smile_async.analysis.vectors import IDS, VECTORS, npy_shape

    if not (run / VECTORS).exists():
        return [], {}
    rows, columns = npy_shape(run / VECTORS)
    cut = sum(b'"cut":true' in line for line in (run / IDS).read_bytes().splitlines())
    lines = [f"vectors    {rows:,} of {columns:,} numbers"]
    lines += (
        [f"cut        {cut:,} texts were longer than --max-characters: their beginning was embedded"] if cut else []
    )
    return lines, {"vectors": {"rows": rows, "columns": columns, "cut": cut}}


def _one_of(value: str, flag: str, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise typer.BadParameter(f"{value!r}: one of {', '.join(choices)}", param_hint=flag)
    return cast(Any, value)
