"""`smile check`: what is wrong in a corpus beyond the paper's rules, and a corpus without it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smile_async.cli.commands import CORPUS
from smile_async.cli.figures import printable
from smile_async.cli.flags import grouped
from smile_async.cli.languages import language_for
from smile_async.cli.show import print_json

if TYPE_CHECKING:
    from smile_async.analysis.findings import Checked

SHOWN = 3  # rows named for each kind of finding


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CORPUS)(check)


@grouped
def check(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="a run, an export, a folder of SMILECHAT files")],
    *,
    findings: Annotated[Path | None, typer.Option(metavar="FILE", help="write each finding as a JSON line")] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="OUT", help="write the corpus as JSONL, by --drop and --mask")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="with --write: leave such rows out; several times or all")
    ] = None,
    mask: Annotated[bool, typer.Option("--mask", help="with --write: a word in place of contact data")] = False,
    language: Annotated[str | None, typer.Option(help="of the words that mask: zh or en; default the corpus's")] = None,
    similarity: Annotated[
        float, typer.Option(help="Jaccard similarity from which on a dialogue is a near-duplicate; 0: not looked for")
    ] = 0.8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what is there")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON line on stdout")] = False,
) -> None:
    """What is wrong in a corpus: near-duplicates, copies, loops, contact data, leaked labels.

    smile check runs/first --findings findings.jsonl

    smile check runs/first --write clean.jsonl --drop near-duplicate --mask
    """
    from smile_async.analysis.findings import CODES, check_corpus, cleaned, write_findings
    from smile_async.corpora import open_corpus
    from smile_async.corpus.formats import write_corpus
    from smile_async.filing import exists_already

    dropped = _dropped(drop or [], tuple(CODES))
    if (dropped or mask) and write is None:
        raise typer.BadParameter("say where the corpus goes: --write OUT", param_hint="--drop, --mask")
    for path in filter(None, (findings, write)):  # before the work, not after it
        if path.exists() and not overwrite:
            raise exists_already(path)
    opened = open_corpus(corpus)
    masking = language_for(opened, language) if mask else None
    checked = check_corpus(opened, opened.roles, threshold=similarity or None)
    written = None
    if findings is not None:
        write_findings(checked.findings, findings, overwrite=overwrite)
    if write is not None:
        kept = cleaned(opened, checked.findings, drop=dropped, mask=masking)
        written = write_corpus(kept, write, "jsonl", overwrite=overwrite).written
    if json:
        print_json({"corpus": str(corpus), **checked.as_json(), "written": written})
        return
    sys.stdout.write(_text(checked))
    if findings is not None:
        sys.stdout.write(f"{findings}: {len(checked.findings):,} findings\n")
    if write is not None:
        sys.stdout.write(f"{write}: {written:,} dialogues\n")


def _dropped(codes: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    if "all" in codes:
        return known
    if strange := [code for code in codes if code not in known]:
        raise typer.BadParameter(f"{strange[0]!r}: one of {', '.join(known)}, all", param_hint="--drop")
    return codes


def _text(checked: "Checked") -> str:
    from smile_async.analysis.findings import CODES

    told = checked.as_json()
    lines = [f"{checked.rows:,} dialogues, {told['rows_with_findings']:,} with something to look at"]
    for code, found in checked.by_code.items():
        rows = list(dict.fromkeys(one.row_id for one in found))
        named = ", ".join(printable(row) for row in rows[:SHOWN]) + (", ..." if len(rows) > SHOWN else "")
        lines.append(f"  {code:<16} {len(rows):>7,} rows  {CODES[code]}: {named}")
    return "\n".join(lines) + "\n"
