"""A table as a value, for the page, for CSV and for JSON."""

import csv
import io
import math
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "code", "count", "number", "amount", "usd", "share"]
Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Column:
    """`key` names it in files and, in the reader's language, on the page. A `code` is one of the package's words
    (`too-few-turns`), a `share` lies in 0 to 1, `digits` stand behind the point on the page (files hold all), of an
    `amount` only where it is no whole number."""

    key: str
    kind: Kind = "count"
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def as_json(self) -> dict[str, Any]:
        columns = [{"key": one.key, "kind": one.kind, "digits": one.digits} for one in self.columns]
        return {"name": self.name, "columns": columns, "rows": [[_number(cell) for cell in row] for row in self.rows]}

    def records(self) -> list[dict[str, Any]]:
        """One object a row."""
        return [
            {column.key: _number(cell) for column, cell in zip(self.columns, row, strict=True)} for row in self.rows
        ]

    def csv(self) -> str:
        """With a header line. A cell that a spreadsheet would take for a formula is led by an apostrophe."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.key for column in self.columns])
        writer.writerows([[_plain(cell) for cell in row] for row in self.rows])
        return out.getvalue()


def _plain(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else _number(cell)


def _number(cell: Cell) -> Cell:
    """JSON knows no nan: what is not known is null."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
