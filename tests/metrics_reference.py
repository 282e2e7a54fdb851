"""The reference of all metrics, from the catalogue. `python -m tests.metrics_reference` writes docs/metrics.md."""

from collections.abc import Iterable, Iterator

from exporter import catalogue as c
from parsers.batch import DROPPED_FIELDS, ERROR_KINDS, FAILURE_REASONS, RUN_KINDS, UNPARSED_REASONS
from parsers.values.http import METHODS
from tests.golden import ROOT

FILE = ROOT / "docs/metrics.md"

HEAD = """\
# Metrics

Written by `make docs` from [`exporter/catalogue.py`](../exporter/catalogue.py); a test sees to it that both agree.

Times are in seconds. `source` is the name of the `[[source]]` whose log told it: the same request stands in nginx's
and in Dify's log, so take sums within one source. A label that a log does not tell is `unknown`, never empty; one
outside its closed set is `other`. The open labels (route, app_id, provider, model, task) become `other` beyond the
caps of `[limits]`, and totals stay exact. Counters marked *durable* survive a restart.

### How runs and streams ended

A worker's log reports the end of a run before its outcome: the Celery task of a failed run succeeds, and the access
line of a stream has status 200. The error records of the same trace id (in a source install the request id) tell how
it ended.

* **A worker's run** is held for up to 2 s after the end of its task. Its `status` in `dify_runs_total` is `failed`
  where Dify logged that the run failed, `partial-succeeded` where only a model, a plugin or a node failed, and
  `finished` where nothing was logged. It is `lost` where no end came for a day or `[limits] open_joins` pushed it out.
* **A stream of a chat, agent or completion app** that ends in an error counts in `dify_failed_requests_total` with
  `reason="stream_error"`: the api's access line with status 200, and behind it an error of the model or of the app.
  A workflow that the api ran itself and that failed inside a 200 is `run_failed`. Both need
  `ENABLE_REQUEST_LOGGING=true`, and a trace id in the line.

No log says more, so this stays unknown:

* A run that a user stopped, and one whose client has left: `finished`, as Dify goes on or ends it without an error.
* A node that failed, was retried and then succeeded: `partial-succeeded`. A node that goes on after a failure without
  any record (code, tools): `finished`. A nested workflow that failed inside a tool: `failed`, and an agent's tool that
  failed in a stream: `stream_error`, although the answer may be whole.
* Failures in a sandbox or in a plugin that Dify swallows and does not log.
* With `ENABLE_OTEL=true` a client can choose the trace id (`traceparent`). One that uses the same id for everything
  gets its runs and requests counted right, each failed at most once, but errors may go to the wrong one of its own.

An enterprise worker's JSON log reports a streaming run twice: its Celery task as `finished`, the telemetry with its
outcome. `source_app:dify_runs:…` in rules/ takes it once.

`dify_errors_total` counts one failure once per level. The cause: `rate_limited` (a provider's 429), `provider_unauthorized`
(401, 403), `provider_unavailable` (5xx, a cut connection, a timeout, not reached), `provider_error` (anything else that
a provider or a plugin reports), `quota_exceeded`, `not_initialized`, `model_not_supported`, `upstream_…`. Its
consequences: `node_failed`, `run_failed`, `task_failed`. `unhandled_exception` is what Dify did not handle. Alerts look at causes.

`process_*` and `python_info` are those of `prometheus_client`.
"""

#: What a label may say, where the set is closed.
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
    """Metrics by the buckets that they share."""
    shared: dict[tuple[float, ...], list[str]] = {}
    for metric in c.METRICS:
        if metric.kind == "histogram":
            shared.setdefault(metric.buckets, []).append(metric.name)
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
