"""The result of a replay, as plain data for JSON and as tables for the terminal."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import groupby
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exporter import catalogue as c
from exporter.ledger.ledger import Snapshot
from exporter.ledger.series import Labels
from exporter.metrics.quantile import quantile

Summary = dict[str, dict[str, Any]]

#: The number of columns of a terminal below which a table that does not fit is printed row by row.
_NARROW = 100
#: More columns than any table needs.
_UNLIMITED = 10_000


def summarise(snapshot: Snapshot) -> Summary:
    """Per source: lines by outcome, requests, usage, runs, invocations and errors. Durations are in seconds."""
    summary: Summary = {}
    for (source, outcome), count in snapshot.counters[c.LINES].items():
        summary.setdefault(source, {"lines": {}})["lines"][outcome] = count
    for source, found in summary.items():
        found["unparsed"] = _counts(snapshot, c.UNPARSED_LINES, source)
        found["requests"] = _requests(snapshot, source)
        found["usage"] = _usage(snapshot, source)
        found["runs"] = _timed(snapshot, c.RUNS, c.RUN_DURATION, source)
        found["tasks"] = _timed(snapshot, c.TASKS, c.TASK_DURATION, source)
        found["invocations"] = _timed(snapshot, c.MODEL_INVOCATIONS, c.MODEL_INVOCATION_DURATION, source)
        found["failed_requests"] = _failed(snapshot, source)
        found["dropped_values"] = _counts(snapshot, c.DROPPED_VALUES, source)
        found["errors"] = _counts(snapshot, c.ERRORS, source)
    return summary


def show(summary: Summary, console: Console) -> None:
    """Print all tables that are not empty."""
    for source, found in summary.items():
        lines = found["lines"]
        console.rule(f"[bold]{source}[/]")
        console.print(
            f"{sum(lines.values()):,} lines: "
            + ", ".join(f"{count:,} {outcome}" for outcome, count in lines.items())
            + "".join(f" ({reason}: {count:,})" for reason, count in found["unparsed"].items())
        )
        if times := found.get("times"):
            console.print(f"events from {times['first']} to {times['last']}", highlight=False)
        for title, section, columns in _TABLES:
            if found[section]:
                _print(console, title, columns, found[section])


def cardinality(snapshot: Snapshot) -> str:
    """The number of series per metric, largest first, and the observations that the caps turned into `other`."""
    sizes = {m.name: len(series) for kind in (snapshot.counters, snapshot.histograms) for m, series in kind.items()}
    shown = sorted((item for item in sizes.items() if item[1] and "_exporter_" not in item[0]), key=lambda i: -i[1])
    folded = sorted(snapshot.counters[c.FOLDED_OBSERVATIONS].items())
    beyond = ", ".join(f"{count:,} observations of {name}" for (name,), count in folded if count)
    sizes_shown = ", ".join(f"{name} {size:,}" for name, size in shown) or "none"
    return f"{sizes_shown}; above the caps of [limits], counted as other: {beyond}" if beyond else sizes_shown


_TABLES = (
    ("Requests", "requests", ("route", "status", "requests", "p50", "p95", "p99")),
    ("Failed requests", "failed_requests", ("route", "reason", "requests")),
    ("Tokens and cost", "usage", ("app_id", "provider", "model", "input", "output", "unsplit", "cost")),
    ("Runs", "runs", ("kind", "app_id", "status", "count", "p50", "p95", "p99")),
    ("Celery tasks", "tasks", ("task", "status", "count", "p50", "p95", "p99")),
    ("Model and tool calls", "invocations", ("operation", "status_code", "count", "p50", "p95", "p99")),
    ("Errors", "errors", ("kind", "count")),
    ("Dropped values", "dropped_values", ("field", "count")),
)


def _print(console: Console, title: str, columns: tuple[str, ...], rows: Any) -> None:
    if isinstance(rows, dict):
        rows = [dict(zip(columns, item, strict=True)) for item in rows.items()]
    table = Table(title=title, title_justify="left")
    for column in columns:
        numeric = any(isinstance(row.get(column), int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    natural = console.measure(table, options=console.options.update(max_width=_UNLIMITED)).maximum
    if console.width < _NARROW and natural > console.width:
        _print_stacked(console, title, columns, rows)
    else:
        console.print(table)


def _print_stacked(console: Console, title: str, columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print each row of a table that is too wide as one line of its labels, and its figures below it."""
    console.print(Text(title, "italic"))
    for row in rows:
        known = [column for column in columns if row.get(column) is not None]
        labels = [str(row[column]) for column in known if isinstance(row[column], str)]
        figures = [f"{column} {_cell(row[column])}" for column in known if not isinstance(row[column], str)]
        console.print(Text("  ".join(labels)), overflow="fold")
        console.print(Padding(Columns(figures, padding=(0, 2)), (0, 0, 0, 2)), highlight=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f} s"
    if isinstance(value, dict):
        return ", ".join(f"{amount} {currency}" for currency, amount in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _counts(snapshot: Snapshot, metric: c.Metric, source: str) -> dict[str, int]:
    values = snapshot.counters[metric].items()
    return {labels[1]: int(count) for labels, count in values if labels[0] == source and count}


def _failed(snapshot: Snapshot, source: str) -> list[dict[str, Any]]:
    return [
        {"route": route, "reason": reason, "requests": int(count)}
        for (name, route, reason), count in sorted(snapshot.counters[c.FAILED_REQUESTS].items())
        if name == source and count
    ]


def _requests(snapshot: Snapshot, source: str) -> list[dict[str, Any]]:
    """Rows by route and status class. The quantiles are of whole requests, or else of Dify's handler."""

    def by_route_and_class(item: tuple[Labels, Any]) -> tuple[str, str]:
        (_, _, route, status_code), _ = item
        return route, f"{status_code[0]}xx" if status_code.isdigit() else status_code

    own = [item for item in snapshot.counters[c.REQUESTS].items() if item[0][0] == source]
    rows = []
    for (route, status), group in groupby(sorted(own, key=by_route_and_class), by_route_and_class):
        items = list(group)
        whole = _quantiles(snapshot, c.REQUEST_DURATION, [labels for labels, _ in items])
        handler = _quantiles(snapshot, c.HANDLER_DURATION, [labels[:3] for labels, _ in items])
        rows.append({"route": route, "status": status, "requests": sum(n for _, n in items)} | (whole or handler))
    return sorted(rows, key=lambda row: -row["requests"])


def _usage(snapshot: Snapshot, source: str) -> list[dict[str, Any]]:
    rows: dict[Labels, dict[str, Any]] = {}
    for (name, *model, token_type), tokens in snapshot.counters[c.TOKENS_USED].items():
        if name == source:
            row = rows.setdefault(tuple(model), dict(zip(("app_id", "provider", "model"), model, strict=True)))
            row[token_type] = int(tokens)
    for (name, *model, currency, _), cost in snapshot.counters[c.COST].items():
        if name == source:
            row = rows.setdefault(tuple(model), dict(zip(("app_id", "provider", "model"), model, strict=True)))
            costs = row.setdefault("cost", {})
            costs[currency] = f"{(cost + Decimal(costs.get(currency, 0))).normalize():f}"
    return [rows[key] for key in sorted(rows)]


def _timed(snapshot: Snapshot, counter: c.Metric, histogram: c.Metric, source: str) -> list[dict[str, Any]]:
    """The rows of a counter with quantiles of its histogram.

    The histogram lacks the counter's last label, so several rows can share it; only the largest shows them.
    """
    counts = {labels: int(count) for labels, count in snapshot.counters[counter].items() if labels[0] == source}
    largest = {labels[:-1]: labels for labels in sorted(counts, key=lambda labels: counts[labels])}
    return [
        dict(zip(counter.labels[1:], labels[1:], strict=True))
        | {"count": counts[labels]}
        | (_quantiles(snapshot, histogram, [labels[:-1]]) if largest[labels[:-1]] == labels else {})
        for labels in sorted(counts)
    ]


def _quantiles(snapshot: Snapshot, metric: c.Metric, label_sets: list[Labels]) -> dict[str, float]:
    values: Mapping[Labels, list[int]] = snapshot.histograms[metric]
    found = [values[labels] for labels in dict.fromkeys(label_sets) if labels in values]
    if not found:
        return {}
    *counts, _ = (sum(column) for column in zip(*found, strict=True))
    bounds = snapshot.bounds[metric]
    named = {f"p{q}": quantile(q / 100, bounds, counts) for q in (50, 95, 99)}
    return {name: value for name, value in named.items() if value is not None}
