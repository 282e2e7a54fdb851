"""Measures the cost and the latency of a running exporter: a real `serve` with real files and scrapes."""

import http.client
import os
import re
import signal
import subprocess
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice, product
from pathlib import Path
from random import Random
from statistics import median

from msgspec import Struct

from benchmarks.corpora import nginx
from benchmarks.followers import EXPORTER

_DEADLINE = 60.0
_OBSERVED = re.compile(rb'dify_exporter_lines_total\{outcome="observed",source="[^"]*"\} ([0-9.e+]+)')
_TICK, _HERTZ = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


class Result(Struct, frozen=True):
    what: str
    value: str
    goal: str


class Serving:
    """A running `serve` of nginx logs."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self._port = process, port

    def scrape(self) -> tuple[float, bytes]:
        """The duration in seconds, and the text."""
        begun = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_DEADLINE)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read()
        connection.close()
        return time.perf_counter() - begun, text

    def observed(self) -> int:
        """The observed lines of all sources; -1 before the first scrape with metrics."""
        found = _OBSERVED.findall(self.scrape()[1])
        return sum(round(float(lines)) for lines in found) if found else -1

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def resident(self) -> float:
        """Resident memory in megabytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _HERTZ / 1e6


@contextmanager
def serving(folder: Path, *sources: list[str], keys: str = "") -> Iterator[Serving]:
    """Run `serve`. `sources` are the paths of each source, `keys` are additional lines for [exporter]."""
    config = folder / "exporter.toml"
    tables = [
        f'[[source]]\nname = "nginx-{number}"\npaths = {paths!r}\nparser = "nginx"\nformat = "dify-timed"\n'
        for number, paths in enumerate(sources)
    ]
    config.write_text(f'[exporter]\nlisten = "127.0.0.1:0"\nstate = "state"\n{keys}\n' + "".join(tables))
    command = [EXPORTER, "serve", "--config", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        port = next(int(found[1]) for line in process.stderr if (found := re.search(r"http://127.0.0.1:(\d+)", line)))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        server = Serving(process, port)
        until(lambda: server.observed() >= 0)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_DEADLINE)


def measure(folder: Path, seconds: float) -> Iterator[Result]:
    """Run all measurements. `seconds` is the length of each."""
    folder = folder.absolute()  # a configuration's paths are relative to its own folder
    folder.mkdir(parents=True, exist_ok=True)
    yield from _latency(fresh(folder / "latency"), seconds)
    yield from _scrapes(fresh(folder / "scrapes"), seconds)
    yield from _idle(fresh(folder / "idle"), seconds)


def _latency(folder: Path, seconds: float) -> Iterator[Result]:
    log = folder / "access.log"
    log.write_text("")
    with serving(folder, [str(log)]) as server, _Writer(log, rate=2000) as writer:
        shown: list[tuple[int, float]] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shown.append((server.observed(), time.monotonic()))
    counts = [count for count, _ in shown]
    waits = sorted(
        shown[at][1] - written for number, written in writer.written if (at := bisect_left(counts, number)) < len(shown)
    )
    if not waits:
        raise SystemExit("latency: none of the written lines was shown")
    yield Result("line written to visible at 2,000 lines/s, p50", f"{1000 * median(waits):.0f} ms", "< 30 ms")
    yield Result("the same, p99", f"{1000 * _p99(waits):.0f} ms", "< 250 ms")


