"""The whole path of an alert, live: `make drill` with every duration divided."""

import os
from pathlib import Path

from tests.drill.deployment import deployed
from tests.drill.rehearsal import rehearse
from tests.drill.runbooks import run_commands
from tests.rules import rules

ALERTS = sorted({rule.name for rule in rules() if rule.alerts})

#: An hour of the drill in 40 s; ALERT_SPEED slows it down on a machine that has no cycles to spare.
SPEED = float(os.environ.get("ALERT_SPEED", "90"))


def test_an_alert_reaches_each_receiver_and_so_does_its_end(tmp_path: Path) -> None:
    """Afterwards all runbooks' commands are run, which need the same programs."""
    with deployed(tmp_path, SPEED) as deployment:
        rehearse(deployment, SPEED, print)
        for line in run_commands(deployment, *ALERTS):
            print(line)
