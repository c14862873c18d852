"""The way from a corpus to a counselor: sft, train, merge."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smile_async.cli.commands import CHATBOT
from smile_async.cli.flags import grouped, option, role_map
from smile_async.cli.following import as_typed
from smile_async.cli.languages import system_prompt
from smile_async.cli.show import print_json

if TYPE_CHECKING:
    from smile_async.chatbot.curve import Point
    from smile_async.chatbot.session_files import SessionReport
    from smile_async.chatbot.training import TrainingReport

AsJson = Annotated[bool, typer.Option("--json", help="one JSON line on stdout")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what is there")]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="run code that comes with the model (ChatGLM2 needs it): read it first"),
]
PROMPTS = ("paper-zh", "paper-en", "none")
GGUF_KINDS = ("adapter", "model")
HISTORY, TABLE_4, STEPS = "How much history", "Table 4", "Steps and length"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CHATBOT)(sft)
    app.command(rich_help_panel=CHATBOT)(train)
    app.command(rich_help_panel=CHATBOT)(merge)


@dataclass(frozen=True, slots=True)
class HistoryFlags:
    turns: Annotated[int | None, option(HISTORY, "client utterances a history keeps, the newest", metavar="N")] = None
    max_tokens: Annotated[int | None, option(HISTORY, "of a whole session, by --tokenizer", metavar="N")] = None
    tokenizer: Annotated[
        str | None, option(HISTORY, "model name, folder or GGUF whose tokens are counted", metavar="MODEL")
    ] = None
    legacy_history: Annotated[
        bool, option(HISTORY, "as the authors' converter, which mixes dialogues: to compare only", "--legacy-history")
    ] = False


@grouped
def sft(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="a run, an export, a folder of SMILECHAT files")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder for train.jsonl and validation.jsonl")],
    history: HistoryFlags,
    *,
    format: Annotated[str, typer.Option("--format", "-f", help="messages, sharegpt or alpaca")] = "messages",  # noqa: A002
    system: Annotated[
        str,
        typer.Option(
            help="system prompt: paper (Figure 12, in the corpus's language), paper-zh, paper-en, none, or your own"
        ),
    ] = "paper",
    validation: Annotated[float, typer.Option(help="share of the questions that training never sees")] = 0.02,
    seed: Annotated[int, typer.Option(help="of that draw")] = 1234,
    roles: Annotated[str | None, typer.Option(help="CLIENT,COUNSELOR where they are unusual")] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Training sessions of a corpus, one a counselor utterance with its own dialogue's history (section 6.1).

    smile sft runs/first sessions
    """
    from smile_async.chatbot.session_files import write_sessions
    from smile_async.chatbot.sessions import HistoryLimits
    from smile_async.corpora import open_corpus

    opened = open_corpus(corpus, roles=role_map(roles))
    limited = history.turns is not None or history.max_tokens is not None
    report = write_sessions(
        opened,
        out,
        format,  # type: ignore[arg-type]
        system_prompt=system_prompt(system, opened.language),
        roles=opened.roles,
        limits=HistoryLimits(history.turns, history.max_tokens) if limited else None,
        count_tokens=_counter(history.tokenizer) if history.tokenizer else None,
        validation=validation,
        seed=seed,
        legacy=history.legacy_history,
        overwrite=overwrite,
    )
    told = f"paper-{opened.language()}" if system == "paper" else system
    print_json({**asdict(report), "system": told}) if json else sys.stdout.write(_sft_text(report, told))


def _counter(name: str) -> Any:
    from smile_async.chatbot.base_model import ChatTokens, base_folder, load_tokenizer, require_training
    from smile_async.cli.watch import to_stderr

    require_training("Counting tokens", ("transformers",))
    return ChatTokens(load_tokenizer(base_folder(name, notify=to_stderr))).count


