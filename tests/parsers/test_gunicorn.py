"""gunicorn's access log in its default and other formats, mixed with its error log and tracebacks."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.batch import Batch, Failure, Request
from parsers.gunicorn import DEFAULT, TIMED, Gunicorn
from tests.golden import ROOT
from tests.parsers.laws import check_laws

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
HEAD = b"127.0.0.1 - - [23/Nov/2026:08:53:10 +0000] "
AT = 1_795_423_990 * SECOND
CHAT = ("POST", "/v1/chat-messages", "200")
INFO = ("GET", "/v1/info", "200")


def only(batch: Batch) -> Request:
    assert (batch.lines, batch.observed, batch.unparsed) == (1, 1, {}), batch
    (record,) = batch.records
    assert isinstance(record, Request)
    return record


@pytest.mark.parametrize(
    ("format", "line", "expected"),
    [
        (DEFAULT, HEAD + b'"POST /v1/chat-messages?user=CANARY HTTP/1.1" 200 173 "-" "curl/7.88.1"', Request(*CHAT, "", 1, 173)),
        (DEFAULT, HEAD + b'"POST /v1/chat-messages HTTP/1.1" 499 - "-" "-"', Request(*CHAT[:2], "499", "client_closed", 1)),
        (DEFAULT, HEAD + rb'"GET /v1/info?\"x HTTP/1.1" 200 5 "http://x/\"q\"" "Mo\"zilla"', Request(*INFO, "", 1, 5)),
        (DEFAULT, HEAD + b'"GET /v1/info HTTP/1.1" 200 5 "x\\" "y\\"', Request(*INFO, "", 1, 5)),
        (DEFAULT, HEAD + rb'"GET /v1/info HTTP/1.1" 200 5 "a\\"b" "c\" \"d\" 1"', Request(*INFO, "", 1, 5)),
        (DEFAULT, HEAD + rb'"GET /v1/\"info HTTP/1.1" 404 5 "-" "-"', Request("GET", "other", "404", "", 1, 5)),
        (DEFAULT, HEAD + b'"GET /v1/info HTTP/1.1" 200 5 "" "\xff\xc3"\r', Request(*INFO, "", 1, 5)),
        (DEFAULT, b'::1 - us [er] x ' + HEAD[14:] + b'"GET /v1/info HTTP/1.1" 200 5 "-" "-"', Request(*INFO, "", 1, 5)),
        (DEFAULT, HEAD + b'"GET /old" 400 5 "-" "-"', Request("unknown", "invalid", "400", "", 1, 5)),
        (TIMED, HEAD + b'"POST /v1/chat-messages HTTP/1.1" 200 204 "-" "-" 1.205311', Request(*CHAT, "", 1, 204, (1_205_311_000,))),
        (TIMED, HEAD + b'"POST /v1/chat-messages HTTP/1.1" 200 204 "-" "-" -', Request(*CHAT, "", 1, 204)),
        ("%(t)s %(m)s %(U)s %(s)s %(L)s", b"[23/Nov/2026:09:05:07 +0000] POST /v1/chat-messages 200 1.205311",
         Request(*CHAT, "", 1, None, (1_205_311_000,))),
        ("%(m)s %(U)s %(s)s %(L)s", b"GET /v1/info 200 0.001 404 0.5", Request("GET", "other", "404", "", 1, None, (500 * MILLISECOND,))),
        ("%(m)s %(U)s?%(q)s %(s)s", b"GET /v1/info?a=b 200", Request(*INFO)),
        ("%(m)s %(U)s %(s)s", b"GET /v1/in\x1bfo 200", Request("GET", "other", "200")),
        ("%(m)s %(U)s %(s)s", b"- - 400", Request("unknown", "invalid", "400")),
        ("%(r)s %(s)s", b"GET /v1/info HTTP/1.1 200", Request(*INFO)),
        ("%(s)s %(D)s", b"200 1200000001", Request("unknown", "unknown", "200", "", 1, None, (1_200_000_001_000,))),
        ("%(s)s %(M)s", b"200 1205", Request("unknown", "unknown", "200", "", 1, None, (1_205 * MILLISECOND,))),
        ("%(s)s %(T)s", b"200 3", Request("unknown", "unknown", "200", "", 1, None, (3 * SECOND,))),
        ("%(T)s %(M)s %(D)s %(L)s %(s)s", b"1 2 3 4.5 200", Request("unknown", "unknown", "200", "", 1, None, (4_500 * MILLISECOND,))),
        ("%(s)s %(b)s %(B)s", b"200 - 7", Request("unknown", "unknown", "200", "", 1, 7)),
        ("%(p)s %({X-Forwarded-For}i)s %({content-type}o)s|%({wsgi.url_scheme}e)s %(H)s %(s)s",
         b"<17> 1.2.3.4, 5.6.7.8 text/event-stream; charset=utf-8|http HTTP/1.1 200", Request("unknown", "unknown", "200")),
        ("100%% %(s)s %(nothing)s", b"100% 200 -", Request("unknown", "unknown", "200")),
        ('{"r":"%(r)s","s":%(s)s}', rb'{"r":"GET /v1/info?\" HTTP/1.1","s":200}', Request(*INFO)),
    ],
)  # fmt: skip
def test_an_access_line(format: str, line: bytes, expected: Request) -> None:
    assert only(Gunicorn(format=format).parse(line + b"\n")) == expected


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        (b"[2026-11-23 08:53:05 +0000] [11056] [INFO] Booting worker with pid: 11058", []),
        (b"[2026-11-23 08:53:05 +0000] [1] [CRITICAL] WORKER TIMEOUT (pid:46)", ["worker_timeout"]),
        (b"[2026-11-23 08:53:05 +0000] [1] [ERROR] Worker (pid:46) was sent SIGKILL! Perhaps out of memory?", []),
        (b"[2026-11-23 08:53:05 +0000] [1] [WARNING] Worker (pid:46) was sent SIGABRT!", []),
        (b"[2026-11-23 08:53:05 +0000] [1] [ERROR] Worker (pid:46) was sent SIGABRT!", []),
        (b"2026-11-23T08:53:05Z <Greenlet at 0x7f1a7e09c720: boom> failed with E", ["unhandled_exception"]),
        (b"2026-11-23T08:53:05Z ((1, 2), {}) failed with OSError", ["unhandled_exception"]),
        (b"[2026-11-23 08:53:05 +0000] [1] [ERROR] Worker (pid:46) exited with code 3.", []),
        (b"[2026-11-23 08:53:05 +0000] [1] [WARNING] Worker with pid 27 was terminated due to signal 9", []),
        (b"[2026-11-23 08:53:05 +0000] [9] [ERROR] Exception in worker process", ["other"]),
        (b"[2026-11-23 08:53:05 +0000] [1] [ERROR] Shutting down: Master", []),
        (b"[2026-11-23 08:53:05 +0000] [1] [ERROR] Reason: Worker failed to boot.", []),
        (b"[2026-11-23 08:53:05 +0000] [9] [ERROR] Error handling request /v1/chat-messages", ["unhandled_exception"]),
        (b"[2026-11-23 08:53:05 +0000] [9] [ERROR] Error handling request", ["unhandled_exception"]),
        (b"[2026-11-23 08:53:05 +0000] [9] [ERROR] Socket error processing request.", ["other"]),
        (b"[2026-11-23 08:53:05 +0000] [9] [DEBUG] GET /WORKER TIMEOUT", []),
        (b"[2026-11-23 08:53:05 +0000] [9] [CRITICAL] disk full", ["other"]),
    ],
)
def test_a_line_of_the_error_log(line: bytes, kinds: list[str]) -> None:
    batch = Gunicorn().parse(line + b"\r\n")
    assert batch.records == tuple(Failure(kind) for kind in kinds)
    assert (batch.lines, batch.observed, batch.unparsed) == (1, len(kinds), {})
    assert batch.last_at == (AT - 5 * SECOND if kinds else None)


@pytest.mark.parametrize(
    ("line", "unparsed"),
    [
        (b"Traceback (most recent call last):", {}),
        (b'  File "/app/api/app.py", line 3, in application', {}),
        (b"    time.sleep(30)", {}),
        (b"\tx", {}),
        (b"json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)", {}),
        (b"SystemExit: 1", {}),
        (b"KeyboardInterrupt", {}),
        (b"During handling of the above exception, another exception occurred:", {}),
        (b"The above exception was the direct cause of the following exception:", {}),
        (b"2026-11-23 08:53:16,378.378 INFO [Dummy-1] [x.py:1] - y", {}),
        (b"2025-11-21 09:24:54,11 ERROR [x.py:64] 4c9630975d y", {}),
        (b'{"ts":"2026-11-23T08:53:31.404Z","severity":"INFO"}', {}),
        (b"2026-11-23 08:53:16.378 nonsense", {"format": 1}),
        (b"gRPC patched with gevent.", {"format": 1}),
        (b"Errors were found", {"format": 1}),
        (b"[2026-11-23 08:53:05] [9] [ERROR] x", {"format": 1}),
        (b"[1] [ERROR] Worker (pid:46) exited with code 1.", {}),
        (
            b"<gevent._socket3.socket at 0x7f1a object, fd=7>: (from ('::1', 1)) Invalid HTTP method: 'garbage\\r\\n'",
            {},
        ),
        (b"2026-12-01T02:36:56Z <Greenlet at 0x7f1a7e09c720: boom>", {"format": 1}),
        (HEAD + b'"GET /v1/info HTTP/1.1" 200', {"format": 1}),
        (HEAD + b'"GET /v1/info HTTP/1.1" 200 5 "-"', {"format": 1}),
    ],
)
def test_a_traceback_is_ignored_and_the_rest_unparsed(line: bytes, unparsed: dict[str, int]) -> None:
    batch = Gunicorn().parse(line + b"\n")
    assert (batch.unparsed, batch.observed, batch.records) == (unparsed, 0, ())


def test_times() -> None:
    log = HEAD + b'"GET /v1/info HTTP/1.1" 200 5 "-" "-"\n[2026-11-23 08:53:05 +0000] [1] [INFO] x\n'
    assert Gunicorn().parse(log).last_at == AT
    assert Gunicorn().parse(HEAD.replace(b"+0000", b"-0100") + b'"" 400 5 "-" "-"\n').last_at == AT + 3600 * SECOND
    assert Gunicorn().parse(HEAD.replace(b"Nov", b"Abc") + b'"" 400 5 "-" "-"\n').last_at is None
    assert Gunicorn(format="%(s)s").parse(b"200\n").last_at is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"format": ""}, "format: expected %(s)s or %(r)s among its atoms"),
        ({"format": "combined"}, "format: expected %(s)s or %(r)s among its atoms"),
        ({"format": "%(L)s %(m)s"}, "format: expected %(s)s or %(r)s among its atoms"),
        ({"format": "%(s)s %s"}, 'format: expected an atom such as %(s)s at "%", found "%s"'),
        ({"format": "%(s) %(r)s"}, 'format: expected an atom such as %(s)s at "%", found "%(s) "'),
        ({"format": "%(s)s%(r)s"}, "format: found s and r with no text between them"),
        ({"format": "%(s)s\n%(r)s"}, "format: a line break inside; each request must be one line"),
        (
            {"timezone": "Mars"},
            'timezone: unknown time zone "Mars", expected a name such as UTC or Asia/Shanghai',
        ),
    ],
)
def test_a_bad_option_is_refused(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Gunicorn(**options)
    assert str(refused.value) == sentence


def test_advice_names_what_a_format_lacks() -> None:
    no_duration, user = Gunicorn().advice(Batch())
    assert no_duration.sentence.startswith("this gunicorn format has no duration: latency metrics stay empty")
    assert user.sentence.startswith("this gunicorn format writes the decoded user name")
    assert Gunicorn(format=TIMED).advice(Batch()) == (user,)
    assert Gunicorn(format=TIMED.replace("%(u)s", "-")).advice(Batch()) == ()
    (no_path, *_) = Gunicorn(format="%(m)s %(s)s %(M)s").advice(Batch())
    assert no_path.sentence.endswith("the route of every request is unknown; add %(r)s")
    (decoded,) = Gunicorn(format="%(U)s %(s)s %(M)s").advice(Batch())
    assert decoded.sentence.startswith("this gunicorn format writes the decoded path")


def test_the_matched_length_of_a_line() -> None:
    line = HEAD + b'"GET /v1/info HTTP/1.1" 200 5 oops'
    assert Gunicorn().matched_length(line) == line.index(b" oops")


def test_the_sample() -> None:
    batch = Gunicorn(format=TIMED).parse((ROOT / "samples/gunicorn.log").read_bytes())
    failures = [record.kind for record in batch.records if isinstance(record, Failure)]
    requests = [record for record in batch.records if isinstance(record, Request)]
    assert failures == ["unhandled_exception", "worker_timeout", "unhandled_exception"]
    assert batch.unparsed == {}
    assert sum(each.count for each in requests) == sum(len(each.durations) for each in requests) == 17
    assert batch.observed == 20


LINES = st.sampled_from((ROOT / "samples/gunicorn.log").read_bytes().splitlines(keepends=True))
TEXT = st.binary(max_size=40) | st.text(alphabet='"\\ |[],:-{}\r\n0a', max_size=40).map(str.encode)
FORMATS = [DEFAULT, TIMED, "%(m)s %(U)s %(s)s %(L)s"]


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=settings.default.max_examples // 2)
@given(log=st.lists(LINES | TEXT, max_size=8).map(b"".join), cuts=st.lists(st.integers(0, 2000), max_size=4))
def test_the_laws_hold(format: str, log: bytes, cuts: list[int]) -> None:
    check_laws(Gunicorn(format=format), log, cuts)


HEADERS = st.text(alphabet='"\\ x1', max_size=8).map(str.strip)


@settings(max_examples=2 * settings.default.max_examples)
@given(referer=HEADERS, agent=HEADERS)
def test_no_header_hides_a_request(referer: str, agent: str) -> None:
    """gunicorn (SafeAtoms) escapes a quote with a backslash, but not a backslash."""
    written = " ".join('"' + text.replace('"', '\\"') + '"' for text in (referer, agent))
    line = HEAD + b'"GET /v1/info HTTP/1.1" 200 5 ' + written.encode() + b" 0.250000\n"
    assert only(Gunicorn(format=TIMED).parse(line)) == Request(*INFO, "", 1, 5, (250 * MILLISECOND,))


@pytest.mark.parametrize("format", FORMATS)
def test_time_is_linear_on_hostile_lines(format: str) -> None:
    """A quadratic pattern would need many seconds for lines of 128 kB."""
    parser = Gunicorn(format=format)
    for noise in (b'"', b" ", b"\\", b'\\"', b'" "', b'\\" ', b"[", b"a.", b" 200 0.1", b"Error"):
        begun = time.process_time()
        for beginning in (
            b"",
            b"GET ",
            HEAD,
            HEAD + b'"',
            HEAD + b'"GET / HTTP/1.1" 200 5 "',
            b"[2026-11-23 08:53:05 ",
        ):
            parser.parse(beginning + noise * (131_072 // len(noise)) + b"\n")
        assert time.process_time() - begun < 3, noise


def test_the_end_of_a_traceback_of_a_database_or_a_framework_is_ignored() -> None:
    """What SQLAlchemy 2.0 with psycopg2 2.9, Werkzeug and requests print behind a traceback, on the same stdout."""
    log = b"""\
