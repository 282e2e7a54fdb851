"""The status page: one HTML document that needs nothing else, for a person without Grafana.

Its data is a `Status` (rows.py), its looks are page.html and page.css. The template escapes every value. There is no
script; the one style sheet is named in the Content-Security-Policy by its digest.
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

_WIDTH, _HEIGHT = 240, 32  # of a chart, in its own units
_SHORTEST = 15.0  # seconds over which a young chart is spread


class Chart(Struct, frozen=True):
    """A line over the last hour, scaled to its own highest value: SVG coordinates, with `first` the x of the first
    point, and rates per second. `span` in seconds.
    """

    points: str
    first: str
    now: float
    highest: float
    span: float


def page(status: Status) -> bytes:
    return (
        _template()
        .render(
            status=status,
            moment=datetime.fromtimestamp(status.now, UTC),
            talking=[row for row in status.sources if row.totals.requests],
            unparsed=[each for row in status.sources for each in row.unparsed],
            missing=_missing(status),
            can_fire=alerts.by_source(status.verdicts),
            cannot_fire=alerts.by_reason(status.verdicts),
            sentence=alerts.summary(status.verdicts),
        )
        .encode()
    )


def chart(values: Sequence[tuple[float, float]]) -> Chart | None:
    """Of seconds ago and value, the newest last and at the right; None while there are too few."""
    if len(values) < 2:
        return None
    highest, span = max(value for _, value in values), max(values[0][0], _SHORTEST)
    points = [
        f"{_WIDTH * (1 - ago / span):.1f},{_HEIGHT - 2 - (_HEIGHT - 4) * (value / highest if highest else 0):.1f}"
        for ago, value in values
    ]
    return Chart(" ".join(points), points[0].partition(",")[0], values[-1][1], highest, values[0][0])


def _missing(status: Status) -> dict[str, list[str]]:
    """What the logs of the sources cannot report, with the names of those sources."""
    names: dict[str, list[str]] = {}
    for row in status.sources:
        for sentence in row.state.missing:
            names.setdefault(sentence, []).append(row.state.name)
    return names


@cache
def _template() -> "Template":
    """Loaded with the first page, so that no start waits for Jinja."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    named = (humanize.age, humanize.amount, humanize.rate, humanize.seconds, humanize.share, humanize.size, chart)
    environment.globals |= {function.__name__: function for function in named}
    environment.globals |= {"style": Markup(_STYLE), "width": _WIDTH, "height": _HEIGHT}
    return environment.from_string(_FOLDER.joinpath("page.html").read_text("utf-8"))
