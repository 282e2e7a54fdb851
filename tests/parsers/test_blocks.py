"""Reading access lines as a block or one by one gives the same: Dify's lines in text and JSON, and gin's."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsers import blocks as dify_block
from parsers.batch import Batch, Closed, Invocation, Opened, Request, Task, TraceError
from parsers.dify import Dify, records, requests
from parsers.parser import Parser
from parsers.plugin_daemon import PluginDaemon, access
from tests.golden import ROOT
from tests.parsers.laws import summed

UUID = "8b0e7153-bf7c-4370-a6d8-5c524e440066"


def line_of(template: str, parts: dict[str, list[str]]) -> st.SearchStrategy[bytes]:
    """Return a line of the template, mostly with the first value of each part, sometimes with others, cut or damaged."""

    @st.composite
    def lines(draw: st.DrawFn) -> bytes:
        size = draw(st.sampled_from([0, 0, 1, 2]))
        changed = draw(st.sets(st.sampled_from(sorted(parts)), min_size=size, max_size=size))
        values = {
            name: draw(st.sampled_from(known[1:])) if name in changed else known[0] for name, known in parts.items()
        }
        line = template.format_map(values).encode()
        if draw(st.integers(0, 19)) == 0:
            at = draw(st.integers(0, len(line)))
            line = line[:at] + draw(st.sampled_from([b"", b" ", b"\x1b[0m", b"\\", b'"', b"\xff"])) + line[at + 1 :]
        return line + draw(st.sampled_from([b"\n"] * 9 + [b"\r\n", b"\n\n"]))

    return lines()


ACCESS = line_of(
    "{time} {level} {thread}[{caller}] {trace}- {request} {status} {took}{tail}",
    {
        "time": [
            "2026-11-23 08:53:00.550", "2026-11-23 08:53:59.001", "2026-11-23 08:54:00.000", "2026-03-29 02:30:00.000",
            "2026-03-29 03:10:00.000", "2026-13-23 08:53:00.550", "2026-11-23 08:53:60.550", "2026-11-23 24:00:00.550",
            "2026-11-23 08:53:00,55", "2026-11-23 08-53-00.550", "2026-1-123 08:53:00.550", "2026-11-23T08:53:00.550",
        ],
        "level": ["INFO", "ERROR", "INFO ", "WARNING", "NOTICE"],
        "thread": ["[Dummy-5] ", "", "[a b] ", "[] ", "[x]"],
        "caller": ["ext_request_logging.py:73", "ext_request_logging.py:x", "app.py:73", "_client.py:1"],
        "trace": ["4d35db41d94e5efaf89fc43c5fa52f8b ", " ", "", "xyz ", "4D35DB41 ", "4d35db4 "],
        "request": [
            "POST /v1/chat-messages", f"GET /console/api/apps/{UUID}", f"GET /eonsole/api/apps/{UUID}", "GET /a b",
            "GET /v1/info?x", "GET /v1/%69nfo", "- -", "GET -", "get /v1/info", "GÉT /v1/info", "GET  /v1/info",
            "GET /v1/info 200 1.5", "GET /a\x0bb", "GET /a\x85b", "GET /a\\b", "GET v1", "/v1/info", "GET /\x00",
        ],
        "status": ["200", "504", "999", "-", "20", "2000"],
        "took": ["1083.17", "5.0", "0.571", "-", "7", "007.5", "1234567.5", "1.1234567891", ".5", "1e3", "1.5.1"],
        "tail": [" ", "", " abc-1", " a b", "  ", " 200 1.5", " é"],
    },
)  # fmt: skip
DIFY_NOISE = st.sampled_from(
    (ROOT / "samples" / "dify-api-text.log").read_bytes().splitlines(True)
    + (ROOT / "samples" / "dify-worker.log").read_bytes().splitlines(True)
)
JSON = line_of(
    '{brace}"ts":"{time}","severity":"{level}","service":"s","caller":"{caller}","message":"{request} {status} {took}{tail}"{more}}}',
    {
        "brace": ["{", " {", "{{", "", "\ufeff{"],
        "time": [
            "2026-11-23T08:53:00.550Z", "2026-11-23T08:59:59.001Z", "2026-11-23T09:00:00.000Z", "2026-13-23T08:53:00.550Z",
            "2026-11-23T08:53:60.550Z", "2026-11-23T08:53:00.550", "2026-11-23T08:53:00+08:00",
        ],
        "level": ["INFO", "ERROR", "WARN", ""],
        "caller": ["ext_request_logging.py:73", "ext_request_logging.pyc:73", "ext_request_logging.py", "_client.py:1"],
        "request": [
            "POST /v1/chat-messages", f"GET /console/api/apps/{UUID}", f"GET /eonsole/api/apps/{UUID}", "GET /a b",
            "GET /v1/info?x", "GET /v1/%69nfo", "- -", "get /v1/info", "G\\u00c9T /v1/info", "GET /v1/x\\nEVIL /v1/info",
            "GET /v1/info 200 1.5", "GET /a\\\\b", "GET v1", "GET /\\u0000", "GET /\\ud800", 'GET /a\\"b', "telemetry.x /",
        ],
        "status": ["200", "504", "999", "-", "20", "2000"],
        "took": ["1083.17", "5.0", "-", "7", "007.5", "1234567.5", "1.1234567891", "1e3", "1.5\\n"],
        "tail": [" ", "", " abc-1", " a b", " 200 1.5", "\\n"],
        "more": [
            "", ',"attributes":null', ',"attributes":{}', ',"attributes":{"dify.event.name":"dify.proxy.request"}',
            ',"severity":"ERROR"', ',"trace_id":1e400', ',"x":NaN', ',"identity":{"user_id":"\\ud800"}', "}{}", "}\n{",
        ],
    },
)  # fmt: skip
GIN = line_of(
    "{head}{time} | {status} |{took} | {client} | {method} {path}",
    {
        "head": ["[GIN] ", "[GIN]", "[GIN-debug] ", "x[GIN] "],
        "time": ["2026/11/23 - 08:53:04", "2026/11/23 - 08:53:60", "2026/13/23 - 08:53:04", "2026-11-23 - 08:53:04"],
        "status": ["200", "500", " 200", "20", "999"],
        "took": [
            "  22.474066ms", "3.402917s", "98.7µs", "1m41s", "0s", "1.s", "1234567s", "1.1234567891s", "007ms", "5h",
            "12ns", "3us", "5", "1.5.2s", "98.7μs",
        ],
        "client": ["    192.168.0.9", "", "::1", "a b"],
        "method": ["POST    ", "GET     ", "", "P T "],
        "path": [
            f'"/plugin/{UUID}/dispatch/llm/invoke"', f'"/plugin/{UUID}/dispatch/llm/num_tokens?a=b"', '"/health/check"',
            '"/v2/invoke/dispatch/llm/invoke"', '"/v2/invoke/x/dispatch/llm/invoke"', '"/plugin//dispatch/llm/invoke"', '"/plugin/a?b/dispatch/llm/invoke"', '"/plugin/a/dispatch/"',
            '"/plugin/a/dispatch/llm/invoke" ', '"/plugin/a/dispatch/llm/inv\\"oke"', '""', '"/plugin/a/dispatch/x y"',
        ],
    },
)  # fmt: skip
RUN = "tasks.app_generate.workflow_execute_task.workflow_based_app_execution_task"
UNKNOWN_LEVEL = (
    b"2026-11-23 08:53:00.550 NOTICE [Dummy-5] [trace.py:128] 4d35db41d94e5efaf89fc43c5fa52f8b - "
    b"Task tasks.x[5a48bf19] succeeded in 7.939957263459034s: None"
)
CALLERS_AND_MESSAGES = [
    ("trace.py:128", "Task tasks.x[5a48bf19] succeeded in 7.939957263459034s: None"),
    ("trace.py:128", "Task tasks.x[5a48bf19] succeeded in 0.5s: {'a': 'Task tasks.y[1] received'}"),
    ("trace.py:128", "Task tasks.x[5a48bf19] succeeded in 5e-05s: None"),
    ("trace.py:128", "Task tasks.x[5a48bf19] succeeded in 12345678.5s: None"),
    ("trace.py:128", "Task tasks.x[5a48bf19] succeeded in 1.2.3s: None"),
    ("trace.py:128", f"Task {RUN}[5a48bf19] succeeded in 7.9s: None"),
    ("trace.py:128", f"Task x{RUN}[5a48bf19] succeeded in 7.9s: None"),
    ("trace.py:288", f"Task {RUN}[5a48bf19] raised unexpected: ValueError('x')"),
    ("trace.py:128", f"Task {'x' * 200}[1] succeeded in 0.5s: None"),
    ("trace.py:128", "Task tasks.x[5a 8] succeeded in 0.5s: None"),
    ("strategy.py:161", f"Task {RUN}[5a48bf19] received"),
    ("strategy.py:161", "Task tasks.x[5a48bf19] received"),
    ("strategy.py:161", "Task tasks.x[5a48bf19] received "),
    ("strategy.py:161", "Task tasks.x[5a48bf19] received by nobody"),
    ("request.py:1", "Task tasks.x[5a48bf19] rejected"),
    ("_client.py:1038", f'HTTP Request: POST http://p:5002/plugin/{UUID}/dispatch/llm/invoke "HTTP/1.1 200 OK"'),
    ("_client.py:1038", f'HTTP Request: POST http://p:5002/plugin/{UUID}/dispatch/x?y=1 "HTTP/1.1 999 "'),
    ("_client.py:1038", 'HTTP Request: GET https://example.org/a "HTTP/1.1 200 OK"'),
    ("_client.py:1038", "HTTP Request: nothing"),
    ("workflow_execute_task.py:283", f"workflow_based_app_execution_task run with params: app_id='{UUID}' workflow_id='x' tenant_id='y' app_mode=<AppMode.X: 'workflow'> user='"),
    ("workflow_entry.py:1", "Unknown Error when workflow entry running"),
    ("ext_request_logging.py:73", "POST /v1/chat-messages 200 5.0 "),
    ("app.py:1", "anything"),
    ("app.py:1", ""),
    ("app.py:x", "Task tasks.x[1] received"),
]  # fmt: skip


@st.composite
def record_lines(draw: st.DrawFn, is_json: bool) -> bytes:
    """Return a record of a worker, mostly a regular one, sometimes changed or damaged."""
    caller, message = draw(st.sampled_from(CALLERS_AND_MESSAGES))
    is_odd = draw(st.integers(0, 9)) == 0
    time = "2026-11-23T08:53:00.550Z" if is_json else "2026-11-23 08:53:00.550"
    times = [
        time,
        time.replace("08:53", "09:00"),
        time.replace("-11-", "-13-"),
        time.replace(":00.", ":60."),
        time[:-2],
        "",
    ]
    level = draw(st.sampled_from(["INFO"] * 9 + ["ERROR", "WARNING", "CRITICAL", "DEBUG", "NOTICE", "INFO "]))
    trace = draw(st.sampled_from(["4d35db41d94e5efaf89fc43c5fa52f8b", "4d35db41d94e5efaf89fc43c5fa52f8c", ""]))
    if is_odd:
        time, trace = draw(st.sampled_from(times)), draw(st.sampled_from([trace, "xyz", "4D35DB41", "a" * 70, "a\nb"]))
        message += draw(
            st.sampled_from(
                ["", "\n", "\nTask tasks.x[1] received", "\x1b[0m", "\r", "\0", "é", "telemetry.", "\ud800"]
            )
        )
    if is_json:
        line = {"ts": time, "severity": level, "service": "api", "caller": caller, "message": message}
        line |= {"trace_id": trace} if trace else {}
        odd = [
            {}, {"service": "dify-plugin-daemon"}, {"service": "dify-exporter-proxy"}, {"service": 5}, {"caller": None}, {"attributes": None},
            {"attributes": {}}, {"attributes": {"x": 1}}, {"stack_trace": "x"}, {"stack_trace": 5}, {"trace_id": 5},
            {"message": "telemetry.x"}, {"message": 5}, {"x": float("nan")},
        ]  # fmt: skip
        line |= draw(st.sampled_from(odd)) if is_odd else {}
        return json.dumps(line, separators=draw(st.sampled_from([None, (",", ":")]))).encode() + b"\n"
    thread = draw(st.sampled_from(["[Dummy-5] "] * 9 + ["", "[a b] ", "[x:1] ", "[GraphWorker (x)] "]))
    separator = draw(st.sampled_from(["- "] * 9 + ["", " "]))
    line = f"{time} {level} {thread}[{caller}] {trace} {separator}{message}".encode("utf-8", "surrogatepass")
    return line + draw(st.sampled_from([b"\n"] * 9 + [b"\r\n", b"\n\n", b"\r\r\n", b"\n\tat x\n"]))


DAEMON = line_of(
    "{time} {level} dify-plugin-daemon {caller} {identity}{words}{latency}{path}{status}{more}",
    {
        "time": [
            "2026-11-23T08:54:58.208702054Z", "2026-11-23T08:54:59.1Z", "2026-11-23T08:54:59.12Z", "2026-11-23T08:55:00Z",
            "2026-13-23T08:54:58.2Z", "2026-11-23T08:54:60.2Z", "2026-11-23T08:54:58.2+08:00", "2026-11-23T08:54:58.", "2026111233T08:54:58Z",
        ],
        "level": ["INFO", "ERROR", "WARN", "info"],
        "caller": ["middleware.go:83", "a/middleware.go:83", "middleware.go", "generic.go:1"],
        "identity": ["trace_id=75b0 tenant_id=x ", "", "user_id=a b ", 'user_id="a b" ', "user_id= HTTP request path=/x ", "x=y "],
        "words": ["HTTP request", "HTTP requests", "plugin returned error response HTTP request", "HTTP request HTTP request"],
        "latency": [" latency_ms=3368", " latency_ms=1.5", " latency_ms=1e3", " latency_ms=-1", "", " latency_ms=1234567890123", " latency_ms=", " latency_ms=5x"],
        "path": [
            f" path=/plugin/{UUID}/dispatch/llm/invoke", f" path=/plugin/{UUID}/dispatch/llm/invoke?user=status=5", " path=/health/check", "",
            f' path="/plugin/{UUID}/dispatch/llm/invoke"', " path=/v2/invoke/dispatch/x", " path=", " xpath=/plugin/a/dispatch/llm/invoke",
            " path=/plugin/a/dispatch/llm/inv\u00e9", " path=?x", " path=/plugin/a?b/dispatch/llm/invoke",
        ],
        "status": [" status=200", " status=500", " status=99", " status=", "", " status=2000", " status=200 status=404"],
        "more": ["", " method=POST client_ip=::1", " x", " =", "  method=POST", " method=POST ", " latency_ms=7", ' q="a b"', "\x1b[0m"],
    },
)  # fmt: skip
DAEMON_JSON = line_of(
    '{brace}"attributes":{{"client_ip":"::1",{latency},{path},{status}{more}}},"message":"{words}",{service}"severity":"{level}","ts":"{time}"{end}}}',
    {
        "brace": ["{", " {", "{{"],
        "time": ["2026-11-23T08:54:58.208702054Z", "2026-11-23T08:54:59.1Z", "2026-11-23T08:54:59.12Z", "2026-11-23T08:55:00Z", "2026-13-23T08:54:58.2Z", "2026-11-23T08:54:60Z", "2026-11-23T08:54:58+08:00", "2026-11-23T08:54:58", "é", "Z"],
        "level": ["INFO", "ERROR", ""],
        "words": ["HTTP request", "HTTP requests", "plugin returned error response"],
        "service": ['"service":"dify-plugin-daemon",', "", '"service":"api",', '"service":null,'],
        "latency": ['"latency_ms":3368', '"latency_ms":1.5', '"latency_ms":-1', '"latency_ms":"5"', '"latency_ms":1e300', '"latency_ms":null', '"x":1'],
        "path": [
            f'"path":"/plugin/{UUID}/dispatch/llm/invoke"', f'"path":"/plugin/{UUID}/dispatch/llm/invoke?user=CANARY"', '"path":"/health/check"', '"path":null', '"path":""',
            '"path":"/plugin/a?b/dispatch/llm/invoke"', '"path":"/v2/invoke/dispatch/x\\n"', '"path":"/plugin/a/dispatch/\\ud800"', '"x":1',
        ],
        "status": ['"status":200', '"status":500', '"status":-1', '"status":true', '"status":200.0', '"status":"200"', '"status":null', '"status":9999', '"x":1'],
        "more": ["", ',"y":NaN', ',"status":404'],
        "end": ["", ',"ts":5', ',"attributes":null', ',"x":1e999'],
    },
)  # fmt: skip
DAEMON_NOISE = st.sampled_from((ROOT / "samples" / "plugin-daemon-text.log").read_bytes().splitlines(True))
DAEMON_JSON_NOISE = st.sampled_from((ROOT / "samples" / "plugin-daemon-json.log").read_bytes().splitlines(True))
DIFY_JSON_NOISE = st.sampled_from((ROOT / "samples" / "dify-api-json.log").read_bytes().splitlines(True))
GIN_NOISE = st.sampled_from((ROOT / "samples" / "plugin-daemon-gin.log").read_bytes().splitlines(True))


def check(parser: Parser, log: bytes, module: object, sign: str = "_SIGN") -> tuple[Batch, Batch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dify_block, "MANY", 1)
        patch.setattr(dify_block, "PART", 1000)  # a few lines
        block = parser.parse(log, final=True)
        patch.setattr(module, sign, b"no line holds this")
        plain = parser.parse(log, final=True)
    assert summed([block]) == summed([plain])
    assert block.examples == plain.examples
    return block, plain


@pytest.mark.parametrize("parser", [Dify(), Dify(timezone="Europe/Berlin")])
@settings(max_examples=settings.default.max_examples * 3 // 2)
@example(
    log=b"2026-11-23 08:53:00.550 INFO [x] [ext_request_logging.py:73]  - POST /v1/chat-messages 200 1.1234567891\n"
)
@given(log=st.lists(ACCESS | DIFY_NOISE, max_size=12).map(b"".join))
def test_requests(parser: Parser, log: bytes) -> None:
    check(parser, log, requests)


@settings(max_examples=2 * settings.default.max_examples)
@example(
    log=b'{"ts":"2026-11-23T08:53:00.550Z","severity":"INFO","service":"s","caller":"ext_request_logging.py:73",'
    b'"message":"POST /v1/chat-messages 200 1083.17 ","trace_id":1e400}\n'
)
@given(log=st.lists(JSON | JSON | DIFY_NOISE | DIFY_JSON_NOISE, max_size=12).map(b"".join))
def test_requests_in_json(log: bytes) -> None:
    check(Dify(), log, requests, "_JSON_SIGN")


@pytest.mark.parametrize("parser", [Dify(), Dify(timezone="Europe/Berlin")])
@settings(max_examples=2 * settings.default.max_examples)
@example(log=UNKNOWN_LEVEL + b"\x1b[0m\n" + UNKNOWN_LEVEL + b"\n" + UNKNOWN_LEVEL.replace(b"NOTICE", b"INFO") + b"\n")
@given(log=st.lists(record_lines(False) | record_lines(False) | DIFY_NOISE, max_size=12).map(b"".join))
def test_records(parser: Parser, log: bytes) -> None:
    check(parser, log, records)


@settings(max_examples=2 * settings.default.max_examples)
@given(log=st.lists(record_lines(True) | record_lines(True) | DIFY_JSON_NOISE, max_size=12).map(b"".join))
def test_records_in_json(log: bytes) -> None:
    check(Dify(), log, records, "_JSON_SIGN")


@given(numbers=st.lists(st.integers(0, len(CALLERS_AND_MESSAGES) - 1), min_size=16, max_size=32))
def test_beginnings_and_ends_of_runs_keep_their_order(numbers: list[int]) -> None:
    """Several runs may have one trace id, so another order would join other lines."""
    lines = [
        f"2026-11-23 08:53:00.{number:03} INFO [x] [{caller}] 4d35db41d94e5efaf89fc43c5fa52f8b - {message}\n".encode()
        for number, (caller, message) in enumerate(CALLERS_AND_MESSAGES[index] for index in numbers)
    ]
    block, plain = check(Dify(), b"".join(lines), records)
    joined = (Opened, Closed, TraceError)
    assert [r for r in block.records if isinstance(r, joined)] == [r for r in plain.records if isinstance(r, joined)]


@pytest.mark.parametrize("parser", [PluginDaemon(), PluginDaemon(timezone="Europe/Berlin")])
@settings(max_examples=settings.default.max_examples * 3 // 2)
@given(log=st.lists(GIN | GIN_NOISE, max_size=12).map(b"".join))
def test_invocations(parser: Parser, log: bytes) -> None:
    check(parser, log, access, "_GIN_SIGN")


@settings(max_examples=3 * settings.default.max_examples)
@given(log=st.lists(DAEMON | DAEMON | DAEMON_NOISE | GIN_NOISE, max_size=12).map(b"".join))
def test_invocations_in_text(log: bytes) -> None:
    check(PluginDaemon(timezone="Europe/Berlin"), log, access)


@settings(max_examples=3 * settings.default.max_examples)
@given(log=st.lists(DAEMON_JSON | DAEMON_JSON | DAEMON_JSON_NOISE | DAEMON_NOISE, max_size=12).map(b"".join))
def test_invocations_in_json(log: bytes) -> None:
    check(PluginDaemon(timezone="Europe/Berlin"), log, access, "_JSON_SIGN")


def test_many_lines_become_few_records() -> None:
    """Otherwise the laws above would also hold for a reader of blocks that leaves all lines to the reader of single lines."""
    log = (ROOT / "samples" / "dify-api-text.log").read_bytes()
    block, plain = check(Dify(), log, requests)
    assert sum(isinstance(r, Request) for r in block.records) < sum(isinstance(r, Request) for r in plain.records)
    log = (ROOT / "samples" / "dify-api-json.log").read_bytes()
    block, plain = check(Dify(), log, requests, "_JSON_SIGN")
    assert sum(isinstance(r, Request) for r in block.records) < sum(isinstance(r, Request) for r in plain.records)
    caller, message = CALLERS_AND_MESSAGES[0]
    text = f"2026-11-23 08:53:00.550 INFO [x] [{caller}]  - {message}\n".encode()
    line = {"ts": "2026-11-23T08:53:00.550Z", "severity": "INFO", "caller": caller, "message": message}
    for log in (text * 20, (json.dumps(line).encode() + b"\n") * 20):
        assert [record.count for record in Dify().parse(log).records] == [20]
    run = f"2026-11-23 08:53:00.550 INFO [x] [trace.py:128] {'a' * 32} - Task {RUN}[5a48bf19] succeeded in 7.9s: None\n"
    task, *ends = Dify().parse(run.encode() * 20).records
    assert (type(task), task.count, [type(end) for end in ends]) == (Task, 20, [Closed] * 20)
    for name, module, sign in (("gin", access, "_GIN_SIGN"), ("text", access, "_SIGN"), ("json", access, "_JSON_SIGN")):
        log = (ROOT / "samples" / f"plugin-daemon-{name}.log").read_bytes()
        block, plain = check(PluginDaemon(), log, module, sign)
        assert sum(isinstance(r, Invocation) for r in block.records) < len(plain.records)
