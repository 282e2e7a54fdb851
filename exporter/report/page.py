"""A report as one HTML document: no script, no network, readable in light and dark and on paper."""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.report.build import Report
from exporter.report.charts import HEIGHT, WIDTH, charts
from exporter.report.sections import FAILURES, amount, cell, sections
from exporter.report.text import title

if TYPE_CHECKING:
    from jinja2 import Template


def page(report: Report) -> bytes:
    """The HTML document in UTF-8."""
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
