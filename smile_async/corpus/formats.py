"""Corpora in the formats that people and trainers read.

`jsonl` and `smilechat` hold dialogues as they are. Trainers (LLaMA-Factory) need strict alternation that the asking
side begins and the answering side ends, so `messages`, `sharegpt` and `alpaca` shape each dialogue, counted in the
report: consecutive utterances of one speaker are joined by a line break, a leading utterance of the answering side and
a trailing one of the asking side are dropped, and a dialogue without one exchange left is skipped.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from smile_async.corpus.folder import whole_folder
from smile_async.dialogue.model import Dialogue, QAPair
from smile_async.errors import UsageError
from smile_async.filing import whole_file

CorpusFormat = Literal["jsonl", "smilechat", "messages", "sharegpt", "alpaca"]


@dataclass(frozen=True, slots=True)
class Record:
    """One accepted row. `source_id` is the source's own id (`questionID`); `index` the row's place in the source,
    from 0, which numbers the files of `smilechat` as the authors did (None: the place in this export).

    `topic` is the name of the topic that the dialogue was asked for (standardT). `topics` are labels that an annotation
    gave it, `crisis` whether one of them is a crisis topic (57 to 60); None: not annotated.
    """

    row_id: str
    source_id: str
    pair: QAPair | None
    dialogue: Dialogue
    flags: tuple[str, ...] = ()
    index: int | None = None
    topic: str = ""
    topics: tuple[str, ...] = ()
    crisis: bool | None = None


@dataclass(frozen=True, slots=True)
class RoleMap:
    """Role names of the recipe: who asks (`user`, `human`) and who answers (`assistant`, `gpt`)."""

    user: str = "client"
    assistant: str = "counselor"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """`written + sum(skipped.values())` is the number of records. The other counts are dialogues that were shaped; a
    dataset folder has rows by split and keeps those that trainers cannot use (`without_exchange`)."""

    written: int
    skipped: dict[str, int] = field(default_factory=dict)
    joined: int = 0
    leading_dropped: int = 0
    trailing_dropped: int = 0
    without_exchange: int = 0
    splits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A dialogue as user, assistant, user, assistant, ...: at least one exchange."""

    turns: tuple[tuple[str, str], ...]
    changes: tuple[str, ...]

    def messages(self, system_prompt: str | None) -> list[dict[str, str]]:
        """In OpenAI's form."""
        system = [("system", system_prompt)] if system_prompt else []
        return [{"role": role, "content": text} for role, text in (*system, *self.turns)]


PAPER_ROLES = RoleMap()


def paper_system_prompt(language: Literal["zh", "en"] = "zh") -> str:
    """Figure 12, word for word."""
    text = files("smile_async.corpus").joinpath(f"data/system_prompt_{language}.txt").read_text(encoding="utf-8")
    return text.rstrip("\n")


