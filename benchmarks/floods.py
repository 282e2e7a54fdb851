"""Measures floods: logs in which a value of each line is one of many.

    python -m benchmarks.floods                                # to parse and post, in microseconds per line
    python -m benchmarks.floods --replay --lines 200000        # a whole `replay`
    python -m benchmarks.floods --only "telemetry message"

It measures processor time, the median of the rounds: with 30 values, with a value of its own in each line, and with
10,000 values that come again and again. A round measures all three, so that they share the load of the machine.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median

from msgspec import Struct

from benchmarks import measure
from benchmarks.corpora import CORPORA
from benchmarks.loops import parse_and_post
from benchmarks.options import OPTIONS

_SEED = 20261201
_FEW, _RECURRING = 30, 10_000
#: The number of different lines, which are repeated with other values.
_BASE = 2000

#: A pattern with one group, and the text with the number of the value that replaces the group.
Replaced = tuple[str, str]

_UUID = "{0:08x}-0000-4000-8000-000000000000"
_APP = (r'"dify\.app_id":"([^"]*)"', _UUID)
_MODEL = (r'"gen_ai\.request\.model":"([^"]*)"', "model-{0}")
_PROVIDER = (r'"gen_ai\.provider\.name":"([^"]*)"', "org-{0}/plugin/provider")
_CURRENCY = (r'[._]currency":"([^"]*)"', "X{0}")
_TASK = (r"Task ([\w.]+)\[", "tasks.some_task.task_{0}")
_OPERATION = (r'/dispatch/([^ "\n]+)', "some/operation{0}")
_PLUGIN = (r"/plugin/([^/]+)/dispatch", _UUID)
_PATH = (r"[A-Z]+ (/\S*) ", "/v1/invented/{0}")
_METHOD = (r"([A-Z]+) /", "M{0}")
_GIN_METHOD = (r"\| ([A-Z]+) ", "M{0}")


def _attribute(name: str, value: str = "value-{0}") -> Replaced:
    return rf'"{re.escape(name)}":(?:"?)([^",}}]*)', value


class Flood(Struct, frozen=True):
    """The lines of a corpus that contain a text, with other values."""

    corpus: str
    replaced: tuple[Replaced, ...]
    containing: str = ""

    def lines(self, count: int, distinct: int) -> Iterator[bytes]:
        """Lines with equally frequent distinct values. Raises ValueError if a line has no such value."""
        found = (line for line in CORPORA[self.corpus](Random(_SEED)) if self.containing in line)
        templates = [self._template(line) for line in islice(found, _BASE)]
        for number in range(count):
            yield templates[number % _BASE].format(number % distinct).encode()

    def _template(self, line: str) -> str:
        line = line.replace("{", "{{").replace("}", "}}") + "\n"
        for pattern, value in self.replaced:
            if (match := re.search(pattern, line)) is None:
                raise ValueError(f"no {pattern} in {line}")
            line = line[: match.start(1)] + value + line[match.end(1) :]
        return line


_NODE, _MESSAGE, _RUN = '"dify.node.execution"', '"dify.message.run"', '"dify.workflow.run"'
_TOOL, _RECEIVED_CALL = '"dify.tool.execution"', '"gen_ai.request.model"'

FLOODS = {
    "telemetry call: app, model": Flood("telemetry", (_APP, _MODEL)),
    "telemetry call: app": Flood("telemetry", (_APP,)),
    "telemetry call: model": Flood("telemetry", (_MODEL,)),
    "telemetry call: provider": Flood("telemetry", (_PROVIDER,)),
    "telemetry call: currency": Flood("telemetry", (_CURRENCY,)),
    "telemetry call: node type": Flood("telemetry", (_attribute("dify.node.type"),)),
    "telemetry call: status": Flood("telemetry", (_attribute("dify.node.status"),)),
    "telemetry call: workflow": Flood("telemetry", (_attribute("dify.workflow.id", _UUID),)),
    "telemetry call: app name": Flood("telemetry", (_attribute("dify.app.name", "What is {0}?"),)),
    "telemetry call: user": Flood("telemetry", (_attribute("gen_ai.user.id"),)),
    "telemetry message: app, model": Flood("telemetry-mixed", (_APP, _MODEL), _MESSAGE),
    "telemetry message: app": Flood("telemetry-mixed", (_APP,), _MESSAGE),
    "telemetry message: model": Flood("telemetry-mixed", (_MODEL,), _MESSAGE),
    "telemetry message: provider": Flood("telemetry-mixed", (_PROVIDER,), _MESSAGE),
    "telemetry message: mode": Flood("telemetry-mixed", (_attribute("dify.conversation.mode"),), _MESSAGE),
    "telemetry message: status": Flood("telemetry-mixed", (_attribute("dify.message.status"),), _MESSAGE),
    "telemetry workflow: app": Flood("telemetry-mixed", (_APP,), _RUN),
    "telemetry workflow: status": Flood("telemetry-mixed", (_attribute("dify.workflow.status"),), _RUN),
    "telemetry tool: event": Flood("telemetry-mixed", (_attribute("dify.event.name", "dify.tool.{0}"),), _TOOL),
    "telemetry mixed: app": Flood("telemetry-mixed", (_APP,)),
    "nginx: path": Flood("nginx-timed", (_PATH,)),
    "nginx: method": Flood("nginx-timed", (_METHOD,)),
    "nginx: status": Flood("nginx-timed", ((r"\" (\d{3}) ", "{0}"),)),
    "nginx: user agent": Flood("nginx-timed", ((r'"-" "([^"]*)"', "agent {0}"),)),
    "nginx: upstream status": Flood("nginx-timed", ((r' us="([^"]*)"', "{0}"),)),
    "gunicorn: path": Flood("gunicorn", (_PATH,)),
    "gunicorn: method": Flood("gunicorn", (_METHOD,)),
    "api text: path": Flood("dify-access", (_PATH,)),
    "api text: method": Flood("dify-access", (_METHOD,)),
    "api text: status": Flood("dify-access", ((r" (\d+) [\d.]+ $", "{0}"),)),
    "api text: caller": Flood("dify-access", ((r"\[(\S+):73\]", "file_{0}.py"),)),
    "api text: error": Flood("dify-access", ((r"(INFO .*)", "ERROR [x] [file.py:1] a - failed {0}"),)),
    "api JSON: path": Flood("dify-json", (_PATH,)),
    "api JSON: method": Flood("dify-json", (_METHOD,)),
    "api JSON: caller": Flood("dify-json", (_attribute("caller", "file_{0}.py:1"),)),
    "worker text: task": Flood("worker", (_TASK,), "Task "),
    "worker text: operation": Flood("worker", (_OPERATION,), "/dispatch/"),
    "worker text: app": Flood("worker", ((r"app_id='([^']*)'", _UUID),), "app_id="),
    "worker JSON: task": Flood("worker-json", (_TASK,), "Task "),
    "worker JSON: operation": Flood("worker-json", (_OPERATION,), "/dispatch/"),
    "plugin daemon gin: operation": Flood("plugin-daemon", (_OPERATION,), "/dispatch/"),
    "plugin daemon gin: plugin": Flood("plugin-daemon", (_PLUGIN,), "/dispatch/"),
    "plugin daemon gin: method": Flood("plugin-daemon", (_GIN_METHOD,), "/dispatch/"),
    "plugin daemon gin: status": Flood("plugin-daemon", ((r"\| (\d{3}) \|", "{0}"),), "/dispatch/"),
    "plugin daemon text: operation": Flood("plugin-daemon-text", (_OPERATION,), "/dispatch/"),
    "plugin daemon text: plugin": Flood("plugin-daemon-text", (_PLUGIN,), "/dispatch/"),
    "plugin daemon JSON: operation": Flood("plugin-daemon-json", (_OPERATION,), "/dispatch/"),
    "plugin daemon JSON: plugin": Flood("plugin-daemon-json", (_PLUGIN,), "/dispatch/"),
    "plugin daemon JSON: status": Flood("plugin-daemon-json", (_attribute("status", "{0}"),), "/dispatch/"),
    "proxy: app": Flood("proxy", (_APP,), '"dify.app_id"'),
    "proxy: app, model": Flood("proxy", (_APP, _MODEL), _RECEIVED_CALL),
    "proxy: model": Flood("proxy", (_MODEL,), _RECEIVED_CALL),
    "proxy: provider": Flood("proxy", (_PROVIDER,), _RECEIVED_CALL),
    "proxy: currency": Flood("proxy", (_CURRENCY,), _RECEIVED_CALL),
    "proxy: route": Flood("proxy", (_attribute("http.route", "/v1/invented/{0}"),), '"http.route"'),
    "proxy: method": Flood("proxy", (_attribute("http.request.method", "M{0}"),), '"http.route"'),
    "proxy: status": Flood("proxy", (_attribute("http.response.status_code", "{0}"),), '"http.route"'),
    "proxy: outcome": Flood("proxy", (_attribute("dify.proxy.outcome"),), '"http.route"'),
    "proxy: worker": Flood("proxy", (_attribute("dify.proxy.worker"),)),
    "receiver: app": Flood("receiver", (_APP,)),
    "receiver: app, model": Flood("receiver", (_APP, _MODEL), _RECEIVED_CALL),
    "receiver: model": Flood("receiver", (_MODEL,), _RECEIVED_CALL),
    "receiver: provider": Flood("receiver", (_PROVIDER,), _RECEIVED_CALL),
    "receiver: node type": Flood("receiver", (_attribute("dify.node.type"),), _NODE),
    "receiver: status": Flood("receiver", (_attribute("dify.node.status"),), _NODE),
    "receiver: mode": Flood("receiver", (_attribute("dify.conversation.mode"),), _MESSAGE),
    "receiver: span": Flood("receiver", (_attribute("dify.app_id", '","dify.span.self":"{0:032x}'),)),
    "receiver: parent": Flood(
        "receiver", ((r'("dify\.app_id":"[^"]*")', '"dify.span.parent":"{0:032x}"'),), _RECEIVED_CALL
    ),
}


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.floods", description=__doc__)
    arguments.add_argument("--folder", type=Path, default=Path(".bench"), help="folder for the logs")
    arguments.add_argument("--lines", type=int, default=100_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", default="", help="only the floods whose name contains this text")
    arguments.add_argument("--replay", action="store_true", help="measure a whole replay with one process")
    given = arguments.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    step = _replay if given.replay else _parse_and_post
    print(f"{'seconds of processor time':<34} {'30':>7} {'distinct':>9} {'10,000':>8} {'ratios':>12}")
    for name, flood in FLOODS.items():
        if given.only in name:
            few, distinct, recurring = measured(flood, given.folder / "flood.log", given.lines, given.rounds, step)
            ratios = f"{distinct / few:>6.2f} {recurring / few:>5.2f}"
            print(f"{name:<34} {few:>7.2f} {distinct:>9.2f} {recurring:>8.2f} {ratios:>12}", flush=True)


def measured(
    flood: Flood, path: Path, lines: int, rounds: int, step: Callable[[str, Path], float]
) -> tuple[float, ...]:
    """The processor time of a step in seconds: with few, with distinct, and with recurring values."""
    paths = {distinct: path.with_suffix(f".{distinct}") for distinct in (_FEW, lines, _RECURRING)}
    for distinct, each in paths.items():
        with each.open("wb") as file:
            file.writelines(flood.lines(lines, distinct))
    try:
        times = [[step(flood.corpus, each) for each in paths.values()] for _ in range(rounds)]
    finally:
        for each in paths.values():
            each.unlink()
    return tuple(map(median, zip(*times, strict=True)))


def _parse_and_post(corpus: str, path: Path) -> float:
    return measure.processor(lambda: parse_and_post(corpus, path), 1) / 1e9


def _replay(corpus: str, path: Path) -> float:
    name, options = OPTIONS[corpus]
    format_ = [f"--format={value}" for value in options.values()]
    command = [sys.executable, "-m", "exporter", "replay", "--processes=1", f"--parser={name}", *format_, str(path)]
    return measure.run(command).processor


if __name__ == "__main__":
    main()
