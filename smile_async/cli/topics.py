"""smile topics: have a corpus's dialogues labelled, and see which topics it has."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from smile_async.cli.figures import printable
from smile_async.cli.flags import AskFlags, CorpusFlags, LimitFlags, ObserverFlags, OutputFlags, grouped
from smile_async.cli.following import Outcome, follow_run
from smile_async.cli.languages import check_language, language_for
from smile_async.cli.show import print_json
from smile_async.cli.task_call import task_call

if TYPE_CHECKING:
    from smile_async.analysis.topic_entropy import TopicTable

HELP = """The topics of a corpus's dialogues: annotated by a model, counted, and their entropy (Table 2).

smile topics annotate runs/first topics/first --model qwen1.5-110b-chat

smile topics topics/first

RUN/topics.jsonl says of each dialogue its topics, its other labels, near misses, and whether it is one of a crisis.
"""
MOST_NEAR = 10  # near misses that are shown


class ShowsByDefault(typer.core.TyperGroup):
    """`smile topics RUN` is `smile topics show RUN`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


def register(app: typer.Typer) -> None:
    group = typer.Typer(cls=ShowsByDefault, help=HELP, no_args_is_help=True)
    group.command()(annotate)
    group.command()(show)
    app.add_typer(group, name="topics", rich_help_panel="Corpus")


@grouped
def annotate(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="a run, an export, a folder of SMILECHAT files")],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder for the labels", show_default=False)],
    *,
    language: Annotated[str | None, typer.Option(help="of prompt and topics: zh or en; default the corpus's")] = None,
    asking: AskFlags,
    limits: LimitFlags,
    again: CorpusFlags,
    output: OutputFlags,
    observers: ObserverFlags,
) -> None:
    """Ask a model for the topics of every dialogue (Figure 11); the same command again goes on.

    smile topics annotate runs/first topics/first --model qwen1.5-110b-chat --rpm 600

    Temperature 0.7 and top_p 0.8, as in the paper, unless others are given.
    """
    from smile_async.analysis.topics import annotate_topics
    from smile_async.corpora import open_corpus

    check_language(language)
    call = task_call(corpus, asking, limits, output, add=again.add)
    opened = open_corpus(corpus)
    spoken = language_for(opened, language)
    follow_run(
        lambda seen: annotate_topics(opened, run, **call, language=spoken, roles=opened.roles, following=seen),
        f"smile topics annotate {corpus} -> {run}",
        run,
        output,
        observers,
        again=again.retry,
        outcome=lambda: _outcome(run),
    )


@grouped
def show(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="annotated sets", show_default=False)],
    *,
    json: Annotated[bool, typer.Option("--json", help="one JSON line on stdout")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="the distribution as CSV on stdout")] = False,
) -> None:
    """Which topics annotated sets have, and their entropy (Table 2); `smile topics RUN` for short.

    smile topics show topics/standard topics/smile --csv > topics.csv
    """
    tables = {str(run): _table(run) for run in runs}
    if json:
        print_json({"sets": {name: table.as_json() for name, table in tables.items()}})
    elif csv:
        _write_csv(tables)
    else:
        sys.stdout.write("\n".join(_text(name, table) for name, table in tables.items()))


def _table(run: Path) -> "TopicTable":
    from smile_async.analysis.topic_entropy import topic_table
    from smile_async.analysis.topics import read_annotation

    annotation = read_annotation(run)
    return topic_table(annotation.labels, annotation.topics)


def _outcome(run: Path) -> Outcome:
    from smile_async.analysis.topics import TOPICS

    if not (run / TOPICS).exists():
        return [], {}
    table = _table(run)
    return _summary(table), {"topics": {name: one for name, one in table.as_json().items() if name != "topics"}}


def _summary(table: "TopicTable") -> list[str]:
    lines = [
        f"entropy    {table.limited:.2f} bits limited, {table.unlimited:.2f} unlimited, {table.average:.2f} on average",
        (
            f"normalised {table.limited_normalised:.2f} bits limited, {table.unlimited_normalised:.2f} unlimited;"
            f" evenness {table.evenness:.3f}"
        ),
        f"labels     {table.topics_each:.2f} topics a dialogue; {table.other_labels:,} labels that are none of the 60",
        f"crisis     {table.crisis:,} of {table.dialogues:,} dialogues (topics 57 to 60)",
    ]
    if table.crisis_near:
        lines.append(f"           {table.crisis_near:,} more are near one: look at them")
    if table.note:
        lines.append(f"read       {table.note}")
    near = [f"{printable(told)} {count:,}" for told, count in list(table.near_misses.items())[:MOST_NEAR]]
    return lines + ([f"near       {', '.join(near)}"] if near else [])


def _text(name: str, table: "TopicTable") -> str:
    lines = [f"{name}: {table.dialogues:,} dialogues", *[f"  {line}" for line in _summary(table)], ""]
    lines += [
        f"  {row.dialogues:>8,}  {row.share:>6.1%}  {row.index:>2} {row.name}{'  (crisis)' if row.crisis else ''}"
        for row in table.rows
        if row.dialogues
    ]
    if absent := sum(not row.dialogues for row in table.rows):
        lines.append(f"  {absent} of the {len(table.rows)} topics do not occur")
    return "\n".join(lines) + "\n"


def _write_csv(tables: "dict[str, TopicTable]") -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["set", "index", "topic", "dialogues", "share", "crisis"])
    for name, table in tables.items():
        for row in table.rows:
            writer.writerow([name, row.index, row.name, row.dialogues, f"{row.share:.6f}", int(row.crisis)])
