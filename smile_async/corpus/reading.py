"""Corpora read back: lines, JSON files, folders of numbered files and Parquet, as `Record`s one after the other.

Nothing that comes from outside is trusted, and no error repeats what a dialogue says.
"""

import codecs
import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import orjson
from pydantic import ValidationError

from smile_async.corpus.formats import PAPER_ROLES, Record
from smile_async.dialogue.model import Dialogue, QAPair
from smile_async.errors import CorpusError, MissingExtraError

Shape = Literal["smilechat", "jsonl", "messages", "sharegpt", "alpaca"]
"""How a row holds its dialogue: bare, or under `dialogue`, `messages`, `conversations`, `instruction` and `output`."""

OPENS = (
    "A corpus is a run folder, an export (jsonl, smilechat, messages, sharegpt, alpaca, hf), a folder of N.json as "
    "SMILECHAT was released, or JSON, JSONL (.gz too) or Parquet whose rows hold dialogue, messages or conversations."
)
NUMBERED = re.compile(r"(\d+)\.json")
INDEX = "index.jsonl"

_HEADS: dict[str, Shape] = {
    "dialogue": "jsonl", "messages": "messages", "conversations": "sharegpt", "instruction": "alpaca"
}  # fmt: skip
_ROLES = {"user": PAPER_ROLES.user, "human": PAPER_ROLES.user, "assistant": PAPER_ROLES.assistant,
          "gpt": PAPER_ROLES.assistant}  # fmt: skip
MOST_ANSWERS = 2**31 - 1  # as a Parquet column of 32 bits holds it
_BATCH = 1_024  # Parquet rows in memory at once
_PIECE = 1 << 16  # bytes: more than a dialogue, and less than what the allocator asks the system for each time
_KEYS_SHOWN, _KEY_LENGTH = 8, 24  # of a row that cannot be used


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands, for messages."""

    file: str
    row: int | None = None

    def error(self, problem: str, hint: str = "") -> CorpusError:
        return CorpusError(problem, file=self.file, row=self.row, hint=hint)


Row = tuple[Place, Any]


def shape_of(row: Any, place: Place) -> Shape:
    """Raises `CorpusError` for a row that holds no dialogue, naming the keys it does hold."""
    if isinstance(row, list):
        return "smilechat"
    if isinstance(row, dict):
        for key, shape in _HEADS.items():
            if row.get(key) is not None:
                return shape
        keys = ", ".join(str(key)[:_KEY_LENGTH] for key in list(row)[:_KEYS_SHOWN]) or "nothing"
        raise place.error(f"holds no dialogue, but {keys}", OPENS)
    raise place.error(f"is {_json_name(row)}, not an object or a list of utterances", OPENS)


def records(rows: Iterable[Row]) -> Iterator[Record]:
    """A row without an id gets its place (from 1) as one."""
    for place, row in rows:
        spoken = _SPOKEN[shape_of(row, place)](row, place)
        dialogue = _dialogue(spoken, place)
        yield _described(row, dialogue, place) if isinstance(row, dict) else Record(str(place.row), "", None, dialogue)


def _dialogue(spoken: Any, place: Place) -> Dialogue:
    try:
        return Dialogue.model_validate({"utterances": spoken})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise place.error(f"{_where(first['loc'])}: {first['msg'][0].lower()}{first['msg'][1:]}", OPENS) from None


def _where(location: tuple[int | str, ...]) -> str:
    """`utterance 3, content`, counting from 1."""
    names = [f"utterance {part + 1}" if isinstance(part, int) else str(part) for part in location[1:]]
    return ", ".join(names) or "the dialogue"


def _described(row: dict[str, Any], dialogue: Dialogue, place: Place) -> Record:
    crisis = row.get("crisis")
    if crisis is not None and not isinstance(crisis, bool):
        raise place.error(f"crisis is {_json_name(crisis)}, not true or false")
    return Record(
        row_id=_text(row, "id", place) or str(place.row),
        source_id=_text(row, "questionID", place) or _text(row, "source_id", place),
        pair=_pair(row, place),
        dialogue=dialogue,
        flags=_texts(row, "flags", place),
        topic=_text(row, "topic", place),
        topics=_texts(row, "topics", place),
        crisis=crisis,
    )


def _pair(row: dict[str, Any], place: Place) -> QAPair | None:
    if not row.get("question") or not row.get("answer"):
        return None
    question, description, answer = (_text(row, key, place) for key in ("question", "description", "answer"))
    number = row.get("answer_index") or 0
    if isinstance(number, float) and number.is_integer():  # a table with gaps has no whole numbers
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST_ANSWERS:
        raise place.error(f"answer_index is {_json_name(number)}, not a whole number from 0 to {MOST_ANSWERS:,}")
    source_id = _text(row, "questionID", place) or _text(row, "source_id", place)
    return QAPair.trusted(question, description, answer, source_id, number, ())


def _text(row: dict[str, Any], key: str, place: Place) -> str:
    """Of a text or a number; empty when there is none."""
    value = row.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int):  # a number beyond 64 bits comes as a float: another one
        raise place.error(f"{key} is {_json_name(value)}, not a text or a whole number of at most 64 bits")
    return str(value)


def _texts(row: dict[str, Any], key: str, place: Place) -> tuple[str, ...]:
    value = row.get(key)
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise place.error(f"{key} is {_json_name(value)}, not a list of texts")
    return tuple(value)


def _json_name(value: Any) -> str:
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list",
             dict: "an object", type(None): "null"}  # fmt: skip
    return names.get(type(value), "something else")


def _bare(row: Any, place: Place) -> Any:  # noqa: ARG001 - one of the shapes
    return row


def _under_dialogue(row: Any, place: Place) -> Any:  # noqa: ARG001 - one of the shapes
    return row["dialogue"]


def _messages(row: Any, place: Place, key: str = "messages", role: str = "role", content: str = "content") -> Any:
    """System prompts are no utterances; `user` and `assistant` become the paper's roles, others stay."""
    listed = row[key]
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise place.error(f"{key} is no list of objects with {role} and {content}", OPENS)
    spoken = [(one.get(role), one.get(content)) for one in listed]
    return [
        {"role": _ROLES.get(who, who) if isinstance(who, str) else who, "content": said}
        for who, said in spoken
        if who != "system"
    ]


