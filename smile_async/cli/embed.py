"""smile embed: the texts of a corpus as vectors."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from smile_async.cli.flags import AskFlags, CorpusFlags, LimitFlags, ObserverFlags, OutputFlags, WhomFlags, grouped
from smile_async.cli.following import Outcome, Running, follow_run
from smile_async.cli.task_call import task_call
from smile_async.errors import CorpusError

if TYPE_CHECKING:
    from smile_async.corpora import Corpus
    from smile_async.dialogue.model import QAPair


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
    from smile_async.analysis.embedding import CHARACTERS, TEXTS, TEXTS_LOCAL, Batching
    from smile_async.answering import Embeddings
    from smile_async.settings import Endpoint

    local = Endpoint(provider="local")  # the embedded model, where none is named
    call = task_call(corpus, AskFlags(**asdict(whom)), limits, output, add=again.add, unnamed=local)
    kinds, sent = _one_of(what, "--what", ("both", "qa", "dialogue")), _one_of(encoding, "--encoding", ENCODINGS)
    texts = batch_size or (TEXTS_LOCAL if call["provider"][0].provider == "local" else TEXTS)
    shape = {
        "max_characters": max_characters,
        "batching": Batching(texts, CHARACTERS),
        "embeddings": Embeddings(sent, dimensions),
    }
    follow_run(
        _running(corpus, run, kinds, {**call, **shape}),
        f"smile embed {corpus} -> {run}",
        run,
        output,
        observers,
        again=again.retry,
        outcome=lambda: _outcome(run),
    )


ENCODINGS = ("base64", "float")


def _running(corpus: Path, run: Path, kinds: str, given: dict[str, Any]) -> Running:
    from smile_async.analysis.embedding import BOTH, embed_corpus, embed_pairs

    opened = _opened(corpus, kinds)
    if opened is None:
        return lambda seen: embed_pairs(lambda: _pairs(corpus), run, **given, following=seen)
    what: Any = BOTH if kinds == "both" else (kinds,)
    return lambda seen: embed_corpus(opened, run, what=what, **given, following=seen)


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
