"""A report as tables for people, and its outputs as text: JSON, CSV, Markdown, and tables for a terminal.

There is one section for each kind of figure, so that each table fits a terminal. A section is left out if it has no
data, and so is a row of a section, or a column.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.text import Text

from exporter.messages import printable
from exporter.metrics.quantile import approximate
from exporter.replay.terminal import Section, print_section
from exporter.report.build import Report

#: The title of each section, and its columns: heading, figure, and the key inside of the figure; or, for a number, the
#: figure that contains it.
_SECTIONS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Requests",
        (
            ("requests", "requests", ""),
            ("failed", "failed_requests", "requests"),
            ("5xx", "server_errors", "requests"),
            ("p50", "duration", "p50"),
            ("p95", "duration", "p95"),
            ("p99", "duration", "p99"),
        ),
    ),
    ("Runs", (("runs", "runs", ""), ("failed", "failed_runs", "runs"))),
    ("Errors in the logs", (("errors", "errors", ""),)),
    ("Time to the first token", tuple((name, "time_to_first_token", name) for name in ("p50", "p95", "p99"))),
    (
        "Tokens and cost",
        (
            ("input", "input_tokens", ""),
            ("output", "output_tokens", ""),
            ("unsplit", "unsplit_tokens", ""),
            ("unpriced", "unpriced_tokens", ""),
            ("cost", "cost", ""),
        ),
    ),
)

#: The first column of a section is compared with the span before, and so is the cost.
_COMPARED = ("requests", "runs", "errors", "cost")

_FAILURES = {"failed_requests": "requests", "failed_runs": "runs", "errors": "errors in the log"}

#: The title of the section on the reasons of failures.
FAILURES = "Why they failed"


def sections(report: Report) -> list[Section]:
    """The sections that have data. The last row of each is the sum of all rows, if there are several."""
    rows = [*report["rows"]]
    if len(rows) > 1:
        rows.append({**dict.fromkeys(label_names(report), ""), "": "all", **report["totals"]})
    found = [*(_section(report, rows, title, columns) for title, columns in _SECTIONS), _failures(report)]
    return [each for each in found if each is not None]


def _failures(report: Report) -> Section | None:
    """Why something failed, over the whole span."""
    rows = [
        [each["source"], _FAILURES[each["figure"]], each["reason"], f"{each['count']:,}{_share(each.get('share'))}"]
        + ([_changed(f"{each['previous']:,}", each["count"], each["previous"])] if "previous" in each else [])
        for each in report["failures"]
    ]
    compared = ["failed before"] if "previous" in report["totals"] else []
    return Section(FAILURES, 3, ["source", "what", "reason", "failed", *compared], rows) if rows else None


def label_names(report: Report) -> list[str]:
    """The names of the labels of each row."""
    return [*(["time"] if report["by"] != "total" else []), *report["group"]]


def _section(
    report: Report, rows: Sequence[Mapping[str, Any]], title: str, columns: Sequence[tuple[str, str, str]]
) -> Section | None:
    wanted = [column for column in columns if any(row.get(column[1]) for row in rows)]
    if not wanted:
        return None
    names = label_names(report)
    models = list(report["totals"].get("what_if", ())) if title == "Tokens and cost" else []
    shown = [row for row in rows if any(row.get(figure) for _, figure, _ in wanted)]
    headings, table = [heading for heading, _, _ in wanted], list[list[str]]()
    for row in shown:
        cells = [str(row[name]) for name in names]
        if row.get("") and cells:
            cells[0] = str(row[""])
        cells += [cell(row, figure, key) for _, figure, key in wanted]
        cells += [cell(row.get("what_if", {}), model, "") for model in models]
        cells += [_change(row, figure) for _, figure, _ in wanted if figure in _COMPARED and "previous" in row]
        table.append(cells)
    headings += [f"if {model}" for model in models]
    if "previous" in report["totals"]:
        headings += [f"{heading} before" for heading, figure, _ in wanted if figure in _COMPARED]
    return Section(title, len(names), [*names, *headings], table)


def cell(row: Mapping[str, Any], figure: str, key: str) -> str:
    """A figure of a row as text."""
    value = row.get(figure)
    if value is None:
        return ""
    if isinstance(value, dict) and key:
        return approximate(value[key])
    if key:
        return f"{value:,}{_share(value / row[key] if row.get(key) else None)}"
    if isinstance(value, dict):
        return "\n".join(f"{amount(each)} {code}" for code, each in value.items())
    return f"{value:,}"


def amount(text: str) -> str:
    """An amount of money for people: two digits behind the point, or three significant ones below a cent."""
    value = Decimal(text)
    return f"{value:,.2f}" if not value or value >= Decimal("0.01") else f"{value:.3g}"


def _change(row: Mapping[str, Any], figure: str) -> str:
    """The figure of the span before, and by how much it has changed."""
    before = row["previous"].get(figure)
    text = cell(row["previous"], figure, "")
    values = [row.get(figure), before]
    if figure == "cost":
        values = [Decimal(next(iter(each.values()))) if each and len(each) == 1 else None for each in values]
    return _changed(text, *values)


def _changed(text: str, value: Any, before: Any) -> str:
    if value is None or not before:
        return text
    change = f"{float(value) / float(before) - 1:+.0%}"
    return f"{text} ({'±0%' if change in ('+0%', '-0%') else change})"


def _share(share: float | None) -> str:
    if not share:
        return ""
    return f" ({share:.0%})" if share >= 0.0995 else f" ({share:.1%})" if share >= 0.0005 else " (<0.1%)"


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
            # Spreadsheets run a text that begins like a formula, and a model's name comes from a log.
            is_formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@")
            yield prefix + name, f"'{value}" if is_formula else value


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