Traceback (most recent call last):
  File "/app/api/.venv/lib/python3.12/site-packages/sqlalchemy/engine/base.py", line 1967, in _exec_single_context
    self.dialect.do_execute(
psycopg2.errors.UndefinedTable: relation "apps" does not exist
LINE 2: FROM apps
             ^
DETAIL:  Key (id)=(1) is not present in table "apps".
HINT:  No function matches the given name.
CONTEXT:  while locking tuple (0,1) in relation "apps"

The above exception was the direct cause of the following exception:

sqlalchemy.exc.ProgrammingError: (psycopg2.errors.UndefinedTable) relation "apps" does not exist
[SQL: SELECT apps.id AS apps_id, apps.name AS apps_name
FROM apps LEFT OUTER JOIN sites ON apps.id = sites.app_id
WHERE apps.id = %(id_1)s AND apps.status = %(status_1)s ORDER BY apps.id
 LIMIT %(param_1)s]
[parameters: {'id_1': '5', 'param_1': 1}]
(Background on this error at: https://sqlalche.me/e/20/f405)
werkzeug.exceptions.NotFound: 404 Not Found: The requested URL was not found on the server.
requests.exceptions.ReadTimeout: HTTPConnectionPool(host='sandbox', port=8194): Read timed out.
concurrent.futures.process.BrokenProcessPool
"""
    batch = Gunicorn().parse(log)
    assert (batch.lines, batch.ignored, batch.unparsed) == (log.count(b"\n"), log.count(b"\n"), {})


@pytest.mark.parametrize(
    "line",
    [
        b"GET /v1/chat-messages 200 0.1",
        b"api.example.com: GET / 200",
        b"FROM",
        b"[SQL] x",
        b"LINE: x",
        b"plugins loaded",
    ],
)
def test_a_line_of_another_format_is_unparsed(line: bytes) -> None:
    assert Gunicorn().parse(line + b"\n").unparsed == {"format": 1}