def _sft_text(report: "SessionReport", system: str) -> str:
    sessions = report.train + report.validation
    lines = [
        f"{report.out}: {sessions:,} sessions of {report.dialogues:,} dialogues",
        f"  counselor utterances in the corpus: {report.counselor_utterances:,}",
        f"  train.jsonl       {report.train:,}",
        f"  validation.jsonl  {report.validation:,}, {report.validation_dialogues:,} dialogues of their own",
        f"  system prompt     {system if system in PROMPTS else 'your own'}",
    ]
    noted = {
        "histories cut to the limit": report.shortened,
        "sessions too long even without history": report.too_long,
        "empty utterances left out": report.empty,
        "dialogues with utterances of one speaker joined": report.joined,
        "dialogues whose opening answer was dropped": report.leading_dropped,
        **{f"dialogues left out: {reason}": count for reason, count in report.skipped.items()},
    }
    lines += [f"  {what}: {count:,}" for what, count in noted.items() if count]
    if report.legacy:
        share = report.foreign / sessions if sessions else 0
        lines.append(f"  histories with another dialogue's words: {report.foreign:,} ({share:.1%})")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class LoraFlags:
    """Table 4."""

    epochs: Annotated[float, option(TABLE_4, "default 2")] = 2.0
    lr: Annotated[float, option(TABLE_4, "highest learning rate; default 1e-4")] = 1e-4
    batch: Annotated[int, option(TABLE_4, "sessions a step and device; default 1")] = 1
    rank: Annotated[int, option(TABLE_4, "default 16")] = 16
    alpha: Annotated[int, option(TABLE_4, "default 64")] = 64
    dropout: Annotated[float, option(TABLE_4, "default 0.1")] = 0.1
    seed: Annotated[int, option(TABLE_4, "default 1234")] = 1234


@dataclass(frozen=True, slots=True)
class StepFlags:
    """The authors' script, and what a machine asks for."""

    accumulation: Annotated[int, option(STEPS, "steps an update; the authors' 4")] = 4
    warmup: Annotated[float, option(STEPS, "share of the updates; the authors' 0.1")] = 0.1
    weight_decay: Annotated[float, option(STEPS, "the authors' 0.1")] = 0.1
    max_length: Annotated[int, option(STEPS, "tokens of a session, default 2048; the oldest exchanges are cut")] = 2048
    precision: Annotated[str, option(STEPS, "auto (bf16 where the device has it), bf16, fp16 or fp32")] = "auto"
    checkpointing: Annotated[
        bool, option(STEPS, "compute activations twice, keep few of them", "--checkpointing/--no-checkpointing")
    ] = True
    limit: Annotated[int | None, option(STEPS, "draw so many sessions of each file, for a try", metavar="N")] = None
    evaluations: Annotated[int, option(STEPS, "of the validation loss, beside the one at the start; default 4")] = 4
    checkpoint_steps: Annotated[int, option(STEPS, "updates between two checkpoints; default 200")] = 200


