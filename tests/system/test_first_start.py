"""What a newcomer does first: clone, `make run`, look."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.system.exporter import Exporter
from tests.system.programs import running, until

ROOT = Path(__file__).parents[2]


def test_make_run_serves_in_a_fresh_clone_with_an_empty_environment(tmp_path: Path) -> None:
    """No HOME to speak of, no variables; the clone is of the committed and the present files alike."""
    clone, home = tmp_path / "clone", tmp_path / "home"
    home.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    config = clone / "exporter.toml"
    config.write_text(config.read_text().replace("127.0.0.1:9877", "127.0.0.1:0"))
    kept = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary), **kept}
    samples = {path.name: path.read_bytes() for path in (clone / "samples").iterdir() if path.is_file()}
    command = ["make", "run", f"PYTHON={Path(sys.executable).resolve()}"]
    with running(command, clone, environment) as make:
        make.said("first pass done", deadline=240.0)
        exporter = Exporter(make)
        assert exporter.value("dify_requests_total") > 0
        assert exporter.value("dify_tokens_used_total") > 0
        assert "dify-exporter" in exporter.get("/")
        lines = exporter.value("dify_exporter_lines_total")
        until("lines that are written now", lambda: exporter.value("dify_exporter_lines_total") > lines)
    assert {path.name: path.read_bytes() for path in (clone / "samples").iterdir() if path.is_file()} == samples
    assert not (clone / ".dify-exporter").exists()
    assert list(temporary.glob("dify-exporter-*")) == []
