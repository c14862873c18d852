"""The commands for data before and after a run: prepare, sample, export."""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from smile_async.cli.flags import grouped, option, role_map
from smile_async.cli.languages import system_prompt, warn_of
from smile_async.cli.show import print_json
from smile_async.errors import UsageError

if TYPE_CHECKING:
    from smile_async.corpora import Corpus
    from smile_async.corpus.formats import ExportReport

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


HF = "Of --format hf"
PLAIN = ("jsonl", "smilechat")  # dialogues as they are


@dataclass(frozen=True, slots=True)
class DatasetFlags:
    validation: Annotated[float | None, option(HF, "share of the rows, by question; default 0.05", metavar="SHARE")] = (
        None
    )
    test: Annotated[float | None, option(HF, "share of the rows, by question; default 0.05", metavar="SHARE")] = None
    seed: Annotated[int | None, option(HF, "of the draw; default 0")] = None
    license: Annotated[
        str | None, option(HF, "for the card: cc0-1.0, cc-by-nc-4.0, ...; default unknown", metavar="ID")
    ] = None
    language: Annotated[str | None, option(HF, "for the card; default the recipe's, or by the characters")] = None


@grouped
def export(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="a run (its accepted rows), or any other corpus: see smile stats")
    ],
    out: OutFile,
    *,
    format: Annotated[  # noqa: A002
        str,
        typer.Option("--format", "-f", help="jsonl, smilechat, messages, sharegpt, alpaca or hf (a dataset folder)"),
    ] = "jsonl",
    system: Annotated[
        str | None,
        typer.Option(
            help="system prompt for messages, sharegpt, alpaca and hf: paper (Figure 12, in the corpus's language), "
            "paper-zh, paper-en, or a text; default none"
        ),
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(help="who asks and who answers, where the names do not say it", metavar="CLIENT,COUNSELOR"),
    ] = None,
    topics: Annotated[
        Path | None,
        typer.Option(
            help="labels that go with the dialogues, crisis too: of smile topics annotate; not in smilechat",
            metavar="RUN",
        ),
    ] = None,
    dataset: DatasetFlags,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Write a corpus in a format that trainers read: the accepted dialogues of a run, or any other.

    smile export runs/first train.jsonl --format sharegpt

    smile export runs/first dataset --format hf --validation 0.1 --test 0
    """
    from smile_async.corpora import open_corpus
    from smile_async.corpus.formats import CorpusFormat, write_corpus

    kind = _one_of(format, "--format", (*get_args(CorpusFormat), "hf"))
    _check_place(kind, dataset, system=system is not None, topics=topics is not None)
    opened = open_corpus(corpus, roles=role_map(roles))
    prompt = system_prompt(system, opened.language)
    if topics is not None:
        opened = _labelled(opened, topics)
    if kind == "hf":
        report = _write_dataset(opened, out, dataset, prompt, overwrite=overwrite)
    else:
        report = write_corpus(opened, out, kind, roles=opened.roles, system_prompt=prompt, overwrite=overwrite)
    if json:
        print_json({"out": str(out), "format": format, **asdict(report)})
    else:
        sys.stdout.write(_exported(out, format, report))


def _check_place(kind: str, dataset: DatasetFlags, *, system: bool, topics: bool) -> None:
    """A flag that the format has no place for is refused, not ignored."""
    given = [name for name, value in asdict(dataset).items() if value is not None]
    if given and kind != "hf":
        raise typer.BadParameter(f"belongs to --format hf, not {kind}", param_hint=f"--{given[0]}")
    unused = {"--system": system and kind in PLAIN, "--topics": topics and kind == "smilechat"}
    if flag := next((name for name, is_unused in unused.items() if is_unused), None):
        raise typer.BadParameter(
            f"--format {kind} has no place for it; see --help for those that have", param_hint=flag
        )


def _labelled(opened: "Corpus", topics: Path) -> "Corpus":
    from smile_async.analysis.digests import told
    from smile_async.analysis.topics import read_annotation, with_topics

    annotation = read_annotation(topics)
    fates = annotation.fates(opened, opened.roles)
    if fates and not fates["same"] + fates["unchecked"]:
        raise UsageError(
            f"{topics} has labels of other dialogues: none of those in {opened.path} is among them"
            + (", though some have their ids." if fates["changed"] else "."),
            hint="Annotate this corpus: smile topics annotate CORPUS RUN.",
        )
    lines = told(fates, "labels", topics, f"smile topics annotate {opened.path} {topics}")
    if unlabelled := fates["missing"]:
        lines.append(f"{unlabelled:,} of {sum(fates.values()):,} rows have no label in {topics}")
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return replace(opened, read=lambda: with_topics(opened, annotation, opened.roles))


def _write_dataset(
    opened: "Corpus", out: Path, flags: DatasetFlags, prompt: str | None, *, overwrite: bool
) -> "ExportReport":
    from smile_async.corpus.dataset import Described, write_dataset
    from smile_async.corpus.splits import Shares
    from smile_async.run_folder import making_of

    told = {name: value for name in ("validation", "test", "seed") if (value := getattr(flags, name)) is not None}
    if flags.language is not None:
        warn_of(opened, flags.language)
    making = None if opened.run is None else making_of(opened.run)
    described = Described(flags.license or "unknown", flags.language, making)
    return write_dataset(
        opened, out, shares=Shares(**told), described=described, roles=opened.roles, system_prompt=prompt,
        overwrite=overwrite,
    )  # fmt: skip


def _exported(out: Path, format_name: str, report: "ExportReport") -> str:
    lines = [f"{out}: {report.written:,} dialogues as {format_name}"]
    if report.splits:
        lines.append("  splits: " + ", ".join(f"{split} {rows:,}" for split, rows in report.splits.items()))
    lines += [f"  left out: {count:,} {reason}" for reason, count in report.skipped.items()]
    shaped = {"utterances of one speaker joined": report.joined, "opening answer dropped": report.leading_dropped,
              "last question dropped": report.trailing_dropped,
              "nothing in messages, without an exchange": report.without_exchange}  # fmt: skip
    lines += [f"  {what}: {count:,} dialogues" for what, count in shaped.items() if count]
    return "\n".join(lines) + "\n"


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
