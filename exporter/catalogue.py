"""The catalogue of all metrics: name, type, help, labels and buckets.

This table is the only place that names a metric. The ledger, the exposition, the docs and the tests read it.
"""

from itertools import product
from typing import Literal

from msgspec import Struct

from parsers.batch import ERROR_KINDS, UNPARSED_REASONS

REQUEST_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
FIRST_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
RUN_BUCKETS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

#: Labels whose values come from the logs. When a metric has reached its cap, new values become `other`.
OPEN_LABELS = frozenset({"route", "app_id", "provider", "model", "task"})


class Metric(Struct, frozen=True, eq=False):
    """A metric. `buckets` are upper bounds in seconds.

    The ledger keeps a `durable` metric over restarts; all others start at 0 with each process.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    durable: bool = True


_all: list[Metric] = []


def _counter(name: str, help: str, *labels: str, durable: bool = True) -> Metric:
    _all.append(Metric(name, "counter", help, labels, durable=durable))
    return _all[-1]


def _histogram(name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    _all.append(Metric(name, "histogram", help, labels, buckets))
    return _all[-1]


def _gauge(name: str, help: str, *labels: str) -> Metric:
    _all.append(Metric(name, "gauge", help, labels, durable=False))
    return _all[-1]


# fmt: off
REQUESTS = _counter("dify_requests_total", "HTTP requests that ended.", "source", "method", "route", "status_code")
FAILED_REQUESTS = _counter(
    "dify_failed_requests_total", "Requests that failed, at most once each, also inside a response with status 200.",
    "source", "route", "reason")
REQUEST_DURATION = _histogram(
    "dify_request_duration_seconds", "Duration of a request, to the last byte.", REQUEST_BUCKETS,
    "source", "method", "route", "status_code")
TIME_TO_FIRST_BYTE = _histogram(
    "dify_time_to_first_byte_seconds", "Time to the first byte of the upstream's response.", FIRST_BUCKETS,
    "source", "method", "route")
HANDLER_DURATION = _histogram(
    "dify_handler_duration_seconds",
    "Duration in Dify's own access line; of a stream only the time until it starts.", REQUEST_BUCKETS,
    "source", "method", "route")
RESPONSE_BYTES = _counter("dify_response_bytes_total", "Bytes of response bodies.", "source", "route")
ACTIVE_REQUESTS = _gauge("dify_active_requests", "Requests that are in progress in the proxy's workers.", "source")
ROUTE_INFO = _gauge(
    "dify_route_info", "What kind of route a template is; always 1.", "route", "area", "streaming", "model")
APP_INFO = _gauge("dify_app_info", "Configured name and team of an app; always 1.", "app_id", "name", "team")
TOKENS_USED = _counter(
    "dify_tokens_used_total", "Tokens that models used; token_type unsplit: only their sum is known.",
    "source", "app_id", "provider", "model", "token_type")
COST = _counter(
    "dify_cost_total", "Cost of model calls, reported by the log or computed from the price list.",
    "source", "app_id", "provider", "model", "currency", "basis")
UNPRICED_TOKENS = _counter(
    "dify_unpriced_tokens_total", "Tokens for which neither the log nor the price list has a price.",
    "source", "provider", "model")
USAGE_MISSING = _counter(
    "dify_usage_missing_total", "Responses that must contain token usage but have none, zero or inconsistent numbers.",
    "source", "app_id", "reason")
TIME_TO_FIRST_TOKEN = _histogram(
    "dify_time_to_first_token_seconds", "Time to the first token of a streamed response.", FIRST_BUCKETS,
    "source", "app_id", "model")
RUNS = _counter(
    "dify_runs_total", "App runs that ended; status finished: a worker's run whose trace id has no error record.",
    "source", "kind", "app_id", "status")
RUN_DURATION = _histogram(
    "dify_run_duration_seconds", "Duration of an app run.", RUN_BUCKETS, "source", "kind", "app_id")
NODE_RUNS = _counter("dify_node_runs_total", "Workflow nodes that ended.", "source", "node_type", "status")
NODE_RUN_DURATION = _histogram(
    "dify_node_run_duration_seconds", "Duration of a workflow node.", RUN_BUCKETS, "source", "node_type")
TASKS = _counter("dify_tasks_total", "Celery tasks that ended.", "source", "task", "status")
TASKS_RECEIVED = _counter(
    "dify_tasks_received_total", "Celery tasks that a worker received from the queue; each retry counts again.",
    "source", "task")
TASK_DURATION = _histogram(
    "dify_task_duration_seconds", "Duration of a Celery task, without its time in the queue.", REQUEST_BUCKETS,
    "source", "task")
MODEL_INVOCATIONS = _counter(
    "dify_model_invocations_total", "Calls to models and tools through the plugin daemon.",
    "source", "operation", "status_code")
MODEL_INVOCATION_DURATION = _histogram(
    "dify_model_invocation_duration_seconds", "Duration of a call through the plugin daemon, to the end of a stream.",
    REQUEST_BUCKETS, "source", "operation")
ERRORS = _counter(
    "dify_errors_total", "Error records, and causes of failures that our proxy saw; each failure once per level.",
    "source", "kind")
BUDGET_LIMIT = _gauge("dify_budget_limit", "Limit of the budget in its unit.", "budget", "window", "unit")
BUDGET_SPENT = _gauge(
    "dify_budget_spent", "Amount spent in the current window of the budget, in its unit.", "budget", "window", "unit")
BUDGET_PROJECTED = _gauge(
    "dify_budget_projected", "Amount projected for the end of the window; absent until 5 % of the window was seen.",
    "budget", "window", "unit")
BUDGET_WINDOW_END = _gauge(
    "dify_budget_window_end_timestamp_seconds", "When the current window of the budget ends.",
    "budget", "window", "unit")
LINES = _counter("dify_exporter_lines_total", "Physical lines read, by outcome.", "source", "outcome")
UNPARSED_LINES = _counter(
    "dify_exporter_unparsed_lines_total", "Lines that match no format, by reason.", "source", "reason")
DROPPED_VALUES = _counter(
    "dify_exporter_dropped_values_total", "Values of counted lines that could not be understood and were left out.",
    "source", "field")
READ_BYTES = _counter("dify_exporter_read_bytes_total", "Bytes of the logs that were read and counted.", "source")
LAG_BYTES = _gauge("dify_exporter_lag_bytes", "Bytes of the logs that are not yet counted.", "source")
LAST_LINE = _gauge("dify_exporter_last_line_timestamp_seconds", "Newest event time, never later than now.", "source")
CATCHING_UP = _gauge(
    "dify_exporter_catching_up", "1 while the source is more than 1 MiB or 10 s of event time behind.", "source")
SOURCE_UP = _gauge("dify_exporter_source_up", "1 while at least one path matches and all are readable.", "source")
SOURCE_RECOGNISED = _gauge(
    "dify_exporter_source_recognised", "0 while nearly all lines are ignored: the log is in another format.", "source")
SOURCE_FILES = _gauge("dify_exporter_source_files", "Files that are read.", "source")
SOURCE_ERRORS = _counter(
    "dify_exporter_source_errors_total", "Errors with the files of a source, by reason.", "source", "reason")
ROTATIONS = _counter("dify_exporter_rotations_total", "Rotations found.", "source")
TRUNCATIONS = _counter("dify_exporter_truncations_total", "Truncations found.", "source")
LOST_BYTES = _counter(
    "dify_exporter_lost_bytes_total", "Bytes that were deleted or overwritten before they could be read.", "source")
FOLDED_OBSERVATIONS = _counter(
    "dify_exporter_folded_observations_total", "Observations whose open labels became `other` at the metric's cap.",
    "metric")
JOINS_EXPIRED = _counter(
    "dify_exporter_joins_expired_total", "Runs whose end was never seen, and usages whose app was never named.",
    "source")
CHECKPOINT_TIMESTAMP = _gauge("dify_exporter_checkpoint_timestamp_seconds", "When the state was last written.")
CHECKPOINT_ERRORS = _counter(
    "dify_exporter_checkpoint_errors_total", "Times the state could not be written.", durable=False)
RELOAD_SUCCESSFUL = _gauge("dify_exporter_config_last_reload_successful", "1 if the last configuration was accepted.")
RELOAD_TIMESTAMP = _gauge(
    "dify_exporter_config_last_reload_success_timestamp_seconds", "When a configuration was last accepted.")
DROPPED_LINES = _counter("dify_proxy_dropped_lines_total", "Lines that the proxy could not write.", "source")
RECEIVER_ITEMS = _counter(
    "dify_receiver_items_total", "Spans and events that the receiver got, by dialect and outcome.",
    "source", "dialect", "outcome")
BUILD_INFO = _gauge(
    "dify_exporter_build_info", "Versions of the exporter and of Python; always 1.", "version", "python_version")
# fmt: on

METRICS: tuple[Metric, ...] = tuple(_all)

#: Label sets that every source has from its start, so that `increase()` sees the first error.
INITIAL: tuple[tuple[Metric, tuple[tuple[str, ...], ...]], ...] = (
    (LINES, (("observed",), ("ignored",), ("unparsed",))),
    (UNPARSED_LINES, tuple(product(UNPARSED_REASONS))),
    (ERRORS, tuple(product(ERROR_KINDS))),
    *((metric, ((),)) for metric in (READ_BYTES, ROTATIONS, TRUNCATIONS, LOST_BYTES, JOINS_EXPIRED)),
)
