"""The golden files: each source of exporter.toml, looked_up, gives the exposition beside its sample.

`python -m tests.golden` writes them.
"""

from pathlib import Path

from exporter.config import load
from exporter.exposition import render
from exporter.gauges import looked_up
from exporter.ledger import Ledger
from exporter.reading.feed import ALWAYS
from exporter.reading.replay import jobs_of, run
from exporter.settings import Config, Source

ROOT = Path(__file__).parents[1]

#: Later than every sample: the newest event time is shown as it is.
NOW = 4_000_000_000.0


def config() -> Config:
    return load(ROOT / "exporter.toml")


def golden_file(source: Source) -> Path:
    return Path(source.paths[0]).with_suffix(".prom")


def exposition(source: Source) -> bytes:
    whole = config()
    ledger = Ledger(whole.limits, lambda: NOW, whole.buckets, whole.prices, whole.budgets)
    for _ in run(jobs_of([source]), ledger, whole.limits.line_length, ALWAYS, lambda _: None):
        pass
    snapshot = ledger.snapshot(None)
    return render(snapshot, looked_up(snapshot, whole, NOW))


if __name__ == "__main__":
    for each in config().sources:
        golden_file(each).write_bytes(exposition(each))
