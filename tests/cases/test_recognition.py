"""Cases 14 and 45, and others of their kind: no line is passed over without a word."""

import gzip
from pathlib import Path

import pytest

from parsers.batch import DroppedValue, Failure, Request
from parsers.dify import Dify
from parsers.envelope import Compose, Cri, Docker
from parsers.gunicorn import Gunicorn
from parsers.nginx import Nginx
from parsers.parser import Parser
from parsers.plugin_daemon import PluginDaemon
from tests.cases.commands import ACCESS, CASES, NGINX, REAL, configured, counted, requests_of, run

ERROR = b"2026/11/29 08:00:01 [error] 7#7: *1 upstream timed out (110: Connection timed out) while connecting"
JSON = (
    b'{"ts":"2026-11-29T08:00:01.100Z","severity":"INFO","service":"langgenius/dify",'
    b'"caller":"ext_request_logging.py:73","message":"GET /v1/info 200 3.2 "}'
)
DAEMON = (
    b"2026-11-29T08:00:01.1Z INFO dify-plugin-daemon middleware.go:83 HTTP request latency_ms=5 client_ip=::1 "
    b"method=POST path=/plugin/x/dispatch/llm/invoke status=200"
)


# --- 45: LOG_DATEFORMAT -----------------------------------------------------------------------------------------


def requests(log: bytes, parser: Parser) -> int:
    batch = parser.parse(log)
    assert batch.unparsed == {}
    return sum(record.count for record in batch.records if isinstance(record, Request))


def test_case_45_each_line_is_a_request() -> None:
    result = run("replay", "--config", str(CASES / "45-log-dateformat/exporter.toml"), "--output", "metrics")
    assert requests_of(result.stdout) == 7


@pytest.mark.parametrize(
    "date",
    [
        b"29.11.2026 08:00:01", b"Nov 29 08:00:01", b"Sun Nov 29 08:00:01 2026", b"29/Nov/2026:08:00:01", b"08:00:01",
        b"1795939201", b"20261129T080001", b"2026-11-29T08:00:01Z", b"11/29/26 08:00:01 AM", b"2026-11-29 08:00:01 UTC",
    ],
)  # fmt: skip
def test_any_other_date_begins_a_record_too(date: bytes) -> None:
    """In the default LOG_FORMAT and in that of api/.env.example, and as a failure."""
    line = date + ACCESS[len("2026-11-29 08:00:01") :]
    assert requests(line + b"\n", Dify()) == 1
    install = date + b",7 INFO [ext_request_logging.py:73] 4c9630975d GET /v1/info 200 3.2 \n"
    assert requests(install, Dify()) == 1
    failed = date + b".100 ERROR [Dummy-1] [x.py:1]  - x\n"
    batch = Dify().parse(failed)
    time_is_dropped = [] if batch.last_at else [DroppedValue]
    assert [type(record) for record in batch.records] == [Failure, *time_is_dropped]


def test_the_same_record_gives_the_same_time() -> None:
    plain = Dify().parse(ACCESS + b"\n")
    other = Dify().parse(ACCESS.replace(b"2026-11-29 08", b"2026/11/29 08") + b"\n")
    assert (other.records, other.last_at) == (plain.records, plain.last_at)


# --- What begins as a record and is none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "parser"),
    [
        (b"29/11/2026 08:00:01 | INFO | api | GET /v1/info", Dify()),
        (b"[INFO] 2026-11-29 GET /v1/info", Dify()),
        (b"INFO:     10.1.1.1:5000 - \"GET / HTTP/1.1\" 200 OK", Dify()),
        (NGINX, Dify()),
        (b"Nov 29 08:00:01 host api[7]: " + ACCESS, Dify()),
        (b'{"log":"x\\n","stream":"stdout","time":"2026-11-29T08:00:01Z"}', Dify()),
        (b'{"timestamp": "2026-11-29 08:00:01,100", "level": "INFO", "message": "x"}', Dify()),
        (b"Nov 29 08:00:01 host daemon[7]: x", PluginDaemon()),
        (b'level=info msg="HTTP request" status=200', PluginDaemon()),
        (b'{"level":"info","ts":1795939201.1,"msg":"HTTP request","status":200}', PluginDaemon()),
        (NGINX, PluginDaemon()),
        (b"29/11/2026 08:00:01 [7] [INFO] Booting worker", Gunicorn()),
        (b"INFO:     Started server process [1]", Gunicorn()),
        (b"Nov 29 08:00:01 host nginx: " + ERROR, Nginx(format="error")),
        (b"2026-11-29T08:00:01+00:00 [error] 7#7: x", Nginx(format="error")),
        (b'{"time":"2026-11-29","level":"error"}', Nginx(format="error")),
    ],
)  # fmt: skip
def test_a_record_of_an_unknown_form_is_unparsed(line: bytes, parser: Parser) -> None:
    batch = parser.parse(line + b"\n")
    assert (batch.unparsed, batch.ignored, batch.records) == ({"format": 1}, 0, ())