def _conversations(row: Any, place: Place) -> Any:
    listed = row["conversations"]
    named = isinstance(listed, list) and listed and isinstance(listed[0], dict) and "role" in listed[0]
    role, content = ("role", "content") if named else ("from", "value")
    return _messages(row, place, "conversations", role, content)


def _alpaca(row: Any, place: Place) -> Any:
    history = row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(one, list) and len(one) == 2 for one in history):
        raise place.error("history is no list of [instruction, output]", OPENS)
    asked = row["instruction"]
    if isinstance(asked, str) and isinstance(row.get("input"), str) and row["input"]:
        asked = f"{asked}\n{row['input']}"
    texts = [text for exchange in history for text in exchange] + [asked, row.get("output")]
    roles = (PAPER_ROLES.user, PAPER_ROLES.assistant)
    return [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]


_SPOKEN: dict[Shape, Callable[[Any, Place], Any]] = {
    "smilechat": _bare,
    "jsonl": _under_dialogue,
    "messages": _messages,
    "sharegpt": _conversations,
    "alpaca": _alpaca,
}


def has_numbered_files(folder: Path) -> bool:
    with _legible(folder), os.scandir(folder) as entries:
        return any(NUMBERED.fullmatch(entry.name) for entry in entries)


def _numbered_files(folder: Path) -> list[tuple[int, str]]:
    """`N.json` in the order of their numbers; files of other names are no part of such a corpus."""
    with _legible(folder):
        found = map(NUMBERED.fullmatch, os.listdir(folder))  # noqa: PTH208 - names are enough
    return sorted((int(match[1]), match[0]) for match in found if match)


