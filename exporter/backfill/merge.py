"""Merges logs by event time. Of each log, only one window is in memory, and a log is opened when its time has come."""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator

from exporter.replay.jobs import Job, Listener, read, resolved
from exporter.replay.span import Span
from parsers.batch import Batch
from parsers.parser import Parser
from parsers.slices import Slice, Slicer, SpanOf
from parsers.values.numbers import SECOND

#: Where the lines of a log go that come before its first time.
_BEGINNING = 0


def steps_of(seconds: int) -> SpanOf:
    """Steps of event time. They begin at whole multiples of their length since the epoch."""
    size = seconds * SECOND

    def span_of(at: int) -> tuple[int, int]:
        begin = at - at % size
        return begin, begin + size

    return span_of


def within(step: SpanOf, calendar: SpanOf) -> SpanOf:
    """Spans that are in one step and in one span of a calendar."""

    def span_of(at: int) -> tuple[int, int]:
        (begin, end), (first, last) = step(at), calendar(at)
        return max(begin, first), min(end, last)

    return span_of


def merged(
    jobs: Iterable[Job], line_length: int, spans: tuple[SpanOf, SpanOf], say: Callable[[str], None]
) -> Iterator[tuple[int, Job, Slice]]:
    """The slices of all logs in the order of their steps: the end of the step, the job with its source, and the slice.

    `spans` are the steps, and the spans at which logs are cut, which are parts of steps. Raises InputError.
    """
    step, _ = spans
    logs: list[Iterator[tuple[int, Job, Slice]]] = []
    waiting: list[tuple[int, int]] = []
    for job in sorted(jobs, key=lambda job: job.file):  # the result does not depend on their order
        if (found := resolved(job, say)) is not None:
            known, sample = found
            assert known.source is not None
            heapq.heappush(waiting, (_first_step(known.source.parser, sample, line_length, step), len(logs)))
            logs.append(_timed(known, line_length, spans, say))
    ahead: dict[int, tuple[int, Job, Slice]] = {}
    while waiting:
        _, number = heapq.heappop(waiting)
        if number in ahead:
            yield ahead.pop(number)
        if (following := next(logs[number], None)) is not None:
            ahead[number] = following
            heapq.heappush(waiting, (following[0], number))


def _timed(
    job: Job, line_length: int, spans: tuple[SpanOf, SpanOf], say: Callable[[str], None]
) -> Iterator[tuple[int, Job, Slice]]:
    """The slices of one log. Its steps never go back, so that the merged ones do not either."""
    end, (step, calendar) = _BEGINNING, spans
    for _, each in read(job, line_length, Span(calendar=calendar), Listener(say)):
        if each.at is not None:
            end = max(end, step(each.at)[1])
        if each.batch.consumed:
            yield end, job, each


def _first_step(parser: Parser, sample: bytes, line_length: int, step: SpanOf) -> int:
    """The end of the first step of a log, from its beginning."""

    def parse(window: bytes, final: bool, skip: tuple[str, ...]) -> Batch:
        return parser.parse_part(window, final, skip, line_length)

    slices = Slicer(parse, step).slices(sample, False, (), time.time_ns())
    return next((step(each.at)[1] for each in slices if each.at is not None), _BEGINNING)
