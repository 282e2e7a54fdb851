"""docs/reliability.md names every scenario and only tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = dict(re.findall(r"^\| ([A-E]\d+) \| (.*) \|$", (ROOT / "docs/reliability.md").read_text(), re.MULTILINE))


def test_every_scenario_has_its_row() -> None:
    letters = {"A": range(1, 13), "B": range(13, 32), "C": range(32, 41), "D": range(41, 45), "E": range(45, 51)}
    assert list(ROWS) == [f"{letter}{number}" for letter, numbers in letters.items() for number in numbers]


def test_every_test_that_is_named_exists() -> None:
    for scenario, row in ROWS.items():
        path, named = None, 0
        for word in re.findall(r"`(tests/[\w/]+\.py|[tT]est\w+)`", row):
            if word.endswith(".py"):
                path = ROOT / word
                continue
            assert path is not None, scenario
            text = path.read_text()
            assert re.search(rf"^(def {word}\(|{word} = )", text, re.MULTILINE), f"{scenario}: {word}"
            if re.search(rf"^@table\(.*\)\ndef {word}\(", text, re.MULTILINE):
                assert re.search(rf'^ +f?".*\b{scenario} ', text, re.MULTILINE), f"{scenario}: no steps in {path}"
            named += 1
        assert named, scenario
