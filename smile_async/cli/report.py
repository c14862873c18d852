"""The command that draws a run or a corpus: one page, and its figures and tables as files."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from smile_async.cli.flags import grouped
from smile_async.cli.show import print_json


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Corpus")(report)


@grouped
def report(
    corpus: Annotated[
        Path, typer.Argument(metavar="RUN_OR_CORPUS", help="a run folder, an export, a folder of SMILECHAT files")
    ],
    *,
    out: Annotated[Path | None, typer.Option(help="the page; default NAME-report.html here")] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="also write figures (PNG, SVG) and tables (CSV, JSON) there")
    ] = None,
    lang: Annotated[str, typer.Option(help="zh, en, or both with a switch in the page")] = "both",
    samples: Annotated[int, typer.Option(metavar="N", help="accepted dialogues to show; 0: no dialogue at all")] = 80,
    rejected: Annotated[int, typer.Option(metavar="N", help="replies to show of each reason of rejection")] = 10,
    seed: Annotated[int, typer.Option(help="of the draw")] = 0,
    tokenizer: Annotated[str, typer.Option(help="of Table 1, as for smile diversity")] = "characters",
    vectors: Annotated[
        Path | None, typer.Option(metavar="DIR", help="what smile embed wrote of this corpus: Figures 4 and 5")
    ] = None,
    roles: Annotated[
        str | None, typer.Option(metavar="CLIENT,COUNSELOR", help="who speaks, where the corpus does not tell")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a file that no report was")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON line on stdout")] = False,
) -> None:
    """One HTML page about a run or a corpus: spend, rates, rejections, figures, dialogues to read.

    smile report runs/first --out first.html --figures figures

    Works while the run goes on. The page needs no network and quotes dialogues: --samples 0 leaves them out.
    """
    from smile_async.analysis.drawing import Drawn, draw_report
    from smile_async.analysis.samples import Wanted

    wanted = Wanted(samples, rejected if samples else 0, seed)
    name = corpus.resolve().name
    page = out or Path(f"{name if corpus.is_dir() else name.partition('.')[0]}-report.html")
    drawn: Drawn = draw_report(
        corpus, page, figures=figures, language=lang, wanted=wanted, roles=roles,
        tokenizer=tokenizer, vectors=vectors, overwrite=overwrite,
        notify=_note,
    )  # fmt: skip
    if json:
        print_json({"page": str(page), "bytes": drawn.size, "samples": drawn.samples, "figures": drawn.files})
        return
    sys.stdout.write(f"{page}: {drawn.size / 1e6:.1f} MB, {drawn.samples:,} dialogues to read\n")
    if figures is not None:
        sys.stdout.write(f"{figures}: {len(drawn.files):,} files\n")


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")
