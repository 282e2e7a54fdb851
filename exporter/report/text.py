"""The outputs of a report as text: JSON, CSV, Markdown, and tables for a terminal."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from exporter.messages import printable
from exporter.replay.terminal import print_section
from exporter.report.build import Report
from exporter.report.sections import label_names, sections

#: The width of tables that are written into a file or a pipe.
_WIDTH = 80

_NOTHING = "Nothing was counted in this span."


def as_json(report: Report) -> str:
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def as_csv(report: Report) -> str:
    """One line per row. Figures with several values have one column each, such as `cost_USD` and `duration_p95`."""
    rows = [dict(_flat(row)) for row in report["rows"]]
    columns = dict.fromkeys(label_names(report) + [name for row in rows for name in row])
    file = io.StringIO()
    writer = csv.DictWriter(file, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}_")
        else:
            yield prefix + name, _without_formula(value)


def _without_formula(value: Any) -> Any:
    """Spreadsheets run a text that begins like a formula, and a model's name comes from a log."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def as_markdown(report: Report) -> str:
    found = sections(report)
    parts = [f"# {title(report)}\n", *([] if found else [f"{_NOTHING}\n"])]
    for section in found:
        lines = [section.columns, ["---"] * section.labels + ["---:"] * (len(section.columns) - section.labels)]
        lines += [[_markdown(cell) for cell in row] for row in section.rows]
        parts.append(f"## {section.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    if report["incomplete"]:
        parts.append("## Incomplete\n\n" + "\n".join(f"* {_markdown(each)}" for each in report["incomplete"]) + "\n")
    return "\n".join(parts)


def _markdown(text: str) -> str:
    return printable(text.replace("\n", ", ")).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def title(report: Report) -> str:
    """The title of a report for people: its span and its time zone."""
    since, until = (
        str(report[name] or "").removesuffix(":00:00")[:16].removesuffix("T00:00") for name in ("since", "until")
    )
    if not since and not until:
        return "Dify report: nothing was counted"
    return f"Dify report, {since or 'beginning'} to {until or 'now'} ({report['timezone']})"


def show(report: Report, width: int | None) -> str:
    """Tables for a terminal of a width in characters; None for a file or a pipe."""
    file = io.StringIO()
    console = Console(file=file, width=width or _WIDTH, no_color=True, highlight=False)
    console.print(Text(title(report)))
    found = sections(report)
    if not found:
        console.print(_NOTHING)
    for section in found:
        print_section(console, section, may_stack=width is not None)
    for sentence in report["incomplete"]:
        console.print(Text(f"incomplete: {printable(sentence)}"))
    return file.getvalue()
