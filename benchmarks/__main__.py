"""`make bench`: all benchmarks in one run, as a table of medians and ratios."""

import argparse
from pathlib import Path

from benchmarks import reading, serving
from benchmarks.corpora import CORPORA


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    arguments.add_argument("--lines", type=int, default=200_000, help="lines of each corpus")
    arguments.add_argument("--rounds", type=int, default=3, help="rounds; the result is their median")
    arguments.add_argument("--folder", type=Path, default=Path(".bench"), help="folder for the corpora")
    arguments.add_argument("--seconds", type=float, default=8.0, help="seconds per measurement of a running exporter")
    arguments.add_argument("--only", nargs="+", choices=[*CORPORA, "serve"], default=[*CORPORA, "serve"])
    given = arguments.parse_args()
    print(f"{'corpus':<15} {'contender':<22} {'lines/s':>11} {'ratio':>7} {'processor':>10}")
    for name in (name for name in given.only if name != "serve"):
        for result in reading.measure(given.folder, name, given.lines, given.rounds):
            print(
                f"{name:<15} {result.contender:<22} {result.lines_per_second:>11,.0f} {result.ratio:>7.2f} "
                f"{result.processor_ratio:>10.2f}",
                flush=True,
            )
    if "serve" in given.only:
        print()
        for measured in serving.measure(given.folder / "serve", given.seconds):
            print(f"{measured.what:<60} {measured.value:>22}   goal {measured.goal}")


if __name__ == "__main__":
    main()
