"""Reads logs once, from the beginning to the end, and enters them into a ledger."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct, structs

from exporter.config.settings import SourceConfig
from exporter.ledger.ledger import Ledger
from exporter.replay import parallel
from exporter.replay.detect import Guess, detect, several_services, unrecognised
from exporter.replay.event_times import first_time
from exporter.replay.feed import Part, feed
from exporter.replay.inputs import Input, InputError, open_input
from exporter.replay.span import Span
from exporter.tail.globs import tailed
from exporter.tail.permissions import log_problem
from parsers.batch import Batch
from parsers.parser import Parser
from parsers.slices import Slice, later


class Job(Struct, frozen=True):
    """One file, and either the source that reads it, or the candidates from which its parser is detected.

    With `may_grow`, an unfinished record at the end of the file is not read.
    """

    file: str
    source: SourceConfig | None = None
    candidates: tuple[Guess, ...] = ()
    may_grow: bool = False


class Step(Struct, frozen=True):
    """A batch of a source. `counted` is False for a batch outside of the time span."""

    source: str
    batch: Batch
    counted: bool


class Opened(Struct, frozen=True):
    """A log whose parser is known. `sample` is its beginning, and `batch` is the batch of the sample.

    `detected` is None if the parser was configured or named.
    """

    file: str
    source: str
    parser: Parser
    sample: bytes
    batch: Batch
    detected: Guess | None = None


def jobs_of(sources: Iterable[SourceConfig]) -> list[Job]:
    """The files that `serve` would tail now. Raises InputError for a source without a file or with an unusable one."""
    jobs = []
    for source in sources:
        files = sorted(filter(os.path.lexists, tailed(source.paths, source.log_patterns)))
        if not files:
            raise InputError(f'source "{source.name}": no file matches {", ".join(source.paths)}')
        for file in files:
            if (problem := log_problem(Path(file))) is not None:
                raise InputError(problem)
        jobs += [Job(file, source) for file in files]
    return jobs


class Listener:
    """Receives the events of a replay. `say` prints a sentence."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def opened(self, log: Opened) -> None:
        """A log was opened. Its first step follows."""

    def failed(self, error: InputError) -> None:
        """An input, or the rest of it, cannot be read, or its format is not recognised. Raises the error."""
        raise error

    def damaged(self, sentence: str) -> None:
        """A packed input is cut or damaged. It was read up to there."""
        self.say(sentence)


def run(
    jobs: Iterable[Job], ledger: Ledger, line_length: int, span: Span, listener: Listener, processes: int = 1
) -> Iterator[Step]:
    """Enter all batches into the ledger, one per step. A caller that stops has entered exactly the steps it has seen.

    Raises InputError, unless the listener takes it.
    """
    for job in jobs:
        for name, each in read(job, line_length, span, listener, processes):
            counted = span.holds(each.at)
            if counted:
                ledger.enter(name, each.batch, each.at, each.is_late)
            yield Step(name, each.batch, counted)


def read(job: Job, line_length: int, span: Span, listener: Listener, processes: int = 1) -> Iterator[tuple[str, Slice]]:
    """The slices of a file, with the name of its source. Raises InputError, unless the listener takes it.

    Where a calendar cuts the log, the lines before its first time, such as a program's banner, go with that time.
    """
    damage: list[str] = []
    try:
        with open_input(job.file, damage.append) as log:
            if not log.sample and not damage:
                listener.say(f"{job.file}: is empty")
                return
            found = _recognised(job, log.sample, listener.say)
            listener.opened(found)
            yield found.source, Slice(Batch())
            reached: int | None = None
            begun = first_time(found.parser, log.sample) if span.calendar is not None else None
            for each in _slices(log, found.parser, line_length, span, processes, Part(ended=not job.may_grow)):
                reached = later(reached, each.at)
                yield found.source, Slice(each.batch, begun if reached is None else reached, each.is_late)
    except InputError as error:
        listener.failed(InputError(f"{job.file}: cannot be read: {damage[0]}") if damage else error)
    else:
        for reason in damage:
            listener.damaged(f"{job.file}: is cut or damaged, and is read up to there: {reason}")


def resolved(job: Job, say: Callable[[str], None]) -> tuple[Job, bytes] | None:
    """The job with its detected parser as a source, and the beginning of the file; None for an empty file.

    Raises InputError.
    """
    with open_input(job.file, lambda _: None) as log:
        if not log.sample:
            say(f"{job.file}: is empty")
            return None
        found = _recognised(job, log.sample, say)
        source = job.source or SourceConfig(found.source, (), found.parser)
        return structs.replace(job, source=source), log.sample


def _slices(log: Input, parser: Parser, line_length: int, span: Span, processes: int, part: Part) -> Iterator[Slice]:
    if processes > 1 and log.descriptor is not None and parallel.is_worthwhile(log.descriptor):
        return parallel.parse(parallel.OpenLog(log.descriptor, parser, line_length, span.boundaries), processes)
    return feed(log.read, parser, line_length, span_of=span.boundaries, part=part)


def _recognised(job: Job, sample: bytes, say: Callable[[str], None]) -> Opened:
    """Detect the parser of a log, unless it is configured or named. Raises InputError."""
    if job.source is not None:
        parser = job.source.parser
        return Opened(job.file, job.source.name, parser, sample, parser.parse(sample, final=True))
    first, *others = job.candidates
    found = detect(sample, job.candidates) if others else None
    if found is None and others and first.name != job.candidates[-1].name:
        raise InputError(f"{job.file}: {unrecognised(sample)}")
    guess, batch = found or (first, first.parser.parse(sample, final=True))
    if others:
        say(f"{job.file}: read as {guess}")
        if (sentence := several_services(guess.parser, sample)) is not None:
            say(f"{job.file}: {sentence}")
    return Opened(job.file, guess.name, guess.parser, sample, batch, guess if others else None)
