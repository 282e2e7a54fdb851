"""The four dashboards. `make dashboards` writes them to grafana/dashboards/; a test checks that the files are current.

Queries use a recording rule if there is one, and sum within one source (the variable `source`).
"""

import json
import tomllib
from pathlib import Path

from grafana.panels import (
    Json,
    Query,
    bargauge,
    dashboard,
    heatmap,
    row,
    stat,
    state_timeline,
    table,
    text_box,
    timeseries,
)  # fmt: skip

FOLDER = Path(__file__).parent
PRICES = Path(__file__).parents[1] / "deploy/prices.toml"

#: Models of deploy/prices.toml: a panel shows the cost of all tokens at the price of each.
COMPARED = ("gpt-4.1", "gpt-4.1-mini", "claude-sonnet-4-5", "deepseek-chat")

SOURCE = 'source=~"$source"'

#: Joins the names and teams of `[apps]`.
NAMED = "* on (app_id) group_left (name, team) max by (app_id, name, team) (dify_app_info)"


def overview() -> Json:
    return dashboard("dify-overview", "Dify / Overview", "Is Dify healthy, since when, and which routes and apps are affected?", [
        row("Is Dify healthy?"),
        stat("Dify answers", ('min(probe_success{dependency="dify"})', ""), up_or_down=True, base="red",
             description="Result of the probe of /health."),
        stat("Alerts firing", ('count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)', ""),
             steps=[(1, "red")]),
        stat("Failed requests", (f"source:dify_failed_requests_per_request:ratio_rate5m{{{SOURCE}}}", "{{source}}"),
             unit="percentunit", steps=[(0.01, "yellow"), (0.05, "red")], width=5,
             description="All reasons except disconnected clients. Failures inside a 200 count if the log contains them."),
        stat("Requests", (f"source:dify_requests:rate5m{{{SOURCE}}}", "{{source}}"), unit="reqps", width=5),
        stat("In progress", (f"source:dify_active_requests:sum{{{SOURCE}}}", "{{source}}"),
             steps=[(50, "red")], width=3, description="Needs dify-exporter's proxy."),
        stat("Uptime, 30 days", ('min(instance:probe_success:avg_over_time30d{dependency="dify"})', ""),
             unit="percentunit", base="red", steps=[(0.99, "yellow"), (0.999, "green")], width=3),
        state_timeline("Dify and its dependencies", ('min by (dependency) (probe_success)', "{{dependency}}"),
                       width=16),
        table("Firing alerts", ('ALERTS{alertstate="firing", alertname!="Watchdog"}', "firing"), width=8,
              runbook_of="alertname", description="The name links to the runbook."),
        row("Since when?"),
        timeseries("Requests by class", (f"sum by (class) (source_class:dify_requests:rate5m{{{SOURCE}}})", "{{class}}"),
                   unit="reqps", stack=True, description="Select one source: two sources that log the same requests are summed."),
        timeseries("Share of failed requests",
                   (f"source:dify_failed_requests_per_request:ratio_rate5m{{{SOURCE}}}", "{{source}}"),
                   ("dify:threshold:failure_ratio", "alert"), unit="percentunit"),
        timeseries("Failed requests by reason",
                   (f"sum by (reason) (source_reason:dify_failed_requests:rate5m{{{SOURCE}}})", "{{reason}}"),
                   unit="reqps", stack=True),
        timeseries("Errors in the logs", (f"source_kind:dify_errors:rate5m{{{SOURCE}}} > 0", "{{source}} {{kind}}"),
                   unit="cps", description="Error records in the logs: the causes of failed requests and runs."),
        row("Which routes and apps are affected?"),
        table("Routes with the most failures",
              (f"topk(15, 1000 * source_route:dify_failed_requests:rate5m{{{SOURCE}}} > 0)", "failures / 1000 s"),
              (f"source_route:dify_failed_requests_per_request:ratio_rate5m{{{SOURCE}}} > 0", "share"),
              units={"share": "percentunit"}),
        table("Apps whose runs fail",
              (f'topk(15, sum by (source, app_id) (increase(dify_runs_total{{{SOURCE}, '
               'status=~"failed|error|exception|lost"}[$__range])) > 0)', "failed runs"),
              (f"sum by (source, app_id) (increase(dify_runs_total{{{SOURCE}}}[$__range])) > 0", "all runs"),
              description="In the selected time range. The next table has the names from [apps] in exporter.toml."),
        table("Names and teams of apps", ("max by (app_id, name, team) (dify_app_info)", "known"), width=8, height=6),
        table("Uptime by dependency",
              ("min by (dependency) (instance:probe_success:avg_over_time1h)", "1 hour"),
              ("min by (dependency) (instance:probe_success:avg_over_time1d)", "24 hours"),
              ("min by (dependency) (instance:probe_success:avg_over_time30d)", "30 days"),
              units={"1 hour": "percentunit", "24 hours": "percentunit", "30 days": "percentunit"},
              width=8, height=6),
        timeseries("Runs by outcome", (f"sum by (status) (source_kind_status:dify_runs:rate5m{{{SOURCE}}})",
                                       "{{status}}"), unit="ops", width=8, height=6, stack=True),
    ])  # fmt: skip


