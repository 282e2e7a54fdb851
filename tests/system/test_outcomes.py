"""What a scrape shows of a worker's runs while they are held, and after a kill in the hold."""

import signal
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.system.exporter import Exporter, serving
from tests.system.programs import until

SOURCE = '[[source]]\nname = "worker"\npaths = ["worker.log"]\nparser = "dify"\n'
TRACE = "d61483754d5c5cf08aff65ded59e290f"
APP = "ea53dd11-1f2d-4c3b-9a4e-0123456789ab"
TASK = "tasks.app_generate.workflow_execute_task.workflow_based_app_execution_task"


def write(folder: Path, level: str, caller: str, message: str) -> None:
    """Appends a record in Dify's text format, written now."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    with (folder / "worker.log").open("a") as file:
        file.write(f"{now} {level} [Dummy-72] [{caller}:128] {TRACE} - {message}\n")


def run(folder: Path) -> None:
    """A run from its beginning to the end of its task."""
    parameters = f"app_id='{APP}' workflow_id='w' tenant_id='t' app_mode=<AppMode.WORKFLOW: 'workflow'> user=x"
    write(
        folder, "INFO", "workflow_execute_task.py", f"workflow_based_app_execution_task run with params: {parameters}"
    )
    write(folder, "INFO", "trace.py", f"Task {TASK}[76471438-80e4-417b-a1cb-120c8d12b9ae] succeeded in 1.5s: None")


def runs(exporter: Exporter, status: str) -> float:
    return exporter.value("dify_runs_total", app_id=APP, kind="workflow", status=status)


def test_a_held_run_appears_although_nothing_follows(tmp_path: Path) -> None:
    with serving(tmp_path, SOURCE, exporter_keys='start_at = "beginning"') as exporter:
        run(tmp_path)
        begun = time.monotonic()
        until("the task", lambda: exporter.value("dify_tasks_total", status="succeeded") == 1)
        assert time.monotonic() - begun > 2 or runs(exporter, "finished") == 0
        until("the run", lambda: runs(exporter, "finished") == 1)
        assert time.monotonic() - begun < 10


def test_a_kill_in_the_hold_loses_no_outcome(tmp_path: Path) -> None:
    with serving(tmp_path, SOURCE, exporter_keys='start_at = "beginning"') as exporter:
        begun = time.monotonic()
        run(tmp_path)
        until("the task", lambda: exporter.value("dify_tasks_total", status="succeeded") == 1)
        exporter.process.send(signal.SIGKILL)
        in_the_hold = time.monotonic() - begun < 2
        exporter.process.ended()
    write(tmp_path, "ERROR", "workflow_entry.py", "Unknown Error when workflow entry running")
    with serving(tmp_path, SOURCE) as exporter:
        until("the run", lambda: runs(exporter, "failed") + runs(exporter, "finished") >= 1)
        assert runs(exporter, "failed") == 1 or not in_the_hold
        assert runs(exporter, "failed") + runs(exporter, "finished") == 1
