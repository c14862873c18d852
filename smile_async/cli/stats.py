"""`smile stats`: Tables 3 and 6 of any corpus."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from smile_async.cli.figures import printable
from smile_async.cli.flags import grouped, role_map
from smile_async.cli.show import print_json

if TYPE_CHECKING:
    from smile_async.cli.tables import Table
    from smile_async.corpora import Corpus
    from smile_async.corpus.statistics import CorpusStatistics, Unit

CorpusPath = Annotated[
    Path, typer.Argument(metavar="CORPUS", help="a run, an export, a folder of N.json, or JSONL, JSON, Parquet")
]
Roles = Annotated[
    str | None, typer.Option(help="who asks and who answers, where the names do not say it", metavar="CLIENT,COUNSELOR")
]

BARS = 32  # columns of the longest bar
MOST_BARS = 16


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Corpus")(stats)


@grouped
def stats(
    corpus: CorpusPath,
    *,
    roles: Roles = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON line on stdout, averages not rounded")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="unit, measure, total, client, counselor; not rounded")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="both tables as the paper prints them")] = False,
) -> None:
    """Count a corpus as Tables 3 and 6 do: dialogues, sentences, utterances, turns, lengths.

    smile stats runs/first
    """
    from smile_async.cli.tables import markdown as as_markdown
    from smile_async.cli.tables import print_tables
    from smile_async.corpora import open_corpus
    from smile_async.corpus.statistics import UNITS, corpus_statistics

    if json + csv + markdown > 1:
        raise typer.BadParameter("one of --json, --csv and --markdown")
    opened = open_corpus(corpus, roles=role_map(roles))
    found = corpus_statistics(opened, opened.roles)
    if json:
        print_json({"corpus": str(corpus), "kind": opened.kind, **found.as_json()})
    elif csv:
        _write_csv(found)
    elif markdown:
        sys.stdout.write("\n".join(as_markdown(_paper(found, unit, "")) for unit in UNITS))
    else:
        print_tables([*(_paper(found, unit, ",") for unit in UNITS), _turns(found), _shape(found, opened)])


def _paper(found: "CorpusStatistics", unit: "Unit", thousands: Literal["", ","]) -> "Table":
    from smile_async.cli.tables import Table
    from smile_async.corpus.statistics import paper_table

    titles = {"sentences": "By sentences (Table 3)", "utterances": "By utterances (Table 6)"}
    rows = tuple((line.name, *line.printed(thousands)) for line in paper_table(found, unit))
    return Table(titles[unit], ("", "Total", "Client", "Counselor"), rows)


def _turns(found: "CorpusStatistics") -> "Table":
    from smile_async.cli.tables import Table

    groups = _grouped(found)
    longest = max((dialogues for _, dialogues in groups), default=1)
    bars = sys.stdout.isatty()  # a program does not read them
    rows = tuple(
        (label, f"{dialogues:,}", f"{dialogues / found.dialogues:.1%}", *(["█" * _length(dialogues, longest)] * bars))
        for label, dialogues in groups
    )
    return Table("Turns (whole exchanges)", ("Turns", "Dialogues", "Share", *([""] * bars)), rows)


def _length(dialogues: int, longest: int) -> int:
    """Of a bar: something is never drawn as nothing."""
    return max(round(BARS * dialogues / longest), 1 if dialogues else 0)


def _grouped(found: "CorpusStatistics") -> list[tuple[str, int]]:
    """Dialogues by turns: one number a bar, or several where the usual ones do not fit, and the longest hundredth
    together. Numbers in between that no dialogue has are shown, too."""
    ordered = [turns for turns, dialogues in found.turns.items() for _ in range(dialogues)]
    if not ordered:
        return []
    least, usual, most = ordered[0], ordered[round((len(ordered) - 1) * 0.99)], ordered[-1]
    step = -(-(usual - least + 1) // MOST_BARS)
    groups = []
    for start in range(least, usual + 1, step):
        end = min(start + step - 1, usual)
        label = f"{start}" if end == start else f"{start}-{end}"
        groups.append((label, sum(found.turns.get(turns, 0) for turns in range(start, end + 1))))
    beyond = sum(dialogues for turns, dialogues in found.turns.items() if turns > usual)
    return [*groups, (f"{usual + 1}-{most}" if most > usual + 1 else f"{most}", beyond)] if beyond else groups


def _shape(found: "CorpusStatistics", opened: "Corpus") -> "Table":
    from smile_async.cli.tables import Table

    counts = {
        "Fewer than five turns": found.below_min_turns,
        "Somebody speaks twice in a row": found.non_alternating,
        "Only one speaks": found.one_sided,
        "The counselor opens": found.opened_by_counselor,
        "The client has the last word": found.ended_by_client,
    }
    rows = tuple(
        (name, f"{count:,}", f"{found.per_dialogue(count):.1%}" if count else "-") for name, count in counts.items()
    )
    client, counselor = (printable(role) for role in (opened.roles.user, opened.roles.assistant))
    notes = [f"{opened.path} ({opened.kind}): {client} is the client, {counselor} the counselor"]
    if found.utterances.others.count:
        notes.append(f"{found.utterances.others.count:,} utterances are of other roles: in the totals only")
    return Table("Shape", ("", "Dialogues", "Share"), rows, tuple(notes))


def _write_csv(found: "CorpusStatistics") -> None:
    import csv
    from math import isnan

    from smile_async.corpus.statistics import UNITS, paper_table

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("unit", "measure", "total", "client", "counselor"))
    for unit in UNITS:
        for line in paper_table(found, unit):
            writer.writerow(
                (unit, line.name, *("" if value is None or isnan(value) else value for value in line.values))
            )
