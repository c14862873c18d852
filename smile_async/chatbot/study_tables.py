"""A study's results as tables for a person: Table 5, what it was made of, and what its size allows to say."""

from collections.abc import Mapping
from typing import Any

from smile_async.corpus.card import escaped, markdown_table

NAMES = {"meteor": "METEOR", "bleu-1": "BLEU-1", "bleu-2": "BLEU-2", "bleu-3": "BLEU-3", "rouge-l": "ROUGE-L",
         "distinct-1": "D-1", "distinct-2": "D-2", "distinct-3": "D-3"}  # fmt: skip
FEW = 100  # cases: the paper has 1,539
FEW_UPDATES = 10

Rows = tuple[tuple[str, ...], ...]


def table_5(metrics: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    """Columns and rows: percent with the interval, a sign where the difference to the first system is beside 0."""
    systems = metrics["systems"]
    rows = []
    for metric in metrics["formulas"]:
        cells = [_cell(one[metric], one["differences"].get(metric)) for one in systems]
        rows.append((NAMES.get(metric, metric.replace("bert-score", "BERTScore")), *cells))
    rows.append(("corpus BLEU-4", *(f"{100 * one['corpus_bleu_4']:.2f}" for one in systems)))
    rows.append(("characters", *(f"{one['mean_characters']:.1f}" for one in systems)))
    return ("percent", *(str(one["name"]) for one in systems)), tuple(rows)


def _cell(figure: Mapping[str, Any], difference: Mapping[str, Any] | None) -> str:
    if figure["counted"] == 0:  # its mean is nan, and null once it was JSON
        return "no score"
    sign = ""
    if difference and difference["counted"]:
        sign = " +" if difference["low"] > 0 else " -" if difference["high"] < 0 else ""
    return f"{100 * figure['mean']:.2f} ({100 * figure['low']:.2f}-{100 * figure['high']:.2f}){sign}"


def made_of(report: Mapping[str, Any]) -> Rows:
    """What the study was made of, as far as it got."""
    steps, settings = report["steps"], report["settings"]
    rows: list[tuple[str, str]] = [("base model", str(settings["base"]))]
    if sessions := steps.get("sessions"):
        rows.append(("dialogues to train on", f"{sessions['dialogues']:,}, {sessions['train']:,} sessions"))
    if trained := steps.get("training"):
        size = f"{trained['sessions']:,} sessions, {trained['steps']:,} updates"
        rows.append(("trained on", f"{size} ({settings['epochs']:g} epochs, {trained['precision']})"))
        if trained["validation_loss"] is not None:
            losses = f"{trained['validation_loss_before']:.4f} before, {trained['validation_loss']:.4f} after"
            rows.append(("validation loss", f"{losses} ({trained['validation_sessions']:,} sessions)"))
    if cases := steps.get("cases"):
        place = (
            "a test set that was given" if cases["from"] == "file" else f"{cases['dialogues']:,} dialogues kept apart"
        )
        rows.append(("test cases", f"{cases['cases']:,} of {cases['of']:,}, of {place}"))
    for name in ("baseline", "fine-tuned"):
        if answers := steps.get(name):
            by = f"{answers['by']}, {'served' if answers['served'] else 'in this process'}"
            lacking = f"; {answers['set_aside']:,} without an answer" if answers["set_aside"] else ""
            rows.append((f"{name} answers", f"{answers['answered']:,} by {by}{lacking}"))
    if ballots := steps.get("ballots"):
        rows.append(
            ("ballots", f"{ballots['cases']:,} cases, three responses each" if ballots["cases"] else "none new")
        )
    return tuple(rows)


def notes(report: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader must know before believing the table."""
    steps, settings = report["steps"], report["settings"]
    metrics = steps.get("metrics")
    intervals = metrics and (
        f"Tokens are {metrics['tokens']}. 95 % intervals of a bootstrap over cases; + above, - below the first system:"
        " the interval of the difference, case by case, is beside 0."
    )
    return (
        *([intervals] if intervals else []),
        *_on_cases_and_training(steps, settings),
        *_on_answers_and_ballots(steps, settings),
    )


def _on_cases_and_training(steps: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    found = []
    if cases := steps.get("cases"):
        if cases["from"] == "corpus":
            found.append(
                "The cases come from the corpus itself, from dialogues whose questions training never saw. The paper's"
                " PsyTest is of real counseling: its figures are not comparable with these."
            )
        if cases["cases"] < FEW:
            found.append(
                f"{cases['cases']:,} cases show that the way runs, and nothing about a counselor; the paper has 1,539."
            )
    trained = steps.get("training")
    if trained and trained["steps"] < FEW_UPDATES:
        found.append(
            f"{trained['steps']} updates are next to no training: the first, in the warm-up, has a learning rate of 0."
        )
    if trained and trained["too_long"]:
        found.append(
            f"{trained['too_long']:,} sessions were left out of training and validation: longer than"
            f" {settings['max_length']:,} tokens without any history."
        )
    if learnt := steps.get("sessions", {}).get("references_learnt"):
        found.append(f"{learnt:,} cases have a reference that stands word for word among the answers trained on.")
    return found


def _on_answers_and_ballots(steps: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    found, ballots = [], steps.get("ballots", {})
    if why := ballots.get("why"):
        found.append(f"No ballots were drawn: {why}.")
    if same := ballots.get("identical_pairs"):
        found.append(f"On the ballots {same:,} pairs of responses read the same: raters can but guess there.")
    if cut := {name: n for name in ("baseline", "fine-tuned") if (n := steps.get(name, {}).get("truncated"))}:
        told = ", ".join(f"{count:,} of the {name}" for name, count in cut.items())
        found.append(f"Answers that were cut off after {settings['max_tokens']:,} tokens (--max-tokens): {told}.")
    if set_aside := sum(steps.get(name, {}).get("set_aside", 0) for name in ("baseline", "fine-tuned")):
        found.append(f"{set_aside:,} answers are missing; they count as empty.")
    return found


def page(report: Mapping[str, Any]) -> str:
    """`tables.md`."""
    parts = ["# A dialogue system, as in section 6", markdown_table(("what", "of this study"), made_of(report))]
    if metrics := report["steps"].get("metrics"):
        columns, rows = table_5(metrics)
        parts += ["## Table 5", markdown_table(columns, rows)]
        parts += ["\n".join(f"- {escaped(note)}" for note in notes(report))]
        parts += ["\n".join(f"- {escaped(NAMES.get(name, name))}: {escaped(formula)}"
                            for name, formula in metrics["formulas"].items())]  # fmt: skip
    else:
        parts += ["\n".join(f"- {escaped(note)}" for note in notes(report))]
    return "\n\n".join(part for part in parts if part) + "\n"
