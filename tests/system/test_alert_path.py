"""The whole path of an alert, live: `make drill` with every duration divided."""

import os
from pathlib import Path

import pytest

from tests.drill.deployment import deployed
from tests.drill.rehearsal import rehearse

#: An hour of the drill in 40 s; ALERT_SPEED slows it down on a machine that has no cycles to spare.
SPEED = float(os.environ.get("ALERT_SPEED", "90"))


@pytest.mark.timeout(240)
def test_an_alert_reaches_each_receiver_and_so_does_its_end(tmp_path: Path) -> None:
    with deployed(tmp_path, SPEED) as deployment:
        rehearse(deployment, SPEED, print)
