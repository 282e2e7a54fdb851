"""Measures reading speed. In each round, every contender reads the same file in its own process."""

import re
import resource
import subprocess
import sys
import time
from collections import Counter
from compileall import compile_dir
from pathlib import Path
from statistics import median

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.corpora import corpus
from benchmarks.options import OPTIONS

PROGRAMS = Path(__file__).with_name("mtail")
EXPORTER = str(Path(sys.executable).with_name("dify-exporter"))

#: Runs the exporter as if numpy were not installed.
_WITHOUT_NUMPY = "import sys; sys.modules['numpy'] = None; from exporter.cli import main; main()"

#: Slow contenders read fewer lines, because their cost is linear.
_MAX_LINES = {"pygtail_and_client": 50_000}

_CONTENDERS: dict[str, tuple[str, ...]] = {
    "nginx-timed": ("replay", "replay without numpy", "parse_and_post", "mtail", "pygtail_and_client", "findall"),
    "nginx": ("replay", "replay without numpy", "parse_and_post", "mtail", "pygtail_and_client", "findall"),
    "dify-access": ("replay", "replay without numpy", "parse_and_post", "mtail", "pygtail_and_client", "findall"),
    "plugin-daemon": ("replay", "replay without numpy", "parse_and_post", "mtail", "pygtail_and_client", "findall"),
    "dify-json": ("replay", "parse_and_post", "json_loads"),
    "telemetry": ("replay", "parse_and_post", "json_loads", "json_loads_and_sums"),
    "telemetry-mixed": ("replay", "parse_and_post", "json_loads"),
    "receiver": ("replay", "parse_and_post", "json_loads"),
}
_BASELINE = dict.fromkeys(("dify-json", "telemetry", "telemetry-mixed", "receiver"), "json_loads")


class Result(Struct, frozen=True):
    """Medians of the rounds. `ratio` (wall time) and `processor_ratio` compare with the baseline of the corpus.

    On a busy machine, only the ratio of processor times is reliable.
    """

    corpus: str
    contender: str
    lines_per_second: float
    ratio: float
    processor_ratio: float


class Cost(Struct, frozen=True):
    """Seconds per line. The processor time is that of all threads."""

    wall: float
    processor: float


def measure(folder: Path, name: str, lines: int, rounds: int) -> list[Result]:
    """Measure all contenders of one corpus. Raises SystemExit if two of them count differently."""
    for package in ("exporter", "parsers"):  # as pip does, also where PYTHONDONTWRITEBYTECODE is set
        compile_dir(package, quiet=1)
    costs: dict[str, list[Cost]] = {contender: [] for contender in _CONTENDERS[name]}
    for _ in range(rounds):
        for contender, found in costs.items():
            size = min(lines, _MAX_LINES.get(contender, lines))
            cost = _cost(contender, name, corpus(folder, name, size))
            found.append(Cost(cost.wall / size, cost.processor / size))
    if "mtail" in costs:
        check(name, corpus(folder, name, min(lines, 100_000)))
    medians = {
        each: Cost(median(cost.wall for cost in found), median(cost.processor for cost in found))
        for each, found in costs.items()
    }
    baseline = medians[_BASELINE.get(name, "mtail")]
    return [
        Result(name, each, 1 / cost.wall, baseline.wall / cost.wall, baseline.processor / cost.processor)
        for each, cost in medians.items()
    ]


def check(name: str, path: Path) -> None:
    """Compare the counts of ours and mtail: by method, status and operation, and by each route with an id."""
    ours, theirs = _counted(_replay(name, path)), _counted(_mtail(name, path, "prometheus"))
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


def _cost(contender: str, name: str, path: Path) -> Cost:
    if contender == "mtail":
        return _process(_mtail(name, path, "json"))
    if contender == "replay":
        return _process(_replay(name, path))
    if contender == "replay without numpy":
        return _process([sys.executable, "-c", _WITHOUT_NUMPY, *_replay(name, path)[1:]])
    command = [sys.executable, "-m", "benchmarks.loops", contender, name, str(path)]
    wall, processor, _ = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return Cost(float(wall), float(processor))


def _process(command: list[str]) -> Cost:
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.perf_counter() - begun, processor)


def _replay(name: str, path: Path) -> list[str]:
    parser, options = OPTIONS[name]
    format = ["--format", options["format"]] if "format" in options else []
    return [EXPORTER, "replay", str(path), "--parser", parser, "--envelope", "none", *format, "--output", "metrics"]


def _mtail(name: str, path: Path, format: str) -> list[str]:
    program = str(PROGRAMS / f"{name}.mtail")
    return ["mtail", "-one_shot", "-one_shot_format", format, "-progs", program, "-logs", str(path)]
