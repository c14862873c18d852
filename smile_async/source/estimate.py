"""About how many rows a file holds, without parsing them: at memory speed, for progress and plans."""

import csv
import gzip
from collections.abc import Iterator
from itertools import islice

from smile_async.source.files import Broken, SourceFile, lines
from smile_async.source.rows import ColumnMapping, RowProblem

SAMPLE = 1 << 20  # bytes
PIECE = 1 << 22  # bytes


def estimate_rows(file: SourceFile, format_name: str, columns: ColumnMapping) -> int | None:
    """Exact for Parquet and for JSONL of one row a line. None when the file cannot be read."""
    try:
        if format_name == "parquet":
            return _parquet_rows(file)
        sample = _sample(file)
        marker = b"\n" if format_name in {"csv", "tsv"} else _marker(sample, format_name, columns)
        if file.compressed:
            return _by_share(file, sample, marker)
        marks = _count(file, marker)
    except (Broken, OSError):
        return None
    is_table = format_name in {"csv", "tsv"}
    return max(0, round(marks * _rows_a_line(sample)) - 1) if is_table else marks


def _parquet_rows(file: SourceFile) -> int | None:
    """Rows of the table; a question with a list of answers counts once."""
    from pyarrow import ArrowException, parquet

    try:
        return int(parquet.read_metadata(file.path).num_rows)
    except ArrowException:
        return None


def _sample(file: SourceFile) -> bytes:
    return b"".join(islice(file.chunks(SAMPLE), 1))


def _marker(sample: bytes, format_name: str, columns: ColumnMapping) -> bytes:
    """What occurs once a row: the key of the answer, or in JSONL of flat rows a line break."""
    listed = b'"answer_text"'
    if listed in sample and columns.answer is None:
        return listed
    if format_name == "jsonl":
        return b"\n"
    key = listed if listed in sample else b'"' + (columns.answer or "answer").encode() + b'"'
    return key.replace(b"\n", b"")


def _count(file: SourceFile, marker: bytes) -> int:
    """Occurrences of `marker`, borders of pieces included; a last line counts without its break."""
    total, tail = 0, b""
    keep = len(marker) - 1
    for piece in file.chunks(PIECE):
        total += piece.count(marker)
        if keep:
            total += (tail + piece[:keep]).count(marker)
        tail = piece[-max(1, keep) :]
    return total + (marker == b"\n" and tail != b"\n")


def _by_share(file: SourceFile, sample: bytes, marker: bytes) -> int:
    """Rows in the first megabyte, by the share of the compressed file that it took."""
    size = file.path.stat().st_size
    with file.path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
        stream.read(len(sample))
        share = min(1.0, raw.tell() / size)
    return round(sample.count(marker) * (_rows_a_line(sample) if marker == b"\n" else 1) / share)


def _rows_a_line(sample: bytes) -> float:
    """A CSV text may go over several lines."""
    whole = sample[: sample.rfind(b"\n") + 1]
    breaks = whole.count(b"\n")
    if not breaks or b'"' not in whole:
        return 1.0
    try:
        return sum(1 for _ in csv.reader(_decoded(whole))) / breaks
    except csv.Error:
        return 1.0


def _decoded(sample: bytes) -> Iterator[str]:
    for _, line in lines(iter([sample])):
        if not isinstance(line, RowProblem):
            yield line.decode(errors="replace")
