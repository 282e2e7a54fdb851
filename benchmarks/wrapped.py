"""What an envelope costs: the same lines bare and as container runtimes wrap them, in processor time per line.

`python -m benchmarks.wrapped` prints a table. The ratio compares with the bare lines of the same round.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from statistics import median

from benchmarks.corpora import corpus
from benchmarks.loops import enter
from benchmarks.measure import processor
from benchmarks.options import OPTIONS
from exporter.cli.replay import tune_memory
from parsers.envelope import ENVELOPES
from parsers.parser import registered

#: A container that runs the program of each parser, as `docker compose logs` names it.
_CONTAINERS = {"nginx": b"nginx-1", "dify": b"api-1", "gunicorn": b"api-1", "plugin-daemon": b"plugin_daemon-1"}


def docker(lines: list[bytes]) -> Iterator[bytes]:
    """Wrap lines as Docker's json-file driver does (moby daemon/logger/jsonfilelog)."""
    for line in lines:
        record = {"log": line.decode() + "\n", "stream": "stdout", "time": "2026-11-23T08:53:31.404040404Z"}
        yield json.dumps(record, separators=(",", ":")).encode()


def cri(lines: list[bytes]) -> Iterator[bytes]:
    """Wrap lines as containerd does: RFC 3339 with nanoseconds, without zeros at the end."""
    for number, line in enumerate(lines):
        fraction = b"%09d" % (number * 7_919 % 10**9)
        yield b"2026-11-23T08:53:31." + (fraction.rstrip(b"0") or b"0") + b"Z stdout F " + line


def measure(folder: Path, name: str, lines: int, rounds: int) -> Mapping[str, float]:
    """Return nanoseconds per line: bare, in each envelope, and for `json.loads` of Docker's records alone."""
    parser_name, options = OPTIONS[name]
    parser = registered()[parser_name](**options)
    bare = corpus(folder, name, lines).read_bytes().splitlines()
    container = _CONTAINERS[parser_name]
    wrapped = {
        "docker": list(docker(bare)),
        "cri": list(cri(bare)),
        "compose": [container + b"  | " + line for line in bare],
    }
    steps: dict[str, Callable[[], object]] = {"bare": lambda: enter(parser, _reader(bare))}
    for envelope, content in wrapped.items():
        inner = ENVELOPES[envelope](parser=parser)
        steps[envelope] = lambda inner=inner, content=content: enter(inner, _reader(content))  # type: ignore[misc]
    steps["json.loads of docker"] = lambda: [json.loads(line) for line in wrapped["docker"]]
    tune_memory()
    costs: dict[str, list[float]] = {step: [] for step in steps}
    for _ in range(rounds):
        for step, run in steps.items():
            costs[step].append(processor(run, 1) / lines)
    return {step: median(found) for step, found in costs.items()}


def _reader(lines: list[bytes]) -> Callable[[int], bytes]:
    return BytesIO(b"\n".join(lines) + b"\n").read


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.wrapped", description=__doc__)
    arguments.add_argument("--lines", type=int, default=100_000, help="lines of each corpus")
    arguments.add_argument("--rounds", type=int, default=5, help="rounds; the result is their median")
    arguments.add_argument("--folder", type=Path, default=Path(".bench"), help="folder for the corpora")
    arguments.add_argument("--only", nargs="+", choices=[*OPTIONS], default=[*OPTIONS])
    given = arguments.parse_args()
    print(f"{'corpus':<15} {'as':<22} {'ns/line':>9} {'ratio':>7}")
    for name in given.only:
        costs = measure(given.folder, name, given.lines, given.rounds)
        for step, cost in costs.items():
            print(f"{name:<15} {step:<22} {cost:>9,.0f} {cost / costs['bare']:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
