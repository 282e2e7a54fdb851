"""Prompts, answers, user ids, keys and query strings go nowhere: not into metrics, our log, or what a command says."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.golden import ROOT, config
from tests.system.exporter import COMMAND, serving

#: Lines that no parser takes, or whose values are absurd; appended to every log.
BAD = [
    b"CANARY sk-CANARY-key user@CANARY.example",
    b'{"ts":"2026-11-23T08:53:31.404Z","severity":"INFO","message":"CANARY',
    b"2026-11-23 08:53:08.820 CANARY",
    b"[GIN] 2025/07/17 - 07:35:41 | CANARY",
    b"2026-05-21T03:08:03Z INFO dify-plugin-daemon CANARY",
    b'1.2.3.4 - CANARY [24/Nov/2026:11:11:42 +0000] "CANARY /CANARY?CANARY=1 HTTP/1.1" CANARY CANARY "CANARY"',
    b'{"log":"CANARY',
    b"2026-11-23T08:53:31Z stdout X CANARY",
    b"CANARY /CANARY?token=CANARY CANARY CANARY",
]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The samples, which hold canaries wherever a client, a user or a model writes, and the bad lines behind them."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    for log in (tmp_path / "samples").glob("*.log"):
        with log.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in BAD))
    return tmp_path


def test_what_others_wrote_gets_nowhere(logs: Path) -> None:
    sources = (ROOT / "exporter.toml").read_text().partition("[[source]]")
    text = 'start_at = "beginning"\n' + sources[1] + sources[2]
    with serving(logs, text) as exporter:
        assert exporter.value("dify_exporter_lines_total", outcome="unparsed") > len(BAD) * 10
        shown = [exporter.get(path) for path in ("/metrics", "/health", "/")]
        assert sum("unparsed lines" in line for line in exporter.process.lines) >= len(config().sources) / 2
    outputs = ["\n".join(exporter.process.lines)]
    for command in (
        ["check"], ["replay"], ["replay", "--output", "json"], ["replay", "--output", "metrics"],
        *(["explain", line.decode()] for line in BAD[::2]),
    ):  # fmt: skip
        done = subprocess.run([COMMAND, *command], cwd=logs, capture_output=True, text=True)
        assert done.returncode in (0, 1)
        outputs += [done.stdout, done.stderr]
    for text in (*shown, *outputs):
        assert "CANARY" not in text
