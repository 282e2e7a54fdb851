"""Prometheus and its companions, started on free ports with the very files of deploy/ and rules/.

Only addresses are replaced, and durations divided, so that an hour of an operator is a minute of a test.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.system.programs import Process, find, running

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w|y)")
_MILLISECONDS = {
    "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000,
}  # fmt: skip
_SELECTED = re.compile(r"\[((?:\d+(?:ms|[smhdwy]))+)(?::((?:\d+(?:ms|[smhdwy]))+)?)?\]|\boffset (\w+)")

#: Keys of prometheus.yml, alertmanager.yml and rule files that hold a duration.
_KEYS = frozenset(
    "scrape_interval scrape_timeout evaluation_interval interval for keep_firing_for group_wait group_interval repeat_interval "
    "resolve_timeout".split()
)


class Prometheus:
    """A running Prometheus."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}"

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer of the API."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(query)}", timeout=60) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def alerts(self, state: str = "firing") -> set[str]:
        """Names of the alerts in this state."""
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"] if alert["state"] == state}


def divided(duration: str, speed: float) -> str:
    """`5m` at speed 60 is `5000ms`. 0s stays."""
    total = sum(int(number) * _MILLISECONDS[unit] for number, unit in _DURATION.findall(duration))
    return f"{max(1, round(total / speed))}ms" if total else "0s"


def faster(node: Any, speed: float) -> Any:
    """The same YAML with each duration divided, also inside PromQL."""
    if isinstance(node, dict):
        return {
            key: divided(value, speed) if key in _KEYS and isinstance(value, str) else faster(value, speed)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [faster(each, speed) for each in node]
    if isinstance(node, str):
        return _SELECTED.sub(lambda found: _selected(found, speed), node)
    return node


def _selected(found: re.Match[str], speed: float) -> str:
    window, step, offset = found.groups()
    if offset:
        return f"offset {divided(offset, speed)}"
    return f"[{divided(window, speed)}]" if step is None else f"[{divided(window, speed)}:{divided(step, speed)}]"


def lay_out(
    folder: Path, targets: Mapping[str, list[str] | list[dict[str, Any]]], speed: float, every: str = ""
) -> None:
    """/etc/prometheus as the quick start has it. `targets` are the addresses by the name of their file; with `every`
    all rules are evaluated and all targets scraped at that interval.
    """
    config = faster(yaml.safe_load((DEPLOY / "prometheus.yml").read_text()), speed)
    if every:
        config["global"] |= {"scrape_interval": every, "evaluation_interval": every}
        for job in config["scrape_configs"]:
            job |= {"scrape_interval": every, "scrape_timeout": every}
    for name in ("rules", "targets"):
        (folder / name).mkdir(parents=True)
    for path in (ROOT / "rules").glob("*.yml"):
        rules = faster(yaml.safe_load(path.read_text()), speed)
        for group in rules["groups"] if every else ():
            group["interval"] = every
        (folder / "rules" / path.name).write_text(yaml.safe_dump(rules))
    for path in (DEPLOY / "targets").glob("*.yml"):
        given = targets.get(path.stem, [])
        groups = [{"targets": [each]} if isinstance(each, str) else each for each in given]
        (folder / "targets" / path.name).write_text(yaml.safe_dump(groups))
    text = yaml.safe_dump(config).replace(
        "blackbox-exporter:9115", str((targets.get("blackbox") or ["localhost:1"])[0])
    )
    (folder / "prometheus.yml").write_text(text)


@contextmanager
def prometheus(folder: Path, *flags: str, address: str = "127.0.0.1:0") -> Iterator[Prometheus]:
    """Run Prometheus with the prometheus.yml of `folder`, and yield it when it answers requests.

    With a fixed port in `address`, the links in its alerts lead to it.
    """
    command = [
        find("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}", f"--web.external-url=http://{address}", *flags,
    ]  # fmt: skip
    with running(command, folder) as process:
        listens_at = listening(process)
        process.said("Server is ready to receive web requests")
        yield Prometheus(listens_at)


@contextmanager
def operators_prometheus(folder: Path, speed: float = 1, address: str = "127.0.0.1:0") -> Iterator[Prometheus]:
    """On a folder that is laid out; it also scrapes itself."""
    with prometheus(folder, f"--rules.alert.resend-delay={divided('1m', speed)}", address=address) as server:
        targets = yaml.safe_dump([{"targets": [server.url.removeprefix("http://")]}])
        (folder / "targets/prometheus.yml").write_text(targets)
        yield server


@contextmanager
def blackbox(folder: Path) -> Iterator[str]:
    """The address of a blackbox_exporter with our modules."""
    shutil.copy(DEPLOY / "blackbox.yml", folder)
    command = [find("prometheus-blackbox-exporter"), "--config.file=blackbox.yml", "--web.listen-address=127.0.0.1:0"]
    with running(command, folder, {}) as process:
        yield listening(process)


def listening(process: Process) -> str:
    """The address in exporter-toolkit's line."""
    found = re.search(r'address="?([\d.]+:\d+)', process.said("Listening on"))
    assert found is not None
    return found[1]
