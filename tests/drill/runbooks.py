"""The commands of the runbooks in the variant for a bare machine, run as they are written there.

Only places are replaced: the addresses of the programs, which have other ports here, and the folders of an installation.
"""

import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.reader_commands import DOCS, blocks, command
from tests.system.exporter import COMMAND

if TYPE_CHECKING:
    from tests.drill.deployment import Deployment

#: Programs that run Dify or the services of an installation. They are not on every machine that runs the drill.
ELSEWHERE = ("docker ", "systemctl ", "journalctl ")


def commands(alert: str) -> list[str]:
    """The commands of the runbook of an alert, for a bare machine."""
    (lines,) = blocks((DOCS / f"runbooks/{alert}.md").read_text())
    return [command(line, "bare") for line in lines]


def run_commands(deployment: "Deployment", *alerts: str) -> Iterator[str]:
    """Run them, and give each with the first line of its answer. An error fails the drill."""
    for each in dict.fromkeys(line for alert in alerts for line in commands(alert)):
        if each.startswith(ELSEWHERE):
            continue
        done = subprocess.run(["sh", "-c", _placed(deployment, each)], capture_output=True, text=True, timeout=60)
        # `check` exits with 1 if it has something to say about the logs. Dify may be down while an alert fires.
        may_fail = "dify-exporter check" in each or each.startswith("curl")
        assert done.returncode == 0 or may_fail, f"{each}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        yield f"{each}  ->  {(done.stdout or done.stderr or '(nothing)').splitlines()[0][:100]}"


def _placed(deployment: "Deployment", text: str) -> str:
    folder = deployment.folder
    places = {
        "http://127.0.0.1:9090": deployment.prometheus.url,
        "http://127.0.0.1:9093": f"http://{deployment.alertmanager}",
        "http://127.0.0.1:9115": f"http://{deployment.blackbox}",
        "http://127.0.0.1:9877": deployment.exporter.url,
        "http://localhost/": f"http://{deployment.dify}/",
        "/opt/dify-exporter/bin/dify-exporter": COMMAND,
        "/etc/dify-exporter": str(folder),
        "/opt/dify/docker/volumes/logs/nginx/access.log": f"{folder}/logs/access.log",
        "/opt/dify/docker/volumes/logs/api/server.log": f"{folder}/worker.log",
        "/opt/dify/docker/volumes/logs/worker/server.log": f"{folder}/worker.log",
        "/var/lib/dify-exporter": str(folder),
    }
    for written, here in places.items():
        text = text.replace(written, here)
    return text
