"""Grafana's classic dashboard JSON, as far as the dashboards need it: one function per kind of panel.

Widths are columns of a grid of 24; one unit of height is about 30 pixels. A query is a PromQL expression and its legend.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from grafana.needs import needed

Json = dict[str, Any]
Query = tuple[str, str]

RUNBOOKS = "https://github.com/dify-exporter/dify-exporter/blob/main/docs/runbooks"

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

#: Colours from green to red for classes of status codes, and for words with the same meaning.
COLOURS = {
    "2xx": "green", "3xx": "blue", "4xx": "orange", "5xx": "red",
    "observed": "green", "ignored": "blue", "unparsed": "red",
}  # fmt: skip

UP_OR_DOWN = [{
    "type": "value",
    "options": {"0": {"text": "DOWN", "color": "red", "index": 0}, "1": {"text": "UP", "color": "green", "index": 1}},
}]  # fmt: skip


def thresholds(steps: Sequence[tuple[float, str]], base: str = "green") -> Json:
    """Return thresholds: each colour applies from its value on."""
    return {
        "mode": "absolute",
        "steps": [{"value": None, "color": base}, *({"value": value, "color": colour} for value, colour in steps)],
    }


def timeseries(title: str, *queries: Query, unit: str = "short", lines: Sequence[float] = (), stack: bool = False,
               bars: str = "", **more: Any) -> Json:  # fmt: skip
    """`lines` are horizontal lines at these values. `bars` draws one bar per step, such as "1d"."""
    custom: Json = {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 60 if bars or stack else 8,
        "lineWidth": 1,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stack else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if lines else "off"},
    }
    defaults = {"unit": unit, "min": 0, "color": {"mode": "palette-classic"}, "custom": custom}
    if lines:
        colours = ["yellow", "orange", "red"][-len(lines) :]
        defaults["thresholds"] = thresholds(list(zip(lines, colours, strict=True)), base="transparent")
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    panel = _panel("timeseries", title, queries, defaults, options, **more)
    panel["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": name},
         "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}]}
        for name, colour in COLOURS.items()
        if any(legend in ("{{class}}", "{{outcome}}") for _, legend in queries)
    ]  # fmt: skip
    if bars:
        panel["interval"] = bars
    return panel


def stat(title: str, *queries: Query, unit: str = "short", steps: Sequence[tuple[float, str]] = (), base: str = "green",
         up_or_down: bool = False, width: int = 4, height: int = 4, **more: Any) -> Json:  # fmt: skip
    defaults: Json = {"unit": unit, "color": {"mode": "thresholds"}, "thresholds": thresholds(steps, base)}
    if up_or_down:
        defaults["mappings"] = UP_OR_DOWN
    options = {
        "colorMode": "background_solid" if up_or_down else "value",
        "graphMode": "none" if up_or_down else "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
        "wideLayout": True,
    }
    return _panel("stat", title, queries, defaults, options, width=width, height=height, **more)


def bargauge(title: str, *queries: Query, unit: str = "percentunit", steps: Sequence[tuple[float, str]] = (),
             maximum: float | None = None, **more: Any) -> Json:  # fmt: skip
    defaults: Json = {"unit": unit, "min": 0, "color": {"mode": "thresholds"}, "thresholds": thresholds(steps)}
    if maximum is not None:
        defaults["max"] = maximum
    options = {
        "displayMode": "gradient",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "valueMode": "color",
        "namePlacement": "auto",
    }
    return _panel("bargauge", title, queries, defaults, options, **more)


def heatmap(title: str, histogram: str, unit: str = "s", native: bool = False, **more: Any) -> Json:
    """`histogram` is the selector of a `_bucket` series, or of a native histogram. Grafana draws its buckets unchanged.

    It also draws the exemplars, if the data source has a link for their label trace_id.
    """
    query = (f"sum {'' if native else 'by (le) '}(increase({histogram}[$__rate_interval]))", "" if native else "{{le}}")
    defaults = {"custom": {"scaleDistribution": {"type": "linear"}, "hideFrom": _nowhere()}}
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "RdYlGn", "reverse": True, "exponent": 0.5, "fill": "dark-orange",
                  "scale": "exponential", "steps": 64},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
    }  # fmt: skip
    panel = _panel("heatmap", title, [query], defaults, options, **more)
    panel["targets"][0] |= {"format": "heatmap", "exemplar": True}
    return panel


def state_timeline(title: str, *queries: Query, **more: Any) -> Json:
    """Draw series of 1 and 0 as green and red bars."""
    defaults = {
        "color": {"mode": "thresholds"},
        "custom": {"fillOpacity": 80, "lineWidth": 0, "hideFrom": _nowhere()},
        "mappings": UP_OR_DOWN,
        "thresholds": thresholds([(1, "green")], base="red"),
    }
    options = {
        "alignValue": "left",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "never",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return _panel("state-timeline", title, queries, defaults, options, **more)


def table(title: str, *queries: Query, units: Mapping[str, str] | None = None,
          links: Mapping[str, Sequence[tuple[str, str]]] | None = None, **more: Any) -> Json:  # fmt: skip
    """The legend of a query is the title of its column; rows are joined on their labels. `links` are titles and addresses
    that the values of a column lead to; an address without a scheme stays in Grafana.
    """
    options = {
        "cellHeight": "sm",
        "showHeader": True,
        "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
        "sortBy": [{"displayName": queries[0][1], "desc": True}],
    }
    defaults = {"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}}
    panel = _panel("table", title, queries, defaults, options, **more)
    for target in panel["targets"]:
        target |= {"format": "table", "instant": True, "range": False}
        del target["legendFormat"]
    panel["transformations"] = _joined([legend for _, legend in queries], panel["targets"])
    panel["fieldConfig"]["overrides"] = [
        *(_override(name, "unit", unit) for name, unit in (units or {}).items()),
        *(_override(name, "links", [_link(*each) for each in given]) for name, given in (links or {}).items()),
    ]
    return panel


def _joined(legends: Sequence[str], targets: Sequence[Json]) -> list[Json]:
    columns = ["Value"] if len(legends) == 1 else [f"Value #{target['refId']}" for target in targets]
    hidden = ("Time", "__name__", "job", "alertstate")
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {
            "excludeByName": dict.fromkeys(hidden, True),
            "indexByName": {},
            "renameByName": dict(zip(columns, legends, strict=True)),
        }},
    ]  # fmt: skip


def _override(column: str, option: str, value: object) -> Json:
    return {"matcher": {"id": "byName", "options": column}, "properties": [{"id": option, "value": value}]}


def _link(title: str, address: str) -> Json:
    return {"title": title, "url": address, "targetBlank": address.startswith("http")}


def row(title: str) -> Json:
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": 24}}


def _panel(kind: str, title: str, queries: Sequence[Query], defaults: Json, options: Json, *, width: int = 12,
           height: int = 8, description: str = "") -> Json:  # fmt: skip
    defaults = {**defaults, "noValue": needed(" ".join(expression for expression, _ in queries))}
    panel: Json = {
        "type": kind,
        "title": title,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }
    if description:
        panel["description"] = description
    return panel


def _nowhere() -> Json:
    return {"legend": False, "tooltip": False, "viz": False}
