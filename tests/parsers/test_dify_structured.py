"""JSON lines of both serializers, and hostile ones."""

import json

import pytest

from parsers.batch import Failure, Request, TaskReceived
from parsers.dify import Dify

TRACE = "ffb42303a84e5779ab41c9fbb4812cf8"


def line(message: str, severity: str = "INFO", caller: str = "ext_request_logging.py:73", **more: object) -> dict:
    return {
        "ts": "2026-11-23T08:53:31.404Z",
        "severity": severity,
        "service": "langgenius/dify",
        "caller": caller,
        "message": message,
        "trace_id": TRACE,
        **more,
    }


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["orjson", "json.dumps"])
def test_an_access_line(separators: tuple[str, str]) -> None:
    record = line("POST /v1/chat-messages 200 251.647 ", identity={"user_id": "CANARY"})
    batch = Dify().parse(json.dumps(record, separators=separators).encode() + b"\n")
    requests = [record for record in batch.records if isinstance(record, Request)]
    assert requests == [Request("POST", "/v1/chat-messages", "200", handler_durations=(251_647_000,))]
    assert batch.last_at == 1_795_424_011_404_000_000


def test_a_newline_in_the_path_forges_no_record() -> None:
    """The record is one line with an escaped `\\n` in its message, and its path is `other`."""
    text = json.dumps(line("GET /v1/x\nGET /v1/info 200 1.0 \n 404 0.5 ")).encode() + b"\n"
    batch = Dify().parse(text)
    assert [(r.method, r.route, r.status_code) for r in batch.records] == [("GET", "other", "404")]


def test_an_error_counts_once_and_its_stack_is_not_read() -> None:
    record = line(
        "Exception on /v1/boom [POST]", "ERROR", "app.py:875", stack_trace="Traceback\nCANARY QuotaExceededError"
    )
    assert Dify().parse(json.dumps(record).encode()).consumed == 0
    batch = Dify().parse(json.dumps(record).encode(), final=True)
    assert batch.records == (Failure("unhandled_exception"),)


def test_a_received_task_is_counted() -> None:
    received = line("Task tasks.x[5a48bf19-8dd4-4410-b66d-e9c1945b1fcc] received", caller="strategy.py:161")
    batch = Dify().parse(json.dumps(received).encode() + b"\n")
    assert (batch.records, batch.observed) == ((TaskReceived("tasks.x"),), 1)


GOOD = json.dumps(line("GET /v1/info 200 1 ")).encode()


@pytest.mark.parametrize(
    ("text", "observed"),
    [
        (GOOD, 1),
        (GOOD[:-1], 0),
        (GOOD.replace(b"/v1/info", b"/v1/\xff\xfe"), 1),
        (GOOD.replace(b"/v1/info", b"/v1/\\ud800"), 1),
        (GOOD[:-1] + b',"x":NaN}', 1),
        (GOOD[:-1] + b',"x":[-Infinity,"NaN",Infinity]}', 1),
        (GOOD[:-1] + b',"x":"' + b'\\"' * 50_000, 0),
        (GOOD[:-1] + b',"x":nan}', 0),
        (GOOD[:-1] + b',"x":1e400}', 1),
        (GOOD[:-1] + b',"x":' + b"9" * 5000 + b"}", 1),
        (GOOD[:-1] + b',"ts":"2026-11-23T08:53:31.404Z"}', 1),
        (GOOD[:-1] + b',"trace_id":7,"caller":null,"severity":[]}', 1),
        (GOOD[:-1] + b',"message":7}', 0),
        (GOOD[:-1] + b',"x":' + b"[" * 100_000 + b"}", 0),
        (b"[1, 2]", None),
        (b'"text"', None),
        (b"{}", None),
        (b'{"ts":"x"}', None),
        (b"\xef\xbb\xbf" + GOOD, None),
        (b'{"answer": "half', None),
    ],
)  # fmt: skip
def test_hostile_json_is_counted_and_never_raises(text: bytes, observed: int | None) -> None:
    """`observed` is 1 for an observed line, 0 for an unparsed one (`json`), None for an ignored one."""
    batch = Dify().parse(text + b"\n")
    assert batch.lines == 1
    assert (batch.observed, batch.ignored) == (observed or 0, int(observed is None))
    assert batch.unparsed == ({"json": 1} if observed == 0 else {})
