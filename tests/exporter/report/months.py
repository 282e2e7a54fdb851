"""Compares `report` with an independent bookkeeping of months of made-up logs of every kind.

    python -m tests.exporter.report.months --megabytes 1000

The logs have a file per week and kind, and all but the newest are packed. Nights are quiet, an hour of each night is
silent, and so is one whole day. The bookkeeping counts by quarters of an hour, because some time zones begin there.
"""

import argparse
import gzip
import math
import random
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypeAlias, cast

from exporter.cli.options import candidates_or_stop
from exporter.config.settings import Config
from exporter.ledger.calendar import Unit
from exporter.replay.jobs import Job, Listener
from exporter.replay.workers import NO_WORKERS
from exporter.report.build import build
from exporter.report.figures import Options
from exporter.report.gather import from_logs
from exporter.report.query import By, Query
from parsers.values.times import zone
from tests.exporter.report.bookkeeping import APPS, FAILURES, LINES, MODELS, ROUTES, Event, bucket, near

Times: TypeAlias = "array[float]"

FIRST = datetime(2026, 8, 3, tzinfo=UTC)
WEEKS = 13
SILENT = 40  # the number of a day without a line
ZONES = ("UTC", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu")
QUARTER = timedelta(minutes=15)

#: Kind, its weight, the name of its log, and the source that a report gives it.
KINDS = (
    ("nginx", 24, "access.log", "nginx"),
    ("plain", 8, "plain.log", "nginx"),
    ("nginx_error", 1, "error.log", "nginx"),
    ("gunicorn", 8, "gunicorn.log", "gunicorn"),
    ("gin", 6, "daemon.log", "plugin-daemon"),
    ("api", 12, "server.log", "dify"),
    ("proxy", 8, "proxy.log", "dify"),
    ("message", 6, "telemetry.log", "dify"),
    ("node", 12, "telemetry.log", "dify"),
    ("worker", 6, "worker.log", "dify"),
)
SOURCES = {kind: source for kind, _, _, source in KINDS}
NAMES = {kind: name for kind, _, name, _ in KINDS}
#: The average size of a line in bytes, to find out how many events a size needs.
_BYTES = 305


def _plain(event: Event) -> list[str]:
    return [
        f'10.0.0.1 - - [{event["at"]:%d/%b/%Y:%H:%M:%S +0000}] "POST {event["route"]} HTTP/1.1" {event["status"]} 47 "-" '
        '"python-requests/2.32.3" "-"'
    ]


def _nginx_error(event: Event) -> list[str]:
    return [
        f"{event['at']:%Y/%m/%d %H:%M:%S} [error] 9088#9088: *55 upstream timed out (110: Connection timed out) while reading "
        'response header from upstream, client: 127.0.0.1, server: , request: "POST /v1/chat-messages HTTP/1.1", upstream: '
        '"http://unix:/run/dify/upstream.sock/v1/chat-messages", host: "127.0.0.1:18080"'
    ]


def _gunicorn(event: Event) -> list[str]:
    return [
        f'127.0.0.1 - - [{event["at"]:%d/%b/%Y:%H:%M:%S +0000}] "POST {event["route"]} HTTP/1.1" {event["status"]} 36 "-" '
        f'"curl/7.88.1" {event["duration"]:.6f}'
    ]


def _gin(event: Event) -> list[str]:
    path = "/plugin/b4a829a9-5249-4f51-a2c1-7b8ed411fa64/dispatch/llm/invoke"
    return [
        f'[GIN] {event["at"]:%Y/%m/%d - %H:%M:%S} | 200 |{event["duration"]:>12.6f}s |     192.168.0.9 | POST     "{path}"'
    ]


def _api(event: Event) -> list[str]:
    ts = f"{event['at']:%Y-%m-%d %H:%M:%S}.{event['at'].microsecond // 1000:03}"
    return [
        f"{ts} INFO [Dummy-5] [ext_request_logging.py:73] {event['number']:032x} - POST {event['route']} {event['status']} "
        f"{event['duration'] * 1000:.3f} "
    ]


_ALL: dict[str, Callable[[Event], list[str]]] = {
    **LINES, "plain": _plain, "nginx_error": _nginx_error, "gunicorn": _gunicorn, "gin": _gin, "api": _api,
}  # fmt: skip


def events(megabytes: float, seed: int = 7) -> Iterator[Event]:
    """Events of WEEKS weeks in the order of time."""
    chance = random.Random(seed)
    count = megabytes * 1e6 / _BYTES
    mean = timedelta(weeks=WEEKS).total_seconds() / count * 0.79  # nights and silences are left out
    kinds, weights = [kind for kind, *_ in KINDS], [weight for _, weight, *_ in KINDS]
    at, statuses = FIRST, [200] * 12 + list(FAILURES)
    while True:
        at += timedelta(milliseconds=math.ceil(1000 * chance.expovariate(1 / mean)))
        if at >= FIRST + timedelta(weeks=WEEKS):
            return
        hour = at.hour
        if hour == 3 or (at - FIRST).days == SILENT or (hour in (0, 1, 2, 4, 5) and chance.random() < 0.8):
            continue
        [kind] = chance.choices(kinds, weights)
        event = Event(at=at, kind=kind, source=SOURCES[kind], app_id=chance.choice(APPS))
        event["duration"] = round(chance.lognormvariate(0, 1.5), 3)
        event["route"] = chance.choice(ROUTES)
        event["status"] = chance.choice(statuses)
        event["provider"], event["model"] = chance.choice(MODELS)
        event["tokens"] = chance.randrange(1, 5000), chance.randrange(1, 900)
        event["cost"] = Decimal(chance.randrange(1, 10**6)) / 10**7 if chance.random() < 0.8 else None
        event["currency"] = "USD" if event["model"].startswith("gpt") else "RMB"
        event["run_status"] = "failed" if chance.random() < 0.3 else "succeeded"
        event["number"] = chance.getrandbits(80)
        yield event


class Books:
    """The bookkeeping: counts by quarter of an hour and source, and by quarter, app and model."""

    def __init__(self) -> None:
        self.counts: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        self.durations: defaultdict[tuple[int, str], Times] = defaultdict(lambda: array("d"))
        self.models: defaultdict[tuple[int, str, str], Counter[str]] = defaultdict(Counter)
        self.costs: defaultdict[tuple[int, str, str], Counter[str]] = defaultdict(Counter)
        self.first_tokens: defaultdict[tuple[int, str, str], Times] = defaultdict(lambda: array("d"))

    def add(self, event: Event) -> None:
        kind, quarter = event["kind"], (event["at"] - FIRST) // QUARTER
        row = self.counts[quarter, event["source"]]
        row["lines"] += 1
        if kind in ("nginx", "plain", "gunicorn", "api", "proxy"):
            row["requests"] += 1
            row["failed_requests"] += event["status"] in FAILURES
            row["server_errors"] += event["status"] >= 500
            if kind not in ("plain", "api"):
                self.durations[quarter, event["source"]].append(event["duration"])
        elif kind in ("message", "worker"):
            row["runs"] += 1
            row["failed_runs"] += event["run_status"] == "failed"
        row["errors"] += kind == "nginx_error" or (kind == "worker" and event["run_status"] == "failed")
        if kind in ("proxy", "message", "node"):
            row["input_tokens"] += event["tokens"][0]
            row["output_tokens"] += event["tokens"][1]
            self._add_model(event, (quarter, event["app_id"], event["model"]))

    def _add_model(self, event: Event, key: tuple[int, str, str]) -> None:
        row = self.models[key]
        row["input_tokens"] += event["tokens"][0]
        row["output_tokens"] += event["tokens"][1]
        if event["cost"] is not None and event["kind"] != "message":
            self.costs[key][event["currency"]] += event["cost"]
        else:
            row["unpriced_tokens"] += sum(event["tokens"])
        if event["kind"] != "node":
            self.first_tokens[key].append(event["duration"] / (2 if event["kind"] == "proxy" else 1))

    def rows(self, by: str, timezone: str) -> dict[tuple[str, str], tuple[Counter[str], Times]]:
        """The counts and the durations of the rows by source."""
        return _summed(self.counts, self.durations, by, timezone)

    def model_rows(self, by: str, timezone: str) -> dict[tuple[str, str, str], tuple[Counter[str], Times]]:
        """The counts and the times to the first token of the rows by app and model; costs by `cost CODE`."""
        priced = {
            key: Counter({f"cost {code}": cost for code, cost in each.items()}) for key, each in self.costs.items()
        }
        whole = {key: cast(Counter[str], each | priced.get(key, Counter())) for key, each in self.models.items()}
        return _summed(whole, self.first_tokens, by, timezone)


def _summed(counts: Any, times: Any, by: str, timezone: str) -> dict[Any, tuple[Counter[str], Times]]:
    names: dict[int, str] = {}
    found: dict[Any, tuple[Counter[str], Times]] = {}
    for (quarter, *labels), counted in counts.items():
        if quarter not in names:
            names[quarter] = bucket(FIRST + quarter * QUARTER, by, timezone)
        row = found.setdefault((names[quarter], *labels), (Counter(), array("d")))
        for name, amount in counted.items():
            row[0][name] += amount
        row[1].extend(times.get((quarter, *labels), ()))
    return found


def write(folder: Path, megabytes: float) -> tuple[list[str], Books, int]:
    """Write the logs. Returns their files, the bookkeeping, and the number of bytes before they are packed."""
    books, files, size = Books(), dict[str, IO[bytes]](), 0
    with ExitStack() as stack:
        for event in events(megabytes):
            books.add(event)
            week = (event["at"] - FIRST).days // 7
            name = NAMES[event["kind"]] + (f".{WEEKS - 1 - week}.gz" if week < WEEKS - 1 else "")
            if name not in files:
                packed = name.endswith(".gz")
                files[name] = stack.enter_context(
                    gzip.GzipFile(folder / name, "wb", 1) if packed else (folder / name).open("wb")  # type: ignore[arg-type]
                )
            for line in _ALL[event["kind"]](event):
                size += files[name].write(f"{line}\n".encode())
    return [str(folder / name) for name in files], books, size


class DeviationError(Exception):
    """The report is not that of the bookkeeping."""


def compare(files: list[str], books: Books, by: tuple[By, ...], timezone: str) -> int:
    """Compare reports by source, and by app and model. Returns the number of rows. Raises DeviationError."""
    config, unit = Config(), cast(Unit, "hour" if by == ("hour",) else "day")
    candidates = candidates_or_stop(())
    jobs = [Job(file, candidates=candidates) for file in files]
    query = Query(zone(timezone), cast(By, unit))
    gathered = from_logs(jobs, query, config, Listener(lambda _: None), NO_WORKERS, lambda _: None)
    count = 0
    for each in by:
        by_source = build(Query(query.local, each, ("source",)), gathered, Options(), time.time_ns())
        _check(by_source["rows"], books.rows(each, timezone), ("source",), "duration")
        by_model = build(Query(query.local, each, ("app_id", "model")), gathered, Options(), time.time_ns())
        rows = [row for row in by_model["rows"] if row["app_id"] in APPS and row["model"] != "unknown"]
        _check(rows, books.model_rows(each, timezone), ("app_id", "model"), "time_to_first_token")
        count += len(by_source["rows"]) + len(rows)
        silent = (FIRST + timedelta(days=SILENT)).date().isoformat()
        if timezone == "UTC" and not any(silent in sentence for sentence in by_source["incomplete"]):
            raise DeviationError(f"the silent day {silent} is not in {by_source['incomplete']}")
    return count


def _check(rows: list[dict[str, Any]], expected: dict[Any, Any], labels: tuple[str, ...], quantiles: str) -> None:
    found = {(row["time"], *(row[label] for label in labels)): row for row in rows}
    # A span whose lines move no figure has no row.
    wanted = {
        key: each
        for key, each in expected.items()
        if {*each[0]} - {"lines"} and any(+each[0][n] for n in each[0] if n != "lines")
    }
    if found.keys() - {("",)} != wanted.keys():
        raise DeviationError(f"rows {sorted(found.keys() ^ wanted.keys())[:5]}")
    for key, (counts, times) in wanted.items():
        row = found[key]
        if not near(row.get(quantiles), list(times)):
            raise DeviationError(f"{key}: {quantiles} is {row.get(quantiles)}")
        costs = {name.removeprefix("cost "): cost for name, cost in counts.items() if name.startswith("cost ")}
        if (
            "cost" in row
            and labels != ("source",)
            and {code: Decimal(cost) for code, cost in row["cost"].items()} != costs
        ):
            raise DeviationError(f"{key}: cost is {row['cost']}, expected {costs}")
        for name, count in counts.items():
            if name in row and row[name] != count:
                raise DeviationError(f"{key}: {name} is {row[name]}, expected {count}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--megabytes", type=float, default=1000, help="size of all logs before they are packed")
    arguments.add_argument("--folder", type=Path, help="folder for the logs; a temporary one by default")
    given = arguments.parse_args()
    with TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        files, books, size = write(folder, given.megabytes)
        packed = sum(Path(file).stat().st_size for file in files)
        events = sum(row["lines"] for row in books.counts.values())
        print(f"{size / 1e6:,.0f} MB in {len(files)} files of {packed / 1e6:,.0f} MB, {events:,} events", flush=True)
        workers = []
        for timezone in ZONES:
            for by in (("month", "day"), ("hour",)):
                workers.append(get_context("fork").Process(target=_compared, args=(files, books, by, timezone)))
                workers[-1].start()
        for worker in workers:
            worker.join()
        raise SystemExit(any(worker.exitcode for worker in workers))


def _compared(files: list[str], books: Books, by: tuple[By, ...], timezone: str) -> None:
    begun = time.process_time()
    rows = compare(files, books, by, timezone)
    print(
        f"{timezone}, by {' and '.join(by)}: {rows:,} rows are equal, {time.process_time() - begun:.0f} s", flush=True
    )


if __name__ == "__main__":
    main()
