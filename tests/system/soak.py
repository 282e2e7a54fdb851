"""Kills the exporter again and again under load, rotation, reloads, attackers and scraping, and compares what was written with what
was counted: by the exporter, and by a real Prometheus that scraped it all along.

    make soak                    # KILLS=100 SECONDS=1.5 RATE=2000 ROTATE=0.7 ATTACKERS=100 SEED=…
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from tests.system.attackers import attackers
from tests.system.exporter import COMMAND, Exporter
from tests.system.programs import Process, free_port, running, until
from tests.system.stack import Prometheus, prometheus

_STEP = 0.01
_KEPT = 100
_STARTING = 3000

_COUNTED = "sum(dify_requests_total)"
_COUNTERS = 'count by (__name__) ({__name__=~"dify_.+_(total|bucket|count|sum)"})'


class Terms(Struct, frozen=True):
    """Kills; most seconds until one, in turns from the start and from the first answer; lines per second; seconds
    between rotations; connections of hostile clients.
    """

    kills: int = 100
    seconds: float = 1.5
    rate: int = 2000
    rotate: float = 0.7
    attackers: int = 100
    seed: int = 0


class Found(Struct):
    """`increase`: last minus first raw sample in Prometheus, plus the first sample of series born meanwhile."""

    kills: int = 0
    reloads: int = 0
    memory: list[int] = []
    rotations: int = 0
    written: int = 0
    counted: int = 0
    in_histograms: int = 0
    unparsed: int = 0
    lost_bytes: int = 0
    scrapes: int = 0
    went_down: int = 0
    torn: int = 0
    prometheus_scrapes: int = 0
    prometheus_series: int = 0
    prometheus_resets: int = 0
    prometheus_last: int = 0
    prometheus_increase: int = 0
    prometheus_base: int = 0

    @property
    def exact(self) -> bool:
        in_prometheus = self.prometheus_increase + self.prometheus_base
        exact = self.written == self.counted == self.in_histograms == self.prometheus_last == in_prometheus
        wrong = self.went_down + self.torn + self.prometheus_resets + self.unparsed + self.lost_bytes
        return exact and not wrong


class Writer(threading.Thread):
    """Writes a log as nginx does, and rotates it in turns by rename and by copytruncate. After a rename, the old file
    still gets some lines.
    """

    def __init__(self, log: Path, terms: Terms) -> None:
        super().__init__(name="writer")
        self.written = self.rotations = 0
        self.ended = threading.Event()
        self._log, self._terms = log, terms
        self._random = random.Random(terms.seed)
        self._file = log.open("ab", buffering=0)
        self.write(_STARTING)

    def write(self, lines: int) -> None:
        text = "".join(self._line() for _ in range(lines)).encode()
        cut = self._random.randrange(len(text) + 1)
        for part in (text[:cut], text[cut:]):  # half lines
            self._file.write(part)
        self.written += lines

    def run(self) -> None:
        begun, rotated, done = time.monotonic(), time.monotonic(), 0
        while not self.ended.wait(_STEP):
            due = int((time.monotonic() - begun) * self._terms.rate)
            self.write(due - done) if due > done else None
            done = due
            if time.monotonic() - rotated > self._terms.rotate:
                self._rotate()
                rotated = time.monotonic()
        self._file.close()

    def _line(self) -> str:
        number = self.written % 7 + self._random.randrange(5)
        status = self._random.choice([200, 200, 200, 200, 400, 404, 499, 502, 504])
        seconds = self._random.random() * 4
        return (
            f'203.0.113.{number} - - [24/Nov/2026:11:11:42 +0000] "POST /v1/{ROUTES[number]} HTTP/1.1" {status} 47 '
            f'"-" "soak" "-" rt={seconds:.3f} uct="0.001" uht="{seconds / 2:.3f}" urt="{seconds:.3f}" us="{status}"\n'
        )

    def _rotate(self) -> None:
        for number in range(_KEPT, 0, -1):
            older = self._log.with_name(f"{self._log.name}.{number}")
            if older.exists():
                older.replace(self._log.with_name(f"{self._log.name}.{number + 1}"))
        rotated = self._log.with_name(f"{self._log.name}.1")
        if self.rotations % 2:
            shutil.copy2(self._log, rotated)
            os.truncate(self._log, 0)
        else:
            self._log.rename(rotated)
            self.write(self._random.randrange(20))
            self._file.close()
            self._file = self._log.open("ab", buffering=0)
        self.rotations += 1


ROUTES = [
    *("chat-messages", "completion-messages", "workflows/run", "info", "parameters", "meta", "site"),
    *("files/upload", "conversations", "messages", "audio-to-text"),
]


class Scraper(threading.Thread):
    """Scrapes without pauses. It records every counter that decreases, and scrapes whose counter and histogram differ."""

    def __init__(self, url: str) -> None:
        super().__init__(name="scraper")
        self.scrapes = self.torn = 0
        self.went_down: list[str] = []
        self.ended = threading.Event()
        self._url = url
        self._newest: dict[tuple[Any, ...], float] = {}

    def run(self) -> None:
        while not self.ended.wait(0.02):
            try:
                with urlopen(f"{self._url}/metrics", timeout=10) as answer:
                    text = answer.read().decode()
            except (OSError, HTTPException):
                continue  # dead, not ready, or killed in the middle of its answer
            self.scrapes += 1
            sums: Counter[str] = Counter()
            for name, labels, value in counters(text):
                sums[name] += round(value)
                key = (name, *sorted(labels.items()))
                if value < self._newest.get(key, 0.0):
                    self.went_down.append(f"{key} from {self._newest[key]} to {value}")
                self._newest[key] = value
            self.torn += sums["dify_requests_total"] != sums["dify_request_duration_seconds_count"]


def counters(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The samples that must never go down."""
    for family in text_string_to_metric_families(text):
        if family.type in ("counter", "histogram") and family.name.startswith("dify_"):
            yield from ((sample.name, sample.labels, sample.value) for sample in family.samples)


