"""The facts behind the outcome of a run or a stream, in every form in which Dify writes them.

The beginnings of the messages are those of Dify 1.14.1 (core/workflow/workflow_entry.py, core/plugin/impl/base.py,
core/app/apps/chat/app_generator.py, graphon's graph.py and http_request/node.py).
"""

import json

import pytest

from parsers.batch import Accepted, ErrorLevel, Record, TraceError
from parsers.dify import Dify
from parsers.envelope import Docker
from parsers.values.times import iso, zone

TRACE = "d61483754d5c5cf08aff65ded59e290f"
AT = 1_795_424_056_674_000_000  # 2026-11-23 08:54:16.674


def text(level: str, caller: str, message: str, trace_id: str = TRACE) -> str:
    return f"2026-11-23 08:54:16.674 {level} [Dummy-72] [{caller}:128] {trace_id} - {message}"


def source_install(level: str, caller: str, message: str, trace_id: str = TRACE) -> str:
    return f"2026-11-23 08:54:16,674 {level} [{caller}:128] {trace_id[:10]} {message}"


def structured(level: str, caller: str, message: str, trace_id: str = TRACE) -> str:
    line = {"ts": "2026-11-23T08:54:16.674Z", "severity": level, "service": "langgenius/dify", "caller": f"{caller}:1"}
    return json.dumps(line | {"message": message, "trace_id": trace_id}, separators=(",", ":"))


def facts(line: str) -> list[Record]:
    return [each for each in Dify().parse(line.encode() + b"\n").records if isinstance(each, Accepted | TraceError)]


ERRORS: list[tuple[str, str, str, ErrorLevel | None]] = [
    ("ERROR", "workflow_entry.py", "Unknown Error when workflow entry running", "run"),
    ("ERROR", "graph.py", "Failed to create node instance for node_id llm", "run"),
    ("ERROR", "app_generator.py", "Unknown Error when generating", "run"),
    ("ERROR", "app_generator.py", "Validation Error when generating", "run"),
    ("ERROR", "error_handler.py", "Node 1741782232725 failed with ABORT strategy: [models] Error: x", "run"),
    ("ERROR", "node_failure.py", "Node 1741782232725 failed without a continuation strategy: x", "run"),
    ("ERROR", "base.py", "Error in stream reponse for plugin {'code': -500, 'message': ''}", "plugin"),
    ("ERROR", "base.py", "Error in stream response for plugin {'code': -500, 'message': 'x'}", "plugin"),
    ("ERROR", "base.py", "Request to Plugin Daemon Service failed", "plugin"),
    ("ERROR", "base.py", "Stream request to Plugin Daemon Service failed", "plugin"),
    ("ERROR", "base.py", "Failed to request plugin daemon, url: plugin/x/dispatch/llm/invoke", "plugin"),
    ("WARNING", "node.py", "http request node http failed to run: [Errno 111] Connection refused", "node"),
    # text of a user in other places
    ("INFO", "workflow_entry.py", "Unknown Error when workflow entry running", None),
    ("ERROR", "model.py", "Unknown Error when workflow entry running", None),
    ("ERROR", "base.py", "x Error in stream response for plugin {}", None),
    ("ERROR", "__init__.py", "Failed to detach context", None),
    ("ERROR", "app_generator.py", "Failed to process generate task pipeline, conversation_id: 7", None),
    ("WARNING", "node.py", f"http request node {'x' * 129} failed to run", None),
]


@pytest.mark.parametrize(("level", "caller", "message", "found"), ERRORS)
def test_an_error_record_is_joined_by_its_trace_id(
    level: str, caller: str, message: str, found: ErrorLevel | None
) -> None:
    expected = [TraceError(TRACE, found, AT)] if found else []
    assert facts(text(level, caller, message)) == expected
    assert facts(structured({"WARNING": "WARN"}.get(level, level), caller, message)) == expected
    shortened = [TraceError(TRACE[:10], found, AT)] if found else []
    assert facts(source_install(level, caller, message)) == shortened
    assert facts(text(level, caller, message, trace_id="")) == []


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ("POST /v1/chat-messages 200 251.066 ", "stream_error"),
        ("POST /v1/completion-messages 200 0.26 ", "stream_error"),
        ("POST /api/chat-messages 200 0.26 ", "stream_error"),
        ("POST /console/api/apps/ea53dd11-1f2d-4c3b-9a4e-0123456789ab/chat-messages 200 0.26 ", "stream_error"),
        ("POST /v1/workflows/run 200 251.1 ", "run_failed"),
        ("POST /console/api/apps/ea53dd11-1f2d-4c3b-9a4e-0123456789ab/workflows/draft/run 200 1.5 ", "run_failed"),
        ("POST /openapi/v1/apps/ea53dd11-1f2d-4c3b-9a4e-0123456789ab:run 200 1.5 ", "stream_error"),
        ("POST /v1/chat-messages 400 251.066 ", ""),
        ("POST /v1/chat-messages 500 251.066 ", ""),
        ("GET /v1/chat-messages 200 0.26 ", ""),
        ("OPTIONS /v1/chat-messages 200 0.26 ", ""),
        ("POST /v1/files/upload 200 3.5 ", ""),
        ("POST /v1/chat-messages/x/stop 200 3.5 ", ""),
        ("POST /v1/text-to-audio 200 3.5 ", ""),
        ("GET /x POST /v1/chat-messages 200 0.26 ", ""),
    ],
)
@pytest.mark.parametrize("lines", [1, 40])
def test_an_answered_request_that_can_still_fail(message: str, failure: str, lines: int) -> None:
    """The line is read alone, and among many lines as a block."""
    for form in (text, structured, source_install):
        log = "".join(form("INFO", "ext_request_logging.py", message) + "\n" for _ in range(lines))
        trace_id = TRACE[:10] if form is source_install else TRACE
        for parser, raw in ((Dify(), log), (Docker(parser=Dify()), docker(log))):
            found = [r for r in parser.parse(raw.encode()).records if isinstance(r, Accepted)]
            assert {each.failure for each in found} == ({failure} if failure else set())
            requests = [
                (trace, iso(time.encode(), zone(each.timezone)))
                for each in found
                for trace, time in zip(each.trace_ids.split("\n"), each.times.split("\n"), strict=True)
            ]
            assert requests == ([(trace_id, AT)] * lines if failure else [])


def docker(log: str) -> str:
    line = {"stream": "stderr", "time": "2026-11-23T08:54:16.7Z"}
    return "".join(json.dumps({"log": each} | line) + "\n" for each in log.splitlines(keepends=True))


def test_a_trace_id_never_contains_a_newline() -> None:
    """JSON escapes what a client may write into its trace id."""
    line = structured("INFO", "ext_request_logging.py", "POST /v1/chat-messages 200 1.5 ", f"{'x' * 9}\n{TRACE}")
    for lines in (1, 40):
        batch = Dify().parse(f"{line}\n".encode() * lines)
        for each in batch.records:
            if isinstance(each, Accepted):
                assert each.trace_ids.count("\n") == each.times.count("\n") == lines - 1


def test_a_local_time_zone_is_kept() -> None:
    line = text("INFO", "ext_request_logging.py", "POST /v1/chat-messages 200 1.5 ") + "\n"
    for lines in (1, 40):
        found = [
            (each.times.split("\n")[0], each.timezone)
            for each in Dify(timezone="Asia/Shanghai").parse(line.encode() * lines).records
            if isinstance(each, Accepted)
        ]
        assert {iso(time.encode(), zone(name)) for time, name in found} == {AT - 8 * 3600 * 10**9}
