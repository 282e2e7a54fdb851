"""Cases 14, 34, 36 to 38 and 45, and others of their kind: no line, file or log is passed over without a word."""

import gzip
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.config.loader import load
from exporter.source import Source
from exporter.window import Window
from parsers.batch import Batch, Failure, Request
from parsers.dify import Dify
from parsers.envelope import Compose, Cri, Docker
from parsers.gunicorn import Gunicorn
from parsers.nginx import Nginx
from parsers.parser import Parser
from parsers.plugin_daemon import PluginDaemon
from tests.exporter.reader import Books, Settings

CASES = Path(__file__).parent
REAL = CASES.parent / "real_dify"

ACCESS = b"2026-11-29 08:00:01.100 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /v1/info 200 3.2 "
NGINX = b'10.1.1.1 - - [29/Nov/2026:08:00:01 +0000] "GET /v1/info HTTP/1.1" 200 15 "-" "curl/8" "-"'
ERROR = b"2026/11/29 08:00:01 [error] 7#7: *1 upstream timed out (110: Connection timed out) while connecting"
JSON = (
    b'{"ts":"2026-11-29T08:00:01.100Z","severity":"INFO","service":"langgenius/dify",'
    b'"caller":"ext_request_logging.py:73","message":"GET /v1/info 200 3.2 "}'
)
DAEMON = (
    b"2026-11-29T08:00:01.1Z INFO dify-plugin-daemon middleware.go:83 HTTP request latency_ms=5 client_ip=::1 "
    b"method=POST path=/plugin/x/dispatch/llm/invoke status=200"
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def requests_of(exposition: str) -> float:
    return sum(float(value) for value in re.findall(r"(?m)^dify_requests_total\{.*\} (\S+)$", exposition))


def configured(folder: Path, *sources: str) -> str:
    tables = "".join(f"[[source]]\n{source}\n" for source in sources)
    (folder / "exporter.toml").write_text(f'[exporter]\nstate = ""\nstart_at = "beginning"\n{tables}')
    return str(folder / "exporter.toml")


# --- 45: LOG_DATEFORMAT -----------------------------------------------------------------------------------------


def requests(log: bytes, parser: Parser) -> int:
    batch = parser.parse(log)
    assert batch.unparsed == {}
    return sum(record.count for record in batch.records if isinstance(record, Request))


def test_case_45_each_line_is_a_request() -> None:
    told = run("replay", "--config", str(CASES / "45-log-dateformat/exporter.toml"), "--output", "metrics")
    assert requests_of(told.stdout) == 7


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
    assert [type(record) for record in Dify().parse(failed).records] == [Failure]


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
    """LOG_FORMAT=%(message)s: nothing tells a record from a traceback, but that there is nearly no record."""
    (tmp_path / "in.log").write_bytes(ACCESS + b"\n" + b"GET /v1/info 200 3.2\n" * 300)
    told = run("check", "--config", configured(tmp_path, 'name = "s"\npaths = ["in.log"]\nparser = "dify"'))
    assert "problem: 300 of 301 lines are ignored, because they begin no record that this parser knows" in told.stdout


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


def counted(batch: Batch) -> int:
    return sum(getattr(record, "count", 1) for record in batch.records)


def test_who_writes_a_nul_hides_and_forges_nothing() -> None:
    """`%00` in a path is decoded by Dify; nginx' error log quotes the request line."""
    text = ACCESS.replace(b"/v1/info", b"/v1/info\0" + ACCESS)
    assert counted(Dify().parse(text + b"\n")) == 1
    quoted = ERROR.replace(b"[error]", b"[info]") + b', request: "GET /\0' + ERROR + b'"'
    assert Nginx(format="error").parse(quoted + b"\n").records == ()


# --- 34: the time zone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "name"), [(8.0, "Asia/Shanghai"), (5.5, "Asia/Kolkata"), (-8.0, "America/Los_Angeles"), (0.0, "")]
)
def test_case_34_the_missing_zone_is_named(hours: float, name: str, tmp_path: Path) -> None:
    now = datetime.now(UTC) + timedelta(hours=hours)
    lines = [ACCESS.replace(b"2026-11-29 08:00:01", f"{now:%Y-%m-%d %H:%M:%S}".encode())] * 20
    (tmp_path / "in.log").write_bytes(b"\n".join(lines) + b"\n")
    told = run("check", "--config", configured(tmp_path, 'name = "s"\npaths = ["in.log"]\nparser = "dify"'))
    assert bool(re.search(r'set timezone = "[A-Z][\w/+-]+"', told.stdout)) is bool(name)
    if hours > 0:
        assert f'ahead of the clock: set timezone = "{name}"' in told.stdout
        assert told.exit_code == 1


