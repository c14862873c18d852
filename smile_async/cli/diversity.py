"""How varied a corpus is: `smile diversity` (Table 1, and Table 5's variant), `smile compare` (sets side by side)."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smile_async.cli.commands import CORPUS
from smile_async.cli.flags import grouped
from smile_async.cli.show import print_json

if TYPE_CHECKING:
    from smile_async.analysis.comparison import Comparison, SetVectors
    from smile_async.analysis.lexical import Lexical, OwnDistinct
    from smile_async.analysis.sets import TextSet
    from smile_async.analysis.topic_entropy import TopicTable
    from smile_async.cli.tables import Table

Tokens = Annotated[
    str,
    typer.Option(
        "--tokenizer",
        help="characters, jieba (words), a tokenizer.json, a SentencePiece .model, a folder with one of them, "
        "a Hugging Face name such as THUDM/chatglm2-6b (the paper's), or tiktoken:NAME",
    ),
]
Sampled = Annotated[int | None, typer.Option("--sample", metavar="N", help="draw N texts of each at random")]
Seed = Annotated[int, typer.Option(help="of what is drawn")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON line on stdout")]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="tables for a README")]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CORPUS)(diversity)
    app.command(rich_help_panel=CORPUS)(compare)


@grouped
def diversity(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="a run, an export, a folder of SMILECHAT files, or QAs")
    ],
    *,
    tokenizer: Tokens = "characters",
    responses: Annotated[
        bool, typer.Option("--responses", help="also the mean of each counselor utterance's own (Table 5)")
    ] = False,
    sample: Sampled = None,
    seed: Seed = 0,
    json: AsJson = False,
    csv: Annotated[bool, typer.Option("--csv", help="n, unique, total, distinct")] = False,
    markdown: AsMarkdown = False,
) -> None:
    """How varied the words of a corpus are: distinct-1/2/3 (Table 1).

    smile diversity runs/first --sample 500 --tokenizer THUDM/chatglm2-6b
    """
    from smile_async.analysis.lexical import distinct, own_distinct
    from smile_async.analysis.sets import open_set
    from smile_async.analysis.tokenization import load_tokenizer

    _one_form(json=json, csv=csv, markdown=markdown)
    cut = load_tokenizer(tokenizer)
    texts = _drawn([open_set(corpus)], sample, seed)[0]
    found = distinct(texts.texts(), cut)
    own = own_distinct(texts.responses(), cut) if responses else ()
    if json:
        told = [{"n": one.n, "mean": one.mean, "counted": one.counted, "without": one.without} for one in own]
        more = {"responses": told} if responses else {}
        print_json({"corpus": str(corpus), "sample": sample, "seed": seed, **found.as_json(), **more})
    elif csv:
        _write_csv(("n", "unique", "total", "distinct"), [(g.n, g.unique, g.total, g.distinct) for g in found.ngrams])
    else:
        _print([_table_1([(texts.name, found)], wide=markdown), *([_table_5(own)] if own else [])], markdown=markdown)


@grouped
def compare(
    sets: Annotated[
        list[str],
        typer.Argument(metavar="NAME=CORPUS ...", help="what smile diversity takes, named; or OUT of smile reproduce"),
    ],
    *,
    vectors: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="what smile embed wrote of that set; several times"),
    ] = None,
    topics: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="what smile topics annotate wrote of it; several times"),
    ] = None,
    tokenizer: Tokens = "characters",
    sample: Sampled = None,
    seed: Seed = 0,
    json: AsJson = False,
    csv: Annotated[bool, typer.Option("--csv", help="set, measure, value")] = False,
    markdown: AsMarkdown = False,
) -> None:
    """Sets side by side: Tables 1 and 3, Figures 4 and 5 with --vectors, Table 2 with --topics.

    smile compare standard=runs/standard smile=runs/smile --vectors standard=v/standard --vectors smile=v/smile

    smile compare psyqa=psyqa.json mine=mine.jsonl --sample 500 --markdown

    smile compare study mine=mine.jsonl

    The folder of smile reproduce stands for its four sets, with their vectors and topics.
    """
    from smile_async.analysis.comparison import compare as side_by_side
    from smile_async.analysis.comparison import topics_of, vectors_of
    from smile_async.analysis.sets import open_set
    from smile_async.analysis.tokenization import load_tokenizer
    from smile_async.study_folder import CORPORA, is_study

    _one_form(json=json, csv=csv, markdown=markdown)
    cut = load_tokenizer(tokenizer)
    embedded = dict(_named(vectors or [], "NAME=FOLDER", "--vectors"))
    annotated = dict(_named(topics or [], "NAME=FOLDER", "--topics"))
    studies = [one for one in sets if is_study(one, CORPORA)]
    others = [one for one in sets if one not in studies]
    opened = [open_set(path, name=name) for name, path in _named(others, "NAME=CORPUS")]
    drawn = _drawn(opened, sample, seed)
    held, labels = vectors_of(drawn, embedded, _note), topics_of(drawn, annotated, _note)
    for out in studies:
        theirs, more_held, more_labels = _of_study(out, sample, seed)
        drawn, held, labels = [*theirs, *drawn], more_held | held, more_labels | labels
    found = side_by_side(drawn, tokenizer=cut, vectors=held, topics=labels, seed=seed)
    if json:
        print_json({"sample": sample, "seed": seed, **found.as_json()})
    elif csv:
        _write_csv(("set", "measure", "value"), _measures(found))
    else:
        _print(_tables(found, wide=markdown), markdown=markdown)


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _named(given: Sequence[str], form: str, flag: str | None = None) -> list[tuple[str, str]]:
    pairs = [one.partition("=") for one in given]
    wrong = next((one for one, pair in zip(given, pairs, strict=True) if not (pair[0] and pair[2])), None)
    if wrong is not None:
        raise typer.BadParameter(f"{wrong!r} is not {form}", param_hint=flag)
    return [(name, path) for name, _, path in pairs]


def _drawn(sets: Sequence["TextSet"], sample: int | None, seed: int) -> list["TextSet"]:
    from smile_async.analysis.sets import sampled

    return list(sets) if sample is None else [sampled(one, sample, seed=seed) for one in sets]


def _of_study(
    out: str, sample: int | None, seed: int
) -> 'tuple[list["TextSet"], dict[str, "SetVectors"], dict[str, "TopicTable"]]':
    """The four sets of `smile reproduce`, their vectors and their topics."""
    from smile_async.analysis.study_results import study_sets, study_topics, study_vectors

    sets = _drawn(study_sets(out), sample, seed)
    return sets, study_vectors(out, sets), study_topics(out, sets)


def _one_form(**forms: bool) -> None:
    if sum(forms.values()) > 1:
        raise typer.BadParameter(f"one of {', '.join(f'--{name}' for name in forms)}")


def _print(tables: Sequence["Table"], *, markdown: bool) -> None:
    from smile_async.cli.tables import markdown as as_markdown
    from smile_async.cli.tables import print_tables

    if markdown:
        sys.stdout.write("\n".join(map(as_markdown, tables)))
    else:
        print_tables(tables)


def _write_csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)


def _table_1(found: Sequence[tuple[str, "Lexical"]], *, wide: bool) -> "Table":
    """`wide`: a line for each set, as the paper prints it, which is too wide for many terminals."""
    from smile_async.cli.tables import Table

    title = f"Table 1, counted in {found[0][1].tokenizer}"
    each = [
        (name, lexical, one.n, (f"{one.unique:,}", f"{one.total:,}", _share(one.distinct)))
        for name, lexical in found
        for one in lexical.ngrams
    ]
    if not wide:
        rows = tuple((name, f"{lexical.texts:,}", str(n), *cells) for name, lexical, n, cells in each)
        return Table(title, ("", "Texts", "n", "Unique", "All", "Distinct-n"), rows)
    orders = [one.n for one in found[0][1].ngrams]
    heads = (head for n in orders for head in (f"Unique {n}-grams", f"All {n}-grams", f"Distinct-{n}"))
    lines = tuple(
        (name, f"{lexical.texts:,}", *(cell for other, _, _, cells in each if other == name for cell in cells))
        for name, lexical in found
    )
    return Table(title, ("", "Texts", *heads), lines)


def _table_5(own: Sequence["OwnDistinct"]) -> "Table":
    from smile_async.cli.tables import Table

    rows = tuple((f"D-{one.n}", _decimal(one.mean, 3), f"{one.counted:,}", f"{one.without:,}") for one in own)
    return Table("Each response by itself (Table 5)", ("", "Mean", "Counted", "Too short"), rows)


def _tables(found: "Comparison", *, wide: bool) -> list["Table"]:
    first = replace(_table_1([(one.name, one.lexical) for one in found.sets], wide=wide), notes=found.notes)
    tables = [first, _statistics(found)]
    if any(one.own for one in found.sets):
        tables += [_figure_4(found), _beyond(found)]
    if any(one.pairs for one in found.sets):
        tables.append(_figure_5(found))
    if any(one.topics for one in found.sets):
        tables.append(_table_2(found))
    return tables


def _statistics(found: "Comparison") -> "Table":
    from smile_async.cli.tables import Table

    columns = ("", "Dialogues", "Turns", "Sentences", "Characters")
    rows: list[tuple[str, ...]] = []
    for one in found.sets:
        told = one.statistics
        if told is None:
            rows.append((one.name, "-", "-", "-", "-"))
        else:
            each = told.per_dialogue(told.sentences.total.count)
            means = (told.turns_per_dialogue, each, told.sentences.total.mean_length)
            rows.append((one.name, f"{told.dialogues:,}", *(_decimal(mean, 1) for mean in means)))
    return Table("Table 3: turns and sentences per dialogue, characters per sentence", columns, tuple(rows))


def _figure_4(found: "Comparison") -> "Table":
    from smile_async.cli.tables import Table

    columns = ("", "QAs", "Mean", "Deviation", "Median", "Line", "Random mean", "Random median")
    rows = tuple(
        (
            one.name,
            f"{one.own.count:,}",
            *(_decimal(value, 4) for value in (one.own.mean, one.own.deviation, one.own.median, one.line)),
            *(_decimal(value, 4) for value in (one.other.mean, one.other.median)),
        )
        for one in found.sets
        if one.own and one.other
    )
    note = "Line: mean - 3 deviations. Random: of QAs with the dialogue of another one."
    return Table("Figure 4, language transformation: cosines of QAs with their own dialogues", columns, rows, (note,))


def _beyond(found: "Comparison") -> "Table":
    from smile_async.cli.tables import Table

    rows = tuple((one.of, one.line_of, f"{one.own:.1%}", f"{one.other:.1%}") for one in found.beyond)
    return Table("Below the line", ("", "Line of", "Own", "Random"), rows)


def _figure_5(found: "Comparison") -> "Table":
    from smile_async.cli.tables import Table

    columns = ("", "Pairs", "Mean", "Deviation", "Median", "Least", "Most")
    rows = tuple(
        (
            one.name,
            f"{one.pairs.count:,}",
            *(
                _decimal(value, 4)
                for value in (
                    one.pairs.mean, one.pairs.deviation, one.pairs.median, one.pairs.least, one.pairs.most
                )
            ),
        )
        for one in found.sets
        if one.pairs
    )  # fmt: skip
    notes = tuple(
        f"{one.name}: {one.lacking:,} of its texts have no vector and are in no figure"
        for one in found.sets
        if one.lacking
    )
    return Table("Figure 5, semantic diversity: cosines of all pairs within a set", columns, rows, notes)


def _table_2(found: "Comparison") -> "Table":
    from smile_async.cli.tables import Table

    columns = ("", "Dialogues", "Limited", "Unlimited", "Average", "Normalised", "Topics each")
    rows = tuple(
        (
            one.name,
            f"{told.dialogues:,}",
            *(_decimal(value, 2) for value in (told.limited, told.unlimited, told.average, told.limited_normalised)),
            _decimal(told.topics_each, 1),
        )
        for one in found.sets
        if (told := one.topics)
    )
    note = "Occurrence entropy in bits, as the paper's; normalised: Shannon's, of the 60."
    read = tuple(f"{one.name}: {one.topics.note}" for one in found.sets if one.topics and one.topics.note)
    return Table("Table 2: entropy of dialogue topics", columns, rows, (note, *read))


def _decimal(value: float | None, digits: int) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"  # noqa: PLR0124 - nan


def _share(value: float) -> str:
    """Three digits behind the point, as in Table 1, or two that are not zero: large sets have small shares."""
    return _decimal(value, max(3, 1 - floor(log10(value))) if value > 0 else 3)


def _measures(found: "Comparison") -> Iterable[tuple[str, str, object]]:
    """Long: a line for each number, its name that of the JSON with points between."""
    for one in found.sets:
        for measure, value in _flat(one.as_json()):
            if measure != "name":
                yield one.name, measure, value
    for each in found.beyond:
        yield each.of, f"own_below_line_of.{each.line_of}", each.own
        yield each.of, f"other_below_line_of.{each.line_of}", each.other


def _flat(values: dict[str, Any], before: str = "") -> Iterable[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        elif not isinstance(value, list):  # a histogram is no number
            yield f"{before}{name}", value
