"""`make bench`: everything in one run, as a table of medians and ratios."""

import argparse
from pathlib import Path

from benchmarks import reading
from benchmarks.corpora import CORPORA


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    arguments.add_argument("--lines", type=int, default=300_000, help="lines of each corpus")
    arguments.add_argument("--rounds", type=int, default=3, help="rounds whose median counts")
    arguments.add_argument("--folder", type=Path, default=Path(".bench"), help="where the corpora are made")
    arguments.add_argument("--only", nargs="+", choices=[*CORPORA], default=[*CORPORA])
    given = arguments.parse_args()
    print(f"{'corpus':<15} {'contender':<22} {'lines/s':>11} {'ratio':>7}")
    for name in given.only:
        for result in reading.measure(given.folder, name, given.lines, given.rounds):
            print(f"{name:<15} {result.contender:<22} {result.lines_per_second:>11,.0f} {result.ratio:>7.2f}")


if __name__ == "__main__":
    main()