@grouped
def train(
    sessions: Annotated[
        Path, typer.Argument(metavar="SESSIONS", help="what smile sft wrote: a folder, or a JSONL file")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder for the adapter, the losses, the report")],
    lora: LoraFlags,
    steps: StepFlags,
    *,
    base: Annotated[str, typer.Option(help="model name, folder or GGUF file; embedded: the small one (extra local)")],
    trust_remote_code: TrustRemoteCode = False,
    json: AsJson = False,
) -> None:
    """Fine-tune a base model with LoRA on sessions, with Table 4's values; the same command again goes on.

    smile train sessions tuned --base Qwen/Qwen2.5-7B-Instruct

    Several GPUs: accelerate launch --multi_gpu -m smile_async.cli train sessions tuned --base ...
    """
    from smile_async.chatbot import training
    from smile_async.cli.watch import to_stderr

    if steps.precision not in {"auto", "bf16", "fp16", "fp32"}:
        raise typer.BadParameter(f"{steps.precision!r}: one of auto, bf16, fp16, fp32", param_hint="--precision")
    named = asdict(lora) | asdict(steps) | {"base": base, "trust_remote_code": trust_remote_code}
    named["learning_rate"], named["gradient_checkpointing"] = named.pop("lr"), named.pop("checkpointing")
    settings = training.TrainingSettings(**named)
    try:
        report = training.train(sessions, out, settings, notify=to_stderr, on_point=tell_loss)
    except KeyboardInterrupt:
        if training.is_first_process():
            launched = "" if training.processes() == 1 else " under the same launcher"
            to_stderr(f"\nStopped. {what_is_saved(out)}\nGo on with{launched}: {as_typed()}")
        raise typer.Exit(130) from None
    if training.is_first_process():
        print_json(asdict(report)) if json else sys.stdout.write(_train_text(report))


def what_is_saved(training: Path) -> str:
    """Of a training that was stopped, for a person."""
    from smile_async.chatbot.training import saved

    found = saved(training)
    if found is None:
        return "There was no checkpoint yet (one comes every --checkpoint-steps updates): it will begin anew."
    return f"Saved: update {found.step:,} of {found.steps:,}, in {found.checkpoint}."


def tell_loss(point: "Point", steps: int, seconds_left: float | None) -> None:
    from smile_async.cli.figures import duration
    from smile_async.cli.watch import to_stderr

    told = f"validation loss {point.eval_loss:.4f}" if point.eval_loss is not None else f"loss {point.loss:.4f}"
    left = f", {duration(seconds_left)} left" if seconds_left else ""
    to_stderr(f"update {point.step:,} of {steps:,}, epoch {point.epoch:.2f}: {told}{left}")


def _train_text(report: "TrainingReport") -> str:
    from smile_async.cli.figures import duration

    lines = [
        f"{report.adapter}: adapter of {report.trainable_parameters:,} parameters for {report.base}",
        f"  trained on  {report.sessions:,} sessions, {report.steps:,} updates in {report.precision}",
        f"  took        {duration(report.seconds)}; training loss {report.train_loss:.4f}",
    ]
    if report.validation_loss is not None:
        before = f"{report.validation_loss_before:.4f} -> " if report.validation_loss_before is not None else ""
        lines.append(f"  validation  {before}{report.validation_loss:.4f} on {report.validation_sessions:,} sessions")
    if report.shortened or report.too_long:
        lines.append(f"  length      {report.shortened:,} sessions cut, {report.too_long:,} left out as too long")
    lines.append(f"  losses      {report.folder}/progress.jsonl, {report.folder}/loss.png")
    lines.append(f"Talk to it: smile chat --adapter {report.adapter}")
    return "\n".join(lines) + "\n"


@grouped
def merge(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="what smile train wrote")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="a new folder; with --gguf a file")],
    *,
    gguf: Annotated[
        str | None, typer.Option(metavar="adapter|model", help="write GGUF for llama.cpp: the adapter alone, or merged")
    ] = None,
    type: Annotated[str, typer.Option(help="of the GGUF's numbers: f32, f16, bf16 or q8_0")] = "f16",  # noqa: A002
    base: Annotated[str | None, typer.Option(help="its base, where it is not where it was; a name or a folder")] = None,
    llama_cpp: Annotated[
        Path | None, typer.Option(help="a checkout of llama.cpp whose converters are to be used", metavar="FOLDER")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a GGUF file that is there")] = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Merge an adapter into its base as one model (safetensors), or write it as GGUF for llama.cpp.

    smile merge tuned mechat

    smile merge tuned adapter.gguf --gguf adapter
    """
    from smile_async.chatbot import merging

    if gguf is None:
        written = merging.merge(adapter, out, base=base, trust_remote_code=trust_remote_code)
    elif gguf not in GGUF_KINDS or type not in {"f32", "f16", "bf16", "q8_0"}:
        raise typer.BadParameter("adapter or model, of type f32, f16, bf16 or q8_0", param_hint="--gguf")
    else:
        written = merging.to_gguf(
            adapter,
            out,
            gguf,  # type: ignore[arg-type]
            kind=type,  # type: ignore[arg-type]
            base=base,
            llama_cpp=llama_cpp,
            overwrite=overwrite,
            trust_remote_code=trust_remote_code,
        )
    sys.stdout.write(f"{written}\n")
