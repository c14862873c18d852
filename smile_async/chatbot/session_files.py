"""Sessions as files: a folder of `train.jsonl` and `validation.jsonl`, written whole and read again by training."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

import orjson

from smile_async.chatbot.sessions import (
    SEED,
    CountTokens,
    HistoryLimits,
    Session,
    SessionCounts,
    Turn,
    counted_sessions,
)
from smile_async.corpus.formats import PAPER_ROLES, Exchange, Record, RoleMap, dataset_info, trainer_row
from smile_async.corpus.splits import Shares, question_of, split_questions
from smile_async.errors import SourceError, UsageError
from smile_async.filing import exists_already, whole_file

SessionFormat = Literal["messages", "sharegpt", "alpaca"]
TRAIN, VALIDATION, REPORT = "train.jsonl", "validation.jsonl", "sessions.json"
VALIDATION_SHARE = 0.02  # of the questions


@dataclass(frozen=True, slots=True)
class SessionReport:
    """What was written: `train + validation` is the number of sessions, of `counselor_utterances` in the corpus.
    `foreign`: sessions whose history holds another dialogue's words (0 but for legacy)."""

    out: str
    format: str
    dialogues: int
    counselor_utterances: int
    train: int
    validation: int
    validation_dialogues: int
    shortened: int
    too_long: int
    foreign: int
    empty: int
    joined: int
    leading_dropped: int
    skipped: dict[str, int]
    legacy: bool
    seed: int


def write_sessions(
    records: Iterable[Record],
    out: str | Path,
    format: SessionFormat = "messages",  # noqa: A002 - the word that users look for
    *,
    system_prompt: str | None = None,
    roles: RoleMap = PAPER_ROLES,
    limits: HistoryLimits | None = None,
    count_tokens: CountTokens | None = None,
    validation: float = VALIDATION_SHARE,
    seed: int = SEED,
    legacy: bool = False,
    overwrite: bool = False,
) -> SessionReport:
    """Write the sessions of `records` (read twice: first for the split) into the folder `out`, streaming.

    Each line holds `id`, `dialogue` (the row id), `questionID` and the format's own fields. Raises `UsageError`, also
    when there is no session to train on: then nothing is written, and what was there stays.
    """
    _check(format, legacy=legacy, limits=limits)
    parts = split_questions(Counter(map(question_of, records)), Shares(validation=validation, test=0, seed=seed))
    counts, written, held = SessionCounts(), {TRAIN: 0, VALIDATION: 0}, set[str]()
    folder = _folder(Path(out), overwrite=overwrite)
    found = counted_sessions(
        records,
        counts,
        roles=roles,
        limits=limits,
        system=system_prompt,
        count_tokens=count_tokens,
        legacy=legacy,
    )
    with ExitStack() as stack:
        names = (TRAIN, VALIDATION) if "validation" in parts.values() else (TRAIN,)
        files = {name: stack.enter_context(whole_file(folder / name, overwrite=overwrite)) for name in names}
        for session in found:
            name = VALIDATION if parts[session.question] == "validation" else TRAIN
            files[name].write(orjson.dumps(_row(session, format, system_prompt), option=orjson.OPT_APPEND_NEWLINE))
            written[name] += 1
            held.update([session.row_id] if name == VALIDATION else [])
        if not written[TRAIN]:
            raise _nothing_to_train_on(counts, written[VALIDATION])
    for stale in {VALIDATION} - set(names):
        (folder / stale).unlink(missing_ok=True)
    report = SessionReport(
        out=str(out),
        format=format,
        train=written[TRAIN],
        validation=written[VALIDATION],
        validation_dialogues=len(held),
        legacy=legacy,
        seed=seed,
        **{name: getattr(counts, name) for name in _COUNTED},
        skipped=dict(counts.skipped),
    )
    _write_notes(folder, report, with_system=bool(system_prompt))
    return report


