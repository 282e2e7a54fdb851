"""The exporter itself, as an operator starts it."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.system.programs import Process, running

COMMAND = str(Path(sys.executable).with_name("dify-exporter"))


class Exporter:
    """A running `dify-exporter serve`."""

    def __init__(self, process: Process) -> None:
        self.process = process
        found = re.search(r"https?://[^/\s'\"]+", process.said("listening on"))
        assert found is not None
        self.url = found[0]

    def get(self, path: str, **headers: str) -> str:
        with urlopen(Request(self.url + path, headers=headers), timeout=30) as answer:
            return str(answer.read().decode())

    def metrics(self) -> str:
        return self.get("/metrics")

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Parse only the lines that begin with the name, because a whole page would take a hundred times as long."""
        lines = [f"{line}\n" for line in self.metrics().splitlines() if line.startswith(name)]
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families("".join(lines))
            for sample in family.samples
            if sample.name == name
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels."""
        return sum(value for found, value in self.samples(name) if labels.items() <= found.items())


@contextmanager
def serving(
    folder: Path,
    config: str,
    environment: dict[str, str] | None = None,
    listen: str = "127.0.0.1:0",
    exporter_keys: str = "",
) -> Iterator[Exporter]:
    """Serves on a free port; `config` holds the sources, `exporter_keys` further lines of [exporter]."""
    text = f'[exporter]\nlisten = "{listen}"\npoll_interval = 0.05\n{exporter_keys}\n' + config
    (folder / "exporter.toml").write_text(text)
    with running([COMMAND, "serve"], folder, environment) as process:
        exporter = Exporter(process)
        process.said("first pass done")
        yield exporter
