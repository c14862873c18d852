"""LoRA fine-tuning with the values of Table 4, on transformers, peft and trl.

A training folder holds `training.json` (the settings and the sessions' digest), `progress.jsonl`, `checkpoints/` while
it runs, and at the end `adapter/` (safetensors, with the tokenizer and its chat template), `loss.png` and
`report.json`. The same call goes on from the last whole checkpoint; after its end it returns the report.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from smile_async.chatbot import curve
from smile_async.chatbot.base_model import (
    ChatTokens,
    Precision,
    base_folder,
    chosen_precision,
    load_model,
    load_tokenizer,
    note_of,
    quiet_libraries,
    require_training,
)
from smile_async.chatbot.session_files import drawn_sessions, session_parts
from smile_async.chatbot.sessions import shortest
from smile_async.chatbot.token_rows import TokenRows, token_rows
from smile_async.errors import RunInUseError, RunMismatchError, UsageError
from smile_async.filing import whole_file

SETTINGS, REPORT, ADAPTER, CHECKPOINTS = "training.json", "report.json", "adapter", "checkpoints"
KEPT_CHECKPOINTS = 2  # the one before the last too: a kill may break the last


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Table 4, and below it what the authors' script adds. `max_length` is in tokens; `checkpoint_steps` are optimizer
    steps between two checkpoints; `evaluations` how often the validation loss is taken, beside once at the start;
    `limit` draws so many sessions of each part by the seed."""

    base: str
    epochs: float = 2.0
    learning_rate: float = 1e-4
    batch: int = 1
    rank: int = 16
    alpha: int = 64
    dropout: float = 0.1
    seed: int = 1234
    accumulation: int = 4
    warmup: float = 0.1
    weight_decay: float = 0.1
    gradient_checkpointing: bool = True
    max_length: int = 2048
    precision: Precision = "auto"
    limit: int | None = None
    evaluations: int = 4
    checkpoint_steps: int = 200
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        positive = ("epochs", "learning_rate", "batch", "rank", "alpha", "accumulation", "max_length", "evaluations",
                    "checkpoint_steps")  # fmt: skip
        for name in positive:
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} is {getattr(self, name)}, and must be above 0.", hint="See smile train -h.")
        for name in ("dropout", "warmup", "weight_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, and goes from 0 to 1.", hint="See smile train -h.")


_MAY_CHANGE = frozenset({"checkpoint_steps"})  # all else shapes the adapter, or the curve


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """How a training ended. Losses are nats a token of the counselor's words; the validation loss before and after is
    None without a validation part. Loss and `seconds` are those of all its stretches, where it was stopped; what was
    done between the last checkpoint and a stop is done again, and counted once. `shortened` and `too_long` count
    sessions cut to, or above, `max_length`."""

    folder: str
    adapter: str
    base: str
    sessions: int
    validation_sessions: int
    steps: int
    precision: str
    trainable_parameters: int
    train_loss: float
    validation_loss_before: float | None
    validation_loss: float | None
    shortened: int
    too_long: int
    seconds: float


def train(
    sessions: str | Path,
    out: str | Path,
    settings: TrainingSettings,
    *,
    notify: Callable[[str], None] = lambda _text: None,
    on_point: curve.Notify = lambda *_: None,
) -> TrainingReport:
    """Train an adapter on what `smile sft` wrote (a folder or a JSONL file), or go on with it.

    Under `accelerate launch` each process calls it; the first one writes. Raises `RunMismatchError` when `out` holds a
    training with other settings or sessions, `RunInUseError` when another process works on it, `UsageError`,
    `SourceError`, `MissingExtraError`.
    """
    require_training()
    folder = Path(out)
    train_file, validation_file = session_parts(Path(sessions))
    quiet_libraries()
    with _alone(folder) if is_first_process() else nullcontext():
        _note(folder, settings, [train_file, *([validation_file] if validation_file else [])])
        if found := note_of(folder, REPORT):
            return TrainingReport(**found)
        base = base_folder(settings.base, notify=notify)
        tokenizer = load_tokenizer(base, trust_remote_code=settings.trust_remote_code)
        tokens = ChatTokens(tokenizer)
        _check_length(train_file, validation_file, tokens, settings)
        learnt, held = (_rows(file, tokens, settings) for file in (train_file, validation_file))
        if held.too_long and not len(held):
            notify(f"No validation loss: {validation_file} has no session of {settings.max_length:,} tokens or fewer.")
        trainer = _trainer(base, tokenizer, learnt, held, folder, settings, on_point)
        return _run(trainer, tokenizer, learnt, held, folder, settings)


