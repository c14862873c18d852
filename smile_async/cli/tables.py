"""Tables on stdout: for a person in a terminal, plain when piped, as Markdown and as CSV."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """Text cells, the first of each row its name. `notes` stand below it where a person reads."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def print_tables(tables: Iterable[Table]) -> None:
    """Drawn and coloured in a terminal (NO_COLOR is obeyed), else as aligned text."""
    if not sys.stdout.isatty():
        sys.stdout.write("\n".join(aligned(table) for table in tables))
        return
    from rich.console import Console
    from rich.padding import Padding

    console = Console()
    for table in tables:
        console.print(Padding(_drawn(table), (1, 2, 0, 2)))
        for note in table.notes:
            console.print(f"  {note}", style="dim", markup=False, highlight=False)
    console.print()


def _drawn(table: Table) -> Any:
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(
        title=Text(table.title), title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, header_style="dim",
        pad_edge=False,
    )  # fmt: skip
    for number, column in enumerate(table.columns):
        last_is_bar = column == ""
        drawn.add_column(Text(column), justify="left" if number == 0 or last_is_bar else "right", no_wrap=True,
                         style="cyan" if last_is_bar else "")  # fmt: skip
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    return drawn


def aligned(table: Table) -> str:
    """Columns at equal width: names to the left, numbers to the right."""
    widths = [max(map(len, cells)) for cells in zip(table.columns, *table.rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip()

    body = [f"  {line(row)}" for row in (table.columns, *table.rows)]
    return "\n".join([table.title, *body, *(f"  {note}" for note in table.notes)]) + "\n"


def markdown(table: Table) -> str:
    """A GitHub table below its title in bold; what a cell holds is text there, too."""
    from smile_async.corpus.card import escaped, markdown_table

    return f"**{escaped(table.title)}**\n\n{markdown_table(table.columns, table.rows)}\n"
