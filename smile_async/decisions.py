"""Lists that a person decides on, as CSV: thousands of entries can be sorted and filled in with a spreadsheet."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from smile_async.errors import SourceError
from smile_async.filing import whole_file

_FORMULA = ("=", "+", "-", "@", "'", "\t")  # a spreadsheet takes a cell that begins so for something other than text


def write_list(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]], *, overwrite: bool = False) -> int:
    """Write the list (UTF-8 with byte order mark, which spreadsheets need for Chinese); returns its length."""
    count = 0
    with whole_file(path, overwrite=overwrite) as out:
        text = io.TextIOWrapper(out, encoding="utf-8-sig", newline="", write_through=True)
        table = csv.writer(text)
        table.writerow(columns)
        for row in rows:
            table.writerow([_shielded(str(cell)) for cell in row])
            count += 1
        text.detach()
    return count


def read_list(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by column) of each entry. `SourceError` names the line that cannot be used."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except UnicodeDecodeError as error:
        raise SourceError(
            f"is not UTF-8 (byte offset {error.start})", file=str(path), hint="Save it as 'CSV UTF-8'."
        ) from None
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if list(table.fieldnames or []) != list(columns):
        raise SourceError(
            "is no review list: its columns are others", file=str(path), hint=f"Expected: {','.join(columns)}"
        )
    try:
        for cells in table:
            if None in cells or None in cells.values():
                raise wrong_line(path, table.line_num, "the number of columns is not that of the header")
            yield table.line_num, {name: _unshielded(cell) for name, cell in cells.items()}
    except csv.Error as error:
        raise SourceError(f"line {table.line_num} is not valid CSV: {error}", file=str(path)) from None


def wrong_line(path: Path, line: int, problem: str, hint: str = "") -> SourceError:
    return SourceError(f"line {line}: {problem}", file=str(path), hint=hint)


def _shielded(cell: str) -> str:
    """A text that begins like a formula must not be run by the spreadsheet of the person who decides."""
    cell = cell.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n")
    return "'" + cell if cell.startswith(_FORMULA) else cell


def _unshielded(cell: str) -> str:
    cell = cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell
    return re.sub(r"\\(.)", lambda found: {"r": "\r", "n": "\n"}.get(found[1], found[1]), cell)
