"""Tables for a terminal. They stay readable on a narrow one."""

from msgspec import Struct
from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exporter.messages import printable

#: The number of columns of a terminal below which a table that does not fit is printed row by row.
_NARROW = 100
#: More columns than any table needs.
_UNLIMITED = 10_000


class Section(Struct, frozen=True):
    """A table of texts. The first `labels` columns are labels, the others are figures."""

    title: str
    labels: int
    columns: list[str]
    rows: list[list[str]]


def print_section(console: Console, section: Section, *, may_stack: bool = True) -> None:
    """Print a table. If it may be stacked and does not fit into a narrow terminal, print one row below the other."""
    table = Table(title=section.title, title_justify="left", title_style="bold")
    for number, column in enumerate(section.columns):
        table.add_column(Text(column), justify="left" if number < section.labels else "right", overflow="fold")
    for number, row in enumerate(section.rows):
        is_before_sum = number == len(section.rows) - 2 and section.rows[-1][:1] == ["all"]
        texts = ("\n".join(map(printable, cell.split("\n"))) for cell in row)
        table.add_row(*map(Text, texts), end_section=is_before_sum)
    natural = console.measure(table, options=console.options.update(max_width=_UNLIMITED)).maximum
    if not may_stack or console.width >= _NARROW or natural <= console.width:
        console.print(table)
        return
    console.print(Text(section.title, "bold"))
    for row in section.rows:
        cells = [printable(cell.replace("\n", ", ")) for cell in row]
        figures = zip(section.columns[section.labels :], cells[section.labels :], strict=True)
        shown = [Text(f"{column} {cell}") for column, cell in figures if cell]
        console.print(Text("  ".join(filter(None, cells[: section.labels]))), overflow="fold")
        console.print(Padding(Columns(shown, padding=(0, 2)), (0, 0, 0, 2)), highlight=False)
