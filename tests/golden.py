"""The golden files: each source of exporter.toml, computed_gauges, gives the exposition beside its sample.

`python -m tests.golden` writes them.
"""

from functools import cache
from pathlib import Path

from exporter.config.loader import load
from exporter.config.settings import Config
from exporter.ledger.ledger import Ledger
from exporter.metrics.exposition import render
from exporter.metrics.gauges import computed_gauges
from exporter.replay.event_times import ALWAYS
from exporter.replay.jobs import Listener, jobs_of, run
from exporter.tail.source_config import SourceConfig

ROOT = Path(__file__).parents[1]

#: Later than every sample: the newest event time is shown as it is.
NOW = 4_000_000_000.0


@cache
def config() -> Config:
    return load(ROOT / "exporter.toml")


def golden_file(source: SourceConfig) -> Path:
    return Path(source.paths[0]).with_suffix(".prom")


@cache
def exposition(source: SourceConfig) -> bytes:
    whole = config()
    ledger = Ledger(whole.limits, lambda: NOW, whole.buckets, whole.prices, whole.budgets)
    for _ in run(jobs_of([source]), ledger, whole.limits.line_length, ALWAYS, Listener(lambda _: None)):
        pass
    snapshot = ledger.snapshot(None)
    return render(snapshot, computed_gauges(snapshot, whole, NOW))


if __name__ == "__main__":
    for each in config().sources:
        golden_file(each).write_bytes(exposition(each))
