"""Sources as lazy streams of rows: PsyQA JSON, JSONL, CSV, TSV, Parquet, and QAs in memory.

A source is read again from its start each time it is iterated, synchronously and in constant memory; an engine reads it
in batches in a worker thread. Nothing is skipped in silence: a bad row stops the reading with a `SourceError` that
names file, row and field, or comes as a `BadRow` when the caller asked for that.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import orjson

from smile_async.dialogue.model import QAPair
from smile_async.errors import MissingExtraError, SourceError
from smile_async.source.arrays import LONE, read_array
from smile_async.source.estimate import estimate_rows
from smile_async.source.files import (
    ENCODING_HINT,
    Broken,
    SourceFile,
    check_array,
    check_file,
    digest,
    lines,
)
from smile_async.source.rows import USUAL_COLUMNS, BadRow, ColumnMapping, RowProblem, SourceRow, abbreviated, rows_of
from smile_async.source.shapes import Shapes

Format = Literal["json", "jsonl", "csv", "tsv", "parquet"]
_EXTENSIONS: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_PARQUET_BATCH = 512  # rows read at once


class Source(Protocol):
    """Rows in a fixed order, as often as asked."""

    @property
    def name(self) -> str:
        """For messages: the path as given, or what the rows in memory were called."""
        ...

    def __iter__(self) -> Iterator[SourceRow | BadRow]:
        """Raises `SourceError` at a bad row, unless the source was opened with `skip_bad_rows`."""
        ...

    def estimate_rows(self) -> int | None:
        """About how many rows there are, for progress; None when that cannot be told cheaply."""
        ...

    def fingerprint(self) -> dict[str, str | int]:
        """Name, size and a digest, for information: rows are identified by what they hold, not by this."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """Made by `open_source`, which checks the file first."""

    file: SourceFile
    format: Format
    columns: ColumnMapping
    skip_bad_rows: bool = False

    @property
    def name(self) -> str:
        return self.file.name

    def __iter__(self) -> Iterator[SourceRow | BadRow]:
        return _numbered(_READERS[self.format](self.file, self.columns), self.name, skip_bad_rows=self.skip_bad_rows)

    def estimate_rows(self) -> int | None:
        return estimate_rows(self.file, self.format, self.columns)

    def fingerprint(self) -> dict[str, str | int]:
        return {
            "name": self.file.path.name,
            "size": self.file.path.stat().st_size,
            "digest": digest(self.file.path),
        }


@dataclass(frozen=True, slots=True)
class MemorySource:
    """Made by `rows_from`."""

    rows: Iterable[QAPair | dict[str, Any]]
    columns: ColumnMapping
    name: str
    skip_bad_rows: bool = False

    def __iter__(self) -> Iterator[SourceRow | BadRow]:
        return _numbered(_given(self.rows, self.columns), self.name, skip_bad_rows=self.skip_bad_rows)

    def estimate_rows(self) -> int | None:
        return len(self.rows) if isinstance(self.rows, list | tuple) else None

    def fingerprint(self) -> dict[str, str | int]:
        return {"name": self.name}


def open_source(
    path: str | Path,
    *,
    format: Format | None = None,  # noqa: A002 - the word that users look for
    columns: ColumnMapping | None = None,
    skip_bad_rows: bool = False,
    encoding: str | None = None,
) -> FileSource:
    """Open a source file; JSON, JSONL, CSV and TSV may be gzipped (`.gz`).

    `format` None: by the extension, JSON and JSONL by the first character. `encoding` None: UTF-8 with or without
    byte order mark, checked. With `skip_bad_rows` a bad row comes as `BadRow`; damage after which no row can be found
    (a file cut off, a broken bracket) is an error all the same. The first row is read here, so that a wrong file or
    mapping shows before anything is spent. Raises `SourceError`; `MissingExtraError` for Parquet without pyarrow.
    """
    file = SourceFile(Path(path), str(path), encoding)
    head = check_file(file)
    source = FileSource(file, format or _detected(file, head), columns or USUAL_COLUMNS, skip_bad_rows)
    if source.format not in get_args(Format):
        raise SourceError(f"the format {source.format!r} is unknown", file=file.name, hint=_FORMAT_HINT)
    if source.format == "json":
        check_array(file, head)
    next(iter(source))
    return source


def rows_from(
    rows: Iterable[QAPair | dict[str, Any]],
    *,
    columns: ColumnMapping | None = None,
    skip_bad_rows: bool = False,
    name: str = "rows in memory",
) -> MemorySource:
    """QA pairs, or dicts of the same shapes as a JSONL file's rows, as a source.

    A list can be read as often as needed; an iterator only once, and may be endless.
    """
    return MemorySource(rows, columns or USUAL_COLUMNS, name, skip_bad_rows)


_FORMAT_HINT = f"Say which (--format, format=): {', '.join(get_args(Format))}."


def _detected(file: SourceFile, head: bytes) -> Format:
    by_extension = _EXTENSIONS.get(file.extension)
    if by_extension is not None:
        return by_extension
    if head.startswith(b"PAR1"):
        return "parquet"
    first = head.lstrip()[:1]
    if first == b"[":
        return "json"
    if first == b"{":
        return "jsonl"
    raise SourceError(
        f"neither the name nor the first character ({abbreviated(repr(head.lstrip()[:8].decode(errors='replace')))}) "
        "tells the format: a JSON array begins with '[', JSONL with '{'",
        file=file.name,
        hint=_FORMAT_HINT,
    )


def _numbered(rows: Iterator[QAPair | RowProblem], name: str, *, skip_bad_rows: bool) -> Iterator[SourceRow | BadRow]:
    index = 0
    try:
        for row in rows:
            if isinstance(row, RowProblem):
                error = row.at(name, index)
                if not skip_bad_rows:
                    raise error
                yield BadRow(index, error)
            else:
                yield SourceRow(index, row)
            index += 1
    except Broken as broken:
        raise _after(broken, name, index) from None
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}", file=name) from error
    if index == 0:
        raise SourceError("there is no row in it", file=name, hint="A source needs at least one row.")


def _after(broken: Broken, name: str, rows_before: int) -> SourceError:
    if broken.whole:
        return SourceError(broken.problem, file=name, hint=broken.hint)
    before = f"the last row before it is {rows_before}" if rows_before else "no row comes before it"
    return SourceError(f"{broken.problem} ({before})", file=name, row=rows_before + 1, hint=broken.hint)


def _given(rows: Iterable[QAPair | dict[str, Any]], columns: ColumnMapping) -> Iterator[QAPair | RowProblem]:
    for row in rows:
        if type(row) is QAPair:
            yield row
        else:
            yield from rows_of(row, columns)


def _read_jsonl(file: SourceFile, columns: ColumnMapping) -> Iterator[QAPair | RowProblem]:
    shapes = Shapes(columns)
    for number, (offset, line) in enumerate(lines(file.chunks(), file.first_byte()), start=1):
        if isinstance(line, RowProblem):
            yield line
        elif line.strip():
            item = _parsed(line, number, offset)
            if isinstance(item, RowProblem):
                if not line.endswith(b"\n") and not (item is LONE and line.rstrip().endswith(b"}")):
                    raise Broken(f"{item.problem}; no line break follows: the file is cut off", item.hint)
                yield item
            else:
                yield from shapes.pairs(item) or rows_of(item, columns)


def _parsed(line: bytes, number: int, offset: int) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _unparsed(line, error, number, offset)


def _unparsed(line: bytes, error: orjson.JSONDecodeError, number: int, offset: int) -> RowProblem:
    try:
        text = line.decode()
    except UnicodeDecodeError as bad:
        return RowProblem(f"line {number} is not UTF-8 at byte offset {offset + bad.start}", hint=ENCODING_HINT)
    if "surrogate" in error.msg:
        return LONE
    hint = "JSONL holds one JSON object a line."
    if text.strip() in {"{", "["}:
        hint += " This looks like JSON over several lines; a JSON source is one array of rows, '[{...}, {...}]'."
    return RowProblem(f"line {number} is not valid JSON: {error.msg}, column {error.colno}", hint=hint)


def _read_csv(file: SourceFile, columns: ColumnMapping) -> Iterator[QAPair | RowProblem]:
    return _read_table(file, columns, ",;\t|")  # Excel writes semicolons where the comma is decimal


def _read_tsv(file: SourceFile, columns: ColumnMapping) -> Iterator[QAPair | RowProblem]:
    return _read_table(file, columns, "\t")


def _read_table(file: SourceFile, columns: ColumnMapping, delimiters: str) -> Iterator[QAPair | RowProblem]:
    lines_ = _text_lines(file)
    first = next(lines_, "")
    delimiter = max(delimiters, key=first.count)  # the one that the header uses most; the first where none occurs
    table = csv.reader(chain([first], lines_), delimiter=delimiter, strict=True)
    try:
        header = _header(next(table, []), columns, delimiter)
        for cells in table:
            if len(cells) == len(header):
                yield from rows_of(dict(zip(header, cells, strict=True)), columns)
            elif cells:
                yield RowProblem(
                    f"{len(cells)} columns where the header has {len(header)} (line {table.line_num})",
                    hint="A text that holds a separator, a quote or a line break must stand in quotes.",
                )
    except csv.Error as error:
        raise Broken(f"line {table.line_num} is not valid CSV: {error}", _CSV_HINT) from None


_CSV_HINT = 'A quote inside a text is written twice (""); where the next row begins cannot be told after this.'


def _header(cells: list[str], columns: ColumnMapping, delimiter: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    missing = columns.missing_in(names)
    if missing is not None:
        hint = "Name other columns with a mapping such as 'question=title,answer=reply'."
        if len(names) == 1 and any(other in names[0] for other in "\t;,"):
            hint += f" The header is not separated by {delimiter!r}: is the format right (--format)?"
        raise Broken(
            f"the header has no column {missing!r}; it has: {abbreviated(', '.join(names)) or 'nothing'}",
            hint,
            whole=True,
        )
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise Broken(f"the header has the column {twice!r} twice", "Rename one of them.", whole=True)
    return names


def _text_lines(file: SourceFile) -> Iterator[str]:
    """A last line without line break may be half a row, and nothing in CSV would tell: it is refused."""
    for number, (offset, line) in enumerate(lines(file.chunks(), file.first_byte()), start=1):
        if isinstance(line, RowProblem):
            raise Broken(line.problem, line.hint)
        if not line.endswith((b"\n", b"\r")):
            raise Broken(
                f"no line break follows the last line ({number}), so that it may be cut off",
                f"If it is whole, add one: echo >> {file.name}",
            )
        try:
            yield line.decode()
        except UnicodeDecodeError as bad:
            raise Broken(f"line {number} is not UTF-8 at byte offset {offset + bad.start}", ENCODING_HINT) from None


def _read_parquet(file: SourceFile, columns: ColumnMapping) -> Iterator[QAPair | RowProblem]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtraError("Reading Parquet", "parquet") from None
    try:
        with parquet.ParquetFile(file.path) as table:
            wanted = _parquet_columns(table.schema_arrow.names, columns)
            for batch in table.iter_batches(_PARQUET_BATCH, columns=wanted):
                for item in batch.to_pylist():
                    yield from rows_of(item, columns)
    except (ArrowException, UnicodeDecodeError) as error:
        raise Broken(f"is not readable as Parquet: {abbreviated(str(error))}", "Copy or download it again.") from None


def _parquet_columns(names: list[str], columns: ColumnMapping) -> list[str]:
    """Only what is needed is decompressed."""
    missing = columns.missing_in(names)
    if missing is not None:
        raise Broken(
            f"there is no column {missing!r}; there are: {abbreviated(', '.join(names))}",
            "Name other columns with a mapping such as 'question=title,answer=reply'.",
            whole=True,
        )
    keys = ("question", "description", "answer", "id", "answer_index", "keywords")
    return [name for key in keys if (name := columns.find(key, names)) is not None]


_READERS = {
    "json": read_array,
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "tsv": _read_tsv,
    "parquet": _read_parquet,
}
