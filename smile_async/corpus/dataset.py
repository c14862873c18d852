"""A dataset folder as Hugging Face and LLaMA-Factory read it: Parquet by split, a card, `dataset_info.json`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from smile_async.corpus.card import COLUMNS, Card, Making, card_text
from smile_async.corpus.folder import whole_folder
from smile_async.corpus.formats import PAPER_ROLES, ExportReport, Record, RoleMap, exchange, report_of
from smile_async.corpus.language import LOOKED_AT, Letters
from smile_async.corpus.splits import SPLITS, Shares, Split, question_of, split_questions
from smile_async.corpus.statistics import corpus_statistics
from smile_async.errors import MissingExtraError, UsageError
from smile_async.filing import whole_file

USUAL_SHARES = Shares()
ROWS_AT_ONCE = 2_048  # rows of a Parquet row group, which are in memory while they are gathered


@dataclass(frozen=True, slots=True)
class Described:
    """What the card says that the dialogues do not. `language` None: that of the run's recipe, else zh or en by the
    characters."""

    license: str = "unknown"
    language: str | None = None
    making: Making | None = None


def write_dataset(
    records: Iterable[Record],
    out: str | Path,
    *,
    shares: Shares = USUAL_SHARES,
    described: Described = Described(),
    roles: RoleMap = PAPER_ROLES,
    system_prompt: str | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write the folder `out` for `datasets.load_dataset`.

    `records` are read twice, so they must be a list or a `Corpus`, no iterator; memory does not grow with their texts.
    `system_prompt` goes into `messages`. Needs the extra `parquet`.
    """
    if iter(records) is records:
        raise UsageError("Records are read twice here, and an iterator can be read once.", hint="Hand over a list.")
    path = Path(out)
    survey = _survey(records)
    if not survey.rows:
        raise UsageError(
            f"No dialogue is there to be written to {path}.", hint="smile status RUN says what was accepted."
        )
    parts = split_questions(survey.rows, shares)
    with whole_folder(path, overwrite=overwrite) as folder:
        (folder / "data").mkdir(mode=0o700)
        writing = _Writing(parts, survey.columns(), roles, system_prompt)
        with _Files(folder / "data", writing.columns) as files:
            found = corpus_statistics(writing.through(records, files), roles)
        rows: dict[str, int] = {split: writing.rows[split] for split in SPLITS if writing.rows[split]}
        card = Card(
            name=path.name,
            language=described.language or (described.making.language if described.making else survey.language),
            license=described.license,
            roles=roles,
            rows=rows,
            columns=writing.columns,
            found=found,
            crisis=writing.counts["crisis"] if "crisis" in writing.columns else None,
            labelled=writing.counts["labelled"],
            by_question=not writing.counts["unknown_question"],
            making=described.making,
        )
        with whole_file(folder / "README.md") as file:
            file.write(card_text(card).encode())
        with whole_file(folder / "dataset_info.json") as file:
            info = _dataset_info(path.name, rows)
            file.write(orjson.dumps(info, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return report_of(writing.counts, splits=rows)


@dataclass(slots=True)
class _Survey:
    """What has to be known before the first row is written."""

    rows: Counter[bytes] = field(default_factory=Counter)  # by question
    filled: set[str] = field(default_factory=set)  # columns that not every corpus has
    language: str = "en"

    def columns(self) -> tuple[str, ...]:
        optional = {"question", "description", "answer", "answer_index", "topic", "topics", "crisis"}
        return tuple(name for name in COLUMNS if name not in optional or name in self.filled)


def _survey(records: Iterable[Record]) -> _Survey:
    survey, read, letters = _Survey(), 0, Letters()
    for record in records:
        if not record.dialogue.utterances:
            continue
        survey.rows[question_of(record)] += 1
        if record.pair is not None:
            survey.filled |= {"question", "description", "answer", "answer_index"}
        if record.topic:
            survey.filled.add("topic")
        if record.crisis is not None or record.topics:
            survey.filled |= {"topics", "crisis"}
        if read < LOOKED_AT:
            read += 1
            for one in record.dialogue.utterances:
                letters.add(one.content)
    survey.language = letters.language
    return survey


@dataclass(slots=True)
class _Writing:
    """Records on their way into the files, counted."""

    parts: Mapping[bytes, Split]
    columns: tuple[str, ...]
    roles: RoleMap
    system_prompt: str | None
    rows: Counter[str] = field(default_factory=Counter)  # by split
    counts: Counter[str] = field(default_factory=Counter)

    def through(self, records: Iterable[Record], files: "_Files") -> Iterator[Record]:
        for record in records:
            if not record.dialogue.utterances:
                self.counts["skipped:empty"] += 1
                continue
            split = self.parts.get(question_of(record), "train")  # (a run that goes on has rows that were not there)
            files.put(split, self._row(record))
            self.rows[split] += 1
            self.counts["written"] += 1
            self.counts["crisis"] += record.crisis is True
            self.counts["labelled"] += record.crisis is not None
            self.counts["unknown_question"] += record.pair is None and not record.source_id
            yield record

    def _row(self, record: Record) -> dict[str, Any]:
        values: dict[str, Any] = {
            "id": record.row_id,
            "questionID": record.source_id,
            "topic": record.topic,
            "topics": record.topics,
            "crisis": record.crisis,
            "flags": record.flags,
            "turns": record.dialogue.turns,
            "dialogue": [{"role": one.role, "content": one.content} for one in record.dialogue.utterances],
            "messages": self._messages(record),
        }
        if record.pair is not None:
            values |= record.pair.model_dump(include={"question", "description", "answer", "answer_index"})
        return {name: values.get(name) for name in self.columns}

    def _messages(self, record: Record) -> Sequence[Mapping[str, str]]:
        shaped = exchange(record.dialogue, self.roles)
        if isinstance(shaped, str):
            self.counts["without_exchange"] += 1
            return []
        self.counts.update(shaped.changes)
        return shaped.messages(self.system_prompt)


class _Files:
    """One Parquet file a split (mode 0600), begun with its first row."""

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        try:
            import pyarrow as pa
        except ModuleNotFoundError:
            raise MissingExtraError("A dataset folder", "parquet") from None
        self._arrow: Any = pa
        spoken = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
        types = {"answer_index": pa.int32(), "turns": pa.int32(), "crisis": pa.bool_(), "dialogue": spoken,
                 "messages": spoken, "flags": pa.list_(pa.string()),
                 "topics": pa.list_(pa.string())}  # fmt: skip
        self._schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
        self._folder = folder
        self._writers: dict[Split, Any] = {}
        self._waiting: dict[Split, list[Mapping[str, Any]]] = {split: [] for split in SPLITS}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failed: object) -> None:
        with self._stack:
            if failed[0] is None:
                for split in SPLITS:
                    self._flush(split)

    def put(self, split: Split, row: Mapping[str, Any]) -> None:
        self._waiting[split].append(row)
        if len(self._waiting[split]) >= ROWS_AT_ONCE:
            self._flush(split)

    def _flush(self, split: Split) -> None:
        if rows := self._waiting[split]:
            self._writer(split).write_table(self._arrow.Table.from_pylist(rows, schema=self._schema))
            rows.clear()

    def _writer(self, split: Split) -> Any:
        if split not in self._writers:
            from pyarrow.parquet import ParquetWriter

            file = self._stack.enter_context(whole_file(self._folder / f"{split}-00000-of-00001.parquet"))
            writer = ParquetWriter(file, self._schema, compression="zstd")
            self._writers[split] = self._stack.enter_context(writer)
        return self._writers[split]


def _dataset_info(name: str, splits: Iterable[str]) -> dict[str, Any]:
    """LLaMA-Factory's entries: the training part under the folder's name, others under theirs."""
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "system_tag": "system"}  # fmt: skip
    return {
        name if split == "train" else f"{name}_{split}": {
            "file_name": f"data/{split}-00000-of-00001.parquet",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": tags,
        }
        for split in splits
    }
