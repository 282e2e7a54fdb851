"""The four dashboards. `make dashboards` writes them to grafana/dashboards/; a test proves those current.

Queries read the recording rules wherever there is one, and take sums within one source (the variable `source`).
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

FOLDER = Path(__file__).with_name("dashboards")
PRICES = Path(__file__).parents[1] / "deploy/prices.toml"

#: Models of deploy/prices.toml at whose price the tokens of the others are shown.
COMPARED = ("gpt-4.1", "gpt-4.1-mini", "claude-sonnet-4-5", "deepseek-chat")

SOURCE = 'source=~"$source"'

#: Names from `[apps]`, where there are any.
NAMED = "* on (app_id) group_left (name, team) max by (app_id, name, team) (dify_app_info)"


def overview() -> Json:
    return dashboard("dify-overview", "Dify / Overview", "Is it healthy, since when, and who suffers?", [
        row("Is it healthy?"),
        stat("Dify answers", ('min(probe_success{dependency="dify"})', ""), up_or_down=True, base="red",
             description="The probe of /health."),
        stat("Alerts firing", ('count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)', ""),
             steps=[(1, "red")]),
        stat("Requests that fail", (f"source:dify_failed_requests_per_request:ratio_rate5m{{{SOURCE}}}", "{{source}}"),
             unit="percentunit", steps=[(0.01, "yellow"), (0.05, "red")], width=5,
             description="Any reason but a client that left; failures inside a 200 count where the log knows them."),
        stat("Requests", (f"source:dify_requests:rate5m{{{SOURCE}}}", "{{source}}"), unit="reqps", width=5),
        stat("In progress", (f"source:dify_active_requests:sum{{{SOURCE}}}", "{{source}}"),
             steps=[(50, "red")], width=3, description="Known where dify-exporter's proxy is in use."),
        stat("Uptime, 30 days", ('min(instance:probe_success:avg_over_time30d{dependency="dify"})', ""),
             unit="percentunit", base="red", steps=[(0.99, "yellow"), (0.999, "green")], width=3),
        state_timeline("Dify and what it depends on", ('min by (dependency) (probe_success)', "{{dependency}}"),
                       width=16),
        table("Firing now", ('ALERTS{alertstate="firing", alertname!="Watchdog"}', "firing"), width=8,
              runbook_of="alertname", description="The name leads to its runbook."),
        row("Since when?"),
        timeseries("Requests by class", (f"sum by (class) (source_class:dify_requests:rate5m{{{SOURCE}}})", "{{class}}"),
                   unit="reqps", stack=True, description="Choose one source: two that see the same requests add up."),
        timeseries("Share of requests that fail",
                   (f"source:dify_failed_requests_per_request:ratio_rate5m{{{SOURCE}}}", "{{source}}"),
                   ("dify:threshold:failure_ratio", "alert"), unit="percentunit"),
        timeseries("Failed requests by reason",
                   (f"sum by (reason) (source_reason:dify_failed_requests:rate5m{{{SOURCE}}})", "{{reason}}"),
                   unit="reqps", stack=True),
        timeseries("Errors in the logs", (f"source_kind:dify_errors:rate5m{{{SOURCE}}} > 0", "{{source}} {{kind}}"),
                   unit="cps", description="Error records that are not a request's end: the cause behind a 5xx."),
        row("Who suffers?"),
        table("Routes that fail most",
              (f"topk(15, 1000 * source_route:dify_failed_requests:rate5m{{{SOURCE}}} > 0)", "failures / 1000 s"),
              (f"source_route:dify_failed_requests_per_request:ratio_rate5m{{{SOURCE}}} > 0", "share"),
              units={"share": "percentunit"}),
        table("Apps whose runs fail",
              (f'topk(15, sum by (source, app_id) (increase(dify_runs_total{{{SOURCE}, '
               'status=~"failed|error|exception|lost"}[$__range])) > 0)', "failed runs"),
              (f"sum by (source, app_id) (increase(dify_runs_total{{{SOURCE}}}[$__range])) > 0", "all runs"),
              description="In the time shown. Names come from [apps] in exporter.toml: see the next table."),
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


def latency() -> Json:
    requests = f"dify_request_duration_seconds_bucket{{{SOURCE}}}"
    within = [
        (f'sum by (source) (rate(dify_request_duration_seconds_bucket{{{SOURCE}, le="{bound}"}}[$__rate_interval]))'
         f" / sum by (source) (rate(dify_request_duration_seconds_count{{{SOURCE}}}[$__rate_interval]))",
         f"{{{{source}}}} within {bound} s")
        for bound in ("0.5", "1.0", "3.0")
    ]  # fmt: skip
    return dashboard("dify-latency", "Dify / Latency", "How long do people wait, where, and for which model?", [
        row("Requests"),
        heatmap("Duration of requests", requests,
                description="Whole requests, to the last byte. Bucket edges lie at 0.5, 1 and 3 s."),
        timeseries("p50, p95, p99",
                   *((f"source:dify_request_duration_seconds:p{q}_rate5m{{{SOURCE}}}", f"{{{{source}}}} p{q}")
                     for q in (50, 95, 99)),
                   unit="s", lines=[0.5, 1, 3], description="Lines at 0.5, 1 and 3 s. A stream lasts as long as it talks."),
        timeseries("Share of requests within 0.5, 1 and 3 s", *within, unit="percentunit"),
        timeseries("Latency as alerts judge it, p95",
                   (f"source_area:dify_judged_latency_seconds:p95_rate10m{{{SOURCE}}}",
                    "{{source}} {{area}} by {{judged_by}}"),
                   ("dify:threshold:latency_seconds", "alert by {{judged_by}}"), unit="s",
                   description="Blocking routes by their whole duration, routes that may stream by their first byte."),
        row("By route"),
        table("Routes by p95",
              (f"topk(25, source_route:dify_request_duration_seconds:p95_rate5m{{{SOURCE}}} > 0)", "p95"),
              (f"source_route:dify_request_duration_seconds:p50_rate5m{{{SOURCE}}} > 0", "p50"),
              (f"source_route:dify_request_duration_seconds:p99_rate5m{{{SOURCE}}} > 0", "p99"),
              (f"source_route:dify_requests:rate5m{{{SOURCE}}} > 0", "requests"),
              units={"p50": "s", "p95": "s", "p99": "s", "requests": "reqps"}, width=24),
        timeseries("First byte by route, p95",
                   (f"topk(10, source_route:dify_time_to_first_byte_seconds:p95_rate5m{{{SOURCE}}})",
                    "{{source}} {{route}}"), unit="s"),
        timeseries("Dify's own handler by route, p95",
                   (f"topk(10, source_route:dify_handler_duration_seconds:p95_rate5m{{{SOURCE}}})",
                    "{{source}} {{route}}"), unit="s",
                   description="Dify's access line: whole for a blocking answer, acceptance alone for a stream."),
        row("First token"),
        heatmap("Time to the first token", f"dify_time_to_first_token_seconds_bucket{{{SOURCE}}}"),
        timeseries("First token by model",
                   *((f"source_model:dify_time_to_first_token_seconds:p{q}_rate10m{{{SOURCE}}}",
                      f"{{{{model}}}} p{q}") for q in (50, 95, 99)),
                   ("dify:threshold:first_token_seconds", "alert"), unit="s"),
        timeseries("First token by app, p95",
                   (f"source_app:dify_time_to_first_token_seconds:p95_rate10m{{{SOURCE}}}", "{{app_id}}"), unit="s"),
        timeseries("Runs by app, p95",
                   (f"source_app:dify_run_duration_seconds:p95_rate10m{{{SOURCE}}}", "{{app_id}}"), unit="s"),
        row("Where the time goes"),
        timeseries("Model and tool calls, p50 and p95",
                   *((f"source_operation:dify_model_invocation_duration_seconds:p{q}_rate10m{{{SOURCE}}}",
                      f"{{{{operation}}}} p{q}") for q in (50, 95)), unit="s",
                   description="Through the plugin daemon, whole streams."),
        timeseries("Model and tool calls", (f"source_operation:dify_model_invocations:rate5m{{{SOURCE}}}",
                                            "{{operation}}"), unit="ops"),
        timeseries("Workflow nodes by type, p95",
                   (f"source_type:dify_node_run_duration_seconds:p95_rate10m{{{SOURCE}}}", "{{node_type}}"), unit="s"),
        timeseries("Celery tasks, p95",
                   (f"source_task:dify_task_duration_seconds:p95_rate10m{{{SOURCE}}}", "{{task}}"), unit="s"),
    ])  # fmt: skip


def money() -> Json:
    tokens, cost = "source_app_model:dify_tokens_used", "source_app_model:dify_cost"

    def used(kind: str) -> str:
        """0 for a source that has only the other kind."""
        by_source = f'sum by (source) (increase(dify_tokens_used_total{{{SOURCE}, token_type=~"{kind}"}}[$__range]))'
        return f"({by_source} or 0 * sum by (source) (increase(dify_tokens_used_total{{{SOURCE}}}[$__range])))"

    def at_the_price_of(model: str) -> Query:
        """The newest price of the list."""
        listed = tomllib.loads(PRICES.read_text())["price"]
        price = max((each for each in listed if each["model"] == model), key=lambda each: each.get("from", ""))
        return (
            f"sum({used('input')} * {price['input']} + {used('output|unsplit')} * {price['output']}) / 1e6",
            f"{model}, {price['currency']}",
        )

    return dashboard("dify-tokens", "Dify / Tokens and cost", "What does it cost, whom, and will the budget hold?", [
        row("Budgets"),
        bargauge("Spent", ("budget:dify_budget_spent_per_limit:ratio", "{{budget}} ({{window}}, {{unit}})"),
                 steps=[(0.8, "yellow"), (1, "red")], maximum=1.2),
        bargauge("Projected for the window's end",
                 ("budget:dify_budget_projected_per_limit:ratio", "{{budget}} ({{window}}, {{unit}})"),
                 steps=[(0.9, "yellow"), (1, "red")], maximum=1.5,
                 description="At this window's rate so far; absent in its first 5 %."),
        timeseries("Spent, projected and limit",
                   ("budget:dify_budget_spent:sum", "{{budget}} spent, {{unit}}"),
                   ("budget:dify_budget_projected:sum", "{{budget}} projected, {{unit}}"),
                   ("budget:dify_budget_limit:max", "{{budget}} limit, {{unit}}")),
        table("Windows",
              ("budget:dify_budget_spent:sum", "spent"), ("budget:dify_budget_limit:max", "limit"),
              ("budget:dify_budget_projected:sum", "projected"),
              ("1000 * budget:dify_budget_window_end_timestamp_seconds:max", "ends"),
              units={"ends": "dateTimeAsIso"}),
        row("Tokens"),
        timeseries("Tokens per day, against the daily budgets",
                   (f"sum by (source) (increase(dify_tokens_used_total{{{SOURCE}}}[1d]))", "{{source}}"),
                   ('budget:dify_budget_limit:max{unit="tokens", window="day"}', "{{budget}} limit"), bars="1d",
                   description="Show 30 days or so. A bar is the 24 hours before its end."),
        timeseries("Tokens per hour by model",
                   (f"sum by (provider, model, token_type) ({tokens}:increase1h{{{SOURCE}}})",
                    "{{provider}} {{model}} {{token_type}}"), stack=True),
        table("Tokens by app, 24 hours",
              (f"topk(25, sum by (source, app_id) ({tokens}:increase1d{{{SOURCE}}}) > 0)", "tokens"),
              (f"source_app:dify_runs:increase1d{{{SOURCE}}} > 0", "runs"),
              (f"source_app:dify_tokens_used_per_run:ratio_increase1d{{{SOURCE}}}", "tokens a run"),
              (f"source_app:dify_tokens_used_per_run_per_last_week:ratio{{{SOURCE}}}", "times last week's")),
        table("Tokens by named app and team, time shown",
              (f"topk(25, sum by (app_id) (increase(dify_tokens_used_total{{{SOURCE}}}[$__range])) {NAMED} > 0)", "tokens"),
              description="Apps that [apps] in exporter.toml names."),
        row("Cost"),
        stat("Cost, 24 hours", (f"sum by (source, currency) ({cost}:increase1d{{{SOURCE}}})", "{{source}} {{currency}}"),
             width=8, unit="none"),
        stat("Cost, 30 days", (f"sum by (source, currency) ({cost}:increase30d{{{SOURCE}}})", "{{source}} {{currency}}"),
             width=8, unit="none"),
        stat("Tokens without a price, last hour", (f"source:dify_unpriced_tokens:increase1h{{{SOURCE}}}", "{{source}}"),
             width=8, steps=[(1, "yellow")], description="Neither the log nor the price list knows what they cost."),
        timeseries("Cost per hour by model",
                   (f"sum by (model, currency) ({cost}:increase1h{{{SOURCE}}})", "{{model}} {{currency}}"),
                   stack=True, unit="none"),
        table("Cost by app, 24 hours",
              (f"topk(25, sum by (source, app_id, currency) ({cost}:increase1d{{{SOURCE}}}) > 0)", "cost")),
        bargauge("The same tokens at the price of", *map(at_the_price_of, COMPARED), unit="none",
                 description="The tokens of the time shown, at the newest prices of deploy/prices.toml. Where only a total "
                             "is known it is taken at the output price: an upper bound. Choose one source."),
        stat("The same tokens at another price",
             (f"({used('input')} * $input_price + {used('output|unsplit')} * $output_price) / 1e6", "{{source}}"),
             width=12, unit="none",
             description="The tokens of the time shown at the two prices above, per million. Where only a total is known "
                         "it is taken at the output price: an upper bound."),
        timeseries("Answers without usage",
                   (f"sum by (source) (source_app:dify_usage_missing:increase1h{{{SOURCE}}})"
                    f" / sum by (source) (source:dify_usage_expected:increase1h{{{SOURCE}}})", "{{source}}"),
                   unit="percentunit", description="What costs and is not counted; see DifyUsageMissing."),
        timeseries("Model calls and answers with usage, per hour",
                   (f'sum by (source) (source_operation:dify_model_invocations:increase1h{{{SOURCE}, operation="invoke_llm"}})',
                    "{{source}} calls"),
                   (f"sum by (source) (source:dify_usage_expected:increase1h{{{SOURCE}}})"
                    f" - (sum by (source) (source_app:dify_usage_missing:increase1h{{{SOURCE}}})"
                    f" or 0 * sum by (source) (source:dify_usage_expected:increase1h{{{SOURCE}}}))",
                    "{{source}} answers with usage"),
                   description="The plugin daemon counts every model call. Dify reports no usage for titles of "
                               "conversations and for runs that were stopped or whose client left, so those calls are "
                               "only in the first number. Compare the daemon's source with the proxy's or the "
                               "telemetry's; one answer of a workflow may hold several calls."),
    ], variables=[text_box("input_price", "Price of input, per million", "3.00"),
                  text_box("output_price", "Price of output, per million", "15.00")], since="now-24h")  # fmt: skip


def exporter() -> Json:
    return dashboard("dify-exporter", "Dify / Exporter", "Is what the other dashboards show complete?", [
        stat("Exporters", ('up{job="dify-exporter"}', "{{instance}}"), up_or_down=True, base="red", width=6),
        stat("Sources", (f"min by (source) (dify_exporter_source_up{{{SOURCE}}})", "{{source}}"), up_or_down=True,
             base="red", width=18, description="At least one path matches and all are readable."),
        row("Reading"),
        timeseries("Lines by outcome",
                   (f"sum by (outcome) (source_outcome:dify_exporter_lines:rate5m{{{SOURCE}}})", "{{outcome}}"),
                   unit="cps", stack=True),
        timeseries("Share of lines that no format took",
                   (f"source:dify_exporter_unparsed_lines_per_line:ratio_rate15m{{{SOURCE}}}", "{{source}}"),
                   ("dify:threshold:unparsed_ratio", "alert"), unit="percentunit"),
        timeseries("Unparsed by reason",
                   (f"sum by (source, reason) (rate(dify_exporter_unparsed_lines_total{{{SOURCE}}}[$__rate_interval])) > 0",
                    "{{source}} {{reason}}"), unit="cps"),
        timeseries("Values not understood, per line",
                   (f"source_field:dify_exporter_dropped_values_per_line:ratio_rate15m{{{SOURCE}}} > 0", "{{source}} {{field}}"),
                   ("dify:threshold:dropped_values_ratio", "alert"), unit="percentunit"),
        timeseries("Behind", (f"source:dify_exporter_lag_bytes:sum{{{SOURCE}}}", "{{source}}"), unit="bytes"),
        timeseries("Age of the newest line",
                   (f"time() - max by (source) (dify_exporter_last_line_timestamp_seconds{{{SOURCE}}})", "{{source}}"),
                   unit="s"),
        timeseries("Bytes read", (f"sum by (source) (rate(dify_exporter_read_bytes_total{{{SOURCE}}}[$__rate_interval]))",
                                  "{{source}}"), unit="Bps"),
        row("Files"),
        table("Files, rotations, losses, whole life",
              (f"sum by (source) (dify_exporter_source_files{{{SOURCE}}})", "files"),
              (f"sum by (source) (dify_exporter_rotations_total{{{SOURCE}}})", "rotations"),
              (f"sum by (source) (dify_exporter_truncations_total{{{SOURCE}}})", "truncations"),
              (f"sum by (source) (dify_exporter_lost_bytes_total{{{SOURCE}}})", "lost bytes"),
              (f"sum by (source) (dify_exporter_joins_expired_total{{{SOURCE}}})", "runs without an end"),
              (f"max by (source) (dify_exporter_catching_up{{{SOURCE}}})", "catching up"),
              units={"lost bytes": "bytes"}, width=16),
        table("Troubles with files", (f"sum by (source, reason) (dify_exporter_source_errors_total{{{SOURCE}}})", "count"),
              width=8),
        row("State"),
        timeseries("Age of the state", ("time() - dify_exporter_checkpoint_timestamp_seconds", "{{instance}}"),
                   ("dify:threshold:checkpoint_age_seconds", "alert"), unit="s", width=8),
        timeseries("State not written", ("increase(dify_exporter_checkpoint_errors_total[$__rate_interval])",
                                         "{{instance}}"), width=8),
        timeseries("Observations folded into `other`",
                   ("sum by (metric) (rate(dify_exporter_folded_observations_total[$__rate_interval]))", "{{metric}}"),
                   width=8, description="A metric has reached its cap of [limits]; its totals stay exact."),
        row("The process"),
        timeseries("Memory", ('process_resident_memory_bytes{job="dify-exporter"}', "{{instance}}"), unit="bytes", width=8),
        timeseries("CPU", ('rate(process_cpu_seconds_total{job="dify-exporter"}[$__rate_interval])', "{{instance}}"),
                   unit="percentunit", width=8),
        timeseries("Open files", ('process_open_fds{job="dify-exporter"}', "{{instance}}"),
                   ('process_max_fds{job="dify-exporter"}', "{{instance}} limit"), width=8),
        timeseries("Time a scrape takes", ('scrape_duration_seconds{job="dify-exporter"}', "{{instance}}"), unit="s",
                   width=8, description="Each scrape waits for the state to be on disk."),
        timeseries("Series a scrape brings", ('scrape_samples_scraped{job="dify-exporter"}', "{{instance}}"), width=8),
        table("Versions and configuration",
              ('max by (instance, version, python_version) (dify_exporter_build_info)', "running"),
              ("max by (instance) (dify_exporter_config_last_reload_successful)", "configuration accepted"), width=8),
    ])  # fmt: skip


DASHBOARDS = (overview, latency, money, exporter)


def rendered() -> dict[str, str]:
    """File names and their text."""
    boards = [make() for make in DASHBOARDS]
    return {f"{board['uid']}.json": json.dumps(board, indent=2) + "\n" for board in boards}


if __name__ == "__main__":
    for name, text in rendered().items():
        (FOLDER / name).write_text(text)