# --- 38: logs that nginx packs --------------------------------------------------------------------------------------

PACKED = gzip.compress(NGINX + b"\n")
REFUSED = "nginx packs this log, so it cannot be tailed: remove gzip from its access_log"


@pytest.mark.parametrize("name", ["access.log", "packed.log.gz", "access.gz.log", "1.log"])
def test_case_38_a_packed_log_is_refused_by_all(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(PACKED * 3)
    config = configured(tmp_path, f'name = "s"\npaths = ["{name}"]\nparser = "nginx"')
    told = run("check", "--config", config)
    assert f"problem: {file}: {REFUSED}" in told.stdout
    assert told.exit_code == 1
    told = run("replay", "--config", config)
    assert (told.exit_code, told.stderr.startswith(f"dify-exporter: {file}: {REFUSED}")) == (2, True)
    books, source = serving(file)
    source.turn()
    assert (books.requests, source.up, dict(source.errors)) == (0, False, {"packed": 1})
    source.close()
    # What is packed already can be read once.
    assert requests_of(run("replay", str(file), "--output", "metrics").stdout) == 3


@pytest.mark.parametrize(("name", "before"), [("access.log", b""), ("one.log.gz", PACKED)])
@pytest.mark.parametrize("start_at", ["beginning", "end"])
def test_a_log_that_becomes_packed_is_refused(name: str, before: bytes, start_at: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(before)
    books, source = serving(file, start_at)
    while source.turn():
        pass
    seen = books.requests
    with file.open("ab") as log:
        log.write(PACKED)
    os.utime(file, (1, 1))
    for _ in range(4):
        CLOCK.now += 2
        source.turn()
    assert seen == int(bool(before) and start_at == "beginning")
    assert (books.requests, source.up, dict(source.errors)) == (seen, False, {"packed": 1})
    source.close()


class Counted(Books):
    requests = 0

    def post(self, window: Window, batch: Batch) -> None:
        super().post(window, batch)
        self.requests += counted(batch)


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = _Clock()


def serving(file: Path, start_at: str = "beginning") -> tuple[Counted, Source]:
    books = Counted()
    return books, Source(Settings("s", (str(file),), Nginx()), books, CLOCK, start_at=start_at)


def test_serve_replay_and_check_read_the_same_files(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "a.log.1", "a.log-20261128", "b.log.2.gz", "c.log.xz"):
        data = NGINX + b"\n"
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    config = configured(tmp_path, 'name = "s"\npaths = ["*.log*"]\nparser = "nginx"')
    assert requests_of(run("replay", "--config", config, "--output", "metrics").stdout) == 2
    checked = run("check", "--config", config).stdout
    assert re.findall(r"(\S+): 1 lines: 1 observed", checked) == [str(tmp_path / "a.log"), str(tmp_path / "b.log")]
    books = Counted()
    source = Source(Settings("s", (f"{tmp_path}/*.log*",), Nginx()), books, CLOCK, start_at="beginning")
    while source.turn():
        pass
    assert books.requests == 2
    source.close()


# --- 37: init ---------------------------------------------------------------------------------------------------------


def init(root: Path, folder: Path) -> tuple[dict[str, str], str]:
    """The format or parser by path, and what was said of the logs that were left out."""
    told = run("init", "--force", "--config", str(folder / "out.toml"), "--root", str(root))
    assert told.exit_code == 0, told.output
    paths = {
        source.paths[0].removeprefix(str(root)): getattr(source.parser, "format", "")
        for source in load(folder / "out.toml").sources
    }
    return paths, "".join(line for line in told.stdout.splitlines(keepends=True) if line.startswith("left out: "))


def test_case_37_each_log_is_read_or_named(tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(CASES / "37-init-variable-and-quoted-paths/root", root)
    paths, left_out = init(root, tmp_path)
    assert paths.keys() == {
        "/var/log/nginx/access.log", "/var/log/nginx/*.access.log", "/var/log/nginx/quoted name.log",
        "/var/log/nginx/dify.error.log",
    }  # fmt: skip
    assert "$request_time" in paths["/var/log/nginx/*.access.log"]
    assert [line.split(" (")[0] for line in left_out.splitlines()] == [
        "left out: access_log syslog:server=10.0.0.1:514,tag=nginx main",
        "left out: access_log /var/log/nginx/packed.log.gz main gzip flush=1m",
        "left out: access_log off",
    ]
    assert "remove gzip from this access_log" in left_out
    checked = run("check", "--config", str(tmp_path / "out.toml")).stdout
    assert f"{root}/var/log/nginx/dify.example.org.access.log: 1 lines: 1 observed" in checked


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc/nginx").mkdir(parents=True)
    return root


def test_relative_paths_and_included_formats(root: Path, tmp_path: Path) -> None:
    (root / "etc/nginx/conf.d/more").mkdir(parents=True)
    (root / "usr/share/nginx/logs").mkdir(parents=True)
    (root / "usr/share/nginx/logs/x.log").touch()
    (root / "etc/nginx/nginx.conf").write_text(
        "http { include formats.inc; include conf.d/*/*.conf; include nginx.conf; }"
    )
    (root / "etc/nginx/formats.inc").write_text("log_format short '$status $request_time';")
    (root / "etc/nginx/conf.d/more/a.conf").write_text(
        "server { access_log logs/x.log short; error_log logs/error.log; }\n"
        "server { access_log ${prefix}/y.log short; access_log 'a;b.log' short; }"
    )
    paths, _ = init(root, tmp_path)
    assert paths == {
        "/usr/share/nginx/logs/x.log": "log_format short '$status $request_time';",
        "/usr/share/nginx/logs/error.log": "error",
        "/usr/share/nginx/*/y.log": "log_format short '$status $request_time';",
        "/usr/share/nginx/a;b.log": "log_format short '$status $request_time';",
    }


@pytest.mark.parametrize(
    ("directive", "why"),
    [
        ("access_log /dev/stdout;", "tail the log of its container instead"),
        ("error_log stderr warn;", "tail the log of its container instead"),
        ("error_log memory:32m debug;", "nginx keeps it in its memory"),
        ("error_log syslog:server=unix:/dev/log;", "nginx sends it to syslog"),
        ("access_log /var/log/a.log combined gzip=5;", "remove gzip from this access_log"),
        ("access_log /var/log/nginx/$host.log combined;", "would read"),
        ("access_log /var/log/a.log unheard;", "no log_format unheard is in the files of this configuration"),
        (
            "log_format odd '$host'; access_log /var/log/a.log odd;",
            "log_format odd cannot be read: format: expected $status",
        ),
        ("access_log off;", "nginx writes no access log there"),
        ("access_log /dev/null;", "nginx writes it nowhere"),
    ],
)
def test_what_cannot_be_tailed_is_named(directive: str, why: str, root: Path, tmp_path: Path) -> None:
    (root / "etc/nginx/nginx.conf").write_text(
        f"http {{\n  access_log /var/log/nginx/access.log; # access_log /var/log/nginx/none.log;\n  {directive}\n}}\n"
    )
    paths, left_out = init(root, tmp_path)
    assert list(paths) == ["/var/log/nginx/access.log"]
    assert why in left_out
    assert f"{root}/etc/nginx/nginx.conf, line 3)" in left_out


def test_a_packed_log_at_the_usual_place_is_not_found_again(root: Path, tmp_path: Path) -> None:
    (root / "var/log/nginx").mkdir(parents=True)
    (root / "var/log/nginx/access.log").write_bytes(PACKED)
    (root / "etc/nginx/nginx.conf").write_text(
        "http { access_log /var/log/nginx/access.log combined gzip; error_log stderr; }"
    )
    told = run("init", "--config", str(tmp_path / "out.toml"), "--root", str(root)).stdout
    assert "left out: access_log /var/log/nginx/access.log combined gzip" in told
    assert str(root / "var/log/nginx/access.log") not in (tmp_path / "out.toml").read_text()


def test_conditions_are_said(root: Path, tmp_path: Path) -> None:
    (root / "etc/nginx/nginx.conf").write_text("http { access_log /var/log/a.log combined if=$loggable; }")
    init(root, tmp_path)
    assert "it holds only requests with $loggable" in (tmp_path / "out.toml").read_text()


# --- beat and explain -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "log",
    [
        (REAL / "text/beat.log").read_bytes(),
        (REAL / "incidents/beat.log").read_bytes(),
        b'{"ts":"2026-11-29T08:00:01.100Z","severity":"INFO","service":"x","caller":"beat.py:280","message":"Scheduler: x"}\n',
        b"[2024-07-10 13:58:35,803: INFO/MainProcess] beat: Starting...\n",
        b'{"log":"2026-11-29 23:28:59.150 INFO [MainThread] [beat.py:634]  - beat: Starting...\\n","stream":"stdout"}\n',
    ],
)  # fmt: skip
def test_beat_gets_no_advice_for_the_api(log: bytes, tmp_path: Path) -> None:
    (tmp_path / "beat.log").write_bytes(log)
    envelope = 'envelope = "docker"' if log.startswith(b'{"log"') else ""
    config = configured(tmp_path, f'name = "s"\npaths = ["beat.log"]\nparser = "dify"\n{envelope}')
    told = run("check", "--config", config).stdout
    assert "absent: everything but errors: this is the log of Celery beat" in told
    assert "absent: no " not in told


def test_an_api_without_requests_still_gets_its_advice(tmp_path: Path) -> None:
    (tmp_path / "in.log").write_bytes(b"2026-11-29 08:00:01.100 INFO [Dummy-1] [x.py:1]  - beat\n")
    told = run("check", "--config", configured(tmp_path, 'name = "s"\npaths = ["in.log"]\nparser = "dify"'))
    assert "absent: no requests: set ENABLE_REQUEST_LOGGING=true" in told.stdout


@pytest.mark.parametrize("order", [("api", "daemon"), ("daemon", "api")])
def test_explain_knows_whose_line_it_is(order: tuple[str, str], tmp_path: Path) -> None:
    tables = {
        "api": 'name = "api"\npaths = ["a"]\nparser = "dify"',
        "daemon": 'name = "daemon"\npaths = ["b"]\nparser = "plugin-daemon"',
    }
    config = configured(tmp_path, *(tables[name] for name in order))
    keys = '"message":"local runtime ready","service":"%s","severity":"%s","ts":"2026-11-29T08:00:01.1Z"}'
    for severity in ("INFO", "ERROR"):
        line = '{"attributes":{},"caller":"x.go:1",' + keys % ("dify-plugin-daemon", severity)
        assert run("explain", "--config", config, line).stdout.startswith('taken by source "daemon" (plugin-daemon)')
        line = '{"caller":"x.py:1",' + keys % ("langgenius/dify", severity)
        assert run("explain", "--config", config, line).stdout.startswith('taken by source "api" (dify)')


def test_case_34_as_it_came(tmp_path: Path) -> None:
    shutil.copytree(CASES / "34-log-tz-not-told", tmp_path / "case")
    subprocess.run([sys.executable, "make.py"], cwd=tmp_path / "case", check=True)
    told = run("check", "--config", str(tmp_path / "case/exporter.toml"))
    assert 'the newest time is 8 hours ahead of the clock: set timezone = "Asia/Shanghai"' in told.stdout