def check_length(
    sessions: str | Path, settings: TrainingSettings, *, notify: Callable[[str], None] = lambda _text: None
) -> None:
    """Raises `UsageError` when all sessions that would be trained on are longer than `max_length`; says which length
    would do. The base's tokenizer is loaded, no weights."""
    require_training()
    quiet_libraries()
    base = base_folder(settings.base, notify=notify)
    tokens = ChatTokens(load_tokenizer(base, trust_remote_code=settings.trust_remote_code))
    _check_length(*session_parts(Path(sessions)), tokens, settings)


def _check_length(file: Path, validation: Path | None, tokens: ChatTokens, settings: TrainingSettings) -> None:
    def needed_by(part: Path | None) -> Iterator[int]:
        for session in drawn_sessions(part, settings.limit, settings.seed) if part else ():
            yield tokens.count(shortest(session.messages))

    needed = []
    for length in needed_by(file):
        if length <= settings.max_length:
            return
        needed.append(length)
    if not needed:
        raise UsageError(f"{file} holds no session.", hint="Make some: smile sft CORPUS OUT.")
    raise UsageError(
        f"All {len(needed):,} sessions of {file} are longer than {settings.max_length:,} tokens, even with the last"
        " client utterance alone for a history.",
        hint=f"--max-length {min(needed)} is enough for the shortest, {max([*needed, *needed_by(validation)])} for all"
        " (with no more history than that).",
    )


def is_first_process() -> bool:
    """False in the others of `accelerate launch`."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> int:
    """How many train together: which sessions an update holds depends on it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _alone(folder: Path) -> Any:
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(folder / ".lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        raise RunInUseError(
            f"Another process trains in {folder}.", hint="Wait for it, or name another folder."
        ) from None


