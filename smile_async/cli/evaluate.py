"""`smile evaluate`: automatic metrics of several systems' responses (Table 5)."""

import sys
from csv import writer
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smile_async.cli.commands import CHATBOT
from smile_async.cli.flags import grouped
from smile_async.cli.show import print_json

if TYPE_CHECKING:
    from smile_async.chatbot.evaluation import Evaluation, Scorer

MISSING = ("refuse", "empty", "skip")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CHATBOT)(evaluate)


@grouped
def evaluate(
    cases: Annotated[Path, typer.Argument(metavar="CASES", help="JSONL of {id, reference}: as smile psytest writes")],
    responses: Annotated[
        list[str], typer.Argument(metavar="NAME=RESPONSES ...", help="JSONL of {id, response}: as smile respond writes")
    ],
    *,
    tokens: Annotated[
        str | None, typer.Option(help="characters (the paper's) or words; default by the references' script")
    ] = None,
    bert_score: Annotated[
        str | None,
        typer.Option(metavar="ENCODER", help="also BERTScore, by this model or folder; the paper: BAAI/bge-m3"),
    ] = None,
    layer: Annotated[int | None, typer.Option(help="of the encoder; default the last")] = None,
    cosine: Annotated[
        bool,
        typer.Option("--cosine", help="also the cosine by the embedded multilingual-e5-small: no BERTScore"),
    ] = False,
    missing: Annotated[str, typer.Option(help="cases without a response: refuse, empty (no words), skip")] = "refuse",
    resamples: Annotated[int, typer.Option(min=1, help="of the bootstrap")] = 1_000,
    seed: Annotated[int, typer.Option(help="of the bootstrap")] = 1234,
    csv: Annotated[bool, typer.Option("--csv", help="one line a system and metric")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON line on stdout")] = False,
) -> None:
    """METEOR, BLEU, ROUGE-L, distinct-n and BERTScore of systems' responses, with intervals (Table 5).

    smile evaluate cases.jsonl baseline=base.jsonl mechat=tuned.jsonl
    """
    from smile_async.chatbot import evaluation, metrics

    for value, flag, choices in ((tokens, "--tokens", tuple(metrics.TOKENS)), (missing, "--missing", MISSING)):
        if value is not None and value not in choices:
            raise typer.BadParameter(f"{value!r}: one of {', '.join(choices)}", param_hint=flag)
    answered = evaluation.read_answered(cases, named_files(responses), missing=missing)  # type: ignore[arg-type]
    more: dict[str, Scorer] = {}
    if cosine:
        from smile_async.chatbot.cosine import COSINE, CosineScorer

        more[COSINE] = CosineScorer()
    if bert_score is not None:
        encoder = bert_score
        more[f"bert-score {Path(encoder).name}"] = lambda wanted, told: metrics.bert_score(
            wanted, told, encoder, layer=layer
        )
    found = evaluation.evaluate(
        answered.references, answered.responses, tokens=tokens, more=more, resamples=resamples, seed=seed
    )
    if answered.left_out:
        sys.stderr.write(f"{answered.left_out:,} cases are left out: a system has no response to them\n")
    if json:
        print_json(found.as_json())
    else:
        sys.stdout.write(_csv(found) if csv else _text(found))


def named_files(responses: list[str]) -> dict[str, Path]:
    """NAME=FILE arguments, in their order."""
    found: dict[str, Path] = {}
    for one in responses:
        name, is_, path = one.partition("=")
        if not (name and is_ and path):
            raise typer.BadParameter(f"{one!r}: write NAME=FILE", param_hint="RESPONSES")
        if name in found:
            raise typer.BadParameter(f"two systems are called {name!r}", param_hint="RESPONSES")
        found[name] = Path(path)
    return found


def _text(found: "Evaluation") -> str:
    """Table 5, in percent, with what of the differences to the first system the intervals allow to say."""
    from smile_async.chatbot.study_tables import table_5

    (_, *names), metrics = table_5(found.as_json())
    rows = [("", *names), *metrics]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"{found.cases:,} cases, tokens: {found.tokens}; percent, with 95 % intervals of a bootstrap over cases"]
    lines += [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if len(found.systems) > 1:
        lines.append(
            f"  + above, - below {found.systems[0].name}: the interval of the difference, case by case, is beside 0"
        )
    return "\n".join(lines) + "\n"


def _csv(found: "Evaluation") -> str:
    text = StringIO()
    table = writer(text, lineterminator="\n")
    table.writerow(("system", "metric", "mean", "low", "high", "cases"))
    for one in found.systems:
        for metric, figure in one.figures.items():
            numbers = (f"{number:.6f}" for number in (figure.mean, figure.low, figure.high))
            table.writerow((one.name, metric, *numbers, figure.counted))
        table.writerow((one.name, "corpus-bleu-4", f"{one.corpus_bleu:.6f}", "", "", found.cases))
    return text.getvalue()
