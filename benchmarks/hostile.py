"""Logs whose cost would grow faster than their size if some step were quadratic.

Each function yields rows for benchmarks/growth.py: the size, its cost in nanoseconds, and its number of units.
"""

import gzip
import json
import random
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from benchmarks.corpora import telemetry
from benchmarks.loops import enter
from benchmarks.measure import Row, processor
from benchmarks.serving import fresh, serving, until
from parsers.dify import Dify
from parsers.envelope import ENVELOPES

#: ×1, ×4, ×16.
_TIMES = (1, 4, 16)
_SEED = 20261130


def labels(folder: Path, rounds: int, lines: int = 1_000_000) -> Iterator[Row]:
    """A million lines of telemetry with 30 to a million distinct apps and models."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "labels.log"

    def read() -> int:
        with path.open("rb") as file:
            return enter(Dify(), file.read)

    for distinct in (30, lines // 100, lines // 10, lines):
        with path.open("wb") as file:
            file.writelines(_telemetry(lines, distinct))
        yield distinct, processor(read, rounds), path.stat().st_size
    path.unlink()


def cri_partials(rounds: int) -> Iterator[Row]:
    """One line in many CRI pieces. From 29,200 pieces on, it is longer than `line_length`."""
    for pieces in (8_000 * times for times in _TIMES):
        log = b"2026-11-23T08:53:31.404Z stdout P .\n" * pieces + b"2026-11-23T08:53:31.404Z stdout F end\n"
        parser = ENVELOPES["cri"](parser=Dify())
        yield pieces, processor(lambda log=log, parser=parser: enter(parser, BytesIO(log).read), rounds), len(log)


def docker_pieces(rounds: int) -> Iterator[Row]:
    """One long line in Docker pieces of 16 KiB."""
    piece = json.dumps({"log": "x" * 16_384, "stream": "stdout"}).encode() + b"\n"
    for pieces in (60 * times for times in _TIMES):
        log = piece * pieces + json.dumps({"log": "end\n", "stream": "stdout"}).encode() + b"\n"
        parser = ENVELOPES["docker"](parser=Dify())
        yield (
            16_384 * pieces,
            processor(lambda log=log, parser=parser: enter(parser, BytesIO(log).read), rounds),
            len(log),
        )


def packed(folder: Path) -> Iterator[Row]:
    """A log that was rotated and compressed before it was read, until its last line is in /metrics."""
    line = b'1.2.3.4 - - [24/Nov/2026:11:11:42 +0000] "GET /v1/info HTTP/1.1" 200 5 "-" "x" "-"'
    line += b' rt=0.001 uct="0.000" uht="0.001" urt="0.001" us="200"\n'
    for lines in (20_000 * times for times in _TIMES):
        place = fresh(folder / str(lines))
        (place / "access.log.gz").write_bytes(gzip.compress(line * lines, 1))
        with serving(place, ["access.log.gz"], keys='start_at = "beginning"') as server:
            until(lambda server=server, lines=lines: server.observed() >= lines, pause=0.5)
            yield lines * len(line), 1e9 * server.cpu(), lines * len(line)


def files(folder: Path) -> Iterator[Row]:
    """A glob that matches many empty files of one folder: from the start of `serve` until it is ready."""
    for count in (250 * times for times in _TIMES):
        place = fresh(folder / str(count))
        for number in range(count):
            (place / f"{number}.log").touch()
        with serving(place, ["*.log"], keys='start_at = "beginning"') as server:
            yield count, 1e9 * server.cpu(), count


def _telemetry(lines: int, distinct: int) -> Iterator[bytes]:
    """Lines with equally frequent distinct apps and models."""
    chance = random.Random(_SEED)
    template = next(telemetry(chance))
    begin, app, end = template.partition('"dify.app_id":"')
    middle, model, rest = end[36:].partition('"gen_ai.request.model":"')
    for number in range(lines):
        of = number % distinct
        yield f"{begin}{app}{of:08x}-0000-4000-8000-000000000000{middle}{model}{of}-{rest}\n".encode()