def number(server: Prometheus, expression: str) -> int:
    return sum(round(float(series["value"][1])) for series in server.query(expression))


def soak(folder: Path, terms: Terms) -> Found:
    """The whole run. Raises AssertionError where the exporter does not come up or does not catch up."""
    found, rng = Found(), random.Random(terms.seed)
    target = f"127.0.0.1:{free_port()}"
    (folder / "exporter.toml").write_text(
        f'[exporter]\nlisten = "{target}"\nstart_at = "beginning"\n'
        '[[source]]\nname = "nginx"\npaths = ["access.log"]\nparser = "nginx"\nformat = "dify-timed"\n'
    )
    writer, scraper = Writer(folder / "access.log", terms), Scraper(f"http://{target}")
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        "scrape_configs:\n- job_name: dify-exporter\n"
        f"  static_configs: [{{targets: ['{target}']}}]\n"
    )
    with prometheus(folder) as server, ExitStack() as hostile:
        with running([COMMAND, "serve"], folder) as process:
            process.said("first pass done")
            found.prometheus_base = until("the first scrape", lambda: number(server, _COUNTED))
            hostile.enter_context(attackers(f"http://{target}", terms.attackers))
        scraper.start()
        writer.start()
        try:
            for found.kills in range(1, terms.kills + 1):
                _life(found, folder, rng.uniform(0.1, terms.seconds), in_start=found.kills % 2 == 0)
        finally:
            writer.ended.set()
            writer.join()
        try:
            with running([COMMAND, "serve"], folder) as process:
                exporter = Exporter(process)
                process.said("first pass done")
                until("all to be counted", lambda: exporter.value("dify_requests_total") >= writer.written)
                # The value that was awaited is kept: a second query may find none, because a busy machine misses scrapes.
                found.prometheus_last = until(
                    "all to be scraped", lambda: n if (n := number(server, _COUNTED)) >= writer.written else 0
                )
                _ask(found, exporter, server)
        finally:
            scraper.ended.set()
            scraper.join()
    found.written, found.rotations = writer.written, writer.rotations
    found.scrapes, found.went_down, found.torn = scraper.scrapes, len(scraper.went_down), scraper.torn
    print(*scraper.went_down[:10], sep="\n", end="")
    return found


