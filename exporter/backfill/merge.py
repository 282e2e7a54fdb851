"""Merges logs by event time. Of each log, only one window is in memory, and a log is opened when its time has come."""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from exporter.ledger.postings import Postings
from exporter.replay.errors import ParserError, parse_parts
from exporter.replay.jobs import Job, Listener, Reader, resolved
from exporter.replay.pieces import Plan
from exporter.replay.workers import Workers
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
