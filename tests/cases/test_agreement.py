"""Cases 34, 37 and 38, and others of their kind: what check, init, replay, explain and serve say of one machine."""

import gzip
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.config.loader import load
from exporter.tail.position import Position, Window
from exporter.tail.source import Source
from exporter.tail.source_config import SourceConfig, SourceOptions
from parsers.batch import Batch
from parsers.nginx import Nginx
from tests.cases.commands import ACCESS, CASES, NGINX, REAL, configured, counted, requests_of, run
from tests.exporter.reader import MemoryLedger

# --- 34: the time zone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "name"), [(8.0, "Asia/Shanghai"), (5.5, "Asia/Kolkata"), (-8.0, "America/Los_Angeles"), (0.0, "")]
)
def test_case_34_the_missing_zone_is_named(hours: float, name: str, tmp_path: Path) -> None:
    now = datetime.now(UTC) + timedelta(hours=hours)
    lines = [ACCESS.replace(b"2026-11-29 08:00:01", f"{now:%Y-%m-%d %H:%M:%S}".encode())] * 20
    (tmp_path / "in.log").write_bytes(b"\n".join(lines) + b"\n")
    result = run("check", "--config", configured(tmp_path, 'name = "s"\npaths = ["in.log"]\nparser = "dify"'))
    assert bool(re.search(r'set timezone = "[A-Z][\w/+-]+"', result.stdout)) is bool(name)
    if hours > 0:
        assert f'ahead of the clock: set timezone = "{name}"' in result.stdout
        assert result.exit_code == 1


# --- 38: logs that nginx packs --------------------------------------------------------------------------------------

PACKED = gzip.compress(NGINX + b"\n")
REFUSED = "nginx packs this log, so it cannot be tailed: remove gzip from its access_log"


