"""Interpret a record of the api or the worker by its caller (the file that logged it) and its level.

A caller is only a file name, because line numbers change with every release. The text of a client or user decides
nothing: patterns are anchored at the beginning of the message, the one of access lines also at its end.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from parsers.access.request_line import method_and_route
from parsers.access.routes import Routes
from parsers.batch import OTHER, UNKNOWN, Invocation, Record, Request, Task, TaskReceived
from parsers.dify import proxy_sums, runs
from parsers.dify.failures import failures_of_record
from parsers.dropped import dropped
from parsers.plugin_daemon.operations import operation_of
from parsers.values.http import failure_of, method_of, status_code_of
from parsers.values.numbers import MILLISECOND, nanoseconds
from parsers.values.patterns import lazy


class RecordHead(Struct, frozen=True, gc=False):
    """The first line of a record, parsed.

    `at` is in nanoseconds since the epoch. `caller` is a file name. `trace_id` is "" if there is none. Only JSON lines
    have a `stack_trace`, and only text lines have a `thread`.
    """

    level: bytes
    caller: bytes
    trace_id: str
    message: bytes
    at: int | None
    stack_trace: bytes = b""
    thread: bytes = b""


_ERRORS = frozenset({b"ERROR", b"CRITICAL"})

#: `METHOD PATH STATUS MILLISECONDS TRACE`, the path decoded and unescaped (api/extensions/ext_request_logging.py).
_ACCESS = lazy(rb"(\S++) (/.*|-) (\d{3}|-) (\d{1,12}(?:\.\d{1,9})?|-)(?: \S*)?", re.DOTALL)
#: The beginning of an access line that a newline in the path has split.
_CUT_ACCESS = lazy(rb"(\S++) /")

#: `ADDRESS - - [TIME] "REQUEST LINE" STATUS BYTES SECONDS`, written at the end of the response (gevent/pywsgi.py,
#: format_request). A client can write a quote into the request line, so the line is read from its end.
_SERVED = lazy(rb'\S{1,128} - - \[[0-9 :-]{19}\] "(.*)" (\d{3}) (\d{1,18}|-) (\d{1,9}\.\d{6}|-)', re.DOTALL)

#: From httpx/_client.py: the path and the status code.
_HTTPX = lazy(rb'HTTP Request: [A-Z]+ https?://[^/\s"]*(/[^\s"]*) "HTTP/[0-9.]+ (\d{3})\b.*"')
HTTPX_CALLER = b"_client.py"

#: The file that logs the beginning of a run.
RUN_CALLER = b"workflow_execute_task.py"

#: The files that log the messages of Celery.
TASK_CALLERS = (b"trace.py", b"strategy.py", b"request.py")

#: From celery/app/trace.py. A task that raises an exception it declared (`throws`) is logged at INFO but has failed.
_TASK = lazy(
    rb"Task ([\w.]{1,512})\[[^\]\s]{1,256}\] "
    rb"(succeeded in ([0-9.]+(?:e-?\d+)?)s:|raised (?:un)?expected:|INTERNAL ERROR:|retry:|ignored|rejected|reject )"
)
_TASK_STATUS = {
    b"succeeded": "succeeded", b"raised": "failed", b"INTERNAL": "failed",
    b"retry:": "retried", b"ignored": "ignored", b"rejected": "rejected", b"reject": "rejected",
}  # fmt: skip
#: A task that was killed at its time limit. No record of trace.py follows (celery/worker/request.py).
_TASK_KILLED = lazy(rb"Hard time limit \([^()\s]{1,32}\) exceeded for ([\w.]{1,512})\[[^\]\s]{1,256}\]\s*")
#: From celery/app/trace.py (LOG_RECEIVED), written by celery/worker/strategy.py.
_TASK_RECEIVED = lazy(rb"Task ([\w.]{1,512})\[[^\]\s]{1,256}\] received\s*")
_TASK_NAME = lazy(r"[\w.]{1,128}")


class MessageReader:
    """Turns record heads into records. It keeps the routes and no other state."""

    def __init__(self, routes: Routes) -> None:
        self.routes, self.proxy = routes, proxy_sums.reader(routes)
        self._callers: Mapping[bytes, Callable[[RecordHead], Sequence[Record]]] = {
            b"ext_request_logging.py": self._access,
            b"handler.py": self._served,
            HTTPX_CALLER: lambda head: httpx_calls(head.message),
            **dict.fromkeys(TASK_CALLERS, _task),
            RUN_CALLER: lambda head: runs.opened(head.trace_id, head.message, head.at),
            **dict.fromkeys(runs.ERROR_CALLERS, _trace_error),
        }

    def reads(self, caller: bytes) -> bool:
        """Return whether records of this file count, besides errors."""
        return caller in self._callers

    def records(self, head: RecordHead) -> list[Record]:
        """Return the records of a head. A head of the level ERROR or CRITICAL also gives its failure."""
        read = self._callers.get(head.caller)
        records = [*read(head)] if read else []
        if head.level in _ERRORS:
            records += failures_of_record(head.caller, head.message, head.stack_trace, head.thread)
        return records

    def _access(self, head: RecordHead) -> list[Record]:
        """Read an access line. Its duration is that of a whole blocking response, but only the start of a stream.

        Therefore these durations have a metric of their own.
        """
        match = _ACCESS.fullmatch(head.message)
        if match is None:
            cut = _CUT_ACCESS.match(head.message)
            return [Request(method_of(cut[1]), OTHER, UNKNOWN)] if cut else []
        method, path, status, milliseconds = match.groups()
        status_code = status_code_of(status)
        duration = None if milliseconds == b"-" else nanoseconds(milliseconds, MILLISECOND)
        labels = method_of(method), self._route(path), status_code
        request = Request(*labels, failure_of(status_code), handler_durations=() if duration is None else (duration,))
        accepted = runs.accepted(self.routes, labels, head.trace_id, head.at)
        return [request, *accepted, *dropped("duration", milliseconds, duration)]

    def _served(self, head: RecordHead) -> list[Record]:
        """Read a line of gevent-websocket (geventwebsocket/handler.py), the server of Dify's images since 1.14.2.

        Its duration is that of the whole response, also of a stream. The same request may have an access line of Dify,
        so it is not counted here.
        """
        match = _SERVED.fullmatch(head.message)
        if match is None:
            return []
        request, status, size, seconds = match.groups()
        duration = None if seconds == b"-" else nanoseconds(seconds)
        labels = *method_and_route(request, self.routes), status_code_of(status)
        response_bytes = None if size == b"-" else int(size)
        return [Request(*labels, "", 0, response_bytes, () if duration is None else (duration,))]

    def _route(self, path: bytes) -> str:
        if path == b"-":
            return UNKNOWN
        return OTHER if re.search(rb"\s", path) else self.routes.of_path(path)


def httpx_calls(message: bytes) -> list[Invocation]:
    """Read a message of httpx: one per call to the plugin daemon, written when the response headers arrive.

    It gives a count without a duration.
    """
    match = _HTTPX.fullmatch(message)
    operation = operation_of(match[1]) if match else None
    return [Invocation(operation, status_code_of(match[2]))] if match and operation else []


def _task(head: RecordHead) -> list[Record]:
    """Read the end of a Celery task (celery/app/trace.py), or that a worker has received it.

    The return value behind the end can be any text.
    """
    if received := _TASK_RECEIVED.fullmatch(head.message):
        return [TaskReceived(task_name(received[1].decode("ascii", "replace")))]
    if killed := _TASK_KILLED.fullmatch(head.message):
        name = killed[1].decode("ascii", "replace")
        return [Task(task_name(name), "failed"), *runs.closed(head.trace_id, name, "failed", None, head.at)]
    match = _TASK.match(head.message)
    if match is None:
        return []
    name = match[1].decode("ascii", "replace")
    status = _TASK_STATUS[match[2].split()[0]]
    duration = nanoseconds(match[3]) if match[3] else None
    task = Task(task_name(name), status, duration)
    closed = runs.closed(head.trace_id, name, status, duration, head.at)
    return [task, *closed, *dropped("duration", match[3], duration)]


def task_name(name: str) -> str:
    """Return the label of a task: its name, `other` for a name that no function can have or that is too long."""
    return name if _TASK_NAME.fullmatch(name) else OTHER


def _trace_error(head: RecordHead) -> Sequence[Record]:
    return runs.trace_errors(head.level, head.caller, head.trace_id, head.message, head.at)
