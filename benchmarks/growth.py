"""Measures how the cost grows with the number of lines, the length of a line, the series and the sources.

    python -m benchmarks.growth --lines 10000 100000 1000000 10000000
    python -m benchmarks.growth --corpora worker proxy
    python -m benchmarks.growth --hostile       # logs whose cost could grow faster than their size

It measures processor time, the median of the rounds. The last column is the cost per unit relative to the first row.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from random import Random

from benchmarks import hostile
from benchmarks.corpora import corpus, nginx
from benchmarks.loops import enter, parse_and_post
from benchmarks.measure import Row, processor
from benchmarks.options import OPTIONS
from benchmarks.serving import fresh, serving, until
from benchmarks.state import filled_ledger
from exporter.ledger.ledger import Ledger
from exporter.metrics.exposition import render
from parsers.batch import Batch
from parsers.parser import registered


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    arguments.add_argument("--folder", type=Path, default=Path(".bench"), help="folder for the corpora")
    arguments.add_argument("--lines", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments.add_argument(
        "--corpora", nargs="+", choices=[*OPTIONS], help="measure only the number of lines, of these"
    )
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--hostile", action="store_true", help="measure the cost per byte of hostile logs instead")
    given = arguments.parse_args()
    folder, rounds = given.folder.absolute(), given.rounds
    if given.hostile:
        show("distinct apps and models in telemetry", "byte", hostile.labels(folder, rounds))
        show("pieces of one line, Kubernetes", "byte", hostile.cri_partials(rounds))
        show("bytes of one line in pieces, Docker", "byte", hostile.docker_pieces(rounds))
        show("bytes of a packed log", "byte", hostile.packed(folder / "packed"))
        show("empty files of one folder, until ready", "file", hostile.files(folder / "files"))
        return
    for name in given.corpora or ["nginx-timed"]:
        show(f"lines, {name}", "line", _lines(folder, name, given.lines, rounds))
    if given.corpora:
        return
    show("bytes of a line", "byte", _lengths(rounds))
    show("series: a line of each", "line", _series(rounds, lambda ledger, batch: ledger.enter("nginx", batch)))
    show("series: a scrape of all", "series", _series(rounds, lambda ledger, _: render(ledger.snapshot(None), {})))
    show("sources of a serve, 200,000 lines in all", "line", _sources(folder / "sources"))


def show(what: str, unit: str, rows: Iterator[Row]) -> None:
    first = 0.0
    for size, nanoseconds, units in rows:
        each = nanoseconds / units
        first = first or each
        print(f"{what:<42} {size:>12,} {each:>10,.1f} ns per {unit:<7} {each / first:>6.2f}", flush=True)


def _lines(folder: Path, name: str, sizes: list[int], rounds: int) -> Iterator[Row]:
    parse_and_post(name, corpus(folder, name, 10_000))  # warm-up
    for lines in sizes:
        yield lines, processor(partial(parse_and_post, name, corpus(folder, name, lines)), rounds), lines


def _lengths(rounds: int) -> Iterator[Row]:
    """Long query strings: up to 8 kB by default in nginx (large_client_header_buffers), and up to our limit."""
    name, options = OPTIONS["nginx-timed"]
    parser, total = registered()[name](**options), 1 << 25
    (line,) = islice(nginx(timed=True)(Random(1)), 1)
    for length in (200, 1000, 4000, 16_000, 64_000, 512_000):
        long = line.replace(" HTTP/1.1", "?" + "x" * (length - len(line)) + " HTTP/1.1").encode() + b"\n"
        log = long * (total // len(long))
        yield length, processor(lambda log=log: enter(parser, BytesIO(log).read), rounds), len(log)


def _series(rounds: int, step: Callable[[Ledger, Batch], object]) -> Iterator[Row]:
    for series in (100, 1000, 10_000, 50_000):
        ledger, requests = filled_ledger(series)
        batch = Batch(records=tuple(requests))
        yield series, processor(partial(step, ledger, batch), rounds), series


def _sources(folder: Path, lines: int = 200_000) -> Iterator[Row]:
    """A backlog shared by all sources, from its first byte until its last line is in /metrics."""
    for sources in (1, 10, 50):
        place = fresh(folder / str(sources))
        paths = [place / f"{number}.log" for number in range(sources)]
        for path in paths:
            path.touch()
        text = nginx(timed=True)(Random(1))
        with serving(place, *([str(path)] for path in paths)) as server:
            begun = server.cpu()
            for path in paths:
                path.write_text("".join(f"{line}\n" for line in islice(text, lines // sources)))
            until(lambda: server.observed() >= lines, pause=0.5)
            yield sources, 1e9 * (server.cpu() - begun), lines


if __name__ == "__main__":
    main()
