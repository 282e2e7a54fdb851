"""The result of a replay, as plain data for JSON and as tables for the terminal."""

from decimal import Decimal
from typing import Any

from rich.console import Console

from exporter import catalogue as c
from exporter.ledger.series import Labels
from exporter.ledger.snapshot import Snapshot
from exporter.metrics.quantile import approximate, counted, merged, quantiles
from exporter.replay.terminal import Section, print_section
from parsers.values.http import status_class_of

Summary = dict[str, dict[str, Any]]

#: The largest number of rows of a table: a row takes a millisecond, and a flood of labels can fill several metrics.
_MOST_ROWS = 100


def summarise(snapshot: Snapshot) -> Summary:
    """Per source: lines by outcome, requests, usage, runs, invocations and errors.

    Quantiles are in seconds, within 5 % of exact. They are in the rows of the counters if the histogram has the same
    labels. Otherwise the histogram has a section of its own.
    """
    summary: Summary = {}
    for (source, outcome), count in snapshot.counters[c.LINES].items():
        summary.setdefault(source, {"lines": {}})["lines"][outcome] = count
    for source, found in summary.items():
        found["unparsed"] = _counts(snapshot, c.UNPARSED_LINES, source)
        found["requests"] = _requests(snapshot, source)
        found["usage"] = _usage(snapshot, source)
        found["runs"] = _rows(snapshot, c.RUNS, source)
        found["tasks"] = _rows(snapshot, c.TASKS, source)
        found["invocations"] = _rows(snapshot, c.MODEL_INVOCATIONS, source)
        for _, section, metric, labels in _DURATIONS:
            found[section] = _durations(snapshot, metric, labels, source)
        found["failed_requests"] = _rows(snapshot, c.FAILED_REQUESTS, source, "requests")
        found["dropped_values"] = _counts(snapshot, c.DROPPED_VALUES, source)
        found["errors"] = _counts(snapshot, c.ERRORS, source)
    return summary


def show(summary: Summary, console: Console) -> None:
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
            rows: Any = found[section]
            if isinstance(rows, dict):
                rows = [dict(zip(columns, item, strict=True)) for item in rows.items()]
            if rows:
                print_section(console, _section(title, columns, rows))
            if (left_out := len(rows) - _MOST_ROWS) > 0:
                sentence = f"and {left_out:,} more rows with smaller counts: --output json has all of them"
                console.print(sentence, highlight=False)


def cardinality(snapshot: Snapshot) -> str:
    """The number of label sets per metric, largest first, and the observations that the caps turned into `other`."""
    sizes = {m.name: len(series) for kind in (snapshot.counters, snapshot.histograms) for m, series in kind.items()}
    shown = sorted((item for item in sizes.items() if item[1] and "_exporter_" not in item[0]), key=lambda i: -i[1])
    folded = sorted(snapshot.counters[c.FOLDED_OBSERVATIONS].items())
    beyond = ", ".join(f"{count:,} observations of {name}" for (name,), count in folded if count)
    sizes_shown = ", ".join(f"{name} has {size:,}" for name, size in shown) or "none"
    return f"{sizes_shown}; above the caps of [limits], counted as other: {beyond}" if beyond else sizes_shown


_QUANTILES = ("p50", "p95", "p99")

#: Title, section, metric and labels of the tables of durations. A label that is not named is summed over.
_DURATIONS = (
    ("Durations in Dify's own access line, which measures a stream only until it starts", "handler_durations",
     c.HANDLER_DURATION, ("route",)),
    ("Times to the first byte", "first_bytes", c.TIME_TO_FIRST_BYTE, ("route",)),
    ("Times to the first token", "first_tokens", c.TIME_TO_FIRST_TOKEN, ("app_id", "model")),
    ("Durations of runs", "run_durations", c.RUN_DURATION, ("kind", "app_id")),
    ("Durations of workflow nodes", "node_durations", c.NODE_RUN_DURATION, ("node_type",)),
    ("Durations of Celery tasks", "task_durations", c.TASK_DURATION, ("task",)),
    ("Durations of model and tool calls", "invocation_durations", c.MODEL_INVOCATION_DURATION, ("operation",)),
)  # fmt: skip

