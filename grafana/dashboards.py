"""`make dashboards` writes grafana/dashboards/ and grafana/native/; a test checks that the files are current.

Queries use a recording rule if there is one, and sum within one source (the variable `source`).
"""

import json
from pathlib import Path

from grafana.boards.exporter import exporter
from grafana.boards.latency import latency
from grafana.boards.money import money
from grafana.boards.overview import overview

FOLDER = Path(__file__).parent

DASHBOARDS = (overview, latency, money, exporter)


def rendered() -> dict[str, str]:
    """Return the text of each dashboard by its path beside this module."""
    boards = {f"dashboards/{board['uid']}.json": board for board in (make() for make in DASHBOARDS)}
    boards["native/dify-latency.json"] = latency(native=True)
    return {path: json.dumps(board, indent=2) + "\n" for path, board in boards.items()}


if __name__ == "__main__":
    for name, text in rendered().items():
        (FOLDER / name).write_text(text)
