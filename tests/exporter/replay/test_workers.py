"""What the processes that parse a large log share."""

import logging
import subprocess
import sys

import pytest

from exporter.replay import cluster
from exporter.replay.errors import WorkersError
from tests.golden import ROOT
from tests.system.programs import free_port

_LOCATED = """
import sys
from exporter.replay.inputs import open_input
from exporter.replay.pieces import Plan
from exporter.replay.workers import Workers
from parsers.envelope import ENVELOPES
from parsers.nginx import Nginx

file = "samples/nginx-dify.log"
with open_input(file) as log:
    print("numpy" in sys.modules)
    Workers(None, 2).located(Plan(file, "nginx", ENVELOPES["docker"](parser=Nginx()), 1 << 20), log)
print("numpy" in sys.modules)
"""


def test_numpy_is_loaded_before_the_processes_are_forked() -> None:
    found = subprocess.run([sys.executable, "-c", _LOCATED], cwd=ROOT, check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["False", "True"]


def test_logging_goes_on_if_no_scheduler_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 0.3)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(WorkersError, match="no scheduler of Dask answers there"), cluster.connected(address):
        pass
    assert logging.getLogger().isEnabledFor(logging.CRITICAL)
