"""What `check` says of a source, sentence by sentence."""

import gzip
import os
from pathlib import Path

import pytest

from exporter.advice.doctor import Examined, Finding, absent, examine, overlaps
from exporter.replay.inputs import SAMPLE_BYTES
from exporter.tail.source_config import SourceConfig
from parsers.dify import Dify
from parsers.envelope import Docker
from parsers.nginx import Nginx
from parsers.parser import Parser
from parsers.plugin_daemon import PluginDaemon
from parsers.regex import Regex
from tests.golden import ROOT

SAMPLES = ROOT / "samples"

#: The log of an api with gevent-websocket and without ENABLE_REQUEST_LOGGING; the second request was not finished.
SERVED = """\
2026-11-23 08:53:05.123 INFO [Dummy-1] [handler.py:242]  - ::1 - - [2026-11-23 08:53:05] "GET /v1/info HTTP/1.1" 200 9 0.250000
2026-11-23 08:53:06.123 INFO [Dummy-2] [handler.py:242]  - ::1 - - [2026-11-23 08:53:06] "GET /v1/info HTTP/1.1" 200 9 -
"""


def findings(parser: Parser, *paths: Path | str) -> list[Finding]:
    source, read = SourceConfig("x", tuple(str(path) for path in paths), parser), Examined()
    return [*examine(source, read), *absent([source], {"x": read})]


def problems(parser: Parser, *paths: Path | str) -> list[str]:
    return [finding.text for finding in findings(parser, *paths) if finding.problem]


def test_a_good_log_says_what_it_yields_and_what_it_cannot() -> None:
    log = SAMPLES / "nginx-dify.log"
    first, *rest = findings(Nginx(), log)
    assert first == Finding(f"{log}: 41 lines: 41 observed, 0 ignored, 0 unparsed; yields requests (41)")
    assert [finding.text for finding in rest] == [
        "x: this nginx format has no $request_time: latency metrics stay empty; add the dify-timed log_format, "
        "see deploy/nginx",
        "x: this nginx format has no $upstream_header_time: time to first byte stays empty; add the dify-timed "
        "log_format, see deploy/nginx",
    ]
    assert problems(Nginx(), log) == []