def latency(native: bool = False) -> Json:
    """With `native`, the panels of single buckets read native histograms; all other panels read recorded series."""
    bucket = "" if native else "_bucket"
    within = [
        (f"histogram_fraction(0, {bound}, sum by (source) (rate(dify_request_duration_seconds{{{SOURCE}}}[$__rate_interval])))"
         if native else
         f'sum by (source) (rate(dify_request_duration_seconds_bucket{{{SOURCE}, le="{bound}"}}[$__rate_interval]))'
         f" / sum by (source) (rate(dify_request_duration_seconds_count{{{SOURCE}}}[$__rate_interval]))",
         f"{{{{source}}}} within {bound} s")
        for bound in ("0.5", "1.0", "3.0")
    ]  # fmt: skip
    return dashboard("dify-latency", "Dify / Latency", "How long do users wait, on which route, and for which model?", [
        row("Requests"),
        heatmap("Duration of requests", f"dify_request_duration_seconds{bucket}{{{SOURCE}}}", native=native,
                description="From the request to the last byte. There are bucket boundaries at 0.5, 1 and 3 s."),
        timeseries("p50, p95, p99",
                   *((f"source:dify_request_duration_seconds:p{q}_rate5m{{{SOURCE}}}", f"{{{{source}}}} p{q}")
                     for q in (50, 95, 99)),
                   unit="s", lines=[0.5, 1, 3], description="Lines at 0.5, 1 and 3 s. A stream's duration depends on the length of its answer."),
        timeseries("Share of requests within 0.5, 1 and 3 s", *within, unit="percentunit"),
        timeseries("Latency for alerts, p95",
                   (f"source_area:dify_judged_latency_seconds:p95_rate10m{{{SOURCE}}}",
                    "{{source}} {{area}} by {{judged_by}}"),
                   ("dify:threshold:latency_seconds", "alert by {{judged_by}}"), unit="s",
                   description="Whole duration of blocking routes, time to the first byte of routes that may stream."),
        row("By route"),
        table("Routes by p95",
              (f"topk(25, source_route:dify_request_duration_seconds:p95_rate5m{{{SOURCE}}} > 0)", "p95"),
              (f"source_route:dify_request_duration_seconds:p50_rate5m{{{SOURCE}}} > 0", "p50"),
              (f"source_route:dify_request_duration_seconds:p99_rate5m{{{SOURCE}}} > 0", "p99"),
              (f"source_route:dify_requests:rate5m{{{SOURCE}}} > 0", "requests"),
              units={"p50": "s", "p95": "s", "p99": "s", "requests": "reqps"}, width=24),
        timeseries("Time to the first byte by route, p95",
                   (f"topk(10, source_route:dify_time_to_first_byte_seconds:p95_rate5m{{{SOURCE}}})",
                    "{{source}} {{route}}"), unit="s"),
        timeseries("Duration in Dify's access line by route, p95",
                   (f"topk(10, source_route:dify_handler_duration_seconds:p95_rate5m{{{SOURCE}}})",
                    "{{source}} {{route}}"), unit="s",
                   description="Whole duration of a blocking response; for a stream, only the time until it was accepted."),
        row("First token"),
        heatmap("Time to the first token", f"dify_time_to_first_token_seconds{bucket}{{{SOURCE}}}", native=native),
        timeseries("Time to the first token by model",
                   *((f"source_model:dify_time_to_first_token_seconds:p{q}_rate10m{{{SOURCE}}}",
                      f"{{{{model}}}} p{q}") for q in (50, 95, 99)),
                   ("dify:threshold:first_token_seconds", "alert"), unit="s"),
        timeseries("Time to the first token by app, p95",
                   (f"source_app:dify_time_to_first_token_seconds:p95_rate10m{{{SOURCE}}}", "{{app_id}}"), unit="s"),
        timeseries("Duration of runs by app, p95",
                   (f"source_app:dify_run_duration_seconds:p95_rate10m{{{SOURCE}}}", "{{app_id}}"), unit="s"),
        row("Where the time goes"),
        timeseries("Duration of model and tool calls, p50 and p95",
                   *((f"source_operation:dify_model_invocation_duration_seconds:p{q}_rate10m{{{SOURCE}}}",
                      f"{{{{operation}}}} p{q}") for q in (50, 95)), unit="s",
                   description="Calls through the plugin daemon; a stream counts to its end."),
        timeseries("Model and tool calls", (f"source_operation:dify_model_invocations:rate5m{{{SOURCE}}}",
                                            "{{operation}}"), unit="ops"),
        timeseries("Duration of workflow nodes by type, p95",
                   (f"source_type:dify_node_run_duration_seconds:p95_rate10m{{{SOURCE}}}", "{{node_type}}"), unit="s"),
        timeseries("Duration of Celery tasks, p95",
                   (f"source_task:dify_task_duration_seconds:p95_rate10m{{{SOURCE}}}", "{{task}}"), unit="s"),
    ])  # fmt: skip


