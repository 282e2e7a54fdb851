"""What an envelope costs: the same lines bare and as container runtimes wrap them, in processor time per line.

`python -m benchmarks.wrapped` prints a table. Each way is read in a process of its own, so that none is measured in the
memory that another one has left behind. In a round the ways take turns. `ratio` compares with the bare lines,
`json.loads` with decoding each physical line with the json module of Python: below 1 is faster. Both are medians of the
ratios of each round.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from benchmarks.corpora import corpus
from benchmarks.loops import enter, json_loads
from benchmarks.measure import processor
from benchmarks.options import OPTIONS
from exporter.cli.replay import tune_memory
from parsers.envelope import ENVELOPES
from parsers.parser import registered

#: A container that runs the program of each parser, as `docker compose logs` names it.
_CONTAINERS = {"nginx": b"nginx-1", "dify": b"api-1", "gunicorn": b"api-1", "plugin-daemon": b"plugin_daemon-1"}

_LOADS = "json.loads of "


def docker(line: bytes, number: int) -> bytes:
    """Wrap a line as Docker's json-file driver does (moby daemon/logger/jsonfilelog/jsonlog/jsonlogbytes.go)."""
    record = {"log": line.decode() + "\n", "stream": "stdout", "time": f"2026-11-23T08:53:31.{_fraction(number)}Z"}
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e").encode()


def cri(line: bytes, number: int) -> bytes:
    """Wrap a line as containerd does."""
    return f"2026-11-23T08:53:31.{_fraction(number)}Z stdout F ".encode() + line


def _fraction(number: int) -> str:
    """Return nanoseconds as Go writes them in RFC 3339, without zeros at the end."""
    return f"{number * 7_919 % 10**9:09}".rstrip("0") or "0"


def _compose(container: bytes, line: bytes, _: int) -> bytes:
    return container + b"  | " + line


def ways(folder: Path, name: str, lines: int) -> Mapping[str, Path]:
    """Return the files of a corpus: bare and in each envelope. The first call generates them."""
    compose = partial(_compose, _CONTAINERS[OPTIONS[name][0]])
    found = {"bare": (bare := corpus(folder, name, lines))}
    for envelope, wrap in {"docker": docker, "cri": cri, "compose": compose}.items():
        found[envelope] = path = folder / envelope / bare.name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_suffix(".tmp")
            with bare.open("rb") as source, temporary.open("wb") as file:
                file.writelines(wrap(line.rstrip(b"\n"), number) + b"\n" for number, line in enumerate(source))
            temporary.replace(path)
    return found


def _read(name: str, envelope: str, path: Path) -> int:
    parser_name, options = OPTIONS[name]
    parser = registered()[parser_name](**options)
    with path.open("rb") as file:
        return enter(parser if envelope == "bare" else ENVELOPES[envelope](parser=parser), file.read)


def measure(folder: Path, name: str, lines: int, rounds: int) -> Iterator[Mapping[str, float]]:
    """Return the nanoseconds per line of each way, and of `json.loads` of those whose lines are JSON, by round."""
    steps: dict[str, Callable[[], object]] = {}
    for way, path in ways(folder, name, lines).items():
        steps[way] = partial(_read, name, way, path)
        if path.open("rb").read(1) == b"{":
            steps[_LOADS + way] = partial(json_loads, name, path)
    context = get_context("spawn")
    with ExitStack() as stack:
        processes = {way: stack.enter_context(ProcessPoolExecutor(1, context, tune_memory)) for way in steps}
        for each in range(rounds + 1):
            costs = {way: processes[way].submit(processor, step, 1).result() / lines for way, step in steps.items()}
            if each:  # the first round imports modules
                yield costs


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.wrapped", description=__doc__)
    arguments.add_argument("--lines", type=int, default=100_000, help="lines of each corpus")
    arguments.add_argument("--rounds", type=int, default=5, help="rounds; the result is their median")
    arguments.add_argument("--folder", type=Path, default=Path(".bench"), help="folder for the corpora")
    arguments.add_argument("--only", nargs="+", choices=[*OPTIONS], default=[*OPTIONS])
    given = arguments.parse_args()
    print(f"{'corpus':<19} {'as':<8} {'ns/line':>7} {'ratio':>6} {'json.loads':>11}")
    for name in given.only:
        rounds = list(measure(given.folder, name, given.lines, given.rounds))
        for way in (each for each in rounds[0] if not each.startswith(_LOADS)):
            cost, ratio = median(each[way] for each in rounds), median(each[way] / each["bare"] for each in rounds)
            row, loads = f"{name:<19} {way:<8} {cost:>7,.0f} {ratio:>6.2f}", _LOADS + way
            if loads in rounds[0]:
                row += f" {median(each[way] / each[loads] for each in rounds):>11.2f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
