"""Renders the status page: one self-contained HTML document, for operators without Grafana.

The data is a `Status` (rows.py); the template is page.html, the style sheet page.css. The template escapes every value.
The page has no script. The Content-Security-Policy allows only this style sheet, by its SHA-256.
"""

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from msgspec import Struct

from exporter.advice import alerts
from exporter.metrics.quantile import approximate
from exporter.status import humanize
from exporter.status.rows import Status

if TYPE_CHECKING:
    from jinja2 import Template

_FOLDER = files("exporter.status")
_STYLE = _FOLDER.joinpath("page.css").read_text("utf-8")
POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_WIDTH, _HEIGHT = 240, 32  # of a chart, in SVG units
_MIN_SPAN = 15.0  # seconds; shorter histories do not fill the width of the chart


class Chart(Struct, frozen=True):
    """A line chart of a rate, scaled to its highest value.

    `points` are SVG coordinates and `first_x` is the x coordinate of the first one. `now` and `highest` are rates per
    second. `span` is in seconds.
    """

    points: str
    first_x: str
    now: float
    highest: float
    span: float


def page(status: Status) -> bytes:
    """The HTML document in UTF-8."""
    return (
        _template()
        .render(
            status=status,
            moment=datetime.fromtimestamp(status.now, UTC),
            sources_with_requests=[row for row in status.sources if row.totals.requests],
            unparsed=[each for row in status.sources for each in row.unparsed],
            missing=_missing(status),
            can_fire=alerts.by_source(status.verdicts),
            cannot_fire=alerts.by_reason(status.verdicts),
            alerts_sentence=alerts.summary(status.verdicts),
        )
        .lstrip()
        .encode()
    )


def chart(values: Sequence[tuple[float, float]]) -> Chart | None:
    """A chart of pairs of age (seconds) and rate, the newest last and at the right. None for fewer than two pairs."""
    if len(values) < 2:
        return None
    highest, span = max(value for _, value in values), max(values[0][0], _MIN_SPAN)
    points = [
        f"{_WIDTH * (1 - age / span):.1f},{_HEIGHT - 2 - (_HEIGHT - 4) * (value / highest if highest else 0):.1f}"
        for age, value in values
    ]
    return Chart(" ".join(points), points[0].partition(",")[0], values[-1][1], highest, values[0][0])


def _missing(status: Status) -> dict[str, list[str]]:
    """What the logs of the sources do not contain: each sentence with the names of the sources."""
    names: dict[str, list[str]] = {}
    for row in status.sources:
        for sentence in row.state.missing:
            names.setdefault(sentence, []).append(row.state.name)
    return names


@cache
def _template() -> "Template":
    """The template. Jinja2 is imported with the first page, because the import would delay the start."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    functions = (humanize.age, humanize.amount, humanize.rate, humanize.share, humanize.size, approximate, chart)
    environment.globals |= {function.__name__: function for function in functions}
    environment.globals |= {"style": Markup(_STYLE), "width": _WIDTH, "height": _HEIGHT}
    return environment.from_string(_FOLDER.joinpath("page.html").read_text("utf-8"))