def test_requests_that_are_only_timed_are_no_requests(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text(SERVED)
    first, *rest = findings(Dify(), tmp_path / "x.log")
    assert first.text.endswith("2 lines: 2 observed, 0 ignored, 0 unparsed; yields durations of requests (1)")
    assert any("no requests: set ENABLE_REQUEST_LOGGING=true" in finding.text for finding in rest)


@pytest.mark.parametrize(
    "log", ["dify-api-text.log", "dify-api-json.log", "dify-source-install.log", "dify-worker.log"]
)
def test_the_logs_of_dify_yield_no_states_of_the_proxy(log: str) -> None:
    """The halves of a join, such as an answered stream or an error of its trace id, are no figure of their own."""
    assert "states of the proxy" in findings(Dify(), SAMPLES / "dify-proxy.log")[0].text
    assert "proxy" not in findings(Dify(), SAMPLES / log)[0].text


@pytest.mark.parametrize(
    ("parser", "log", "better"),
    [
        (Nginx(), "dify-api-text.log", 'no line fits the parser; this looks like parser = "dify"'),
        (Dify(), "docker-api.log", 'no line fits the parser; this looks like parser = "dify", envelope = "docker"'),
        (Dify(), "nginx-error.log", 'no line fits the parser; this looks like parser = "nginx", format = "error"'),
        (Docker(parser=Dify()), "dify-api-text.log", 'no line fits the parser; this looks like parser = "dify"'),
        (Dify(), "plugin-daemon-json.log", 'no line fits the parser; this looks like parser = "plugin-daemon"'),
        (
            Dify(),
            "gateway.log",
            "no line fits the parser; no other parser fits either; `dify-exporter explain` shows where a line stops matching, and docs/other-logs.md has the formats of gateways",
        ),
    ],
)
def test_a_log_of_another_format_gets_its_parser_guessed(parser: Parser, log: str, better: str) -> None:
    assert problems(parser, SAMPLES / log)[-1] == better


@pytest.mark.parametrize("log", [log.name for log in SAMPLES.glob("*.log")])
def test_a_sample_that_fits_is_no_problem(log: str) -> None:
    from tests.golden import config

    (source,) = (source for source in config().sources if source.paths[0].endswith(f"/{log}"))
    assert [finding for finding in examine(source, Examined()) if finding.problem] == []


def test_an_unparsed_line_is_shown_without_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("2026-11-23 08:53:08.820 CANARY sk-secret POST user@example.org\n")
    first, second, *_ = findings(Dify(), tmp_path / "x.log")
    assert first.text.endswith("1 line: 0 observed, 0 ignored, 1 unparsed; yields nothing")
    assert second == Finding(
        "unparsed (format), for example: 0000-00-00 00:00:00.000 xxxxxx xx-xxxxxx POST xxxx@xxxxxxx.xxx", True
    )


def test_a_few_unparsed_lines_are_no_problem(tmp_path: Path) -> None:
    good = (SAMPLES / "nginx-dify.log").read_text()
    (tmp_path / "x.log").write_text(good + "oops\n")
    assert problems(Nginx(), tmp_path / "x.log") == []
    assert "unparsed (format), for example: xxxx" in [finding.text for finding in findings(Nginx(), tmp_path / "x.log")]


def test_lines_that_a_pattern_expects_and_does_not_count_are_no_problem() -> None:
    """A second source on the api's log, which counts AUDIT lines only: docs/other-logs.md."""
    audit = Regex(pattern="^.*? AUDIT .* action=(?P<method>[A-Z]+)|^")
    texts = [finding.text for finding in findings(audit, SAMPLES / "dify-api-text.log")]
    assert texts[1:] == ["the pattern matches every line without a group, so all are ignored: none is an event yet"]
    assert problems(audit, SAMPLES / "dify-api-text.log") == []
    read = Examined()
    list(examine(SourceConfig("x", (str(SAMPLES / "dify-api-text.log"),), audit), read))
    assert not read.is_misread(audit)


def test_lines_of_another_program_in_the_same_log_are_known(tmp_path: Path) -> None:
    gin = '[GIN] 2025/07/17 - 07:35:41 | 200 | 1s | 1.1.1.1 | GET "/health/check"'
    (tmp_path / "x.log").write_text((SAMPLES / "nginx-dify.log").read_text() + gin + "\n")
    texts = [finding.text for finding in findings(Nginx(), tmp_path / "x.log")]
    assert texts[1].endswith('; it looks like parser = "plugin-daemon"')


def test_a_half_line_at_the_end_is_not_judged(tmp_path: Path) -> None:
    good = (SAMPLES / "nginx-dify.log").read_bytes()
    (tmp_path / "x.log").write_bytes(good + good[:50])
    assert "41 lines: 41 observed, 0 ignored, 0 unparsed" in findings(Nginx(), tmp_path / "x.log")[0].text


def test_of_a_long_log_the_end_is_read(tmp_path: Path) -> None:
    gin = b'[GIN] 2025/07/17 - 07:35:41 | 200 | 1s | 1.1.1.1 | GET "/health/check"\n'
    lines = b"x\n" * SAMPLE_BYTES + gin * (SAMPLE_BYTES // len(gin) + 2)
    (tmp_path / "x.log").write_bytes(lines)
    first = findings(PluginDaemon(), tmp_path / "x.log")[0].text
    assert "3,692 lines at its end: 3,692 observed, 0 ignored, 0 unparsed; yields nothing" in first


def test_gzip_is_read_and_a_broken_one_named(tmp_path: Path) -> None:
    good = (SAMPLES / "nginx-dify.log").read_bytes()
    (tmp_path / "x.gz").write_bytes(gzip.compress(good * 200))
    assert "lines at its end" in findings(Nginx(), tmp_path / "x.gz")[0].text
    (tmp_path / "x.gz").write_bytes(gzip.compress(good)[:-20])
    assert problems(Nginx(), tmp_path / "x.gz")[0].startswith(f"{tmp_path / 'x.gz'}: cannot be read: ")
    damaged = bytearray(gzip.compress(os.urandom(9999)))
    damaged[20:60] = bytes(40)
    (tmp_path / "x.gz").write_bytes(damaged)
    assert problems(Nginx(), tmp_path / "x.gz")[0].startswith(f"{tmp_path / 'x.gz'}: cannot be read: ")


def test_what_serve_does_not_follow_is_not_looked_at(tmp_path: Path) -> None:
    for name in ("a.log", "a.log.1", "a.log.2.gz", "a.log.3.xz"):
        (tmp_path / name).write_bytes((SAMPLES / "nginx-dify.log").read_bytes())
    assert [f.text for f in findings(Nginx(), tmp_path / "a.log*") if "a.log." in f.text] == []


def test_what_is_not_there_is_said_with_the_volume_that_dify_needs(tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    paths = [tmp_path / name for name in ("none.log", "no/*.log", "empty.log")]
    first, second, third, *_ = findings(Dify(), *paths)
    for path, finding in zip(paths[:2], (first, second), strict=True):
        assert finding.problem
        assert finding.text.startswith(f"{path}: no such file yet; serve waits for it. ")
        assert "deploy/dify-logs.compose.yaml mounts a folder" in finding.text
    assert third == Finding(f"{paths[2]}: is empty")


def test_a_path_of_windows_is_said_as_such() -> None:
    assert problems(Dify(), Path("/srv/C:\\dify\\api.log")) == [
        "/srv/C:\\dify\\api.log: looks like a path of Windows; write it as Linux names the file, "
        "such as /mnt/c/dify/access.log"
    ]


def test_a_folder_in_place_of_a_file_is_a_problem(tmp_path: Path) -> None:
    assert problems(Dify(), tmp_path) == [
        f"{tmp_path}: is a folder, expected a log file; name the files in it, with a * if need be"
    ]


def test_a_file_under_two_names_is_looked_at_once_and_one_of_two_sources_is_said(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_bytes((ROOT / "samples/nginx-dify.log").read_bytes())
    os.link(log, tmp_path / "hard.log")
    (tmp_path / "soft.log").symlink_to(log)
    looked_at = [finding.text for finding in findings(Nginx(), tmp_path / "*.log", log) if "yields" in finding.text]
    assert len(looked_at) == 1
    a, b, c = (
        SourceConfig(name, (str(tmp_path / path),), Nginx())
        for name, path in (("a", "*.log"), ("b", "soft.log"), ("c", "none"))
    )
    assert list(overlaps([a, c])) == []
    assert [finding.text for finding in overlaps([a, b, c])] == [
        f"{log} is read by a and b: each of them counts its lines, so do not sum over them"
    ]
