"""The advice on each kind of log, as the operator reads it in `check`: true, relevant and once."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from exporter.advice.doctor import Examined, absent, examine
from exporter.tail.source_config import SourceConfig
from parsers.dify import Dify
from parsers.envelope import ENVELOPES
from parsers.gunicorn import Gunicorn
from parsers.nginx import Nginx
from parsers.otlp import Otlp
from parsers.parser import Parser
from parsers.plugin_daemon import PluginDaemon
from tests.golden import ROOT

SAMPLES = ROOT / "samples"
REAL = ROOT / "tests/real_dify"

#: The beginnings of the sentences.
REQUESTS, TOKENS, RUNS = "no requests: set ENABLE", "no tokens, no cost: community", "no runs and no Celery tasks"
DURATION, FIRST_BYTE = "this nginx format has no $request_time", "this nginx format has no $upstream_header"
BEAT = "everything but errors: this is the log of Celery beat"


def advice(folder: Path, logs: Mapping[str, tuple[Parser, bytes]]) -> list[str]:
    """The lines about what these logs lack. A source has the name of its log."""
    sources, read = [], {}
    for name, (parser, log) in logs.items():
        (folder / f"{name}.log").write_bytes(log)
        sources.append(SourceConfig(name, (str(folder / f"{name}.log"),), parser))
        read[name] = Examined()
        list(examine(sources[-1], read[name]))
    return [finding.text for finding in absent(sources, read)]


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.log").read_bytes()


IDLE_WORKER = b"2026-11-29 23:29:02.679 INFO [MainThread] [mingle.py:40]  - mingle: searching for neighbors\n"
IDLE_PROXY = b"".join(
    line for line in sample("dify-proxy").splitlines(True) if json.loads(line)["message"] == "heartbeat"
)
IDLE_RECEIVER = (
    b'{"ts":"2026-12-01T10:15:08.791Z","severity":"INFO","service":"dify-exporter-receive","caller":"receive","message":'
    b'"dify.receiver.heartbeat","attributes":{"dify.event.name":"dify.receiver.heartbeat","dify.receiver.items":[]}}\n'
)
ERRORS_ALONE = b"2026-11-29 08:00:01.100 ERROR [Dummy-1] [x.py:1]  - Provider returned error 429\n"

EXPECTED: dict[str, tuple[Parser, bytes, tuple[str, ...]]] = {
    "api": (Dify(), sample("dify-api-text"), (TOKENS, RUNS)),
    "api-json": (Dify(), sample("dify-api-json"), (TOKENS, RUNS)),
    "api-and-worker": (Dify(), sample("dify-source-install"), (TOKENS,)),
    "worker": (Dify(), sample("dify-worker"), (TOKENS,)),
    "worker-idle": (Dify(), IDLE_WORKER, (TOKENS,)),
    "worker-old": (Dify(), b"[2024-07-10 13:58:35,803: ERROR/ForkPoolWorker-1] failed\n", (TOKENS,)),
    "worker-json": (
        Dify(),
        b'{"ts":"2026-11-29T08:00:01.100Z","severity":"INFO","service":"x","caller":"mingle.py:40","message":"alone"}\n',
        (TOKENS,),
    ),
    "telemetry": (Dify(), sample("dify-worker-telemetry"), ()),
    "beat": (Dify(), (REAL / "text/beat.log").read_bytes(), (BEAT,)),
    "errors": (Dify(), ERRORS_ALONE, (REQUESTS, TOKENS, RUNS)),
    "gunicorn-stderr": (Dify(), (REAL / "text/gunicorn-stderr.log").read_bytes(), (REQUESTS, TOKENS, RUNS)),
    "proxy": (Dify(), sample("dify-proxy"), ()),
    "proxy-idle": (Dify(), IDLE_PROXY, ("no requests: none has reached the proxy",)),
    "receiver": (Dify(), sample("receiver"), ()),
    "receiver-idle": (Dify(), IDLE_RECEIVER, ("no tokens: nothing that was received has any",)),
    "collector": (Otlp(native=True), sample("collector"), ()),
    "plugin-daemon": (PluginDaemon(), sample("plugin-daemon-text"), ("the plugin daemon's log names no model",)),
    "plugin-daemon-json": (PluginDaemon(), sample("plugin-daemon-json"), ("the plugin daemon's log names no model",)),
    "nginx": (Nginx(), sample("nginx-dify"), (DURATION, FIRST_BYTE)),
    "nginx-timed": (Nginx(format="dify-timed"), sample("nginx-dify-timed"), ()),
    "nginx-error": (Nginx(format="error"), sample("nginx-error"), ()),
    "gunicorn": (
        Gunicorn(),
        b'127.0.0.1 - - [29/Nov/2026:08:00:01 +0000] "GET /v1/info HTTP/1.1" 200 5 "-" "-"\n',
        ("this gunicorn format has no duration", "this gunicorn format writes the decoded user name"),
    ),
    "empty": (Dify(), b"", ()),
    "blank": (Dify(), b"\n\n", ()),
    "utf-16": (Dify(), sample("dify-api-text").decode().encode("utf-16"), ()),
    "of-nginx": (Dify(), sample("nginx-dify"), ()),
    "of-the-api": (Nginx(), sample("dify-api-text"), ()),
    "not-in-cri": (ENVELOPES["cri"](parser=Dify()), sample("dify-api-text"), ()),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_log_gets_the_advice_that_is_true_of_it(name: str, tmp_path: Path) -> None:
    parser, log, expected = EXPECTED[name]
    found = advice(tmp_path, {name: (parser, log)})
    assert len(found) == len(expected), found
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(f"{name}: {beginning}")


WRAPS: dict[str, Callable[[str], str]] = {
    "docker": lambda line: json.dumps({"log": line + "\n", "stream": "stdout", "time": "2026-11-29T08:00:00.1Z"}),
    "cri": lambda line: f"2026-11-29T08:00:00.123456789Z stdout F {line}",
    "compose": lambda line: f"x-1  | {line}",
    # `kubectl logs --timestamps` and `--prefix`
    "compose/timestamps": lambda line: f"2026-11-29T08:00:00.123456789Z {line}",
    "compose/prefix": lambda line: f"[pod/dify-api-0/api] {line}",
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize(
    "name", ["api", "api-json", "worker", "worker-idle", "beat", "proxy", "plugin-daemon", "nginx"]
)
def test_an_envelope_changes_no_advice(name: str, wrap: str, tmp_path: Path) -> None:
    parser, log, _ = EXPECTED[name]
    lines = log.decode("utf-8", "replace").splitlines()
    wrapped = "".join(f"{WRAPS[wrap](line)}\n" for line in lines).encode()
    inside = ENVELOPES[wrap.partition("/")[0]](parser=parser)
    assert advice(tmp_path, {name: (inside, wrapped)}) == advice(tmp_path, {name: (parser, log)})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("api", "worker"), [f"api, worker: {TOKENS}"]),
        (("api", "worker", "receiver"), []),
        (("api", "telemetry"), []),
        (("worker", "proxy"), []),
        (("errors", "nginx-timed", "worker"), [f"errors, worker: {TOKENS}"]),
        (("nginx", "nginx-timed"), [f"nginx: {DURATION}", f"nginx: {FIRST_BYTE}"]),
        (("api", "empty"), [f"api: {TOKENS}", f"api: {RUNS}"]),
    ],
)
def test_advice_is_given_once_and_not_if_another_source_helps(
    names: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    found = advice(tmp_path, {name: EXPECTED[name][:2] for name in names})
    assert len(found) == len(expected), found
    assert all(line.startswith(beginning) for line, beginning in zip(found, expected, strict=True))


def test_an_option_that_chooses_among_the_records_is_no_problem(tmp_path: Path) -> None:
    """The same lines are read with and without `native`, so the advice is enough."""
    (tmp_path / "collector.log").write_bytes(b"".join(sample("collector").splitlines(True)[:20]))
    source = SourceConfig("collector", (str(tmp_path / "collector.log"),), Otlp())
    read = Examined()
    assert not any(finding.problem for finding in examine(source, read))
    (line,) = absent([source], {"collector": read})
    assert "set native = true for this source" in line.text
