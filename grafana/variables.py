"""The variables at the top of the dashboards, the links, and the annotation of alerts."""

from grafana.panels import DATASOURCE, RUNBOOKS, Json

#: Passed on by the links of a table's cells, beside what the cell selects.
PASSED_ON = "${datasource:queryparam}&${cluster:queryparam}&${source:queryparam}&${__url_time_range}"

_EVERY_APP = (
    'group by (app_id, name) (app:dify_app_names:max{cluster=~"$cluster", team=~"$team"})'
)  # fmt: skip

_DATASOURCE_VARIABLE = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}


def _query(name: str, label: str, query: str, description: str = "", regex: str = "") -> Json:
    """A variable of several values, whose "All" matches also series without the label."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "description": description,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "regex": regex,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def selections() -> list[Json]:
    """The variables that every dashboard has, in the order in which they depend on each other."""
    return [
        _DATASOURCE_VARIABLE,
        _query("cluster", "Cluster", "label_values(dify_exporter_build_info, cluster)",
               "Only where one Prometheus holds several deployments."),
        _query("source", "Source", 'label_values(dify_exporter_read_bytes_total{cluster=~"$cluster"}, source)',
               "The same request is in nginx's log and in Dify's log, so panels sum within one source."),
        _query("team", "Team", 'label_values(app:dify_app_names:max{cluster=~"$cluster"}, team)',
               "From [apps] in exporter.toml."),
        _query("app", "App", f"query_result({_EVERY_APP})", "By name from [apps] in exporter.toml, else by id.",
               '/app_id="(?<value>[^"]*)".*name="(?<text>[^"]*)"/'),
        _query("model", "Model", 'label_values(dify_tokens_used_total{cluster=~"$cluster", source=~"$source"}, model)'),
        _query("route", "Route", 'label_values(dify_requests_total{cluster=~"$cluster", source=~"$source"}, route)'),
    ]  # fmt: skip


def text_box(name: str, label: str, value: str) -> Json:
    current = {"selected": True, "text": value, "value": value}
    return {"type": "textbox", "name": name, "label": label, "query": value, "current": current, "options": [current]}


def links() -> list[Json]:
    return [
        {"title": "Dify", "type": "dashboards", "tags": ["dify"], "asDropdown": False, "includeVars": True,
         "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": ""},
        {"title": "Runbooks", "type": "link", "tags": [], "asDropdown": False, "includeVars": False,
         "keepTime": False, "targetBlank": True, "icon": "doc", "tooltip": "What each alert means", "url": RUNBOOKS},
    ]  # fmt: skip


def annotations() -> list[Json]:
    return [{
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": 'count by (alertname) (ALERTS{alertstate="firing", alertname=~"Dify.*"})',
        "titleFormat": "{{alertname}}",
    }]  # fmt: skip
