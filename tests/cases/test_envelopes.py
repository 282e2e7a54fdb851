"""Cases 17, 24 and 25, and other inputs of their kind: what is around the lines of a log, and its encoding."""

import json
import logging
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exporter.cli import main
from tests.exporter.reader import Reader

CASES = Path(__file__).parent
ACCESS = "2026-11-29 08:00:01.100 INFO [Dummy-1] [ext_request_logging.py:73] 6755d9e6b4c850ff981e23fe378aa2c8 - GET /v1/info 200 3.2 \n"
NGINX = '10.1.1.1 - - [29/Nov/2026:09:18:01 +0000] "GET /console/api/setup HTTP/1.1" 504 569 "-" "Mozilla/5.0" "-"'


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def configured(folder: Path, log: str | bytes, parser: str, envelope: str) -> tuple[dict, Result]:
    """The summary that `replay` gives, and what `check` says, of a log with a configuration."""
    config = folder / "exporter.toml"
    (folder / "in.log").write_bytes(log if isinstance(log, bytes) else log.encode())
    config.write_text(f'[[source]]\nname = "s"\npaths = ["in.log"]\nparser = "{parser}"\nenvelope = "{envelope}"\n')
    result = run("replay", "--config", str(config), "--output", "json")
    return json.loads(result.stdout)["s"] if not result.exit_code else {}, run("check", "--config", str(config))


# --- 17: several services in one log of Docker Compose ---

OTHER_SERVICES = """\
ssrf_proxy-1     | 2026/11/29 09:17:55| Accepting reverse-proxy HTTP Socket connections at conn5 local=[::]:8194
ssrf_proxy-1     |     listening port: 8194
db-1             | 2026-11-29 09:17:51.100 UTC [1] LOG:  database system is ready to accept connections
"""


def test_17_several_services() -> None:
    config = str(CASES / "17-compose-of-several-services" / "exporter.toml")
    result = json.loads(run("replay", "--config", config, "--output", "json").stdout)["s"]
    assert result["lines"] == {"observed": 2, "ignored": 5, "unparsed": 0}
    assert [(row["route"], row["requests"]) for row in result["requests"]] == [("/console/api/setup", 1)]
    assert result["errors"] == {"upstream_timeout": 1}
    assert "holds several services (db, nginx, ssrf_proxy)" in run("check", "--config", config).stdout


@pytest.mark.parametrize(
    ("parser", "line", "others", "services"),
    [
        ("dify", "worker-1 | " + ACCESS, OTHER_SERVICES, "db, ssrf_proxy, worker"),
        (
            "plugin-daemon",
            "dify_plugin_daemon.1.k3j9d0s8f7g6@node-1    | [GIN] 2026/11/29 - 09:18:01 | 200 |  2.5s | ::1 | GET \"/health/check\"\n",
            "dify_redis.1.x1y2z3@node-2    | 1:M 29 Nov 2026 09:17:51.100 * Ready to accept connections tcp\n",
            "dify_plugin_daemon, dify_redis",
        ),
        (
            "nginx",
            f"[pod/dify-proxy-7d9f-x2x4/nginx] 2026-11-29T09:18:01.123456789Z {NGINX}\n",
            "[pod/dify-web-5c7d-k8k2/web] 2026-11-29T09:18:01.123456789Z  \u25b2 Next.js 15.5.0\n",
            "nginx, web",
        ),
        (
            "nginx",
            f"\x1b[36mnginx-1  |\x1b[0m {NGINX}\n",
            "\x1b[33mplugin_daemon-1  |\x1b[0m 2026/11/29 09:17:55 main.go:33: [INFO]plugin daemon started\n",
            "nginx, plugin_daemon",
        ),
    ],
    ids=["worker", "swarm", "kubectl", "colours"],
)  # fmt: skip
def test_siblings_of_17(tmp_path: Path, parser: str, line: str, others: str, services: str) -> None:
    result, check = configured(tmp_path, others + line + others, parser, "compose")
    assert (result["lines"]["unparsed"], result["lines"]["observed"]) == (0, 1)
    assert f"holds several services ({services})" in check.stdout


@pytest.mark.parametrize("line", ["nginx-1 | no line of nginx\n", "gateway-1 | no line of nginx\n"])
def test_17_what_may_be_the_parsers_own_stays_unparsed(tmp_path: Path, line: str) -> None:
    result, check = configured(tmp_path, f"nginx-1 | {NGINX}\n{line}", "nginx", "compose")
    assert result["lines"] == {"observed": 1, "ignored": 0, "unparsed": 1}
    assert "problem: unparsed (format), for example: " in check.stdout


# --- 24: a time in front of each line ---

TIME = "2026-11-29T08:00:01.123456789Z "


def test_24_a_time_in_front_of_each_line() -> None:
    folder = CASES / "24-kubectl-timestamps"
    check = run("check", "--config", str(folder / "exporter.toml"))
    assert 'this looks like parser = "dify", envelope = "compose"' in check.stdout
    explained = run("explain", "--config", str(folder / "exporter.toml"), (folder / "in.log").read_text())
    assert 'read by parser = "dify", envelope = "compose"' in explained.stdout
    result = run("replay", str(folder / "in.log"), "--output", "json")
    assert [row["requests"] for row in json.loads(result.stdout)["dify"]["requests"]] == [1]


