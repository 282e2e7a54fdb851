"""A dashboard of panels."""

from collections.abc import Sequence

from grafana.panels import Json
from grafana.variables import annotations, links, selections


def dashboard(uid: str, title: str, description: str, panels: Sequence[Json], *, variables: Sequence[Json] = (),
              since: str = "now-6h") -> Json:  # fmt: skip
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["dify"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": since, "to": "now"},
        "links": links(),
        "templating": {"list": [*selections(), *variables]},
        "annotations": {"list": annotations()},
        "panels": _placed(panels),
    }


def _placed(panels: Sequence[Json]) -> list[Json]:
    """Panels from left to right; one that does not fit starts a new line."""
    left = top = height = 0
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
        grid = panel["gridPos"]
        if left + grid["w"] > 24:
            left, top, height = 0, top + height, 0
        grid |= {"x": left, "y": top}
        left, height = left + grid["w"], max(height, grid["h"])
    return list(panels)