def _folder(path: Path, *, overwrite: bool) -> Path:
    """The folder, made if need be (mode 0700). What `smile sft` wrote there is replaced only with `overwrite`."""
    if path.exists() and not path.is_dir():
        raise exists_already(path)
    there = [path / name for name in (TRAIN, VALIDATION, REPORT) if (path / name).exists()]
    if there and not overwrite:
        raise exists_already(there[0])
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _nothing_to_train_on(counts: SessionCounts, held: int) -> UsageError:
    found = {**counts.skipped, "sessions too long": counts.too_long, "sessions for validation alone": held}
    told = ", ".join(f"{count:,} {what}" for what, count in found.items() if count)
    return UsageError(
        f"{counts.dialogues:,} dialogues give no session to train on" + (f" ({told})." if told else "."),
        hint="Raise --max-tokens."
        if counts.too_long
        else "A session is a counselor's answer to a client: is --roles right?",
    )


_COUNTED = (
    "dialogues", "counselor_utterances", "shortened", "too_long", "foreign", "empty", "joined", "leading_dropped",
)  # fmt: skip


def _check(format_name: str, *, legacy: bool, limits: HistoryLimits | None) -> None:
    if format_name not in get_args(SessionFormat):
        raise UsageError(
            f"The format {format_name!r} is unknown.", hint=f"One of: {', '.join(get_args(SessionFormat))}."
        )
    if legacy and format_name != "messages":
        raise UsageError("Legacy histories do not alternate, as other formats ask.", hint="Use --format messages.")
    if legacy and limits is not None:
        raise UsageError("Legacy histories have nine utterances.", hint="Leave the history limits out.")


def _row(session: Session, format_name: str, system_prompt: str | None) -> dict[str, Any]:
    identity = {"id": session.id, "dialogue": session.row_id, "questionID": session.source_id}
    return identity | trainer_row(Exchange(session.turns, ()), format_name, system_prompt)


def _write_notes(folder: Path, report: SessionReport, *, with_system: bool) -> None:
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    if report.format != "messages":
        for name in (TRAIN, VALIDATION):
            if (folder / name).exists():
                info = dataset_info(folder / name, report.format, with_system=with_system)
                with whole_file(folder / "dataset_info.json", overwrite=True) as file:
                    file.write(orjson.dumps(info, option=options))
    with whole_file(folder / REPORT, overwrite=True) as file:
        file.write(orjson.dumps(asdict(report), option=options))


@dataclass(frozen=True, slots=True)
class TrainingSession:
    """Messages of which the last is the counselor's, the one that is learnt."""

    id: str
    messages: tuple[Turn, ...]


def session_parts(sessions: Path) -> tuple[Path, Path | None]:
    """The training and the validation file of a folder that `smile sft` wrote, or of one JSONL file (no validation).

    Raises `UsageError` when there is none.
    """
    if sessions.is_file():
        return sessions, None
    train, validation = sessions / TRAIN, sessions / VALIDATION
    if not train.is_file():
        raise UsageError(f"{sessions} holds no {TRAIN}.", hint="Make one: smile sft CORPUS OUT --format messages")
    return train, validation if validation.is_file() else None


def read_sessions(path: Path) -> Iterator[TrainingSession]:
    """The sessions of a `messages` file, checked line by line. Raises `SourceError` that names the line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise SourceError("is no JSON", file=str(path), row=number) from error
            yield _session(found, path, number)


_HINT = "Training reads what smile sft writes with --format messages: a JSON object with messages in each line."


def _session(found: Any, path: Path, number: int) -> TrainingSession:
    messages = found.get("messages") if isinstance(found, dict) else None
    if not isinstance(messages, list) or not all(_is_message(one) for one in messages):
        raise SourceError("holds no messages of role and content", file=str(path), row=number, hint=_HINT)
    turns = tuple((one["role"], one["content"]) for one in messages)
    if not turns or turns[-1][0] != "assistant" or not any(role == "user" for role, _ in turns):
        problem = "must end on an assistant message that answers a user"
        raise SourceError(problem, file=str(path), row=number, hint=_HINT)
    return TrainingSession(str(found.get("id", "")), turns)


def _is_message(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("content"), str) and isinstance(one.get("role"), str)


def drawn_sessions(path: Path, limit: int | None, seed: int) -> Iterator[TrainingSession]:
    """All sessions of a file, or `limit` of them drawn by `seed`, in the file's order."""
    if limit is None:
        yield from read_sessions(path)
        return
    with path.open("rb") as file:
        there = sum(1 for line in file if line.strip())
    wanted = set(Random(seed).sample(range(there), min(limit, there)))
    yield from (session for place, session in enumerate(read_sessions(path)) if place in wanted)
