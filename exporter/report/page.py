"""A report as one HTML document: no script, no network, readable in light and dark and on paper.

Its stacked bar charts are coordinates for SVG, which the template draws.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib.resources import files
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from exporter import __version__
from exporter.report.build import Report
from exporter.report.text import FAILURES, amount, cell, sections, title

if TYPE_CHECKING:
    from jinja2 import Template


#: The size of a chart and of its plot, in SVG units.
WIDTH, HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 712, 12, 190

#: The largest number of series; further ones are summed up as `others`.
_MAX_SERIES = 6

#: The largest number of labels below the time axis.
_MAX_LABELS = 9


class Segment(Struct, frozen=True):
    """One part of a bar. `series` is its number, which decides the colour."""

    series: int
    x: float
    y: float
    width: float
    height: float
    text: str


class Chart(Struct, frozen=True):
    """`grid` are horizontal lines and `times` labels below the bars, each with its position."""

    title: str
    series: list[str]
    segments: list[Segment]
    grid: list[tuple[float, str]]
    times: list[tuple[float, str]]


def charts(report: Report) -> list[Chart]:
    """The charts of a report; none if it has only one bucket of time."""
    times = list(dict.fromkeys(row["time"] for row in report["rows"] if "time" in row))
    if len(times) < 2:
        return []
    rows = report["rows"]
    found = [
        ("Requests", _counts(rows, times, {"failed": "failed_requests", "requests": "requests"})),
        ("Runs", _counts(rows, times, {"failed": "failed_runs", "runs": "runs"})),
        ("Tokens", _counts(rows, times, {name: f"{name}_tokens" for name in ("input", "output", "unsplit")})),
        *((f"Cost in {code}", _costs(report, times, code)) for code in report["totals"].get("cost", {})),
    ]
    return [_chart(title, times, series) for title, series in found if any(any(values) for values in series.values())]


def _counts(
    rows: Sequence[Mapping[str, Any]], times: Sequence[str], names: Mapping[str, str]
) -> dict[str, list[float]]:
    """The sums of figures by time. Failed ones are taken from the whole, so that a bar is as high as the whole."""
    series = {}
    for name, figure in names.items():
        sums = dict.fromkeys(times, 0)
        for row in rows:
            sums[row["time"]] += row.get(figure, 0)
        series[name] = [float(each) for each in sums.values()]
    if "failed" in series:
        failed, whole = series.values()
        return {"succeeded": [max(0.0, each - bad) for each, bad in zip(whole, failed, strict=True)], "failed": failed}
    return series


def _costs(report: Report, times: Sequence[str], code: str) -> dict[str, list[float]]:
    """The cost by time and by the labels of the rows: the largest ones, and the others together."""
    series: dict[str, dict[str, float]] = {}
    whole: dict[str, float] = {}  # over all currencies, so that a name has the same colour in each chart
    for row in report["rows"]:
        name = " · ".join(row[label] for label in report["group"]) or "all"
        costs = {each: float(Decimal(cost)) for each, cost in row.get("cost", {}).items()}
        series.setdefault(name, dict.fromkeys(times, 0.0))[row["time"]] += costs.get(code, 0.0)
        whole[name] = whole.get(name, 0.0) + sum(costs.values())
    ordered = sorted((name for name in series if whole[name]), key=lambda name: -whole[name])
    few = len(ordered) <= _MAX_SERIES
    shown = {name: list(series[name].values()) for name in (ordered if few else ordered[: _MAX_SERIES - 1])}
    if not few:
        rest = [series[name] for name in ordered[_MAX_SERIES - 1 :]]
        shown["others"] = [sum(each[time] for each in rest) for time in times]
    return shown


def _chart(title: str, times: Sequence[str], series: Mapping[str, Sequence[float]]) -> Chart:
    used = {name: values for name, values in series.items() if any(values) or name not in ("failed", "unsplit")}
    largest = max(map(sum, zip(*used.values(), strict=True)))
    step = _step(largest)
    highest = step * ceil(largest / step - 1e-9)
    slot = (_RIGHT - _LEFT) / len(times)
    width = min(slot * 0.8, 48)
    segments = []
    for place, time in enumerate(times):
        top = float(_BOTTOM)
        for number, (name, values) in enumerate(used.items()):
            height = values[place] / highest * (_BOTTOM - _TOP)
            top -= height
            if height > 0:
                x = _LEFT + slot * (place + 0.5) - width / 2
                text = f"{time}, {name}: {_number(values[place])}"
                segments.append(Segment(number, round(x, 1), round(top, 1), round(width, 1), round(height, 1), text))
    grid = [
        (round(_BOTTOM - value * step / highest * (_BOTTOM - _TOP), 1), _number(value * step))
        for value in range(round(highest / step) + 1)
    ]
    every = ceil(len(times) / _MAX_LABELS)
    labels = [
        (round(_LEFT + slot * (place + 0.5), 1), _short(time)) for place, time in enumerate(times) if place % every == 0
    ]
    return Chart(title, list(used), segments, grid, labels)


def _step(highest: float) -> float:
    """The distance of the grid: 1, 2 or 5 times a power of ten, for two to five lines."""
    power = 10.0 ** floor(log10(highest / 2.5))
    return next(factor * power for factor in (1, 2, 5, 10) if highest / (factor * power) <= 5)


def _number(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            divisor = 1e3 if unit == "k" else limit
            return f"{value / divisor:.3g} {unit}"
    return f"{value:.4g}"


def _short(time: str) -> str:
    """A label below the axis: a day without its year, an hour without its date."""
    if len(time) > len("2026-11-29"):
        return time[5:16].replace("T", " ")
    return time[5:] if len(time) == len("2026-11-29") else time


def page(report: Report) -> bytes:
    return (
        _template()
        .render(
            title=title(report),
            tiles=_tiles(report),
            charts=charts(report),
            size=(WIDTH, HEIGHT),
            # The reasons of failures come first: they would be hard to find below the rows of many days and apps.
            sections=sorted(sections(report), key=lambda section: section.title != FAILURES),
            incomplete=report["incomplete"],
            group=", ".join(report["group"]),
            by=report["by"],
            version=__version__,
        )
        .encode()
    )


def _tiles(report: Report) -> list[tuple[str, str, str]]:
    """The most important sums: what, how much, and the same of the span before."""
    totals = report["totals"]
    before = totals.get("previous", {})
    tiles = [
        (name, cell(totals, figure, whole), f"{before[figure]:,}" if figure in before else "")
        for name, figure, whole in (
            ("requests", "requests", ""), ("failed requests", "failed_requests", "requests"),
            ("server errors (5xx)", "server_errors", "requests"), ("runs", "runs", ""),
            ("failed runs", "failed_runs", "runs"), ("errors in the logs", "errors", ""),
            ("input tokens", "input_tokens", ""), ("output tokens", "output_tokens", ""),
        )
        if totals.get(figure)
    ]  # fmt: skip
    tiles += [
        (f"cost in {code}", amount(cost), amount(before.get("cost", {}).get(code, "0")) if before else "")
        for code, cost in totals.get("cost", {}).items()
    ]
    return tiles


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("exporter.report").joinpath("page.html").read_text("utf-8"))
