"""Renders the status page: one self-contained HTML document, for operators without Grafana.

The data is a `Status` (rows.py); the template is page.html with macros.html, the style sheet page.css, the script
page.js. The template escapes every value. The page is complete without its script, which asks for the page again. The
Content-Security-Policy allows only this style sheet and this script, by their SHA-256, and requests only to the
exporter. With Trusted Types, the browser refuses to make HTML from a string.
"""

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from types import FunctionType
from typing import TYPE_CHECKING

from msgspec import Struct

from exporter.advice import alerts
from exporter.messages import printable
from exporter.metrics.quantile import approximate
from exporter.status import humanize
from exporter.status.overview import overview, period_words, traffic_level, worst_traffic
from exporter.status.rows import Status

if TYPE_CHECKING:
    from jinja2 import Template

_FOLDER = files("exporter.status")
STYLE, SCRIPT = (_FOLDER.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
#: They are read at the start, so that an upgrade of the files on disk does not change the page of a running exporter.
_TEMPLATES = {name: _FOLDER.joinpath(name).read_text("utf-8") for name in ("page.html", "macros.html")}
_STYLE_HASH, _SCRIPT_HASH = (b64encode(sha256(text.encode()).digest()).decode() for text in (STYLE, SCRIPT))
POLICY = (
    f"default-src 'none'; script-src 'sha256-{_SCRIPT_HASH}'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_WIDTH, _HEIGHT = 240, 32  # of a chart, in SVG units
_MIN_SPAN = 15.0  # seconds; shorter histories do not fill the width of the chart


class Chart(Struct, frozen=True):
    """A line chart of a rate, scaled to its highest value.

    `points` are SVG coordinates and `first_x` is the x coordinate of the first one. `now` and `highest` are rates per
    second. `span` is in seconds, `width` is the time that the width of the chart stands for. `values` has the rate at
    each point.
    """

    points: str
    first_x: str
    now: float
    highest: float
    span: float
    width: float
    values: str


def page(status: Status) -> bytes:
    return (
        _template()
        .render(
            status=status,
            moment=datetime.fromtimestamp(status.now, UTC),
            sources_with_requests=[row for row in status.sources if row.totals.requests],
            unparsed=[each for row in status.sources for each in row.unparsed],
            can_fire=alerts.by_source(status.verdicts),
            cannot_fire=alerts.by_reason(status.verdicts),
            build=_STYLE_HASH + _SCRIPT_HASH,
            failure_of={(row.failure.source, row.failure.route): row for row in reversed(status.failures)},
            verdict=overview(status),
            worst=worst_traffic(status),
            period=period_words(status),
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
    rates = " ".join(humanize.rate(value) for _, value in values)
    return Chart(" ".join(points), points[0].partition(",")[0], values[-1][1], highest, values[0][0], span, rates)


def _visible(value: object) -> object:
    """Make a text printable. Names may contain control characters, such as those that reverse the direction of text.

    Markup has another type than `str` and stays as it is.
    """
    return printable(value) if type(value) is str else value


@cache
def _template() -> "Template":
    """The template. Jinja2 is imported with the first page, because the import would delay the start."""
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=DictLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (*vars(humanize).values(), approximate, chart, traffic_level):
        if isinstance(function, FunctionType):
            environment.globals[function.__name__] = function
    environment.globals |= {"style": Markup(STYLE), "script": Markup(SCRIPT), "width": _WIDTH, "height": _HEIGHT}
    return environment.get_template("page.html")