def _note(folder: Path, settings: TrainingSettings, parts: list[Path]) -> None:
    """Write down what is trained on what, or compare it with what stands there."""
    told = asdict(settings) | {"sessions": [_digest(part) for part in parts], "processes": processes()}
    noted = note_of(folder, SETTINGS)
    if noted and (
        (folder / REPORT).exists() or "processes" not in noted
    ):  # it is only read, or was begun before they were noted
        noted["processes"] = told["processes"]
    if not noted or not (last_checkpoint(folder / CHECKPOINTS) or (folder / REPORT).exists()):  # nothing is lost
        if is_first_process():
            with whole_file(folder / SETTINGS, overwrite=True) as file:
                file.write(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        return
    other = [name for name in told if told[name] != noted.get(name) and name not in _MAY_CHANGE]
    if other:
        words = ", ".join("the sessions" if name == "sessions" else f"{name} {noted.get(name)!r}" for name in other)
        raise RunMismatchError(
            f"{folder} was begun with other settings: {words}.", hint="Give the same again, or name another folder."
        )


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _rows(file: Path | None, tokens: ChatTokens, settings: TrainingSettings) -> TokenRows:
    if file is None:
        return TokenRows()
    return token_rows(drawn_sessions(file, settings.limit, settings.seed), tokens, settings.max_length)


def _trainer(
    base: str,
    tokenizer: Any,
    learnt: TokenRows,
    held: TokenRows,
    folder: Path,
    settings: TrainingSettings,
    on_point: curve.Notify,
) -> Any:
    from peft import LoraConfig
    from transformers import PrinterCallback, set_seed
    from trl import SFTTrainer

    set_seed(settings.seed)
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    trainer = SFTTrainer(
        model=load_model(base, settings.precision, trust_remote_code=settings.trust_remote_code),
        args=_arguments(folder, settings, validated=bool(len(held))),
        train_dataset=learnt.dataset(),
        eval_dataset=held.dataset() if len(held) else None,
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[curve.callback(folder / curve.PROGRESS, on_point)],
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout
    return trainer


def _arguments(folder: Path, settings: TrainingSettings, *, validated: bool) -> Any:
    from torch.accelerator import is_available
    from trl import SFTConfig

    precision = chosen_precision(settings.precision)
    return SFTConfig(
        output_dir=str(folder / CHECKPOINTS),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch,
        per_device_eval_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulation,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        activation_checkpointing=settings.gradient_checkpointing,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not is_available(),
        ddp_find_unused_parameters=False,
        max_length=None,  # cut already, at the other end
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        logging_steps=0.01,
        logging_first_step=True,
        eval_strategy="steps" if validated else "no",
        eval_steps=1 / settings.evaluations if settings.evaluations > 1 else 0.999,
        eval_on_start=validated,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_total_limit=KEPT_CHECKPOINTS,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=is_available(),
    )


def _run(
    trainer: Any, tokenizer: Any, learnt: TokenRows, held: TokenRows, folder: Path, settings: TrainingSettings
) -> TrainingReport:
    checkpoint = last_checkpoint(folder / CHECKPOINTS)
    if trainer.is_world_process_zero():
        curve.rewind(folder / curve.PROGRESS, _step_of(checkpoint))
    earlier = curve.seconds_of(curve.read_points(folder / curve.PROGRESS))
    ended = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    points = curve.read_points(folder / curve.PROGRESS)
    loss = ended.training_loss if checkpoint is None else curve.mean_loss(points)  # the trainer forgets what was before
    final = _last_validation(trainer) if len(held) else None
    report = TrainingReport(
        folder=str(folder),
        adapter=str(folder / ADAPTER),
        base=settings.base,
        sessions=len(learnt),
        validation_sessions=len(held),
        steps=trainer.state.global_step,
        precision=chosen_precision(settings.precision),
        trainable_parameters=sum(one.numel() for one in trainer.model.parameters() if one.requires_grad),
        train_loss=round(ended.training_loss if loss is None else loss, 4),
        validation_loss_before=_first_validation(folder),
        validation_loss=None if final is None else round(final, 4),
        shortened=learnt.shortened + held.shortened,
        too_long=learnt.too_long + held.too_long,
        seconds=round(earlier + ended.metrics["train_runtime"], 1),
    )
    trainer.save_model(str(folder / ADAPTER))
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(folder / ADAPTER)
        _finish(folder, report)
    return report


def _last_validation(trainer: Any) -> float:
    for line in reversed(trainer.state.log_history):
        if "eval_loss" in line and line["step"] == trainer.state.global_step:
            return float(line["eval_loss"])
    return float(trainer.evaluate()["eval_loss"])


def _first_validation(folder: Path) -> float | None:
    points = curve.read_points(folder / curve.PROGRESS)
    return next((round(point.eval_loss, 4) for point in points if point.eval_loss is not None), None)


def _finish(folder: Path, report: TrainingReport) -> None:
    """The report comes last: where it stands, all is there. Checkpoints go, and with them the optimizer's pickles."""
    for name in ("training_args.bin", "README.md"):  # a pickle, and a card of blanks
        (folder / ADAPTER / name).unlink(missing_ok=True)
    curve.draw(curve.read_points(folder / curve.PROGRESS), folder / curve.PICTURE)
    with whole_file(folder / REPORT, overwrite=True) as file:
        file.write(orjson.dumps(asdict(report), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end: the trainer's state is what it writes last."""
    found = [path for path in folder.glob("checkpoint-*") if _is_whole(path)]
    return max(found, key=_step_of, default=None)


@dataclass(frozen=True, slots=True)
class Saved:
    """What a training that was stopped goes on from."""

    checkpoint: Path
    step: int
    steps: int


def saved(out: Path) -> Saved | None:
    """The last whole checkpoint of a training in `out` that is not at its end."""
    found = last_checkpoint(out / CHECKPOINTS)
    return None if found is None else Saved(found, _step_of(found), note_of(found, "trainer_state.json")["max_steps"])


def _is_whole(checkpoint: Path) -> bool:
    return bool(note_of(checkpoint, "trainer_state.json").get("global_step"))


def _step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else -1