def write_corpus(
    records: Iterable[Record],
    out: str | Path,
    format: CorpusFormat,  # noqa: A002 - the word that users look for
    *,
    roles: RoleMap = PAPER_ROLES,
    system_prompt: str | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write `records` in their order: `smilechat` makes a folder of `N.json` with `index.jsonl`, the others one JSONL
    file whose lines carry `id` (row id) and `questionID`, and where they were annotated `topics` and `crisis`;
    `sharegpt` and `alpaca` also enter the file in `dataset_info.json` beside it. `system_prompt` goes into `messages`,
    `sharegpt` and `alpaca`.

    `UsageError` when `out` holds something and `overwrite` is false. Streams: memory does not grow with the records.
    """
    path = Path(out)
    if format not in get_args(CorpusFormat):
        raise UsageError(f"The format {format!r} is unknown.", hint=f"One of: {', '.join(get_args(CorpusFormat))}.")
    counts: Counter[str] = Counter()
    if format == "smilechat":
        _write_folder(records, path, counts, overwrite=overwrite)
        return report_of(counts)
    info = dataset_info(path, format, with_system=bool(system_prompt)) if format in _COLUMNS else None
    with whole_file(path, overwrite=overwrite) as file:
        for record in records:
            line = _line(record, format, roles, system_prompt, counts)
            if line is not None:
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    if info is not None:
        with whole_file(path.with_name("dataset_info.json"), overwrite=True) as file:
            file.write(orjson.dumps(info, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return report_of(counts)


def report_of(counts: Counter[str], splits: dict[str, int] | None = None) -> ExportReport:
    """Of what was counted under the report's names, and under `skipped:` and a reason."""
    return ExportReport(
        written=counts["written"],
        skipped={key.removeprefix("skipped:"): n for key, n in counts.items() if key.startswith("skipped:")},
        joined=counts["joined"],
        leading_dropped=counts["leading_dropped"],
        trailing_dropped=counts["trailing_dropped"],
        without_exchange=counts["without_exchange"],
        splits=splits or {},
    )


_INDEX = "index.jsonl"


def _write_folder(records: Iterable[Record], path: Path, counts: Counter[str], *, overwrite: bool) -> None:
    with (
        whole_folder(path, overwrite=overwrite) as folder,
        whole_file(folder / "index.jsonl", overwrite=False) as index,
    ):
        for place, record in enumerate(records):
            if not record.dialogue.utterances:
                counts["skipped:empty"] += 1
                continue
            number = place if record.index is None else record.index
            _write_dialogue(folder / f"{number}.json", record)
            entry = {"file": f"{number}.json", "id": record.row_id, "questionID": record.source_id}
            index.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
            counts["written"] += 1


def _write_dialogue(path: Path, record: Record) -> None:
    text = orjson.dumps(_dialogue(record.dialogue), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"Two records would be {path.name} (the second is {record.row_id}).", hint="Give each its own index."
        ) from None
    with os.fdopen(handle, "wb") as file:
        file.write(text)


def _line(
    record: Record, format_name: str, roles: RoleMap, system_prompt: str | None, counts: Counter[str]
) -> dict[str, Any] | None:
    identity: dict[str, Any] = {"id": record.row_id, "questionID": record.source_id}
    if record.crisis is not None:
        identity |= {"topics": record.topics, "crisis": record.crisis}
    if format_name == "jsonl":
        if not record.dialogue.utterances:
            counts["skipped:empty"] += 1
            return None
        counts["written"] += 1
        return identity | _plain(record)
    shaped = exchange(record.dialogue, roles)
    if isinstance(shaped, str):
        counts[f"skipped:{shaped}"] += 1
        return None
    counts.update(("written", *shaped.changes))
    return identity | trainer_row(shaped, format_name, system_prompt)


def _plain(record: Record) -> dict[str, Any]:
    pair = record.pair
    source = {} if pair is None else pair.model_dump(include={"question", "description", "answer", "answer_index"})
    labels = {} if record.crisis is None else {"topics": record.topics, "crisis": record.crisis}
    topic = {"topic": record.topic} if record.topic else {}
    return source | topic | {"dialogue": _dialogue(record.dialogue), "flags": record.flags} | labels


def _dialogue(dialogue: Dialogue) -> list[dict[str, str]]:
    return [{"role": one.role, "content": one.content} for one in dialogue.utterances]


def exchange(dialogue: Dialogue, roles: RoleMap) -> Exchange | str:
    """The dialogue in the shape that trainers need, or the reason why it has none."""
    if not dialogue.utterances:
        return "empty"
    if any(one.role not in {roles.user, roles.assistant} for one in dialogue.utterances):
        return "unknown-role"
    turns = [
        (role, "\n".join(one.content for one in group))
        for role, group in groupby(dialogue.utterances, key=lambda one: one.role)
    ]
    changes = ["joined"] if len(turns) < len(dialogue.utterances) else []
    if turns[0][0] == roles.assistant:
        turns, changes = turns[1:], [*changes, "leading_dropped"]
    if turns and turns[-1][0] == roles.user:
        turns, changes = turns[:-1], [*changes, "trailing_dropped"]
    if not turns:
        return "no-exchange"
    return Exchange(
        tuple(("user" if role == roles.user else "assistant", text) for role, text in turns), tuple(changes)
    )


def _messages(shaped: Exchange, system_prompt: str | None) -> dict[str, Any]:
    return {"messages": shaped.messages(system_prompt)}


def _sharegpt(shaped: Exchange, system_prompt: str | None) -> dict[str, Any]:
    names = {"user": "human", "assistant": "gpt"}
    row: dict[str, Any] = {"conversations": [{"from": names[role], "value": text} for role, text in shaped.turns]}
    return row | ({"system": system_prompt} if system_prompt else {})


def _alpaca(shaped: Exchange, system_prompt: str | None) -> dict[str, Any]:
    """The last exchange is instruction and output, those before it are the history."""
    texts = [text for _, text in shaped.turns]
    exchanges = [[texts[place], texts[place + 1]] for place in range(0, len(texts), 2)]
    row: dict[str, Any] = {"instruction": exchanges[-1][0], "input": "", "output": exchanges[-1][1]}
    return row | {"history": exchanges[:-1]} | ({"system": system_prompt} if system_prompt else {})


_SHAPES: dict[str, Callable[[Exchange, str | None], dict[str, Any]]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
}


def trainer_row(shaped: Exchange, format_name: str, system_prompt: str | None) -> dict[str, Any]:
    """As a row of `messages`, `sharegpt` or `alpaca`, without what identifies it."""
    return _SHAPES[format_name](shaped, system_prompt)


# LLaMA-Factory's names for what stands in which column.
_COLUMNS: dict[str, dict[str, str]] = {
    "sharegpt": {"messages": "conversations"},
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output", "history": "history"},
}


def dataset_info(path: Path, format_name: str, *, with_system: bool) -> dict[str, Any]:
    """The folder's `dataset_info.json` with an entry for `path`; the entries of others stay."""
    info = path.with_name("dataset_info.json")
    try:
        entries = orjson.loads(info.read_bytes()) if info.exists() else {}
    except orjson.JSONDecodeError:
        entries = None
    if not isinstance(entries, dict):
        raise UsageError(f"{info} is no JSON object, so no entry can be added to it.", hint="Move it away.")
    columns = _COLUMNS[format_name] | ({"system": "system"} if with_system else {})
    return entries | {path.stem: {"file_name": path.name, "formatting": format_name, "columns": columns}}