def _scrapes(folder: Path, seconds: float) -> Iterator[Result]:
    log = folder / "access.log"
    log.write_text("".join(_many_series()))
    with serving(folder, [str(log)]) as server:
        log.open("a").write("".join(_many_series()))
        until(lambda: server.observed() >= len(list(_many_series())))
        samples = server.scrape()[1].count(b"\n")
        with _Writer(log, rate=10):  # so that each commit has changes to write
            calm = sorted(server.scrape()[0] for _ in _every(0.1, seconds))
        with _Writer(log, rate=2000):
            busy = sorted(server.scrape()[0] for _ in _every(0.1, seconds))
        alone = _ingest(server, log)
        stop = threading.Event()
        scrapers = [threading.Thread(target=lambda: _scrape_until(server, stop)) for _ in range(4)]
        for scraper in scrapers:
            scraper.start()
        crowded = _ingest(server, log)
        stop.set()
        for scraper in scrapers:
            scraper.join()
    yield Result(
        f"scrape of {samples:,} lines of text with its commit, p50", f"{1000 * median(calm):.0f} ms", "<= 40 ms"
    )
    yield Result("the same at 2,000 lines/s, p99", f"{1000 * _p99(busy):.0f} ms", "<= 100 ms")
    yield Result("ingest under four back-to-back scrapers", f"{crowded / alone:.0%} of its speed alone", ">= 60 %")


def _idle(folder: Path, seconds: float) -> Iterator[Result]:
    for files, goal in ((20, "<= 1 %"), (1000, "<= 3 %")):
        place = fresh(folder / str(files))
        for number in range(files):
            (place / f"{number}.log").write_text("")
        with serving(place, [f"{place}/*.log"]) as server:
            time.sleep(2)
            begun = server.cpu()
            time.sleep(2 * seconds)
            used = (server.cpu() - begun) / (2 * seconds)
            resident = server.resident()
        yield Result(f"idle with {files:,} tailed files", f"{used:.1%} of a core", goal)
        if files == 20:
            yield Result("resident memory of it", f"{resident:.0f} MB", "<= 60 MB")


def _ingest(server: Serving, log: Path) -> float:
    """Lines per second for a backlog that is written at once."""
    lines = 200_000
    text = "\n".join(islice(nginx(timed=True)(Random(1)), lines)) + "\n"
    before = server.observed()
    with log.open("a") as file:
        file.write(text)
    begun = time.monotonic()
    until(lambda: server.observed() >= before + lines)
    return lines / (time.monotonic() - begun)


def _many_series() -> Iterator[str]:
    """Lines that create series with 10,000 samples."""
    from parsers.access.routes import table

    for route, status in islice(product(table().templates, (200, 404)), 300):
        path = re.sub(r"\{\w+\}", "x", route)
        yield (
            f'192.0.2.1 - - [24/Nov/2026:09:04:19 +0000] "GET {path} HTTP/1.1" {status} 5 "-" "-" "-" '
            f'rt=0.102 uct="0.000" uht="0.101" urt="0.102" us="{status}"\n'
        )


class _Writer:
    """Appends lines at a fixed rate, every 20 ms. `written` has the number of each line and when it was written."""

    def __init__(self, log: Path, rate: int) -> None:
        self.written: list[tuple[int, float]] = []
        self._log, self._rate, self._stop = log, rate, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "_Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        lines, begun, number = nginx(timed=True)(Random(2)), time.monotonic(), 0
        with self._log.open("a", buffering=1 << 16) as file:
            while not self._stop.wait(0.02):
                due = round((time.monotonic() - begun) * self._rate)
                file.write("".join(line + "\n" for line in islice(lines, due - number)))
                file.flush()
                now = time.monotonic()
                self.written += [(each, now) for each in range(number + 1, due + 1)]
                number = due


def _scrape_until(server: Serving, stop: threading.Event) -> None:
    while not stop.is_set():
        server.scrape()


def _every(pause: float, seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(pause)


def until(condition: Callable[[], bool], pause: float = 0.02) -> None:
    end = time.monotonic() + _DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("the condition was not met in time")
        time.sleep(pause)


def _p99(ordered: list[float]) -> float:
    return ordered[int(0.99 * (len(ordered) - 1))]


def fresh(folder: Path) -> Path:
    """Create an empty folder, without the state and logs of an earlier run."""
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    folder.mkdir(parents=True)
    return folder
