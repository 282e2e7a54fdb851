"""Writes samples with their times in OpenMetrics, as `promtool tsdb create-blocks-from openmetrics` reads them.

The samples of a series are in the order of time, but not next to each other. So a file of any length is written with
the memory of one scrape. promtool accepts that order; a scrape would not.

promtool reads its whole input again for each block of two hours, so a file of months would take a very long time.
`DayBlocks` lets it make blocks of one day at a time. Each block is marked as one of samples that were out of order:
after a restart, Prometheus (tsdb/db.go, `open`) takes from its write-ahead log only what is newer than its newest other
block, so without the mark, a block that reaches up to now would delete what other jobs have scraped in the last hours.
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Set
from decimal import Decimal
from pathlib import Path

from exporter import catalogue as c
from exporter.ledger.histogram import EMPTY, Histogram, layout
from exporter.ledger.series import Labels
from exporter.ledger.state import State
from exporter.metrics.exposition import ESCAPES, head, number
from exporter.metrics.gauges import Gauges
from parsers.values.numbers import SECOND

#: Prometheus forgets a series whose last sample is five minutes old, so each one is repeated after so many seconds.
_REPEAT = 240

#: Takes lines, and the time of their samples in seconds since the epoch; the lines before the first sample have time 0.
Write = Callable[[str, int], object]

#: The last line of a file.
END = "# EOF\n"

Key = tuple[c.Metric, Labels]
Value = int | float | Decimal | Histogram


class Writer:
    """Writes the changes of a state step by step. All times are in seconds since the epoch.

    `gauges` computes the gauges of a state at a time. `labels` are added to each sample, as a scrape adds job and
    instance.
    """

    def __init__(
        self, write: Write, step: int, labels: Mapping[str, str], gauges: Callable[[State, int], Gauges]
    ) -> None:
        self.state = State()
        self._write, self._step, self._gauges = write, step, gauges
        self._labels = ",".join(f'{name}="{value.translate(ESCAPES)}"' for name, value in labels.items())
        self._texts: dict[Key, str] = {}
        self._shown: dict[Key, Value] = {}
        self._repeated: int | None = None
        for metric in c.METRICS:
            write("".join(head(metric, open_metrics=True)), 0)

    def add(self, end: int, change: State) -> None:
        """Write what has changed in the step that ends at `end`, and repeat what has not."""
        if self._repeated is None:
            self._repeated = end
        while self._repeated + _REPEAT < end:
            self._repeated += _REPEAT
            self._all(self._repeated, frozenset())
        self.state.update(change)
        changed: dict[Key, Value] = {}
        for metric in c.METRICS:
            table: Mapping[Labels, Value] = change.counters.get(metric.name) or change.histograms.get(metric.name) or {}
            for labels in sorted(table) if table else ():
                changed[metric, labels] = table[labels]
        for metric, values in self._gauges(self.state, end).items():
            known = ((metric, labels) for labels in values)
            changed |= {key: values[key[1]] for key in known if self._shown.get(key) != values[key[1]]}
        for key, value in changed.items():
            if key not in self._shown and key[0].kind != "gauge":
                for before in range(end - self._step, end, _REPEAT):
                    self._sample(key, EMPTY if isinstance(value, Histogram) else 0, before)
            self._sample(key, value, end)
        self._shown |= changed
        if end - self._repeated >= _REPEAT:
            self._all(end, changed.keys())
            self._repeated = end

    def _all(self, at: int, without: Set[Key]) -> None:
        for key, value in self._shown.items():
            if key not in without:
                self._sample(key, value, at)

    def _sample(self, key: Key, value: Value, at: int) -> None:
        metric, labels = key
        text = self._texts.get(key)
        if text is None:
            pairs = zip(metric.labels, labels, strict=True)
            own = [f'{name}="{label.translate(ESCAPES)}"' for name, label in pairs]
            text = self._texts[key] = ",".join([*own, self._labels] if self._labels else own)
        if isinstance(value, Histogram):
            self._write("".join(_histogram(metric, text, value, self.state.schemas[metric.name].bounds, at)), at)
        else:
            self._write(f"{metric.name}{f'{{{text}}}' if text else ''} {number(value)} {at}\n", at)


def _histogram(
    metric: c.Metric, labels: str, histogram: Histogram, bounds: tuple[float, ...], at: int
) -> Iterator[str]:
    name, comma, count = metric.name, "," if labels else "", 0
    for le, count in zip([*map(number, bounds), "+Inf"], layout(bounds).cumulative(histogram), strict=True):
        yield f'{name}_bucket{{{labels}{comma}le="{le}"}} {number(count)} {at}\n'
    braces = f"{{{labels}}}" if labels else ""
    yield f"{name}_count{braces} {number(count)} {at}\n{name}_sum{braces} {number(histogram.total / SECOND)} {at}\n"


_DAY = 86_400

#: `CompactionHintFromOutOfOrder` of Prometheus' tsdb/block.go.
_OUT_OF_ORDER = "from-out-of-order"


class BlocksError(Exception):
    """promtool has failed. The message is its last line."""


class DayBlocks:
    """Samples of one day in a file; when the day is over, promtool makes blocks of it in `folder`."""

    def __init__(self, promtool: str, folder: Path) -> None:
        self._promtool, self._folder = promtool, folder
        self._samples = folder / "samples.om"
        self._file = self._samples.open("w", encoding="utf-8")
        self._head = ""
        self._day: int | None = None

    def write(self, text: str, at: int) -> None:
        """Add lines; `at` is the time of their samples in seconds since the epoch, 0 for the lines before them."""
        if not at:
            self._head += text
        elif self._day is None or at // _DAY > self._day:
            if self._day is not None:
                self._make()
            self._day = at // _DAY
            self._file.write(self._head)
        self._file.write(text if at else "")

    def finish(self) -> list[Path]:
        """The blocks of all days. Raises BlocksError."""
        if self._day is not None:
            self._make()
        self._file.close()
        blocks = sorted(path for path in (self._folder / "blocks").glob("*") if path.is_dir())
        for block in blocks:
            meta = json.loads((block / "meta.json").read_text())
            meta["compaction"]["hints"] = [_OUT_OF_ORDER]
            (block / "meta.json").write_text(json.dumps(meta))
        return blocks

    def _make(self) -> None:
        self._file.write(END)
        self._file.close()
        command = ["tsdb", "create-blocks-from", "openmetrics", str(self._samples), str(self._folder / "blocks")]
        ended = subprocess.run([self._promtool, *command], capture_output=True, text=True, check=False)
        if ended.returncode:
            lines = (ended.stderr or ended.stdout).strip().splitlines()
            raise BlocksError(lines[-1] if lines else f"exit code {ended.returncode}")
        self._file = self._samples.open("w", encoding="utf-8")
