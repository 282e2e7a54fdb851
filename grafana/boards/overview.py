"""Is Dify healthy, since when, and which routes and apps are affected?"""

from grafana.board import dashboard
from grafana.panels import RUNBOOKS, Json, row, stat, state_timeline, table, timeseries
from grafana.queries import APP, CLUSTER, NAMED, ONE_SOURCE, ROUTE, SOURCE
from grafana.variables import PASSED_ON

_RUNBOOK = [("Runbook", f"{RUNBOOKS}/${{__value.raw}}.md")]
_ROUTE = [
    ("Latency of this route", f"/d/dify-latency?var-route=${{__value.raw}}&{PASSED_ON}"),
    ("Failures of this route", f"/d/dify-overview?var-route=${{__value.raw}}&{PASSED_ON}"),
]
_APP = [
    ("Tokens and cost of this app", f"/d/dify-tokens?var-app=${{__data.fields.app_id}}&{PASSED_ON}"),
    ("Latency of this app", f"/d/dify-latency?var-app=${{__data.fields.app_id}}&{PASSED_ON}"),
]


def overview() -> Json:
    panels = [*_healthy(), *_since_when(), *_affected(), *_availability()]
    return dashboard("dify-overview", "Dify / Overview", str(__doc__), panels)


def _healthy() -> list[Json]:
    firing = f'ALERTS{{{CLUSTER}, alertstate="firing", alertname!="Watchdog"}}'
    return [
        row("Is Dify healthy?"),
        stat("Dify answers", (f'min(probe_success{{{CLUSTER}, dependency="dify"}})', ""), up_or_down=True, base="red",
             description="Result of the probe of /health."),
        stat("Alerts firing", (f"count({firing}) or vector(0)", ""), steps=[(1, "red")]),
        stat("Failed requests", (f"source:dify_failed_requests_per_request:ratio_rate5m{{{SOURCE}}}", "{{source}}"),
             unit="percentunit", steps=[(0.01, "yellow"), (0.05, "red")], width=5,
             description="All reasons except disconnected clients. Failures inside a 200 count if the log contains them."),
        stat("Requests per second", (f"source:dify_requests:rate5m{{{SOURCE}}}", "{{source}}"), unit="reqps", width=5),
        stat("In progress", (f"source:dify_active_requests:sum{{{SOURCE}}}", "{{source}}"), steps=[(50, "red")], width=3,
             description="Requests that the proxy has passed to Dify and whose answers have not ended."),
        stat("Uptime, 30 days", (f'min(instance:probe_success:avg_over_time30d{{{CLUSTER}, dependency="dify"}})', ""),
             unit="percentunit", base="red", steps=[(0.99, "yellow"), (0.999, "green")], width=3),
        state_timeline("Dify and its dependencies",
                       (f"min by (dependency) (probe_success{{{CLUSTER}}})", "{{dependency}}"), width=16),
        table("Firing alerts", (firing, "firing"), width=8, links={"alertname": _RUNBOOK},
              description="The name links to the runbook."),
    ]  # fmt: skip


def _since_when() -> list[Json]:
    return [
        row("Since when?"),
        timeseries("Requests by class of status code", (f"sum by (class) (source_class:dify_requests:rate5m{{{SOURCE}}})", "{{class}}"),
                   unit="reqps", stack=True, description="Select one source: two sources that log the same requests are summed."),
        timeseries("Share of failed requests",
                   (f"source:dify_failed_requests_per_request:ratio_rate5m{{{SOURCE}}}", "{{source}}"),
                   ("dify:threshold:failure_ratio", "alert"), unit="percentunit"),
        timeseries("Failed requests by reason",
                   (f"sum by (source, reason) (rate(dify_failed_requests_total{{{ROUTE}}}[$__rate_interval]))",
                    "{{source}} {{reason}}"),
                   unit="reqps", stack=True, description=f"Of the selected routes. {ONE_SOURCE}"),
        timeseries("Errors in the logs", (f"source_kind:dify_errors:rate5m{{{SOURCE}}} > 0", "{{source}} {{kind}}"),
                   unit="cps", description="Error records in the logs: the causes of failed requests and runs."),
    ]  # fmt: skip


def _affected() -> list[Json]:
    failed = f'dify_runs_total{{{APP}, status=~"failed|error|exception|lost"}}'
    return [
        row("Which routes and apps are affected?"),
        table("Routes with the most failures",
              (f"topk(15, 1000 * source_route:dify_failed_requests:rate5m{{{ROUTE}}} > 0)", "failures / 1000 s"),
              (f"source_route:dify_failed_requests_per_request:ratio_rate5m{{{ROUTE}}} > 0", "share"),
              units={"share": "percentunit"}, links={"route": _ROUTE}, description="The route links to its latency and failures."),
        table("Apps whose runs fail",
              (f"topk(15, sum by (source, app_id) (increase({failed}[$__range])) {NAMED} > 0)", "failed runs"),
              (f"sum by (source, app_id) (increase(dify_runs_total{{{APP}}}[$__range])) {NAMED} > 0", "all runs"),
              links={"name": _APP}, description="In the selected time range. The name links to the app."),
    ]  # fmt: skip


def _availability() -> list[Json]:
    def uptime(window: str) -> str:
        return f"min by (dependency) (instance:probe_success:avg_over_time{window}{{{CLUSTER}}})"

    return [
        table("Names and teams of apps", (f'max by (app_id, name, team) (app:dify_app_names:max{{{CLUSTER}, team=~"$team"}})', "known"),
              width=8, height=6, links={"name": _APP}),
        table("Uptime by dependency", (uptime("1h"), "1 hour"), (uptime("1d"), "24 hours"), (uptime("30d"), "30 days"),
              units={"1 hour": "percentunit", "24 hours": "percentunit", "30 days": "percentunit"}, width=8, height=6),
        timeseries("Runs by outcome", (f"sum by (source, status) (source_kind_status:dify_runs:rate5m{{{SOURCE}}})",
                                        "{{source}} {{status}}"),
                   unit="ops", width=8, height=6, stack=True, description=ONE_SOURCE),
        timeseries("Celery tasks by outcome",
                   (f"sum by (status) (rate(dify_tasks_total{{{SOURCE}}}[$__rate_interval]))", "{{status}}"),
                   unit="ops", stack=True),
        timeseries("Celery tasks that were received and have not ended",
                   (f"source:dify_tasks_unfinished:increase15m{{{SOURCE}}}", "{{source}}"),
                   description="Tasks received minus tasks ended, in the last 15 minutes. Above 0 the queue grows, below 0 it shrinks."),
        table("Celery tasks that fail",
              (f'topk(15, sum by (source, task) (increase(dify_tasks_total{{{SOURCE}, status="failed"}}[$__range])) > 0)', "failed"),
              description="In the selected time range."),
    ]  # fmt: skip
