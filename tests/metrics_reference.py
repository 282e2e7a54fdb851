"""The reference of all metrics, made from the catalogue. `python -m tests.metrics_reference` writes docs/metrics.md."""

from collections.abc import Iterable, Iterator

from exporter import catalogue as c
from parsers.batch import DROPPED_FIELDS, ERROR_KINDS, FAILURE_REASONS, RUN_KINDS, UNPARSED_REASONS
from parsers.values.http import METHODS
from tests.golden import ROOT

FILE = ROOT / "docs/metrics.md"

HEAD = """\
# Metrics

`make docs` writes this page from [`exporter/catalogue.py`](../exporter/catalogue.py); a test checks that both agree.

## Reading the metrics

* All times are in seconds.
* `source` is the name of the `[[source]]` that the number comes from. The same request appears in nginx's log and in
  Dify's log, so sum only within one source.
* A label that the log does not contain is `unknown`, never empty. A value outside of a closed set is `other`.
* The open labels are route, app_id, provider, model and task: their values are not a closed set. When a metric has as
  many label sets as `[limits]` allows, new values of these labels become `other`; totals stay exact.
* Counters marked *durable* survive a restart.
* `process_*` and `python_info` come from `prometheus_client`.

## How runs and streams end

A worker's log reports the end of a run before its outcome: the Celery task of a failed run succeeds, and the access
line of a stream has status 200. The exporter takes the outcome from the error records with the same trace id (in a
source install: the same request id).

**Runs of a worker.** A run is held for up to 2 s after the end of its task. Then its `status` in `dify_runs_total` is:

| `status` | when |
|---|---|
| `failed` | Dify logged that the run failed |
| `partial-succeeded` | Dify logged only a failure of a model, a plugin or a node |
| `finished` | Dify logged no failure |
| `lost` | no end was logged within a day, or more than `[limits] open_joins` runs were open |

**Streams.** Two kinds of failures happen after the status 200 was sent. Both need `ENABLE_REQUEST_LOGGING=true` and a
trace id in the line:

* `stream_error` in `dify_failed_requests_total`: a chat, agent or completion app. The api's access line has status 200,
  and an error of the model or of the app follows it.
* `run_failed`: a workflow that the api itself ran and that failed.

The logs do not contain more about the outcome. Therefore:

| what happened | how it is counted |
|---|---|
| a user stopped the run, or its client disconnected | `finished`: Dify continues the run or ends it without an error |
| a node failed, was retried, and succeeded | `partial-succeeded` |
| a node failed and the run continued without a log record (code, tools) | `finished` |
| a nested workflow failed inside a tool | `failed` |
| an agent's tool failed in a stream | `stream_error`, although the answer may be complete |
| a sandbox or plugin failed and Dify did not log it | not counted |

With `ENABLE_OTEL=true` a client can choose the trace id (`traceparent`). If a client uses one id for everything, its runs
and requests are still counted correctly, and each fails at most once. But an error may be assigned to another request
of the same client.

An enterprise worker's JSON log reports a streaming run twice: the Celery task as `finished`, and the telemetry with the
outcome. The recording rules `source_app:dify_runs:…` count such a run once.

## Causes and consequences of errors

`dify_errors_total` counts one failure once per level. Alerts use the causes.

| level | `kind` | meaning |
|---|---|---|
| cause | `rate_limited` | the provider answered 429 |
| cause | `provider_unauthorized` | the provider answered 401 or 403 |
| cause | `provider_unavailable` | the provider answered 5xx, timed out, cut the connection, or could not be reached |
| cause | `provider_error` | a provider or a plugin reported any other error |
| cause | `quota_exceeded`, `not_initialized`, `model_not_supported`, `upstream_…` | as named |
| consequence | `node_failed`, `run_failed`, `task_failed` | a node, run or Celery task ended with an error |
| other | `unhandled_exception` | an exception that Dify did not handle |

## All metrics
"""

#: The values of each label that has a closed set.
VALUES = {
    "method": (*METHODS.values(), "other", "unknown"),
    "status_code": ("100 to 599", "other", "unknown"),
    "route": ("a template of Dify's routes or of `[routes] extra`", "static", "other", "invalid", "unknown"),
    "token_type": ("input", "output", "unsplit"),
    "basis": ("reported", "price_list"),
    "outcome": ("observed", "ignored", "unparsed"),
    "dify_failed_requests_total reason": FAILURE_REASONS,
    "dify_usage_missing_total reason": ("absent", "zero", "inconsistent"),
    "dify_exporter_unparsed_lines_total reason": UNPARSED_REASONS,
    "dify_exporter_dropped_values_total field": DROPPED_FIELDS,
    "dify_errors_total kind": ERROR_KINDS,
    "dify_runs_total kind": RUN_KINDS,
}


def reference() -> str:
    return "\n".join(
        [HEAD, *_metrics(), "", "## Values of labels", "", *_values(), "", "## Buckets", "", *_buckets(), ""]
    )


def _metrics() -> Iterator[str]:
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    for metric in c.METRICS:
        kind = f"{metric.kind}, durable" if metric.durable else metric.kind
        yield f"| `{metric.name}` | {kind} | {', '.join(metric.labels)} | {metric.help} |"


def _values() -> Iterator[str]:
    yield "| label | values |"
    yield "|---|---|"
    for label, values in VALUES.items():
        yield f"| {' '.join(f'`{word}`' for word in label.split())} | {', '.join(map(_quoted, values))} |"


def _buckets() -> Iterator[str]:
    """Return a table of the buckets with the histograms that use them."""
    shared: dict[tuple[float, ...], list[str]] = {}
    for metric in c.METRICS:
        if metric.kind == "histogram":
            shared.setdefault(metric.buckets, []).append(metric.name)
    yield "In PrometheusProto each histogram also has native buckets, 8 for each factor of 2: [Prometheus 3](prometheus3.md)."
    yield ""
    yield "| seconds | histograms |"
    yield "|---|---|"
    for bounds, names in shared.items():
        yield f"| {' '.join(f'{bound:g}' for bound in bounds)} | {_list(names)} |"


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _quoted(value: str) -> str:
    return value if " " in value else f"`{value}`"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(reference())
