"""Enters merged logs into a ledger step by step, and writes what it would have shown at the end of each step."""

from collections.abc import Callable, Iterable, Mapping

from exporter.backfill.merge import Steps, merged
from exporter.backfill.openmetrics import Write, Writer
from exporter.config.settings import Config
from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshot import snapshot_of
from exporter.ledger.state import State
from exporter.metrics.families import Gauges
from exporter.metrics.gauges import computed_gauges
from exporter.replay.jobs import Job, plan_of
from exporter.replay.workers import Workers
from parsers.batch import Batch
from parsers.values.numbers import SECOND


class Clock:
    """The wall clock that the ledger sees: the end of the present step, in seconds since the epoch."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def backfill(
    jobs: Iterable[Job],
    config: Config,
    options: tuple[int, Mapping[str, str]],
    write: Write,
    say: Callable[[str], None],
    advance: Callable[[Batch], None],
    workers: Workers | None = None,
) -> State:
    """Write the samples of logs. `options` are the length of a step in seconds, and the labels of all samples.

    Returns the whole state at the end. Raises InputError and WorkersError.
    """
    step, labels = options
    clock = Clock()
    ledger = Ledger(config.limits, clock, config.buckets, config.prices, config.budgets)

    def gauges(state: State, now: int) -> Gauges:
        return computed_gauges(snapshot_of(state, now), config, now)

    writer = Writer(write, step, labels, gauges)
    end = 0
    steps = Steps(step)
    plan = plan_of(ledger, config.limits.line_length, steps)
    for reached, source, each, postings in merged(jobs, plan, steps, say, workers):
        following = reached // SECOND
        while end and end < following:
            writer.add(end, ledger.changes())
            end += step
            clock.now = float(end)
        if not end and following:
            end = following
            clock.now = float(end)
        ledger.enter(source, each.batch, each.at, each.is_late, postings)
        advance(each.batch)
    if end:
        writer.add(end, ledger.changes())
    clock.now += 3600.0  # all runs have ended; what is counted now belongs to the last step
    writer.add(end + step, ledger.changes())
    return writer.state
