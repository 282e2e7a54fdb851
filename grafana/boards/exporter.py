"""Does the exporter read all logs, so that the other dashboards are complete?"""

from grafana.board import dashboard
from grafana.panels import Json, row, stat, table, timeseries
from grafana.queries import CLUSTER, SOURCE

_JOB = f'{CLUSTER}, job="dify-exporter"'


def exporter() -> Json:
    panels = [*_up(), *_reading(), *_files(), *_receiver(), *_state(), *_process()]
    return dashboard("dify-exporter", "Dify / Exporter", str(__doc__), panels)


def _up() -> list[Json]:
    return [
        stat("Exporters", (f"up{{{_JOB}}}", "{{instance}}"), up_or_down=True, base="red", width=6,
             description="UP if Prometheus can scrape it."),
        stat("Sources", (f"max by (source) (dify_exporter_source_up{{{SOURCE}}})", "{{source}}"), up_or_down=True,
             base="red", width=18, description="UP if on at least one instance a path matches and all files are readable."),
    ]  # fmt: skip


def _reading() -> list[Json]:
    def rate(metric: str, by: str) -> str:
        return f"sum by ({by}) (rate({metric}{{{SOURCE}}}[$__rate_interval]))"

    return [
        row("Reading"),
        timeseries("Lines by outcome",
                   (f"sum by (outcome) (source_outcome:dify_exporter_lines:rate5m{{{SOURCE}}})", "{{outcome}}"),
                   unit="cps", stack=True,
                   description="`observed`: counted in metrics. `ignored`: without a metric, such as a traceback. `unparsed`: "
                               "does not match the format."),
        timeseries("Share of unparsed lines",
                   (f"source:dify_exporter_unparsed_lines_per_line:ratio_rate15m{{{SOURCE}}}", "{{source}}"),
                   ("dify:threshold:unparsed_ratio", "alert"), unit="percentunit"),
        timeseries("Unparsed lines by reason", (rate("dify_exporter_unparsed_lines_total", "source, reason") + " > 0",
                                                "{{source}} {{reason}}"), unit="cps"),
        timeseries("Values that were not understood, per line",
                   (f"source_field:dify_exporter_dropped_values_per_line:ratio_rate15m{{{SOURCE}}} > 0", "{{source}} {{field}}"),
                   ("dify:threshold:dropped_values_ratio", "alert"), unit="percentunit",
                   description="The line is counted; the value, such as its duration, is left out."),
        timeseries("Lag behind the logs", (f"source:dify_exporter_lag_bytes:sum{{{SOURCE}}}", "{{source}}"), unit="bytes",
                   description="What the logs contain and the exporter has not read yet."),
        timeseries("Age of the newest line",
                   (f"time() - max by (source) (dify_exporter_last_line_timestamp_seconds{{{SOURCE}}})", "{{source}}"),
                   unit="s", description="Seconds since the time in the newest line."),
        timeseries("Bytes read", (rate("dify_exporter_read_bytes_total", "source"), "{{source}}"), unit="Bps"),
    ]  # fmt: skip


def _files() -> list[Json]:
    def total(metric: str) -> str:
        return f"sum by (source) ({metric}{{{SOURCE}}})"

    return [
        row("Files"),
        table("Files, rotations and losses since the first start",
              (total("dify_exporter_source_files"), "files"),
              (total("dify_exporter_rotations_total"), "rotations"),
              (total("dify_exporter_truncations_total"), "truncations"),
              (total("dify_exporter_lost_bytes_total"), "lost bytes"),
              (total("dify_exporter_joins_expired_total"), "runs without an end"),
              (f"max by (source) (dify_exporter_catching_up{{{SOURCE}}})", "catching up"),
              units={"lost bytes": "bytes"}, width=16,
              description="Lost bytes vanished before they were read. A source is catching up while it is more than 1 MiB or 10 s behind."),
        table("Errors with files", (f"sum by (source, reason) (dify_exporter_source_errors_total{{{SOURCE}}})", "count"),
              width=8),
    ]  # fmt: skip


def _receiver() -> list[Json]:
    items = f"source_dialect_outcome:dify_receiver_items:rate5m{{{SOURCE}}}"
    return [
        row("Receiver and proxy"),
        timeseries("Spans and events by dialect", (f"sum by (source, dialect) ({items})", "{{source}} {{dialect}}"),
                   unit="cps", stack=True, width=8),
        timeseries("Spans and events by outcome", (f"sum by (outcome) ({items})", "{{outcome}}"), unit="cps", stack=True,
                   width=8, description="`ignored` spans contain no run, node or message, such as those of SQL. `duplicate` spans had come before."),
        timeseries("Runs, nodes and messages received, and runs in other logs, per hour",
                   (f"source:dify_receiver_items_written:increase1h{{{SOURCE}}}", "{{source}} received"),
                   (f"max(job:dify_served_runs:increase1h{{{CLUSTER}}})", "runs in another log"), width=8,
                   description="If runs appear in another log only, Dify's tracing does not reach the receiver."),
        timeseries("Lines that the proxy dropped, per hour",
                   (f"sum by (source) (increase(dify_proxy_dropped_lines_total{{{SOURCE}}}[1h]))"
                    f" or 0 * sum by (source) (dify_active_requests{{{SOURCE}}})", "{{source}}"), width=8),
    ]  # fmt: skip


def _state() -> list[Json]:
    return [
        row("State"),
        timeseries("Age of the state", (f"time() - dify_exporter_checkpoint_timestamp_seconds{{{CLUSTER}}}", "{{instance}}"),
                   ("dify:threshold:checkpoint_age_seconds", "alert"), unit="s", width=8,
                   description="Seconds since the counters and positions were written to disk. A restart goes on from there."),
        timeseries("Failed writes of the state",
                   (f"increase(dify_exporter_checkpoint_errors_total{{{CLUSTER}}}[$__rate_interval])", "{{instance}}"), width=8),
        timeseries("Observations folded into `other`",
                   (f"sum by (metric) (rate(dify_exporter_folded_observations_total{{{CLUSTER}}}[$__rate_interval]))", "{{metric}}"),
                   width=8, description="The metric has reached its cap in [limits]; totals stay exact."),
    ]  # fmt: skip


def _process() -> list[Json]:
    return [
        row("Process"),
        timeseries("Memory", (f"process_resident_memory_bytes{{{_JOB}}}", "{{instance}}"), unit="bytes", width=8),
        timeseries("CPU", (f"rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval])", "{{instance}}"),
                   unit="percentunit", width=8, description="100 % is one core."),
        timeseries("Open files", (f"process_open_fds{{{_JOB}}}", "{{instance}}"),
                   (f"process_max_fds{{{_JOB}}}", "{{instance}} limit"), width=8),
        timeseries("Duration of scrapes", (f"scrape_duration_seconds{{{_JOB}}}", "{{instance}}"), unit="s",
                   width=8, description="Each scrape waits for the state to be on disk."),
        timeseries("Series per scrape", (f"scrape_samples_scraped{{{_JOB}}}", "{{instance}}"), width=8),
        table("Versions and configuration",
              (f"max by (instance, version, python_version) (dify_exporter_build_info{{{CLUSTER}}})", "running"),
              (f"max by (instance) (dify_exporter_config_last_reload_successful{{{CLUSTER}}})", "configuration accepted"), width=8),
    ]  # fmt: skip
