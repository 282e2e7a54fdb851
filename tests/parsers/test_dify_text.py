"""Text lines of all Dify versions, as its formatters write them and as users posted them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.access.routes import table
from parsers.batch import (
    Accepted,
    Closed,
    DroppedValue,
    Failure,
    Invocation,
    Opened,
    Record,
    Request,
    Task,
    TaskReceived,
    TraceError,
)
from parsers.dify import Dify
from parsers.values.http import METHODS

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
TENANT = "82e1b810-1f2d-4c3b-9a4e-0123456789ab"
APP = "ea53dd11-1f2d-4c3b-9a4e-0123456789ab"
TRACE = "d61483754d5c5cf08aff65ded59e290f"
RUN_TASK = "tasks.app_generate.workflow_execute_task.workflow_based_app_execution_task"
TASK_ID = "76471438-80e4-417b-a1cb-120c8d12b9ae"


def handled(method: str, route: str, status: str, milliseconds: float | None = None, failure: str = "") -> Request:
    times = () if milliseconds is None else (round(milliseconds * MILLISECOND),)
    return Request(method, route, status, failure, handler_durations=times)


def access(message: str) -> str:
    return f"2026-11-23 08:53:08.820 INFO [Dummy-1] [ext_request_logging.py:73] {TRACE} - {message}"


def worker(level: str, caller: str, message: str) -> str:
    return f"2026-05-21 11:07:56.674 {level} [Dummy-72] [{caller}:128] {TRACE} - {message}"


LLM_CALL = f'HTTP Request: POST http://plugin_daemon:5002/plugin/{TENANT}/dispatch/llm/invoke "HTTP/1.1 200 OK"'


@pytest.mark.parametrize(
    ("line", "records"),
    [
        (access("POST /v1/chat-messages 200 251.066 "), [handled("POST", "/v1/chat-messages", "200", 251.066)]),
        (access("POST /v1/chat-messages 200 0.26 "), [handled("POST", "/v1/chat-messages", "200", 0.26)]),
        (access(f"GET /v1/info 200 1 {TRACE}"), [handled("GET", "/v1/info", "200", 1)]),
        (access("FOOBAR /v1/chat-messages 405 0.577 "), [handled("other", "/v1/chat-messages", "405", 0.577)]),
        (access("- - - - "), [handled("unknown", "unknown", "unknown")]),
        (access("GET /health 500 3.1 "), [handled("GET", "/health", "500", 3.1, "server_error")]),
        (access("GET /v1/a b 200 9 c 404 0.5 "), [handled("GET", "other", "404", 0.5)]),
        (access("GET /v1/files/a b/preview 200 0.5 "), [handled("GET", "other", "200", 0.5)]),
        (access("GET /v1/info 200 1 a.trace/id"), [handled("GET", "/v1/info", "200", 1)]),
        (access("GET /v1/info 200 1"), [handled("GET", "/v1/info", "200", 1)]),
        (access("GET /v1/info 200 1.5e3 "), [handled("GET", "other", "unknown")]),
        (access("GET /v1/x"), [handled("GET", "other", "unknown")]),
        (access("GET /v1/info 200 99999999999999 "), [handled("GET", "other", "unknown")]),
        # versions of the format
        (
            "2025-03-06 06:32:18.985 INFO [Thread-1107 (_generate_worker)] [_client.py:1038] - " + LLM_CALL,
            [Invocation("invoke_llm", "200")],
        ),
        (
            "2025-11-21 09:24:54,11 INFO [_client.py:1038] 4c9630975d " + LLM_CALL,
            [Invocation("invoke_llm", "200")],
        ),
        ("2026-11-23 08:53:16,378.378 INFO [Dummy-1] [_client.py:1038] - " + LLM_CALL, [Invocation("invoke_llm", "200")]),
        ("2026-11-23 08:53:16,378 ERROR [base.py:67] 6f07a3be14 Request to Plugin Daemon Service failed", [Failure("other")]),
        ("2026-07-23 08:53:16.378 ERROR [Dummy-7] [base.py:209]  - Stream request to Plugin Daemon Service failed", [Failure("other")]),
        ("2026-07-23 08:53:16.378 ERROR [Dummy-7] [x.py:1]  - Unknown Error in Agent App generate worker", [Failure("unhandled_exception")]),
        ("2026-07-23 08:53:16.378 ERROR [Dummy-7] [x.py:1]  - document_indexing_update_task failed, document_id: 0f0e", [Failure("task_failed")]),
        ("ERROR:app:Exception on /api/chat-messages [POST]", [Failure("unhandled_exception")]),
        (
            f"[2024-07-10 13:58:35,803: INFO/MainProcess] Task tasks.clean.x[{TASK_ID}] succeeded in 0.5s: None",
            [Task("tasks.clean.x", "succeeded", SECOND // 2)],
        ),
        (
            worker("INFO", "_client.py", LLM_CALL.replace("200 OK", '500 Internal "Privoxy" Error')),
            [Invocation("invoke_llm", "500")],
        ),
        # Celery
        (
            f"2026-05-21 11:08:00.473 INFO [MainThread] [strategy.py:161]  - Task {RUN_TASK}[{TASK_ID}] received",
            [TaskReceived(RUN_TASK)],
        ),
        (f"[2024-07-10 13:58:35,803: INFO/MainProcess] Task tasks.x[{TASK_ID}] received", [TaskReceived("tasks.x")]),
        ("2024-11-23 08:53:16,378.378 INFO [MainThread] [strategy.py:161] - Task tasks.x[1] received ", [TaskReceived("tasks.x")]),
        ("2024-11-23 08:53:16,378 INFO [strategy.py:161] Task tasks.x[1] received", [TaskReceived("tasks.x")]),
        (worker("INFO", "strategy.py", f"Task {'a' * 200}[{TASK_ID}] received"), [TaskReceived("other")]),
        (worker("INFO", "strategy.py", f"Task tasks.x[{TASK_ID}] received by nobody"), []),
        (worker("INFO", "print.py", f"Task tasks.x[{TASK_ID}] received"), []),
        (worker("INFO", "trace.py", f"Task tasks.x[{TASK_ID}] succeeded in 1s: 'Task tasks.y[1] received'"), [Task("tasks.x", "succeeded", SECOND)]),
        (
            worker("INFO", "trace.py", f"Task human_input_form_timeout.check[{TASK_ID}] succeeded in 9.5e-05s: None"),
            [Task("human_input_form_timeout.check", "succeeded", 95_000)],
        ),
        (
            worker("ERROR", "trace.py", f"Task tasks.ops_trace[{TASK_ID}] raised unexpected: ValueError('nope')"),
            [Task("tasks.ops_trace", "failed"), Failure("task_failed")],
        ),
        (
            worker("INFO", "trace.py", f"Task tasks.x[{TASK_ID}] retry: Retry in 180s"),
            [Task("tasks.x", "retried")],
        ),
        (worker("INFO", "trace.py", f"Task tasks.x[{TASK_ID}] ignored"), [Task("tasks.x", "ignored")]),
        (
            worker("INFO", "trace.py", f"Task tasks.x[{TASK_ID}] raised expected: KeyError('x')"),
            [Task("tasks.x", "failed")],
        ),
        (
            worker("CRITICAL", "trace.py", f"Task tasks.x[{TASK_ID}] INTERNAL ERROR: KeyError('x')"),
            [Task("tasks.x", "failed"), Failure("task_failed")],
        ),
        (worker("WARNING", "trace.py", "Task tasks.x[my:own/id] rejected"), [Task("tasks.x", "rejected")]),
        (worker("WARNING", "trace.py", "Task tasks.x[1] reject requeue=False: no"), [Task("tasks.x", "rejected")]),
        (worker("ERROR", "request.py", "Hard time limit (300s) exceeded for tasks.x[1]"),
         [Task("tasks.x", "failed"), Failure("task_failed")]),
        (
            worker("INFO", "workflow_execute_task.py", f"{RUN_TASK.rpartition('.')[2]} run with params: app_id='{'-' * 36}' workflow_id='x' tenant_id='y' app_mode=<AppMode.CHAT: 'chat'>"),
            [],
        ),
        # failures
        (
            worker("ERROR", "error_handler.py", "Node 1741782232725 failed with ABORT strategy: quota QuotaExceededError"),
            [Failure("node_failed")],
        ),
        (worker("ERROR", "app.py", "Exception on /v1/provider_quota_exceeded [POST]"), [Failure("unhandled_exception")]),
        (worker("ERROR", "x.py", "core.errors.error.QuotaExceededError: no more"), [Failure("quota_exceeded")]),
        (worker("ERROR", "x.py", "ProviderTokenNotInitError"), [Failure("not_initialized")]),
        (worker("ERROR", "x.py", "InvokeRateLimitError: slow down"), [Failure("rate_limited")]),
        (worker("ERROR", "x.py", "InvokeServerUnavailableError"), [Failure("provider_unavailable")]),
        (worker("ERROR", "x.py", "\x1b[31mconsume document failed\x1b[0m"), [Failure("task_failed")]),
        (worker("CRITICAL", "x.py", ""), [Failure("other")]),
        ("[2026-11-23 08:53:05 +0000] [11056] [CRITICAL] WORKER TIMEOUT (pid:7)", [Failure("worker_timeout")]),
        ("2026-12-01T02:36:56Z <Greenlet at 0x7f1a7e09c720: boom> failed with E", [Failure("unhandled_exception")]),
        ("2026-12-01T02:36:57Z {'REMOTE_ADDR': '127.0.0.1', (hidden keys: 17)} failed with ValueError",
         [Failure("unhandled_exception")]),
        ("[2026-11-23 08:53:06 +0000] [1] [ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?", []),
        # heads with nothing to count
        (worker("INFO", "ext_storage.py", "all is well"), []),
        (worker("DEBUG", "ext_request_logging.py", "Received Request POST -> /v1/chat-messages, Request Body:"), []),
        (worker("INFO", "model.py", 'line:{"code": 0, "content": "CANARY"}'), []),
        (worker("INFO", "_client.py", 'HTTP Request: POST http://sandbox:8194/v1/sandbox/run "HTTP/1.1 200 OK"'), []),
    ],
)  # fmt: skip
def test_a_head_gives_its_records(line: str, records: list[Record]) -> None:
    batch = Dify().parse(line.encode() + b"\n")
    assert [record for record in batch.records if not isinstance(record, Accepted | TraceError)] == records
    assert (batch.lines, batch.ignored, batch.unparsed) == (1, 0, {})


def test_a_run_is_opened_and_closed_under_its_trace() -> None:
    """The parser must not read args: they contain text of the user, which may imitate anything."""
    begun = worker(
        "INFO",
        "workflow_execute_task.py",
        f"workflow_based_app_execution_task run with params: app_id='{APP}' workflow_id='42c76142' tenant_id='{TENANT}' "
        "app_mode=<AppMode.ADVANCED_CHAT: 'advanced-chat'> user=_Account(user_id='CANARY') args={'query': "
        "\"app_id='x' app_mode=<AppMode.CHAT: 'chat'>\"} invoke_from=<InvokeFrom.DEBUGGER: 'debugger'>",
    )
    ended = worker("INFO", "trace.py", f"Task {RUN_TASK}[{TASK_ID}] succeeded in 12.3s: None")
    failed = worker("ERROR", "trace.py", f"Task {RUN_TASK}[{TASK_ID}] raised unexpected: KeyError('x')")
    batch = Dify().parse(f"{begun}\n{ended}\n{failed}\n".encode())
    at = 1_779_361_676_674 * MILLISECOND
    assert list(batch.records) == [
        Opened(TRACE, "advanced-chat", APP, at),
        Task(RUN_TASK, "succeeded", 12_300 * MILLISECOND),
        Closed(TRACE, "finished", 12_300 * MILLISECOND, at),
        Task(RUN_TASK, "failed"),
        Closed(TRACE, "failed", None, at),
        Failure("task_failed"),
    ]
    assert batch.last_at == at


@pytest.mark.parametrize(
    "line",
    [
        b"Traceback (most recent call last):",
        b'  File "/app/api/x.py", line 3, in f',
        b"ValueError: bad",
        b"{",
        b'  "response_mode": "blocking"',
        b'{"answer": "CANARY"}',
        b"INFO  [alembic.runtime.migration] Context impl PostgresqlImpl.",
        b"I0000 00:00:1732359600.123456      10 fork_posix.cc:77] Other threads are currently calling into gRPC",
        b"E1123 08:53:05.123456789      10 chttp2_transport.cc:1234] x",
        b"<gevent._socket3.socket at 0x7f1a object, fd=7>: (from ('::1', 1)) Invalid HTTP method: 'garbage\\r\\n'",
        b"gRPC patched with gevent.",
        b" -------------- celery@worker v5.4.0 (opalescent)",
        b"\xe2\x9c\x85 Node succeeded: x",
    ],
)
def test_a_line_that_begins_no_record_is_ignored(line: bytes) -> None:
    batch = Dify().parse(line + b"\n")
    assert (batch.lines, batch.ignored, batch.records) == (1, 1, ())


@pytest.mark.parametrize(
    "line", [b"2026-11-23 08:53:08.820 nonsense", b"2026-11-23 08:53:08 INFO", b"[2026-11-23 08:53:08,1: x"]
)
def test_a_head_of_no_known_version_is_unparsed(line: bytes) -> None:
    batch = Dify().parse(line + b"\n")
    assert batch.unparsed == {"format": 1}


def test_a_forged_line_creates_no_label() -> None:
    """`GET /v1/x%0A%0A…` writes whole lines into the text log. All their labels are from closed sets."""
    forged = access("GET /v1/x") + "\n" + access("EVIL /admin/CANARY 999 1 CANARY") + "\n 404 0.5 \n"
    batch = Dify().parse(forged.encode())
    assert "CANARY" not in repr(batch.records)
    assert [(r.method, r.route, r.status_code) for r in batch.records] == [
        ("GET", "other", "unknown"),
        ("other", "other", "other"),
    ]
    assert batch.ignored == 1


def test_milliseconds_without_zeros() -> None:
    at = Dify().parse(b"2025-11-21 09:24:54,11 INFO [x.py:74] 4c9630975d dispatch args: x\n").last_at
    assert at == 1_763_717_094_011 * MILLISECOND


@pytest.mark.parametrize(
    "head",
    [
        "2026-11-29 23:29:02,007,7 INFO [x.py:74] 4c9630975d",
        "2026-11-29 23:29:02,007,7 INFO [x.py:74] ",
        "2026-11-29 23:29:02,007.007 INFO [Dummy-1] [x.py:74] ",
        "2026-11-29 23:29:02,007.7 INFO [Dummy-1] [x.py:74] -",
        "[2026-11-29 23:29:02,007: INFO/MainProcess]",
    ],
)
def test_milliseconds_that_are_written_twice(head: str) -> None:
    """Without LOG_DATEFORMAT the asctime ends in milliseconds, and every LOG_FORMAT adds them once more."""
    batch = Dify().parse(f"{head} Task tasks.x[{TASK_ID}] ignored\n".encode())
    assert (batch.last_at, batch.ignored, batch.unparsed) == (1_795_994_942_007 * MILLISECOND, 0, {})


def test_text_times_are_in_the_configured_zone() -> None:
    line = b"2026-11-23 08:53:08.000 INFO [Dummy-1] [x.py:73]  - x\n"
    utc, shanghai = Dify().parse(line).last_at, Dify(timezone="Asia/Shanghai").parse(line).last_at
    assert utc - shanghai == 8 * 3600 * SECOND


@given(method=st.text(max_size=8), path=st.text(max_size=40), trace=st.text(max_size=8))
def test_no_client_chooses_a_label_of_an_access_line(method: str, path: str, trace: str) -> None:
    """For any request, even with newlines and whole lines inside, labels are from closed sets."""
    forged = access(f"{method} /{path}{access('CANARY /CANARY 200 1 ')}\n{path} 404 0.5 {trace}")
    for record in Dify().parse(forged.encode() + b"\n").records:
        if isinstance(record, DroppedValue):  # the time of a forged line
            continue
        assert isinstance(record, Request)
        assert record.route in {*table().templates, "other", "static", "unknown"}
        assert record.method in {*METHODS.values(), "other", "unknown"}
        assert record.status_code in {"200", "404", "other", "unknown"}


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        (
            '127.0.0.1 - - [2026-12-01 02:35:36] "POST /v1/chat-messages?user=u HTTP/1.1" 200 197 0.814363',
            Request("POST", "/v1/chat-messages", "200", "", 0, 197, (814_363_000,)),
        ),
        (
            '172.18.0.9 - - [2026-12-01 02:35:37] "GET /v1/x%0Ay HTTP/1.1" 500 401 0.012753',
            Request("GET", "other", "500", "", 0, 401, (12_753_000,)),
        ),
        (
            '::1 - - [2026-12-01 02:35:38] "garbage" 400 - 0.000248',
            Request("unknown", "invalid", "400", "", 0, None, (248_000,)),
        ),
        (
            '::1 - - [2026-12-01 02:35:38] "GET /v1/info HTTP/1.1" 200 1 9.000000 " HTTP/1.1" 404 2 -',
            Request("unknown", "invalid", "404", "", 0, 2),
        ),
        ('::1 - - [2026-12-01 02:35:38] "GET /v1/info HTTP/1.1" 200 1', None),
    ],
)
def test_the_line_of_gevent_websocket_times_a_request_but_does_not_count_it(
    message: str, request_: Request | None
) -> None:
    """geventwebsocket/handler.py; the same request may have a line of ext_request_logging.py."""
    text = f"2026-12-01 02:35:36.968 INFO [Dummy-1] [handler.py:242] {TRACE} - {message}\n"
    line = {
        "ts": "2026-12-01T02:35:36.968Z",
        "severity": "INFO",
        "service": "langgenius/dify",
        "caller": "handler.py:242",
    }
    for log in (text, json.dumps({**line, "message": message}) + "\n"):
        for copies in (1, 40):
            batch = Dify().parse(log.encode() * copies)
            assert batch.records == (() if request_ is None else (request_,) * copies)
            assert (batch.observed, batch.unparsed) == (copies, {})
            assert any(advice.sentence.startswith("no requests: set ENABLE") for advice in Dify().advice(batch))
