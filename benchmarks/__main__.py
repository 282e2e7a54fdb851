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
    print(*reading.versions(), "", sep="\n")
    columns = f"{'processor µs/line':>17} {'ratio':>7} {'lines/s':>11} {'ratio':>7} {'MB':>5}"
    print(f"{'corpus':<15} {'contender':<22} {columns}")
    for name in (name for name in given.only if name != "serve"):
        for each in reading.measure(given.folder, name, given.lines, given.rounds):
            print(
                f"{name:<15} {each.contender:<22} {each.microseconds:>17.2f} {each.processor_ratio:>7.2f} "
                f"{each.lines_per_second:>11,.0f} {each.ratio:>7.2f} {each.memory or float('nan'):>5.0f}",
                flush=True,
            )
    if "serve" in given.only:
        print()
        for measured in serving.measure(given.folder / "serve", given.seconds):
            print(f"{measured.what:<60} {measured.value:>22}   goal {measured.goal}")


if __name__ == "__main__":
    main()