_TABLES = (
    ("Requests", "requests", ("route", "status", "requests", *_QUANTILES)),
    ("Failed requests", "failed_requests", ("route", "reason", "requests")),
    ("Tokens and cost", "usage", ("app_id", "provider", "model", "input", "output", "unsplit", "cost")),
    ("Runs", "runs", ("kind", "app_id", "status", "count")),
    ("Celery tasks", "tasks", ("task", "status", "count")),
    ("Model and tool calls", "invocations", ("operation", "status_code", "count")),
    *((title, section, (*labels, "count", *_QUANTILES)) for title, section, _, labels in _DURATIONS),
    ("Errors", "errors", ("kind", "count")),
    ("Dropped values", "dropped_values", ("field", "count")),
)


def _section(title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> Section:
    """The table of some rows; of many rows those with the largest counts."""
    if len(rows) > _MOST_ROWS:
        sizes = [sum(value for value in row.values() if isinstance(value, int)) for row in rows]
        largest = sorted(range(len(rows)), key=lambda number: -sizes[number])[:_MOST_ROWS]
        rows = [rows[number] for number in sorted(largest)]
    known = [column for column in columns if any(row.get(column) is not None for row in rows)]
    labels = sum(any(isinstance(row.get(column), str) for row in rows) for column in known)
    return Section(title, labels, known, [[_cell(row.get(column)) for column in known] for row in rows])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return approximate(value)
    if isinstance(value, dict):
        return ", ".join(f"{amount} {currency}" for currency, amount in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _counts(snapshot: Snapshot, metric: c.Metric, source: str) -> dict[str, int]:
    values = sorted(snapshot.counters[metric].items())
    return {labels[1]: int(count) for labels, count in values if labels[0] == source and count}


def _requests(snapshot: Snapshot, source: str) -> list[dict[str, Any]]:
    """Rows by route and status class, with the quantiles of whole requests. Without a count they are only timed."""

    def route_and_class(labels: Labels) -> tuple[str, str] | None:
        name, _, route, status_code = labels
        return (route, status_class_of(status_code)) if name == source else None

    numbers = counted(snapshot, c.REQUESTS, route_and_class)
    durations = merged(snapshot, c.REQUEST_DURATION, route_and_class)
    rows = [
        {"route": route, "status": status, "requests": numbers[route, status] or None}
        | quantiles(durations.get((route, status), {}))
        for route, status in sorted({*numbers, *durations})
    ]
    return sorted(rows, key=lambda row: -(row["requests"] or 0))


def _usage(snapshot: Snapshot, source: str) -> list[dict[str, Any]]:
    rows: dict[Labels, dict[str, Any]] = {}

    def row(*model: str) -> dict[str, Any]:
        return rows.setdefault(model, dict(zip(("app_id", "provider", "model"), model, strict=True)))

    for (name, *model, token_type), tokens in snapshot.counters[c.TOKENS_USED].items():
        if name == source:
            row(*model)[token_type] = int(tokens)
    for (name, *model, currency, _), cost in snapshot.counters[c.COST].items():
        if name == source:
            costs = row(*model).setdefault("cost", {})
            costs[currency] = f"{(cost + Decimal(costs.get(currency, 0))).normalize():f}"
    return [rows[key] for key in sorted(rows)]


def _rows(snapshot: Snapshot, counter: c.Metric, source: str, counted: str = "count") -> list[dict[str, Any]]:
    return [
        dict(zip(counter.labels[1:], labels[1:], strict=True)) | {counted: int(count)}
        for labels, count in sorted(snapshot.counters[counter].items())
        if labels[0] == source and count
    ]


def _durations(snapshot: Snapshot, metric: c.Metric, names: tuple[str, ...], source: str) -> list[dict[str, Any]]:
    places = [metric.labels.index(name) for name in names]

    def group_of(labels: Labels) -> Labels | None:
        return tuple(labels[place] for place in places) if labels[0] == source else None

    rows = [
        dict(zip(names, group, strict=True)) | {"count": sum(counts.values())} | quantiles(counts)
        for group, counts in sorted(merged(snapshot, metric, group_of).items())
    ]
    return sorted(rows, key=lambda row: -row["count"])
