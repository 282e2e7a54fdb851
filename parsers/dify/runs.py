"""Read the lines of Dify's log that decide the outcome of a run or of a streamed response.

Neither the end of a worker's task nor an access line shows the outcome. The task of a failed run "succeeds", and the
status of a stream is sent before its first token. The error records with the same trace id show it. This module reads
both; the ledger joins them, because they are different lines in any order.

The beginnings of the messages are fixed words of Dify (core/workflow/workflow_entry.py, core/plugin/impl/base.py,
core/app/apps/*/app_generator.py, graph.py and http_request/node.py of graphon). The text behind them may come from a
provider or a user and is never read.
"""

import re
from collections.abc import Mapping

from parsers.access.routes import Routes
from parsers.batch import RUN_KINDS, UNKNOWN, Accepted, Closed, ErrorLevel, Opened, TraceError
from parsers.values.patterns import lazy
from parsers.values.times import iso_of

#: The name of the task that executes a run, without its module.
RUN_TASK = "workflow_based_app_execution_task"
#: Everything behind `user=` may be text of the user.
_PARAMETERS = lazy(
    rb"workflow_based_app_execution_task run with params: app_id='([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})' "
    rb"workflow_id='[^']*' tenant_id='[^']*' app_mode=<AppMode\.\w+: '([a-z-]+)'>"
)
#: The status of a run by the status of its task. An error record with its trace id may change it.
_STATUS = {"succeeded": "finished", "failed": "failed", "ignored": "finished"}

#: For each file that logs errors: how the message begins, and what has failed.
_ERRORS: Mapping[bytes, tuple[re.Pattern[bytes], ErrorLevel]] = {
    b"workflow_entry.py": (lazy(rb"Unknown Error when workflow entry running"), "run"),
    b"graph.py": (lazy(rb"Failed to create node instance\b"), "run"),
    b"app_generator.py": (lazy(rb"(?:(?:Unknown|Validation) )?Error when generating\b"), "run"),
    b"base.py": (
        lazy(
            rb"Error in stream res?ponse for plugin\b|Failed to request plugin daemon\b"
            rb"|(?:Stream r|R)equest to Plugin Daemon Service failed\b"
        ),
        "plugin",
    ),
    b"error_handler.py": (lazy(rb"Node \S{1,128} failed with ABORT strategy\b"), "run"),
    b"node_failure.py": (lazy(rb"Node \S{1,128} failed without a continuation strategy\b"), "run"),  # graphon 0.8
    b"node.py": (lazy(rb"http request node \S{1,128} failed to run\b"), "node"),
}
#: The files whose records may be such errors.
ERROR_CALLERS = tuple(_ERRORS)
_LEVELS = frozenset({b"ERROR", b"CRITICAL", b"WARNING", b"WARN"})


def opened(trace_id: str, message: bytes, at: int | None) -> list[Opened]:
    """Read the start of a run of a streaming workflow or chatflow, in the task that executes it."""
    match = _PARAMETERS.match(message)
    if match is None or not trace_id:
        return []
    kind = match[2].decode()
    return [Opened(trace_id, kind if kind in RUN_KINDS else UNKNOWN, match[1].decode(), at)]


def closed(trace_id: str, task: str, status: str, duration: int | None, at: int | None) -> list[Closed]:
    """Return the end of a run if `task` is the one that executes runs.

    `status` is the status of the task. `duration` is in nanoseconds.
    """
    if task.rpartition(".")[2] != RUN_TASK or status not in _STATUS:
        return []
    return [Closed(trace_id, _STATUS[status], duration, at)]


def trace_errors(level: bytes, caller: bytes, trace_id: str, message: bytes, at: int | None) -> list[TraceError]:
    """Return the error that a record of one of ERROR_CALLERS reports for the run or request of its trace id.

    A record without a trace id or a time cannot be joined and gives nothing.
    """
    pattern, error_level = _ERRORS[caller]
    if not trace_id or at is None or level not in _LEVELS:
        return []
    return [TraceError(trace_id, error_level, at)] if pattern.match(message) else []


def failure_of_stream(routes: Routes, method: str, route: str, status_code: str) -> str:
    """Return the failure that a later error record makes of a request with these labels; "" if it makes none.

    A workflow's response with status 200 reports a failed run in its body. Any other streamed response ends with an
    error event.
    """
    if status_code != "200" or method != "POST":
        return ""
    information = routes.information(route)
    if information.streaming == "no" or information.model == "no":
        return ""
    return "run_failed" if "/workflows/" in route else "stream_error"


def accepted(routes: Routes, labels: tuple[str, str, str], trace_id: str, at: int | None) -> list[Accepted]:
    """Return the first half of a join with a later error.

    `labels` are method, route and status code of an access line, `at` is its time in nanoseconds since the epoch.
    """
    failure = failure_of_stream(routes, *labels)
    if not failure or not trace_id or "\n" in trace_id or at is None:
        return []
    return [Accepted(labels[1], failure, trace_id, iso_of(at))]