def money() -> Json:
    tokens, cost = "source_app_model:dify_tokens_used", "source_app_model:dify_cost"

    def used(kind: str) -> str:
        """Return the tokens of a kind by source; 0 for a source that has only the other kind."""
        by_source = f'sum by (source) (increase(dify_tokens_used_total{{{SOURCE}, token_type=~"{kind}"}}[$__range]))'
        return f"({by_source} or 0 * sum by (source) (increase(dify_tokens_used_total{{{SOURCE}}}[$__range])))"

    def at_the_price_of(model: str) -> Query:
        """Return the cost of all tokens at the newest listed price of a model."""
        listed = tomllib.loads(PRICES.read_text())["price"]
        price = max((each for each in listed if each["model"] == model), key=lambda each: each.get("from", ""))
        return (
            f"sum({used('input')} * {price['input']} + {used('output|unsplit')} * {price['output']}) / 1e6",
            f"{model}, {price['currency']}",
        )

    return dashboard("dify-tokens", "Dify / Tokens and cost", "What do the models cost, which apps cause the cost, and is the budget sufficient?", [
        row("Budgets"),
        bargauge("Spent", ("budget:dify_budget_spent_per_limit:ratio", "{{budget}} ({{window}}, {{unit}})"),
                 steps=[(0.8, "yellow"), (1, "red")], maximum=1.2),
        bargauge("Projected at the end of the window",
                 ("budget:dify_budget_projected_per_limit:ratio", "{{budget}} ({{window}}, {{unit}})"),
                 steps=[(0.9, "yellow"), (1, "red")], maximum=1.5,
                 description="At the average rate of this window; absent in its first 5 %."),
        timeseries("Spent, projected and limit",
                   ("budget:dify_budget_spent:sum", "{{budget}} spent, {{unit}}"),
                   ("budget:dify_budget_projected:sum", "{{budget}} projected, {{unit}}"),
                   ("budget:dify_budget_limit:max", "{{budget}} limit, {{unit}}")),
        table("Budgets and their windows",
              ("budget:dify_budget_spent:sum", "spent"), ("budget:dify_budget_limit:max", "limit"),
              ("budget:dify_budget_projected:sum", "projected"),
              ("1000 * budget:dify_budget_window_end_timestamp_seconds:max", "ends"),
              units={"ends": "dateTimeAsIso"}),
        row("Tokens"),
        timeseries("Tokens per day, and daily budgets",
                   (f"sum by (source) (increase(dify_tokens_used_total{{{SOURCE}}}[1d]))", "{{source}}"),
                   ('budget:dify_budget_limit:max{unit="tokens", window="day"}', "{{budget}} limit"), bars="1d",
                   description="Select about 30 days. A bar is the 24 hours before its end."),
        timeseries("Tokens per hour by model",
                   (f"sum by (provider, model, token_type) ({tokens}:increase1h{{{SOURCE}}})",
                    "{{provider}} {{model}} {{token_type}}"), stack=True),
        table("Tokens by app, 24 hours",
              (f"topk(25, sum by (source, app_id) ({tokens}:increase1d{{{SOURCE}}}) > 0)", "tokens"),
              (f"source_app:dify_runs:increase1d{{{SOURCE}}} > 0", "runs"),
              (f"source_app:dify_tokens_used_per_run:ratio_increase1d{{{SOURCE}}}", "tokens per run"),
              (f"source_app:dify_tokens_used_per_run_per_last_week:ratio{{{SOURCE}}}", "ratio to last week")),
        table("Tokens by named app and team",
              (f"topk(25, sum by (app_id) (increase(dify_tokens_used_total{{{SOURCE}}}[$__range])) {NAMED} > 0)", "tokens"),
              description="Apps in [apps] of exporter.toml, in the selected time range."),
        row("Cost"),
        stat("Cost, 24 hours", (f"sum by (source, currency) ({cost}:increase1d{{{SOURCE}}})", "{{source}} {{currency}}"),
             width=8, unit="none"),
        stat("Cost, 30 days", (f"sum by (source, currency) ({cost}:increase30d{{{SOURCE}}})", "{{source}} {{currency}}"),
             width=8, unit="none"),
        stat("Tokens without a price, last hour", (f"source:dify_unpriced_tokens:increase1h{{{SOURCE}}}", "{{source}}"),
             width=8, steps=[(1, "yellow")], description="Neither the log nor the price list has a price for these tokens."),
        timeseries("Cost per hour by model",
                   (f"sum by (model, currency) ({cost}:increase1h{{{SOURCE}}})", "{{model}} {{currency}}"),
                   stack=True, unit="none"),
        table("Cost by app, 24 hours",
              (f"topk(25, sum by (source, app_id, currency) ({cost}:increase1d{{{SOURCE}}}) > 0)", "cost")),
        bargauge("The same tokens at the price of", *map(at_the_price_of, COMPARED), unit="none",
                 description="Tokens of the selected time range at the newest prices of deploy/prices.toml. If only a total is "
                             "known, it is multiplied with the output price: an upper bound. Select one source."),
        stat("The same tokens at another price",
             (f"({used('input')} * $input_price + {used('output|unsplit')} * $output_price) / 1e6", "{{source}}"),
             width=12, unit="none",
             description="Tokens of the selected time range at the two prices above, per million tokens. If only a total is "
                         "known, it is multiplied with the output price: an upper bound."),
        timeseries("Answers without usage",
                   (f"sum by (source) (source_app:dify_usage_missing:increase1h{{{SOURCE}}})"
                    f" / sum by (source) (source:dify_usage_expected:increase1h{{{SOURCE}}})", "{{source}}"),
                   unit="percentunit", description="Share of responses whose tokens are unknown, so their cost is not counted; see DifyUsageMissing."),
        timeseries("Model calls and answers with usage, per hour",
                   (f'sum by (source) (source_operation:dify_model_invocations:increase1h{{{SOURCE}, operation="invoke_llm"}})',
                    "{{source}} calls"),
                   (f"sum by (source) (source:dify_usage_expected:increase1h{{{SOURCE}}})"
                    f" - (sum by (source) (source_app:dify_usage_missing:increase1h{{{SOURCE}}})"
                    f" or 0 * sum by (source) (source:dify_usage_expected:increase1h{{{SOURCE}}}))",
                    "{{source}} answers with usage"),
                   description="The plugin daemon counts every model call. Dify reports no usage for conversation titles, for "
                               "stopped runs and for disconnected clients, so only the first number contains these "
                               "calls. Compare the daemon's source with the source of the proxy or the telemetry. One "
                               "answer of a workflow may contain several calls."),
    ], variables=[text_box("input_price", "Price of input, per million", "3.00"),
                  text_box("output_price", "Price of output, per million", "15.00")], since="now-24h")  # fmt: skip


