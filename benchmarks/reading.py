"""Measures reading speed. In each round, every contender reads the same file in its own process."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from compileall import compile_dir
from functools import cache, partial
from pathlib import Path
from statistics import median

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import followers
from benchmarks.corpora import corpus
from benchmarks.followers import EXPORTER
from benchmarks.measure import Cost, run
from benchmarks.options import OPTIONS

PROGRAMS = Path(__file__).with_name("mtail")

#: Slow contenders read fewer lines, because their cost is linear.
_MAX_LINES = {"pygtail_and_client": 50_000}

_LINES = ("replay", "serve", "parse_and_post", "mtail", "pygtail_and_client", "findall")
_NGINX = ("fluent-bit", "fluent-bit, routes", "otelcol")
_JSON = ("replay", "serve", "parse_and_post", "json_loads")
_CONTENDERS: dict[str, tuple[str, ...]] = {
    "nginx-timed": (*_LINES, *_NGINX),
    "nginx": _LINES,
    "dify-access": _LINES,
    "plugin-daemon": _LINES,
    "dify-json": _JSON,
    "telemetry": (*_JSON, "json_loads_and_sums", "fluent-bit", "otelcol"),
    **dict.fromkeys(("telemetry-mixed", "receiver", "proxy", "worker-json", "plugin-daemon-json"), _JSON),
    **dict.fromkeys(("celery", "worker", "plugin-daemon-text", "gunicorn"), ("replay", "serve", "parse_and_post")),
}
#: The first of these that reads a corpus is its baseline.
_BASELINES = ("mtail", "json_loads", "parse_and_post")


class Result(Struct, frozen=True):
    """Medians of the rounds. `ratio` (wall time) and `processor_ratio` compare with the baseline of the corpus.

    On a busy machine, only the ratio of processor times is reliable. `memory` is in megabytes.
    """

    contender: str
    microseconds: float
    lines_per_second: float
    ratio: float
    processor_ratio: float
    memory: float


def measure(folder: Path, name: str, lines: int, rounds: int) -> list[Result]:
    """Measure all contenders of one corpus. Raises SystemExit if two of them count differently."""
    for package in ("exporter", "parsers"):  # as pip does, also where PYTHONDONTWRITEBYTECODE is set
        compile_dir(package, quiet=1)
    contenders = _contenders(name)
    costs: dict[str, list[Cost]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender, found in costs.items():
            size = min(lines, _MAX_LINES.get(contender, lines))
            cost = contenders[contender](corpus(folder, name, size), size)
            found.append(Cost(cost.wall / size, cost.processor / size, cost.memory))
    if "mtail" in _CONTENDERS[name]:
        check(name, corpus(folder, name, min(lines, 100_000)))
    medians = {
        each: Cost(*(median(getattr(cost, field) for cost in found) for field in Cost.__struct_fields__))
        for each, found in costs.items()
    }
    baseline = next(medians[each] for first in _BASELINES for each in medians if each.startswith(first))
    return [
        Result(
            each,
            cost.processor * 1e6,
            1 / cost.wall,
            baseline.wall / cost.wall,
            baseline.processor / cost.processor,
            cost.memory,
        )
        for each, cost in medians.items()
    ]


def versions() -> list[str]:
    """A line for each other program: its version, or that it is not measured."""
    return [
        *(f"{path}: version {version}" for version, path in mtails().items()),
        *(
            f"{name}: version {_version(path)}" if (path := shutil.which(name)) else f"{name}: not on the PATH, skipped"
            for name in ("fluent-bit", "otelcol")
        ),
    ]


@cache
def mtails() -> Mapping[str, str]:
    """Each mtail on the PATH, by version: Debian's is old, and a newer one may be beside it."""
    folders = (Path(folder) for folder in os.environ["PATH"].split(os.pathsep))
    paths = [str(folder / "mtail") for folder in folders if os.access(folder / "mtail", os.X_OK)]
    return {_version(path): path for path in reversed(paths)}


def _version(path: str) -> str:
    output = subprocess.run([path, "--version"], check=True, capture_output=True, text=True).stdout
    return next(iter(re.findall(r"v?(\d+\.\d+\S*)", output)), "unknown")


def _contenders(name: str) -> dict[str, Callable[[Path, int], Cost]]:
    """How each contender reads a file with so many lines."""
    found: dict[str, Callable[[Path, int], Cost]] = {}
    for each in _CONTENDERS[name]:
        if each in followers.FOLLOWERS:
            if followers.is_installed(each):
                found[each] = partial(followers.read, each, name)
        elif each == "mtail":
            for version, program in mtails().items():
                found[f"mtail {version}"] = lambda path, _, program=program: run(_mtail(program, name, path, "json"))  # type: ignore[misc]
        elif each == "replay":
            found[each] = lambda path, _: run(_replay(name, path))
        else:
            found[each] = lambda path, _, each=each: _loop(each, name, path)  # type: ignore[misc]
    return found


def _loop(loop: str, name: str, path: Path) -> Cost:
    command = [sys.executable, "-m", "benchmarks.loops", loop, name, str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return Cost(float(output[0]), float(output[1]), 0.0)


def check(name: str, path: Path) -> None:
    """Compare the counts of ours and mtail: by method, status and operation, and by each route with an id."""
    ours, theirs = _counted(_replay(name, path)), _counted(_mtail("mtail", name, path, "prometheus"))
    if ours != theirs:
        raise SystemExit(f"{name}: the contenders do not count the same: ours {ours - theirs}, mtail {theirs - ours}")


def _counted(command: list[str]) -> Counter[tuple[str, ...]]:
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    counted: Counter[tuple[str, ...]] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {**sample.labels}
            status = labels.get("status_code", labels.get("status", ""))
            if sample.name in ("dify_requests_total", "requests_total"):
                counted["requests", labels["method"], status] += round(sample.value)
                if "{" in (route := re.sub(r"\{\w+\}", "{id}", labels["route"])):
                    counted["requests", route] += round(sample.value)
            elif sample.name in ("dify_model_invocations_total", "invocations_total"):
                counted["invocations", status] += round(sample.value)
    return counted


def _replay(name: str, path: Path) -> list[str]:
    parser, options = OPTIONS[name]
    format = ["--format", options["format"]] if "format" in options else []
    return [EXPORTER, "replay", str(path), "--parser", parser, "--envelope", "none", *format, "--output", "metrics"]


def _mtail(program: str, name: str, path: Path, format: str) -> list[str]:
    rules = str(PROGRAMS / f"{name}.mtail")
    return [program, "-one_shot", "-one_shot_format", format, "-progs", rules, "-logs", str(path)]