def folder_records(folder: Path) -> Iterator[Record]:
    """Of a folder of `N.json`, with the row ids of its `index.jsonl` where it has one."""
    ids = _index(folder / INDEX)
    start = os.path.join(folder, "")  # noqa: PTH118 - a `Path` a file costs as much as reading it
    for number, name in _numbered_files(folder):
        place = Place(start + name)
        row = _loads(_bytes(place.file), place)
        spoken = row["dialogue"] if isinstance(row, dict) and "dialogue" in row else row
        if not isinstance(spoken, list):
            raise place.error(f"is {_json_name(spoken)}, not a list of utterances", OPENS)
        row_id, source_id = ids.get(name) or ("", "")
        yield Record(row_id or str(number), source_id, None, _dialogue(spoken, place), index=number)


@contextmanager
def _legible(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CorpusError(f"cannot be read: {error.strerror}", file=str(path)) from None


def _index(path: Path) -> dict[str, tuple[str, str]]:
    """Row id and source id by file name."""
    if not path.exists():
        return {}
    ids = {}
    for place, entry in lines(path):
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            raise place.error("names no file", "An index has lines {file, id, questionID}.")
        ids[entry["file"]] = (_text(entry, "id", place), _text(entry, "questionID", place))
    return ids


def lines(path: Path) -> Iterator[Row]:
    """Of a JSONL file, compressed or not; empty lines are passed over."""
    for number, line in enumerate(_raw_lines(path), 1):
        if line.strip():
            place = Place(str(path), number)
            yield place, _loads(line, place)


def whole(path: Path) -> Iterator[Row]:
    """Of one JSON document: a dialogue, a row, or an array of rows, which is read into memory as a whole."""
    file = Place(str(path))
    document = _loads(b"".join(_raw_lines(path)), file)
    if isinstance(document, list) and not _is_dialogue(document):
        for number, row in enumerate(document, 1):
            yield Place(str(path), number), row
    else:
        yield Place(str(path), 1), document


def _is_dialogue(listed: list[Any]) -> bool:
    return bool(listed) and isinstance(listed[0], dict) and {"role", "content"} <= listed[0].keys()


def is_jsonl(path: Path) -> bool:
    """By its name; else whether its first line is a JSON value and another line follows."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson")):
        return True
    full = (line for line in _raw_lines(path) if line.strip())
    try:
        orjson.loads(next(full, b""))
    except orjson.JSONDecodeError:
        return False
    return next(full, None) is not None


def parquet_rows(paths: Iterable[Path]) -> Iterator[Row]:
    """Row by row, in the files' order."""
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError:
        raise MissingExtraError("Reading Parquet", "parquet") from None
    for path in paths:
        try:
            with ParquetFile(path) as file:
                number = 0
                columns = _needed(file.schema_arrow.names)
                for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
                    for row in batch.to_pylist():
                        number += 1
                        yield Place(str(path), number), row
        except (ArrowInvalid, OSError) as error:
            raise CorpusError("is no Parquet file, or is cut off", file=str(path), hint=OPENS) from error


def _needed(columns: list[str]) -> list[str]:
    """Not the same dialogue twice, which takes most of the time: a dataset folder has it as `messages`, too."""
    return [name for name in columns if name not in _HEADS or name == "dialogue" or "dialogue" not in columns]


def _loads(data: bytes, place: Place) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        at = f"line {error.lineno}, " if place.row is None else ""
        raise place.error(f"is no JSON at {at}column {error.colno}", OPENS) from None


def _bytes(path: str) -> bytes:
    """A small file in three calls to the system: `open` takes seven, and there are 55,165 files."""
    with _legible(path):
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            data = piece = os.read(handle, _PIECE)
            while len(piece) == _PIECE:
                piece = os.read(handle, _PIECE)
                data += piece
        finally:
            os.close(handle)
    return data.removeprefix(codecs.BOM_UTF8)


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with _opened(path) as file:
            first = file.readline().removeprefix(codecs.BOM_UTF8)
            if first:
                yield first
            yield from file
    except EOFError:
        raise CorpusError("the compressed file is cut off", file=str(path), hint="Copy it again, whole.") from None
    except (OSError, zlib.error) as error:  # BadGzipFile is an OSError
        why = getattr(error, "strerror", None) or "the compressed file is damaged"
        raise CorpusError(f"cannot be read: {why}", file=str(path)) from None


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")