def exporter() -> Json:
    return dashboard("dify-exporter", "Dify / Exporter", "Does the exporter read all logs, so that the other dashboards are complete?", [
        stat("Exporters", ('up{job="dify-exporter"}', "{{instance}}"), up_or_down=True, base="red", width=6),
        stat("Sources", (f"min by (source) (dify_exporter_source_up{{{SOURCE}}})", "{{source}}"), up_or_down=True,
             base="red", width=18, description="1 if at least one path matches and all files are readable."),
        row("Reading"),
        timeseries("Lines by outcome",
                   (f"sum by (outcome) (source_outcome:dify_exporter_lines:rate5m{{{SOURCE}}})", "{{outcome}}"),
                   unit="cps", stack=True),
        timeseries("Share of unparsed lines",
                   (f"source:dify_exporter_unparsed_lines_per_line:ratio_rate15m{{{SOURCE}}}", "{{source}}"),
                   ("dify:threshold:unparsed_ratio", "alert"), unit="percentunit"),
        timeseries("Unparsed lines by reason",
                   (f"sum by (source, reason) (rate(dify_exporter_unparsed_lines_total{{{SOURCE}}}[$__rate_interval])) > 0",
                    "{{source}} {{reason}}"), unit="cps"),
        timeseries("Values that were not understood, per line",
                   (f"source_field:dify_exporter_dropped_values_per_line:ratio_rate15m{{{SOURCE}}} > 0", "{{source}} {{field}}"),
                   ("dify:threshold:dropped_values_ratio", "alert"), unit="percentunit"),
        timeseries("Lag behind the logs", (f"source:dify_exporter_lag_bytes:sum{{{SOURCE}}}", "{{source}}"), unit="bytes"),
        timeseries("Age of the newest line",
                   (f"time() - max by (source) (dify_exporter_last_line_timestamp_seconds{{{SOURCE}}})", "{{source}}"),
                   unit="s"),
        timeseries("Bytes read", (f"sum by (source) (rate(dify_exporter_read_bytes_total{{{SOURCE}}}[$__rate_interval]))",
                                  "{{source}}"), unit="Bps"),
        row("Files"),
        table("Files, rotations and losses since the first start",
              (f"sum by (source) (dify_exporter_source_files{{{SOURCE}}})", "files"),
              (f"sum by (source) (dify_exporter_rotations_total{{{SOURCE}}})", "rotations"),
              (f"sum by (source) (dify_exporter_truncations_total{{{SOURCE}}})", "truncations"),
              (f"sum by (source) (dify_exporter_lost_bytes_total{{{SOURCE}}})", "lost bytes"),
              (f"sum by (source) (dify_exporter_joins_expired_total{{{SOURCE}}})", "runs without an end"),
              (f"max by (source) (dify_exporter_catching_up{{{SOURCE}}})", "catching up"),
              units={"lost bytes": "bytes"}, width=16),
        table("Errors with files", (f"sum by (source, reason) (dify_exporter_source_errors_total{{{SOURCE}}})", "count"),
              width=8),
        row("State"),
        timeseries("Age of the state", ("time() - dify_exporter_checkpoint_timestamp_seconds", "{{instance}}"),
                   ("dify:threshold:checkpoint_age_seconds", "alert"), unit="s", width=8),
        timeseries("Failed writes of the state", ("increase(dify_exporter_checkpoint_errors_total[$__rate_interval])",
                                         "{{instance}}"), width=8),
        timeseries("Observations folded into `other`",
                   ("sum by (metric) (rate(dify_exporter_folded_observations_total[$__rate_interval]))", "{{metric}}"),
                   width=8, description="The metric has reached its cap in [limits]; totals stay exact."),
        row("Process"),
        timeseries("Memory", ('process_resident_memory_bytes{job="dify-exporter"}', "{{instance}}"), unit="bytes", width=8),
        timeseries("CPU", ('rate(process_cpu_seconds_total{job="dify-exporter"}[$__rate_interval])', "{{instance}}"),
                   unit="percentunit", width=8),
        timeseries("Open files", ('process_open_fds{job="dify-exporter"}', "{{instance}}"),
                   ('process_max_fds{job="dify-exporter"}', "{{instance}} limit"), width=8),
        timeseries("Duration of scrapes", ('scrape_duration_seconds{job="dify-exporter"}', "{{instance}}"), unit="s",
                   width=8, description="Each scrape waits for the state to be on disk."),
        timeseries("Series per scrape", ('scrape_samples_scraped{job="dify-exporter"}', "{{instance}}"), width=8),
        table("Versions and configuration",
              ('max by (instance, version, python_version) (dify_exporter_build_info)', "running"),
              ("max by (instance) (dify_exporter_config_last_reload_successful)", "configuration accepted"), width=8),
    ])  # fmt: skip


DASHBOARDS = (overview, latency, money, exporter)


def rendered() -> dict[str, str]:
    """Return the text of each dashboard by its path beside this module."""
    boards = {f"dashboards/{board['uid']}.json": board for board in (make() for make in DASHBOARDS)}
    boards["native/dify-latency.json"] = latency(native=True)
    return {path: json.dumps(board, indent=2) + "\n" for path, board in boards.items()}


if __name__ == "__main__":
    for name, text in rendered().items():
        (FOLDER / name).write_text(text)
