"""A parser from a package of its own, installed into a venv and used by its name."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_parser_of_another_package_is_used_by_name(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(tmp_path / "venv/bin/python")]
    packages = [str(ROOT), str(Path(__file__).with_name("third_party"))]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", *packages], check=True)
    (tmp_path / "pipes.log").write_text("GET|/v1/info|200\nPOST|/v1/chat-messages|502\nnonsense\n")
    (tmp_path / "exporter.toml").write_text(
        '[[source]]\nname = "pipes"\npaths = ["pipes.log"]\nparser = "pipes"\nseparator = "|"\n'
    )
    result = subprocess.run(
        [tmp_path / "venv/bin/dify-exporter", "replay", "--output", "json"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(result.stdout)["pipes"]
    assert found["lines"] == {"observed": 2, "ignored": 0, "unparsed": 1}
    assert {(row["route"], row["status"]) for row in found["requests"]} == {
        ("/v1/info", "2xx"),
        ("/v1/chat-messages", "5xx"),
    }