@pytest.mark.parametrize("name", ["access.log", "packed.log.gz", "access.gz.log", "1.log"])
def test_case_38_a_packed_log_is_refused_by_all(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(PACKED * 3)
    config = configured(tmp_path, f'name = "s"\npaths = ["{name}"]\nparser = "nginx"')
    result = run("check", "--config", config)
    assert f"problem: {file}: {REFUSED}" in result.stdout
    assert result.exit_code == 1
    result = run("replay", "--config", config)
    assert (result.exit_code, result.stderr.startswith(f"dify-exporter: {file}: {REFUSED}")) == (2, True)
    ledger, source = serving(file)
    source.turn()
    assert (ledger.requests, source.up, dict(source.errors)) == (0, False, {"packed": 1})
    source.close()
    # What is packed already can be read once.
    assert requests_of(run("replay", str(file), "--output", "metrics").stdout) == 3


@pytest.mark.parametrize(("name", "before"), [("access.log", b""), ("one.log.gz", PACKED)])
@pytest.mark.parametrize("start_at", ["beginning", "end"])
def test_a_log_that_becomes_packed_is_refused(name: str, before: bytes, start_at: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(before)
    ledger, source = serving(file, start_at)
    while source.turn():
        pass
    seen = ledger.requests
    with file.open("ab") as log:
        log.write(PACKED)
    os.utime(file, (1, 1))
    for _ in range(4):
        CLOCK.now += 2
        source.turn()
    assert seen == int(bool(before) and start_at == "beginning")
    assert (ledger.requests, source.up, dict(source.errors)) == (seen, False, {"packed": 1})
    source.close()


class Counted(MemoryLedger):
    requests = 0

    def post(self, window: Window, batch: Batch) -> Position:
        self.requests += counted(batch)
        return super().post(window, batch)


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = _Clock()


def serving(file: Path, start_at: str = "beginning") -> tuple[Counted, Source]:
    ledger = Counted()
    return ledger, Source(SourceOptions(SourceConfig("s", (str(file),), Nginx())), ledger, CLOCK, start_at)


def test_serve_replay_and_check_read_the_same_files(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "a.log.1", "a.log-20261128", "b.log.2.gz", "c.log.xz"):
        data = NGINX + b"\n"
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    config = configured(tmp_path, 'name = "s"\npaths = ["*.log*"]\nparser = "nginx"')
    assert requests_of(run("replay", "--config", config, "--output", "metrics").stdout) == 2
    checked = run("check", "--config", config).stdout
    assert re.findall(r"(\S+): 1 line: 1 observed", checked) == [str(tmp_path / "a.log"), str(tmp_path / "b.log")]
    ledger = Counted()
    options = SourceOptions(SourceConfig("s", (f"{tmp_path}/*.log*",), Nginx()))
    source = Source(options, ledger, CLOCK, "beginning")
    while source.turn():
        pass
    assert ledger.requests == 2
    source.close()


# --- 37: init ---------------------------------------------------------------------------------------------------------


def init(root: Path, folder: Path) -> tuple[dict[str, str], str]:
    """The format or parser by path, and what was said of the logs that were left out."""
    result = run("init", "--force", "--config", str(folder / "out.toml"), "--root", str(root))
    assert result.exit_code == 0, result.output
    paths = {
        source.paths[0].removeprefix(str(root)): getattr(source.parser, "format", "")
        for source in load(folder / "out.toml").sources
    }
    return paths, "".join(line for line in result.stdout.splitlines(keepends=True) if line.startswith("left out: "))


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
    assert f"{root}/var/log/nginx/dify.example.org.access.log: 1 line: 1 observed" in checked


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
        (
            "access_log /var/log/a.log unheard;",
            "no log_format unheard is in these files: copy it into `format` of a [[source]]",
        ),
        (
            "log_format odd '$host'; access_log /var/log/a.log odd;",
            "log_format odd cannot be read: format: expected $status",
        ),
        ("access_log off;", "nginx writes no access log there"),
        ("access_log /dev/null;", "nginx discards it"),
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
    result = run("init", "--config", str(tmp_path / "out.toml"), "--root", str(root)).stdout
    assert "left out: access_log /var/log/nginx/access.log combined gzip" in result
    assert str(root / "var/log/nginx/access.log") not in (tmp_path / "out.toml").read_text()


def test_conditions_are_said(root: Path, tmp_path: Path) -> None:
    (root / "etc/nginx/nginx.conf").write_text("http { access_log /var/log/a.log combined if=$loggable; }")
    init(root, tmp_path)
    assert "it contains only requests with $loggable" in (tmp_path / "out.toml").read_text()


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
    result = run("check", "--config", config).stdout
    assert "  s: everything but errors: this is the log of Celery beat" in result
    assert "  s: no " not in result


def test_an_api_without_requests_still_gets_its_advice(tmp_path: Path) -> None:
    (tmp_path / "in.log").write_bytes(b"2026-11-29 08:00:01.100 INFO [Dummy-1] [x.py:1]  - beat\n")
    result = run("check", "--config", configured(tmp_path, 'name = "s"\npaths = ["in.log"]\nparser = "dify"'))
    assert "  s: no requests: set ENABLE_REQUEST_LOGGING=true" in result.stdout


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
        assert run("explain", "--config", config, line).stdout.startswith('read by source "daemon" (plugin-daemon)')
        line = '{"caller":"x.py:1",' + keys % ("langgenius/dify", severity)
        assert run("explain", "--config", config, line).stdout.startswith('read by source "api" (dify)')


def test_case_34_as_it_came(tmp_path: Path) -> None:
    shutil.copytree(CASES / "34-log-tz-not-told", tmp_path / "case")
    subprocess.run([sys.executable, "make.py"], cwd=tmp_path / "case", check=True)
    result = run("check", "--config", str(tmp_path / "case/exporter.toml"))
    assert 'the newest time is 8 hours ahead of the clock: set timezone = "Asia/Shanghai"' in result.stdout
