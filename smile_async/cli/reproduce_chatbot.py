"""smile reproduce-chatbot: section 6 in one command."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smile_async.cli.commands import CHATBOT
from smile_async.cli.flags import grouped, option, role_map
from smile_async.cli.following import as_typed
from smile_async.cli.languages import system_prompt
from smile_async.cli.show import print_json

if TYPE_CHECKING:
    from smile_async.chatbot.study import StudyReport
    from smile_async.chatbot.study_settings import StudySettings, StudyWishes

SIZE, MODEL, SERVED, MEASURES = "Size (over the preset's)", "Model and training", "Served models", "Metrics"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CHATBOT)(reproduce_chatbot)


@dataclass(frozen=True, slots=True)
class SizeFlags:
    count: Annotated[int | None, option(SIZE, "test cases, drawn by the seed: 8; paper 1539", "-n", "--count")] = None
    sessions: Annotated[int | None, option(SIZE, "to train on, drawn by the seed: 24; paper all", metavar="N")] = None
    epochs: Annotated[float | None, option(SIZE, "1; paper 2 (Table 4)")] = None
    ballots: Annotated[int | None, option(SIZE, "cases that people see: 8; paper 100", metavar="N")] = None
    test: Annotated[float | None, option(SIZE, "share of questions kept for cases: 0.2; paper 0.02")] = None
    validation: Annotated[float | None, option(SIZE, "share of the other questions: 0.1; paper 0.02")] = None
    max_length: Annotated[int | None, option(SIZE, "tokens of a session: 512; paper 2048", metavar="N")] = None
    max_tokens: Annotated[int | None, option(SIZE, "tokens of an answer: 96; paper 512", metavar="N")] = None


@dataclass(frozen=True, slots=True)
class ModelFlags:
    base: Annotated[
        str | None, option(MODEL, "name, folder or GGUF file; small: the embedded one; paper: must be named")
    ] = None
    system: Annotated[
        str,
        option(
            MODEL,
            "system prompt: paper (default: Figure 12, in the corpus's language), paper-zh, paper-en, none, or a text",
        ),
    ] = "paper"
    lr: Annotated[float | None, option(MODEL, "highest learning rate; 1e-4 (Table 4)")] = None
    seed: Annotated[int | None, option(MODEL, "of all draws, of training and answers; 1234 (Table 4)")] = None
    precision: Annotated[str | None, option(MODEL, "auto (bf16 where the device has it), bf16, fp16 or fp32")] = None
    trust_remote_code: Annotated[
        bool, option(MODEL, "run code that comes with the model: read it first", "--trust-remote-code")
    ] = False


@dataclass(frozen=True, slots=True)
class ServedFlags:
    baseline_url: Annotated[str | None, option(SERVED, "a server of the base model (vLLM)", metavar="URL")] = None
    baseline_model: Annotated[str | None, option(SERVED, "its name there; default --base", metavar="NAME")] = None
    tuned_url: Annotated[
        str | None, option(SERVED, "a server of base and adapter; may be the same one", metavar="URL")
    ] = None
    tuned_model: Annotated[str | None, option(SERVED, "the adapter's name there; default mechat", metavar="NAME")] = (
        None
    )
    api_key_env: Annotated[str, option(SERVED, "environment variable with their key; default no key")] = ""


@dataclass(frozen=True, slots=True)
class MeasureFlags:
    cosine: Annotated[
        bool, option(MEASURES, "also the cosine of the embedded multilingual-e5-small (no BERTScore)", "--cosine")
    ] = False
    bert_score: Annotated[
        str | None, option(MEASURES, "also BERTScore, by this model; the paper: BAAI/bge-m3", metavar="ENCODER")
    ] = None
    layer: Annotated[int | None, option(MEASURES, "of the encoder; default the last")] = None
    also: Annotated[
        list[str] | None, option(MEASURES, "another system's answers to OUT/cases.jsonl", metavar="NAME=RESPONSES")
    ] = None


@grouped
def reproduce_chatbot(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the folder for all of it", show_default=False)],
    *,
    corpus: Annotated[
        Path | None, typer.Option(help="a run, an export, SMILECHAT; default 20 made-up dialogues", metavar="CORPUS")
    ] = None,
    cases: Annotated[
        Path | None,
        typer.Option(help="JSONL of smile psytest; default drawn from dialogues that training never sees"),
    ] = None,
    preset: Annotated[str, typer.Option(help="small (minutes, on a CPU) or paper (GPU)")] = "small",
    until: Annotated[
        str | None, typer.Option(help="the last step of this call, such as training", metavar="STEP")
    ] = None,
    roles: Annotated[str | None, typer.Option(help="CLIENT,COUNSELOR where they are unusual")] = None,
    size: SizeFlags,
    model: ModelFlags,
    served: ServedFlags,
    measures: MeasureFlags,
    json: Annotated[bool, typer.Option("--json", help="one JSON line on stdout")] = False,
) -> None:
    """Section 6 in one command: sessions, LoRA, answers, Table 5, ballots; the same command again goes on.

    smile reproduce-chatbot study

    smile reproduce-chatbot study --corpus smilechat/ --cases psytest.jsonl --preset paper --base
    Qwen/Qwen2.5-7B-Instruct

    OUT/tables.md and OUT/results.json hold what was found. Steps whose inputs and results are unchanged are not done
    again (OUT/study.json says by what). The people's part: smile vote OUT/ballots.json, then
    smile tally OUT/ballots.votes.sqlite3.
    """
    from smile_async.chatbot.study import StudyWatch
    from smile_async.chatbot.study import reproduce_chatbot as carried_out
    from smile_async.chatbot.study_corpus import made_up_corpus
    from smile_async.cli.training import tell_loss, what_is_saved
    from smile_async.cli.watch import to_stderr
    from smile_async.corpora import open_corpus

    opened = open_corpus(corpus or made_up_corpus(), roles=role_map(roles))
    settings = _settings(preset, size, model, system_prompt(model.system, opened.language))
    try:
        report = carried_out(
            opened,
            out,
            settings,
            cases=cases,
            wishes=_wishes(settings, served, measures, until),
            watch=StudyWatch(_tell_step, to_stderr, tell_loss),
        )
    except KeyboardInterrupt:
        trains = (out / "training").exists() and not (out / "training/report.json").exists()
        told = f" Of the training: {what_is_saved(out / 'training')}" if trains else ""
        to_stderr(f"\nStopped: steps that are done stay so.{told}\nGo on with: {as_typed()}")
        raise typer.Exit(130) from None
    print_json(report.as_json()) if json else _print(report)
    raise typer.Exit(3 if report.unanswered else 0)


def _settings(preset: str, size: SizeFlags, model: ModelFlags, system: str | None) -> "StudySettings":
    from smile_async.chatbot.study_settings import study_settings

    return study_settings(
        preset,  # type: ignore[arg-type]
        base=model.base,
        epochs=size.epochs,
        sessions=size.sessions,
        cases=size.count,
        ballots=size.ballots,
        test=size.test,
        validation=size.validation,
        max_length=size.max_length,
        max_tokens=size.max_tokens,
        learning_rate=model.lr,
        seed=model.seed,
        system=system,
        precision=model.precision,
        trust_remote_code=model.trust_remote_code,
    )


def _wishes(settings: "StudySettings", served: ServedFlags, measures: MeasureFlags, until: str | None) -> "StudyWishes":
    from smile_async.chatbot.study_settings import StudyWishes
    from smile_async.cli.evaluate import named_files
    from smile_async.settings import Endpoint

    def at(url: str | None, name: str) -> Endpoint | None:
        return Endpoint(base_url=url, model=name, api_key_env=served.api_key_env) if url else None

    return StudyWishes(
        baseline=at(served.baseline_url, served.baseline_model or settings.base),
        tuned=at(served.tuned_url, served.tuned_model or "mechat"),
        cosine=measures.cosine,
        bert_score=measures.bert_score,
        layer=measures.layer,
        also=named_files(measures.also or []),
        until=until,  # type: ignore[arg-type]
    )


def _tell_step(number: int, steps: int, title: str, done: bool) -> None:  # noqa: FBT001 - the watch's signature
    sys.stderr.write(f"step {number} of {steps}: {title}{' (done before)' if done else ''}\n")


def _print(report: "StudyReport") -> None:
    from smile_async.chatbot import study_tables
    from smile_async.cli.tables import Table, print_tables

    told: dict[str, Any] = report.as_json()
    tables = [Table(f"{report.folder}: section 6", ("", ""), study_tables.made_of(told))]
    if metrics := told["steps"].get("metrics"):
        columns, rows = study_tables.table_5(metrics)
        tables.append(Table("Table 5", columns, rows, study_tables.notes(told)))
    print_tables(tables)
    if told["steps"].get("ballots", {}).get("cases"):
        ballots = f"{report.folder}/ballots"
        sys.stderr.write(f"Have people judge: smile vote {ballots}.json, then smile tally {ballots}.votes.sqlite3\n")
