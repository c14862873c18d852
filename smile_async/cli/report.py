"""The command that draws a run or a corpus: one page, and its figures and tables as files."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smile_async.cli.flags import grouped, option, role_map
from smile_async.cli.show import print_json

if TYPE_CHECKING:
    from smile_async.analysis.samples import Wanted

SHOWN, MEASURED = "Dialogues to read", "Other analyses of the same corpus"


@dataclass(frozen=True, slots=True)
class SampleFlags:
    """Which dialogues stand in the page."""

    samples: Annotated[
        int, option(SHOWN, "of the accepted; default 80, 0: no dialogue at all", metavar="N", least=0)
    ] = 80
    rejected: Annotated[int, option(SHOWN, "replies of each reason of rejection; default 10", metavar="N", least=0)] = (
        10
    )
    seed: Annotated[int, option(SHOWN, "of the draw; default 0")] = 0

    @property
    def wanted(self) -> "Wanted":
        from smile_async.analysis.samples import Wanted

        return Wanted(self.samples, self.rejected if self.samples else 0, self.seed)


@dataclass(frozen=True, slots=True)
class AnalysisFlags:
    """What is measured, or was by others."""

    tokenizer: Annotated[str, option(MEASURED, "of Table 1, as for smile diversity; default characters")] = "characters"
    vectors: Annotated[Path | None, option(MEASURED, "what smile embed wrote: Figures 4 and 5", metavar="DIR")] = None
    topics: Annotated[
        Path | None, option(MEASURED, "what smile topics annotate wrote: Table 2, Figure 11", metavar="DIR")
    ] = None


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Corpus")(report)


@grouped
def report(
    corpus: Annotated[
        Path, typer.Argument(metavar="RUN_OR_CORPUS", help="a run folder, an export, a folder of SMILECHAT files")
    ],
    *,
    out: Annotated[Path | None, typer.Option(metavar="HTML", help="the page; default NAME-report.html here")] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="also write figures (PNG, SVG) and tables (CSV, JSON) there")
    ] = None,
    lang: Annotated[str, typer.Option(help="zh, en, or both with a switch in the page")] = "both",
    shown: SampleFlags,
    analyses: AnalysisFlags,
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
    from smile_async.analysis.drawing import default_page, draw_report

    page = out or default_page(corpus)
    drawn = draw_report(
        corpus, page, figures=figures, language=lang, wanted=shown.wanted, roles=role_map(roles),
        tokenizer=analyses.tokenizer, vectors=analyses.vectors, topics=analyses.topics, overwrite=overwrite,
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
