"""Merges logs by event time, enters them into a ledger by steps, and writes what it would have shown after each step.

Of each log, only one window is in memory, and a log is opened when its time has come.
"""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct

from exporter.backfill.openmetrics import Write, Writer
from exporter.config.settings import Config
from exporter.ledger.history import History
from exporter.ledger.ledger import Ledger
from exporter.ledger.postings import Postings
from exporter.ledger.snapshot import snapshot_of
from exporter.ledger.state import State
from exporter.metrics.gauges import Gauges, computed_gauges
from exporter.replay import event_times
from exporter.replay.errors import ParserError, parse_parts
from exporter.replay.jobs import Job, Listener, Reader, plan_of, resolved
from exporter.replay.pieces import Plan
from exporter.replay.workers import NO_WORKERS, Workers
from parsers.batch import Batch
from parsers.slices import Slice, Slicer, SpanOf
from parsers.values.numbers import SECOND

#: Where the lines of a log go that come before its first time.
_BEGINNING = 0


class Steps(Struct, frozen=True):
    """Steps of event time. They begin at whole multiples of their length since the epoch."""

    seconds: int

    def __call__(self, at: int) -> tuple[int, int]:
        size = self.seconds * SECOND
        begin = at - at % size
        return begin, begin + size


class Within(Struct, frozen=True):
    """Spans that are in one step and in one span of a calendar."""

    step: Steps
    calendar: SpanOf

    def __call__(self, at: int) -> tuple[int, int]:
        (begin, end), (first, last) = self.step(at), self.calendar(at)
        return max(begin, first), min(end, last)


def merged(
    jobs: Iterable[Job], plan: Plan, step: Steps, say: Callable[[str], None], workers: Workers
) -> Iterator[tuple[int, Job, Slice, Postings | None]]:
    """The slices of all logs in the order of their steps: the end of the step, the job with its source, the slice and
    its postings.

    `plan` is what all logs have in common; it cuts them at parts of steps. Raises InputError and WorkersError.
    """
    begins = []
    for job in sorted(jobs, key=lambda job: job.file):  # the result does not depend on their order
        try:
            if (found := resolved(job, say)) is not None:
                known, sample = found
                assert known.source is not None
                parse = parse_parts(known.source.parser, plan.line_length)
                times = (each.at for each in Slicer(parse, step).slices(sample, False, (), time.time_ns()))
                begins.append((next((step(at)[1] for at in times if at is not None), _BEGINNING), known))
        except ParserError as error:
            raise error.of(job.file) from None
    begins.sort(key=lambda begin: begin[0])
    with Reader([job for _, job in begins], plan, Listener(say), workers) as reader:
        logs = [_timed(reader.read(number), job, step, end) for number, (end, job) in enumerate(begins)]
        yield from (each for each in heapq.merge(*logs, key=lambda each: each[0]) if each[2].batch.consumed)


def _timed(
    slices: Iterator[tuple[str, Slice, Postings | None]], job: Job, step: Steps, begin: int
) -> Iterator[tuple[int, Job, Slice, Postings | None]]:
    """The slices of one log. Its steps never go back, so that the merged ones do not either.

    The first slice is an empty one of the step `begin`: only behind it, the log is opened.
    """
    yield begin, job, Slice(Batch()), None
    end = _BEGINNING
    for _, each, postings in slices:
        if each.at is not None:
            end = max(end, step(each.at)[1])
        yield end, job, each, postings


class Options(Struct, frozen=True):
    """The length of a step in seconds, and the labels of all samples.

    `goes_on`: `serve` goes on from the state, so the history by day is kept, and a run that may still fail is not
    final.
    """

    step: int
    labels: Mapping[str, str] = {}
    goes_on: bool = False


def backfill(
    jobs: Iterable[Job],
    config: Config,
    options: Options,
    write: Write,
    say: Callable[[str], None],
    advance: Callable[[str, Batch], None],
    workers: Workers = NO_WORKERS,
) -> State:
    """Write the samples of logs. `advance` gets each batch with the name of its file.

    Returns the whole state at the end. Raises InputError and WorkersError.
    """
    filled, step = _Filled(config, options, write), Steps(options.step)
    cut = Within(step, filled.history.span_of) if options.goes_on else step
    plan = plan_of(filled.ledger, config.limits.line_length, cut)
    late, behind = Counter[str](), Counter[str]()
    for end, job, each, postings in merged(jobs, plan, step, say, workers):
        assert job.source is not None
        filled.enter(end // SECOND, job.source.name, each, postings)
        advance(job.file, each.batch)
        late[job.source.name] += each.batch.lines if each.is_doubtful else 0
        behind[job.source.name] += each.batch.lines if each.is_behind else 0
    for sentence, found in ((event_times.ahead, late), (event_times.behind, behind)):
        for source, lines in found.items():
            if lines:
                say(sentence(source, lines))
    return filled.finish()


class _Filled:
    """The ledger, the step that is being filled, and the samples of the steps before. Times are in seconds."""

    def __init__(self, config: Config, options: Options, write: Write) -> None:
        self._options, self._now, self._end, self._written = options, 0.0, 0, 0
        self.ledger = Ledger(config.limits, self._clock, config.buckets, config.prices, config.budgets)
        self.history = History(config.history, config.limits, self._clock)
        if options.goes_on:
            self.ledger.keep_history(self.history)

        def gauges(state: State, now: int) -> Gauges:
            return computed_gauges(snapshot_of(state, now), config, now)

        self._writer = Writer(write, options.step, options.labels, gauges)

    def enter(self, end: int, source: str, each: Slice, postings: Postings | None) -> None:
        """Enter a slice of the step that ends at `end`; 0 for lines before the first time of a log."""
        while self._end and self._end < end:
            self._write()
            self._begin(self._end + self._options.step)
        if not self._end and end:
            self._begin(end)
        self.ledger.enter_slice(source, each, postings)

    def finish(self) -> State:
        """Write the last step, and a sample with the runs whose outcome is final only now."""
        self._write()
        # The logs of the past have ended, so all of their runs are final.
        self._now = time.time() if self._options.goes_on else self._now + 3600.0
        self._end += self._options.step
        if not (change := self.ledger.changes()).empty:
            self._writer.add(max(self._written + 1, min(self._end, int(time.time()))), change)
        return self._writer.state

    def _begin(self, end: int) -> None:
        self._end, self._now = end, min(float(end), time.time())

    def _write(self) -> None:
        """Write a sample for the end of the step. It is not in the future, where it would hide those of a scrape."""
        at = min(self._end, int(time.time()))
        if at > self._written:
            self._writer.add(at, self.ledger.changes())
            self._written = at

    def _clock(self) -> float:
        return self._now