def _life(found: Found, folder: Path, seconds: float, in_start: bool) -> None:
    """So many seconds from the start of the process, or from its first answer, and then with a reload between."""
    process = Process([COMMAND, "serve"], folder)
    try:
        if not in_start:
            process.said("first pass done")
            os.kill(process.pid, signal.SIGHUP)
            process.said("the configuration is reloaded")
            found.reloads += 1
        threading.Event().wait(seconds)
        if not in_start:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found.memory.append(int(status.partition("VmRSS:")[2].split()[0]))
    finally:
        process.kill()


def _ask(found: Found, exporter: Exporter, server: Prometheus) -> None:
    found.counted = round(exporter.value("dify_requests_total"))
    found.in_histograms = round(exporter.value("dify_request_duration_seconds_count"))
    found.unparsed = round(exporter.value("dify_exporter_lines_total", outcome="unparsed"))
    found.lost_bytes = round(exporter.value("dify_exporter_lost_bytes_total"))
    counters = until("a scrape of late", lambda: server.query(_COUNTERS))
    names = [series["metric"]["__name__"] for series in counters]
    found.prometheus_resets = max(number(server, f"max(resets({name}[1d]))") for name in names)
    found.prometheus_scrapes = number(server, "sum_over_time(up[1d])")
    series = [each["values"] for each in server.query("dify_requests_total[1d]")]
    found.prometheus_series = len(series)
    begun = min(values[0][0] for values in series)
    increases = (float(v[-1][1]) - (float(v[0][1]) if v[0][0] == begun else 0.0) for v in series)
    found.prometheus_increase = round(sum(increases))


def table(found: Found) -> str:
    fifth = max(1, len(found.memory) // 5)
    rows = [
        ("killed with SIGKILL", found.kills),
        ("reloads", found.reloads),
        ("resident memory, KiB, median of the first fifth of lives", round(median(found.memory[:fifth]))),
        ("and of the last", round(median(found.memory[-fifth:]))),
        ("rotations, by rename and copytruncate", found.rotations),
        ("lines written", found.written),
        ("requests counted", found.counted),
        ("observations in the histogram", found.in_histograms),
        ("lines unparsed", found.unparsed),
        ("bytes lost", found.lost_bytes),
        ("scrapes answered, besides Prometheus", found.scrapes),
        ("counters that went down in them", found.went_down),
        ("of them with a request that has no duration, or reverse", found.torn),
        ("scrapes by Prometheus", found.prometheus_scrapes),
        ("series of dify_requests_total in Prometheus", found.prometheus_series),
        ("most resets() of any dify_ counter", found.prometheus_resets),
        ("last value in Prometheus", found.prometheus_last),
        ("of that seen by its first scrape", found.prometheus_base),
        ("last - first raw sample, + first of series born later", found.prometheus_increase),
    ]
    lines = [f"{name:<58} {value:>12,}" for name, value in rows]
    return "\n".join([*lines, "EXACT" if found.exact else "NOT EXACT"])


def main() -> int:
    asked = {
        field.lower(): os.environ[field]
        for field in ("KILLS", "SECONDS", "RATE", "ROTATE", "ATTACKERS", "SEED")
        if field in os.environ
    }
    terms = Terms(
        kills=int(asked.get("kills", 100)),
        seconds=float(asked.get("seconds", 1.5)),
        rate=int(asked.get("rate", 2000)),
        rotate=float(asked.get("rotate", 0.7)),
        attackers=int(asked.get("attackers", 100)),
        seed=int(asked.get("seed", time.time_ns() % 1_000_000)),
    )
    print(terms)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    begun = time.monotonic()
    found = soak(folder, terms)
    print(f"{table(found)}\nin {time.monotonic() - begun:.0f} s")
    if not found.exact:
        print(f"logs and state are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
