"""How long do users wait, on which route, and for which model?"""

from grafana.board import dashboard
from grafana.panels import Json, heatmap, row, table, timeseries
from grafana.queries import APP, MODEL, ROUTE, SOURCE, quantiles, share_within


def latency(native: bool = False) -> Json:
    """With `native`, panels of single buckets read native histograms; all other panels read recorded series."""
    panels = [*_requests(native), *_by_route(), *_first_token(native), *_where_the_time_goes()]
    return dashboard("dify-latency", "Dify / Latency", str(__doc__), panels)


def _requests(native: bool) -> list[Json]:
    bucket = "" if native else "_bucket"
    within = [(share_within(bound, native), f"{{{{source}}}} within {bound} s") for bound in ("0.5", "1.0", "3.0")]
    return [
        row("Requests"),
        heatmap("Duration of requests", f"dify_request_duration_seconds{bucket}{{{ROUTE}}}", native=native,
                description="From the request to the last byte. There are bucket boundaries at 0.5, 1 and 3 s."),
        timeseries("Duration of requests, p50, p95 and p99", *quantiles("source:dify_request_duration_seconds", SOURCE, "{{source}}", "rate5m", 50, 95, 99),
                   unit="s", lines=[0.5, 1, 3], description="Lines at 0.5, 1 and 3 s. A stream's duration depends on the length of its answer."),
        timeseries("Share of requests within 0.5, 1 and 3 s", *within, unit="percentunit"),
        timeseries("Latency for alerts, p95",
                   *quantiles("source_area:dify_judged_latency_seconds", SOURCE, "{{source}} {{area}} by {{judged_by}}",
                              "rate10m", 95),
                   ("dify:threshold:latency_seconds", "alert by {{judged_by}}"), unit="s",
                   description="What DifyHighLatency compares with its limit: the whole duration of blocking routes, the time to the first "
                               "byte of routes that may stream."),
    ]  # fmt: skip


def _by_route() -> list[Json]:
    durations = "source_route:dify_request_duration_seconds"
    return [
        row("By route"),
        table("Routes by p95",
              (f"topk(25, {durations}:p95_rate5m{{{ROUTE}}} > 0)", "p95"),
              (f"{durations}:p50_rate5m{{{ROUTE}}} > 0", "p50"),
              (f"{durations}:p99_rate5m{{{ROUTE}}} > 0", "p99"),
              (f"source_route:dify_requests:rate5m{{{ROUTE}}} > 0", "requests"),
              units={"p50": "s", "p95": "s", "p99": "s", "requests": "reqps"}, width=24),
        timeseries("Time to the first byte by route, p95",
                   (f"topk(10, source_route:dify_time_to_first_byte_seconds:p95_rate5m{{{ROUTE}}})",
                    "{{source}} {{route}}"), unit="s"),
        timeseries("Duration in Dify's access line by route, p95",
                   (f"topk(10, source_route:dify_handler_duration_seconds:p95_rate5m{{{ROUTE}}})",
                    "{{source}} {{route}}"), unit="s",
                   description="Whole duration of a blocking response; for a stream, only the time until it was accepted."),
    ]  # fmt: skip


def _first_token(native: bool) -> list[Json]:
    bucket = "" if native else "_bucket"
    named = 'on (app_id) group_left (name) max by (app_id, name) (app:dify_app_names:max{cluster=~"$cluster", team=~"$team"})'
    return [
        row("First token"),
        heatmap("Time to the first token", f'dify_time_to_first_token_seconds{bucket}{{{APP}, model=~"$model"}}', native=native),
        timeseries("Time to the first token by model",
                   *quantiles("source_model:dify_time_to_first_token_seconds", MODEL, "{{model}}", "rate10m", 50, 95, 99),
                   ("dify:threshold:first_token_seconds", "alert"), unit="s"),
        timeseries("Time to the first token by app, p95",
                   (f"source_app:dify_time_to_first_token_seconds:p95_rate10m{{{APP}}} * {named}", "{{name}}"), unit="s"),
        timeseries("Duration of runs by app, p95",
                   (f"source_app:dify_run_duration_seconds:p95_rate10m{{{APP}}} * {named}", "{{name}}"), unit="s"),
    ]  # fmt: skip


def _where_the_time_goes() -> list[Json]:
    return [
        row("Where the time goes"),
        timeseries("Duration of model and tool calls, p50 and p95",
                   *quantiles("source_operation:dify_model_invocation_duration_seconds", SOURCE, "{{operation}}", "rate10m", 50, 95),
                   unit="s", description="Calls through the plugin daemon; a stream counts to its end."),
        timeseries("Model and tool calls", (f"source_operation:dify_model_invocations:rate5m{{{SOURCE}}}",
                                            "{{operation}}"), unit="ops"),
        timeseries("Duration of workflow nodes by type, p95",
                   (f"source_type:dify_node_run_duration_seconds:p95_rate10m{{{SOURCE}}}", "{{node_type}}"), unit="s"),
        timeseries("Duration of Celery tasks, p95",
                   (f"source_task:dify_task_duration_seconds:p95_rate10m{{{SOURCE}}}", "{{task}}"), unit="s"),
    ]  # fmt: skip
