"""Whoever controls requests cannot make the exporter grow: distinct paths, methods, queries and garbage by the thousand."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from parsers.access.routes import table
from tests.system.exporter import COMMAND

pytestmark = pytest.mark.system

LINES = 120_000
LINE = '192.0.2.{} - - [24/Nov/2026:09:{:02}:{:02} +0000] "{}" {} {} "-" "{}"\n'

#: Runs a command and prints the most memory that it held, in kB.
MEASURED = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
)


def attack(chance: random.Random) -> Iterator[str]:
    """No request line twice."""
    methods = ("GET", "POST", "BREW", "get", "X" * 40)
    for number in range(LINES):
        method = chance.choice(methods) + ("" if chance.random() < 0.9 else str(number))
        request = chance.choice(
            (
                f"{method} /{chance.getrandbits(64):x}/{number} HTTP/1.1",
                f"{method} /console/api/apps/{number}?{chance.getrandbits(64)} HTTP/1.1",
                f"{method} /v1/%{number % 256:02x}{number} HTTP/1.1",
                f"\\x16\\x03{number}",
                f"{method} /{'a/' * (number % 60)}{number} HTTP/{number}",
            )
        )
        yield LINE.format(
            number % 256, number // 6000 % 60, number % 60, request, chance.choice((200, 404, 499, number)), 7, "-"
        )


def ordinary(_: random.Random) -> Iterator[str]:
    for number in range(LINES):
        yield LINE.format(1, number // 6000 % 60, number % 60, "GET /v1/info HTTP/1.1", 200, 7, "-")


def worst(_: random.Random) -> Iterator[str]:
    """Every known route with every status code: as many label sets as a client can ask for."""
    templates = [template.replace("{", "").replace("}", "") for template in table().templates]
    for number in range(LINES):
        path, status = templates[number % len(templates)], 100 + number // len(templates)
        yield LINE.format(1, number // 6000 % 60, number % 60, f"GET {path} HTTP/1.1", status, 7, "-")


def replayed(folder: Path, name: str, lines: Iterator[str]) -> tuple[str, float]:
    """The exposition, and the megabytes that the replay held at most."""
    log = folder / f"{name}.log"
    log.write_text("".join(lines))
    command = [COMMAND, "replay", str(log), "--parser", "nginx", "--format", "combined", "--output", "metrics"]
    done = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=True)
    return done.stdout, int(done.stderr.split()[-1]) / 1000


def totals(text: str, name: str) -> tuple[float, int]:
    """The sum of a counter, and how many series it has."""
    values = [s.value for f in text_string_to_metric_families(text) for s in f.samples if s.name == name]
    return sum(values), len(values)


def test_an_attack_costs_neither_memory_nor_series(tmp_path: Path) -> None:
    chance = random.Random(5)
    _, base = replayed(tmp_path, "ordinary", ordinary(chance))
    text, most = replayed(tmp_path, "attack", attack(chance))
    assert totals(text, "dify_requests_total")[0] == LINES
    assert totals(text, "dify_response_bytes_total")[0] == LINES * 7
    assert len(text) < 300_000
    assert most < base + 50


def test_the_worst_mix_of_known_routes_stays_within_the_caps(tmp_path: Path) -> None:
    text, _ = replayed(tmp_path, "worst", worst(random.Random(5)))
    total, series = totals(text, "dify_requests_total")
    folded, _ = totals(text, "dify_exporter_folded_observations_total")
    assert total == LINES
    assert series <= 10_000 + 500  # beyond the cap one more for each method and status
    assert folded > 0
