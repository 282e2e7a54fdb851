"""The demo feeds every panel of the dashboards but those of faults, which say so."""

import os
from pathlib import Path

import pytest

from tests.drill.deployment import deployed
from tests.drill.logs import SOURCES
from tests.system.programs import until
from tests.system.test_dashboards import PANELS, substituted

#: An hour of the demo in two minutes.
SPEED = float(os.environ.get("ALERT_SPEED", "30"))

#: Panels that show nothing as long as nothing is wrong. They get data when the demo is broken.
FAULTS = {
    "Apps whose runs fail", "Celery tasks that fail", "Errors in the logs", "Errors with files", "Observations folded into `other`",
    "Routes with the most failures", "Unparsed lines by reason", "Values that were not understood, per line",
}  # fmt: skip
#: Panels that compare with the week before.
LATER = {"Highest cost on this day of past weeks"}


@pytest.mark.timeout(240)
def test_no_panel_of_the_demo_is_empty(tmp_path: Path) -> None:
    with deployed(tmp_path, SPEED, more_sources=SOURCES) as deployment:

        def has_data(expression: str) -> bool:
            answer = deployment.prometheus.query(substituted(expression))
            return any(each["value"][1] != "NaN" for each in answer)

        def empty() -> set[str]:
            """Panels without data; a panel that compares may lack the other side."""
            return {
                panel["title"] for _, panel in PANELS if not any(has_data(each["expr"]) for each in panel["targets"])
            }

        until("data in all panels", lambda: empty() <= FAULTS | LATER, 100)