@pytest.mark.parametrize("name", ["api.log", "worker.log", "beat.log", "gunicorn-stderr.log", "plugin-daemon.log"])
@pytest.mark.parametrize("phase", ["text", "incidents"])
def test_the_tracebacks_of_a_real_dify_stay_ignored(phase: str, name: str) -> None:
    file = REAL / phase / name
    log = file.read_bytes() if file.exists() else gzip.decompress(file.with_name(name + ".gz").read_bytes())
    batch = (PluginDaemon() if "daemon" in name else Dify()).parse(log, final=True)
    assert batch.unparsed == {}
    expected = {("text", "api.log"): 1347, ("text", "worker.log"): 288, ("text", "gunicorn-stderr.log"): 20,
                ("incidents", "api.log"): 2049, ("incidents", "worker.log"): 839,
                ("incidents", "plugin-daemon.log"): 36}  # fmt: skip
    assert batch.ignored == expected.get((phase, name), 0)


def test_case_14_the_unknown_access_line_is_unparsed_at_the_least() -> None:
    batch = PluginDaemon().parse((CASES / "14-daemon-third-access-line/in.log").read_bytes())
    assert batch.unparsed == {"format": 2} or len(batch.records) > 1


def test_a_log_that_is_ignored_is_named_by_check(tmp_path: Path) -> None:
    """LOG_FORMAT=%(message)s: nothing distinguishes a record from a traceback, except that there is nearly no record."""
    (tmp_path / "in.log").write_bytes(ACCESS + b"\n" + b"GET /v1/info 200 3.2\n" * 300)
    result = run("check", "--config", configured(tmp_path, 'name = "s"\npaths = ["in.log"]\nparser = "dify"'))
    assert "problem: 300 of 301 lines are ignored, because they begin no record that this parser knows" in result.stdout


# --- NULs ---------------------------------------------------------------------------------------------------------

HOLE = bytes(5000)


@pytest.mark.parametrize(
    ("line", "parser"),
    [
        (ACCESS, Dify()),
        (JSON, Dify()),
        (ACCESS.replace(b"2026-11-29 08", b"29/11/2026 08"), Dify()),
        (DAEMON, PluginDaemon()),
        (b'[GIN] 2026/11/29 - 08:00:01 | 200 | 1s | ::1 | POST "/plugin/x/dispatch/llm/invoke"', PluginDaemon()),
        (NGINX, Nginx()),
        (ERROR, Nginx(format="error")),
        (ERROR, Nginx()),
        (b'{"s":200,"r":"GET /v1/info HTTP/1.1"}', Nginx(format='log_format x escape=json \'{"s":$status,"r":"$request"}\';')),
        (NGINX.removesuffix(b' "-"'), Gunicorn()),
        (b"[2026-11-29 08:00:01 +0000] [7] [CRITICAL] WORKER TIMEOUT (pid:8)", Gunicorn()),
    ],
)  # fmt: skip
def test_the_line_behind_nuls_is_read(line: bytes, parser: Parser) -> None:
    whole = parser.parse(line + b"\n")
    assert whole.records
    for before in (HOLE, line[: len(line) // 3] + HOLE, b'  File "x.p' + HOLE, HOLE + b"x" + HOLE):
        batch = parser.parse(line + b"\n" + before + line + b"\n" + line + b"\n")
        assert (batch.lines, batch.observed, counted(batch)) == (3, 3, 3 * counted(whole)), before[:20]
    assert parser.parse(HOLE + b"\n").ignored == 1


@pytest.mark.parametrize(
    ("line", "parser"),
    [
        (b'{"log":"%s\\n","stream":"stdout"}' % ACCESS, Docker(parser=Dify())),
        (b"2026-11-29T08:00:01.2Z stdout F " + ACCESS, Cri(parser=Dify())),
        (b"api-1  | " + ACCESS, Compose(parser=Dify())),
    ],
)
def test_the_line_behind_nuls_is_read_in_an_envelope_too(line: bytes, parser: Parser) -> None:
    """Half a line of `cri` or `compose` is a line of these, so that what is behind it is its content."""
    torn = [line[: len(line) // 3] + HOLE] if isinstance(parser, Docker) else []
    for before in (HOLE, HOLE + b"x" + HOLE, *torn):
        batch = parser.parse(line + b"\n" + before + line + b"\n" + line + b"\n")
        assert (batch.lines, counted(batch)) == (3, 3), before[:20]


def test_who_writes_a_nul_hides_and_forges_nothing() -> None:
    """`%00` in a path is decoded by Dify; nginx' error log quotes the request line."""
    text = ACCESS.replace(b"/v1/info", b"/v1/info\0" + ACCESS)
    assert counted(Dify().parse(text + b"\n")) == 1
    quoted = ERROR.replace(b"[error]", b"[info]") + b', request: "GET /\0' + ERROR + b'"'
    assert Nginx(format="error").parse(quoted + b"\n").records == ()
