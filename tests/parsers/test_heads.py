"""Lines that begin a record of some program, and lines that continue the previous record."""

import pytest

from parsers.heads import begins_json_record, begins_record

BEGINNINGS = [
    b"2026-11-29T08:00:01.100Z INFO x",
    b"2026/11/29 08:00:01 x",
    b"2026.11.29 08:00:01 x",
    b"29/11/2026 08:00:01 x",
    b"29.11.26, 08:00 x",
    b"11-29 08:00:01.100 INFO x",
    b"08:00:01.100 INFO x",
    b"[08:00:01] x",
    b"[2026-11-29 08:00:01,100: INFO/MainProcess] x",
    b'"2026-11-29 08:00:01" x',
    b"20261129T080001 x",
    b"20261129080001 x",
    b"1795939201.100 INFO x",
    b"[1795939201100] x",
    b"29/Nov/2026:08:00:01 +0000 x",
    b"Sun, 29 Nov 2026 08:00:01 GMT x",
    b"Nov 29 08:00:01 host api[7]: x",
    b"Sun Nov 29 08:00:01 2026 x",
    b"I1129 08:00:01.100000 7 x.go:3] x",
    b"<30>1 2026-11-29T08:00:01Z host api 7 - - x",
    b'10.1.1.1 - - [29/Nov/2026:08:00:01 +0000] "GET / HTTP/1.1" 200 5',
    b'2001:db8::1 - alice [29/Nov/2026:08:00:01 +0000] "GET / HTTP/1.1" 200 5',
    b"[INFO] x",
    b"INFO [x] y",
    b"ERROR - x",
    b"INFO | x",
    b"WARNING 2026-11-29 x",
    b"INFO:     Started server process [1]",
    b"level=info msg=x",
    b'time="2026-11-29T08:00:01Z" level=info',
    b"api-1  | x",
]


@pytest.mark.parametrize("line", BEGINNINGS)
def test_a_record_of_any_program_begins(line: bytes) -> None:
    assert begins_record(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Traceback (most recent call last):",
        b"ValueError: 2026-11-29 08:00:01 is no time",
        b"httpx.ConnectError: [Errno 111] Connection refused",
        b"During handling of the above exception, another exception occurred:",
        b"[SQL: SELECT 1]",
        b"[parameters: {'a': 1}]",
        b"DETAIL:  Key (id)=(1) already exists.",
        b"ERROR: x",
        b"gRPC patched with gevent.",
        b"Building prefix dict from the default dictionary ...",
        b"/app/api/.venv/lib/python3.12/site-packages/jieba/__init__.py:44: SyntaxWarning: x",
        b"goroutine 745 [running]:",
        b"main.main()",
        b"[tasks]",
        b"name | value",
        b"10 rows",
        b"2026 was a good year",
        b"{",
        b"}",
        b"  2026-11-29 08:00:01 INFO x",
    ],
)
def test_a_continuation_begins_no_record(line: bytes) -> None:
    assert not begins_record(line)


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        (b'{"time":"2026-11-29T08:00:01Z","level":"INFO","msg":"x"}', True),
        (b'{"@timestamp": "2026-11-29T08:00:01Z", "message": "x"}', True),
        (b'{"ts":1795939201.1,"msg":"x"}', True),
        (b'{"levelname": "INFO", "asctime": "2026-11-29 08:00:01,100"}', True),
        (b'{"log":"x\\n","stream":"stdout"}', True),
        (b'{"__CURSOR":"s=1","MESSAGE":"x"}', True),
        (b'{"ts":"x"}', False),
        (b'{"answer": "time"}', False),
        (b'{"event": "message", "created_at": 1795939201}', False),
        (b"{", False),
    ],
)
def test_a_record_in_json(line: bytes, begins: bool) -> None:
    assert begins_json_record(line) is begins