@pytest.mark.parametrize(
    ("front", "envelope"),
    [
        (TIME, "compose"),
        ("api-1  | " + TIME, "compose"),
        ("[pod/dify-api-0/api] " + TIME, "compose"),
        (TIME + "dify_api.1.k3j9d0s8f7g6@node-1    | ", "compose"),
        ("2026-11-29T16:00:01.123456789+08:00 ", "compose"),
        ("Nov 29 08:00:01 host api[17]: ", "syslog"),
        ("<30>1 2026-11-29T08:00:01.123Z host api 17 - - ", "syslog"),
        ("Sun 2026-11-29 08:00:01 UTC host docker.service[1]: ", "syslog"),
        ("2026-11-29T08:00:01.123456+08:00 host api[17]: ", "syslog"),
    ],
)
def test_siblings_of_24_are_detected_and_read(tmp_path: Path, front: str, envelope: str) -> None:
    log = tmp_path / "in.log"
    log.write_text((front + ACCESS) * 3)
    result = run("replay", str(log), "--output", "json")
    assert f'read as parser = "dify", envelope = "{envelope}"' in result.stderr
    assert [row["requests"] for row in json.loads(result.stdout)["dify"]["requests"]] == [3]
    assert configured(tmp_path, (front + ACCESS) * 3, "dify", envelope)[0]["lines"]["observed"] == 3


# --- 25: a log in another encoding ---

UTF_16 = "\ufeff" + ("api-1  | " + ACCESS) * 3


def test_25_utf_16_by_powershell() -> None:
    folder = CASES / "25-utf16-by-powershell"
    result = run("replay", str(folder / "in.log"))
    assert result.exit_code == 2
    assert "in.log: is UTF-16; only UTF-8 is read: write the log with `Out-File -Encoding utf8`" in result.stderr
    check = run("check", "--config", str(folder / "exporter.toml"))
    assert "problem: " in check.stdout
    assert "in.log: is UTF-16; only UTF-8 is read" in check.stdout
    read = run("replay", str(folder / "bom.log"), "--output", "json")
    assert [row["requests"] for row in json.loads(read.stdout)["dify"]["requests"]] == [3]


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (UTF_16.encode("utf-16-be"), "is UTF-16; only UTF-8 is read: "),
        (UTF_16[1:].encode("utf-16-le"), "is UTF-16LE; only UTF-8 is read: "),
        (UTF_16[1:].encode("utf-16-be"), "is UTF-16BE; only UTF-8 is read: "),
        (UTF_16.encode("utf-32-le"), "is UTF-32; only UTF-8 is read: "),
        ((UTF_16[1:] + "用户提示词" * 20).encode("utf-16-le"), "is UTF-16LE; only UTF-8 is read: "),
        (b"\0\1\2\0\3\n" * 500, "is binary; more than a tenth of its bytes are NUL: name a log"),
    ],
    ids=["BE", "LE without a mark", "BE without a mark", "UTF-32", "Chinese", "binary"],
)
def test_siblings_of_25_are_named(tmp_path: Path, log: bytes, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    _, check = configured(tmp_path, log, "dify", "compose")
    assert sentence in check.stdout
    result = run("replay", str(tmp_path / "in.log"))
    assert (result.exit_code, sentence in result.stderr) == (2, True)
    with caplog.at_level(logging.WARNING):
        reader = Reader(tmp_path / "in.log")
        reader.poll()
        reader.poll()
        reader.stop()
    assert caplog.text.count(sentence.partition(";")[0]) == 1
    assert reader.source.errors["encoding"] == 1


HOLE = b"\0" * 100_000


@pytest.mark.parametrize(
    "log",
    [
        b"\xef\xbb\xbf" + ACCESS.encode(),
        HOLE + ACCESS.encode(),
        ACCESS.encode() * 5 + HOLE + b"\n" + ACCESS.encode(),
        (ACCESS + "\u7528\u6237\u63d0\u793a\u8bcd\n" * 50).encode(),
        ("\ufeff" + ACCESS).encode() * 2,
    ],
    ids=["mark", "hole at the beginning", "hole inside", "Chinese", "a mark in front of each line"],
)
def test_what_is_utf_8_is_read(tmp_path: Path, log: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A run of NULs is a hole, of a truncation or a power loss."""
    result, _ = configured(tmp_path, log, "dify", "none")
    assert result["lines"]["observed"] >= 1
    with caplog.at_level(logging.WARNING):
        reader = Reader(tmp_path / "in.log")
        assert reader.poll()
        reader.stop()
    assert not reader.source.errors
    assert reader.ledger.lines[0][:4] != "\xef\xbb\xbf2"


def test_a_byte_order_mark_is_no_line_and_no_part_of_one(tmp_path: Path) -> None:
    log = tmp_path / "in.log"
    log.write_bytes(b"\xef\xbb")
    reader = Reader(log)
    assert reader.poll() == []
    log.write_bytes(b"\xef\xbb\xbf")
    assert reader.poll() == []
    log.write_bytes(b"\xef\xbb\xbfone\ntwo\n")
    assert reader.poll() == ["one", "two"]
    reader.restart()
    log.write_bytes(b"\xef\xbb\xbfone\ntwo\n\xef\xbb\xbfthree\n")
    assert reader.poll() == ["\xef\xbb\xbfthree"]
    reader.stop()
