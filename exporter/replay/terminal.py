"""Tables that stay readable on a narrow terminal."""

from collections.abc import Iterable, Sequence

from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

#: The number of columns of a terminal below which a table that does not fit is printed row by row.
_NARROW = 100
#: More columns than any table needs.
_UNLIMITED = 10_000

#: The labels of a row, and its figures, each with its name.
Row = tuple[Sequence[str], Sequence[str]]


def print_table(console: Console, table: Table, rows: Iterable[Row]) -> None:
    """Print a table. If it does not fit into a narrow terminal, print `rows` instead, one below the other."""
    natural = console.measure(table, options=console.options.update(max_width=_UNLIMITED)).maximum
    if console.width >= _NARROW or natural <= console.width:
        console.print(table)
        return
    console.print(Text(str(table.title), table.title_style or "italic"))
    for labels, figures in rows:
        console.print(Text("  ".join(labels)), overflow="fold")
        console.print(Padding(Columns(map(Text, figures), padding=(0, 2)), (0, 0, 0, 2)), highlight=False)
