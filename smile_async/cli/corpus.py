"""The commands for data before and after a run: prepare, sample, export."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from smile_async.cli.flags import grouped
from smile_async.cli.show import print_json

SourceFile = Annotated[str, typer.Argument(metavar="SOURCE", help="PsyQA JSON, JSONL, CSV or Parquet")]
OutFile = Annotated[Path, typer.Argument(metavar="OUT", help="where to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what is there")]
Columns = Annotated[str | None, typer.Option(help="question=title,answer=reply for other people's QA")]
Format = Annotated[str | None, typer.Option(help="json, jsonl, csv, tsv, parquet; default by name and content")]
Encoding = Annotated[str | None, typer.Option(help="of the source, if not UTF-8 (gb18030, ...)")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON line on stdout")]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Data")(prepare)
    app.command(rich_help_panel="Data")(sample)
    app.command(rich_help_panel="Data")(export)
    app.command(rich_help_panel="Data")(recipes)


@grouped
def prepare(
    source: SourceFile,
    out: OutFile,
    *,
    review: Annotated[
        Path | None, typer.Option(help="review list of 抱抱 snippets: written first, applied once it is decided")
    ] = None,
    words: Annotated[Path | None, typer.Option(help="your own word list (TOML), added to the paper's")] = None,
    max_characters: Annotated[int, typer.Option(help="cut a QA to so many characters; 0: never")] = 1800,
    undecided: Annotated[str, typer.Option(help="review entries without a decision: refuse or keep")] = "refuse",
    columns: Columns = None,
    format: Format = None,  # noqa: A002
    encoding: Encoding = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="leave unreadable rows out, counted")] = False,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Clean a source as Appendix A says: word list, review of 抱抱, 1,800 characters.

    smile prepare psyqa.json prepared.jsonl --review hugs.csv

    Run it once to get hugs.csv, write accept, edit or keep into its decision column, run it again.
    """
    from smile_async.cli.show import prepare_text
    from smile_async.source.clean import load_words
    from smile_async.source.prepare import prepare as run

    report = run(
        _opened(source, columns=columns, format=format, encoding=encoding, skip_bad_rows=skip_bad_rows),
        out,
        words=load_words(words),
        max_characters=max_characters or None,
        review_file=review,
        undecided=_one_of(undecided, "--undecided", ("refuse", "keep")),
        overwrite=overwrite,
    )
    print_json(asdict(report)) if json else sys.stdout.write(prepare_text(report))


@grouped
def sample(
    source: SourceFile,
    out: OutFile,
    *,
    n: Annotated[int, typer.Option("-n", "--rows", help="distinct questions")] = 500,
    first: Annotated[int, typer.Option(help="out of the first so many QAs")] = 5000,
    seed: Annotated[int, typer.Option(help="the draw's seed")] = 0,
    columns: Columns = None,
    format: Format = None,  # noqa: A002
    encoding: Encoding = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """PsyQA*: distinct questions, one answer each drawn at random (section 4.1).

    smile sample psyqa.json psyqa-star.jsonl --seed 1
    """
    from smile_async.source.prepared import write_pairs
    from smile_async.source.sample import sample as draw

    pairs = draw(_opened(source, columns=columns, format=format, encoding=encoding), n=n, first=first, seed=seed)
    written = write_pairs(out, pairs, overwrite=overwrite)
    if json:
        print_json({"written": written, "out": str(out), "seed": seed})
    else:
        sys.stdout.write(f"{out}: {written:,} questions, one answer each (seed {seed})\n")


@grouped
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the run folder")],
    out: OutFile,
    *,
    format: Annotated[  # noqa: A002
        str, typer.Option("--format", "-f", help="jsonl, smilechat, messages, sharegpt or alpaca")
    ] = "jsonl",
    system: Annotated[
        str | None,
        typer.Option(help="system prompt for messages, sharegpt and alpaca; paper-zh or paper-en: Figure 12"),
    ] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Write the accepted dialogues in a format that trainers read.

    smile export runs/first train.jsonl --format sharegpt
    """
    from smile_async.corpus.formats import CorpusFormat, paper_system_prompt
    from smile_async.run_folder import export_corpus

    prompts = {"paper-zh": lambda: paper_system_prompt("zh"), "paper-en": lambda: paper_system_prompt("en")}
    prompt = prompts[system]() if system in prompts else system
    report = export_corpus(run, out, cast(CorpusFormat, format), system_prompt=prompt, overwrite=overwrite)
    if json:
        print_json({"out": str(out), "format": format, **asdict(report)})
        return
    sys.stdout.write(f"{out}: {report.written:,} dialogues as {format}\n")
    for reason, count in report.skipped.items():
        sys.stdout.write(f"  left out: {count:,} {reason}\n")
    shaped = {"utterances of one speaker joined": report.joined, "opening answer dropped": report.leading_dropped,
              "last question dropped": report.trailing_dropped}  # fmt: skip
    for what, count in shaped.items():
        if count:
            sys.stdout.write(f"  {what}: {count:,} dialogues\n")


@grouped
def recipes(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="print this one: a start for your own")] = None,
) -> None:
    """The built-in recipes; with a name, that recipe's TOML.

    smile recipes smile > mine.toml
    """
    from smile_async.prompt.recipe import builtin_recipes, load_recipe, recipe_text

    if name is not None:
        sys.stdout.write(recipe_text(name))
        return
    for each in builtin_recipes():
        sys.stdout.write(f"{each:<14} {load_recipe(each).description}\n")


def _opened(source: str, **intake: Any) -> Any:
    from smile_async.rows import opened
    from smile_async.settings import Intake, checked

    return opened(source, checked(Intake, intake, where="flags"))


def _one_of(value: str, flag: str, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise typer.BadParameter(f"{value!r}: one of {', '.join(choices)}", param_hint=flag)
    return value
