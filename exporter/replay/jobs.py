"""Reads logs once, from the beginning to the end, and enters them into a ledger."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct, structs

from exporter.config.settings import SourceConfig
from exporter.ledger.ledger import Ledger
from exporter.replay import parallel
from exporter.replay.detect import Guess, detect, several_services
from exporter.replay.feed import feed
from exporter.replay.inputs import Input, InputError, open_input
from exporter.replay.span import Span
from exporter.tail.globs import tailed
from exporter.tail.permissions import log_problem
from parsers.batch import Batch
from parsers.parser import Parser
from parsers.slices import Slice, later


class Job(Struct, frozen=True):
    """One file, and either the source that reads it, or the candidates from which its parser is detected.

    `on_damage` is the same as in `open_input`.
    """

    file: str
    source: SourceConfig | None = None
    candidates: tuple[Guess, ...] = ()
    on_damage: Callable[[str], None] | None = None


class Step(Struct, frozen=True):
    """A batch of a source. `counted` is False for a batch outside of the time span."""

    source: str
    batch: Batch
    counted: bool


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


def run(
    jobs: Iterable[Job], ledger: Ledger, line_length: int, span: Span, say: Callable[[str], None], processes: int = 1
) -> Iterator[Step]:
    """Enter all batches into the ledger, one per step. A caller that stops has entered exactly the steps it has seen.

    `say` is called with messages about what was detected. Raises InputError.
    """
    for job in jobs:
        for name, each in read(job, line_length, span, say, processes):
            counted = span.holds(each.at)
            if counted:
                ledger.enter(name, each.batch, each.at, each.is_late)
            yield Step(name, each.batch, counted)


def read(
    job: Job, line_length: int, span: Span, say: Callable[[str], None], processes: int = 1
) -> Iterator[tuple[str, Slice]]:
    """The slices of a file, with the name of its source. Raises InputError."""
    with open_input(job.file, job.on_damage) as log:
        if not log.sample:
            say(f"{job.file}: is empty")
            return
        name, parser = _parser_of(job, log.sample, say)
        yield name, Slice(Batch())
        reached: int | None = None
        for each in _slices(log, parser, line_length, span, processes):
            reached = later(reached, each.at)
            yield name, Slice(each.batch, reached, each.is_late)


def resolved(job: Job, say: Callable[[str], None]) -> tuple[Job, bytes] | None:
    """The job with its detected parser as a source, and the beginning of the file; None for an empty file.

    Raises InputError.
    """
    with open_input(job.file, job.on_damage) as log:
        if not log.sample:
            say(f"{job.file}: is empty")
            return None
        name, parser = _parser_of(job, log.sample, say)
        return structs.replace(job, source=job.source or SourceConfig(name, (), parser)), log.sample


def _slices(log: Input, parser: Parser, line_length: int, span: Span, processes: int) -> Iterator[Slice]:
    if processes > 1 and log.descriptor is not None and parallel.is_worthwhile(log.descriptor):
        return parallel.parse(parallel.OpenLog(log.descriptor, parser, line_length, span.boundaries), processes)
    return feed(log.read, parser, line_length, span_of=span.boundaries)


def _parser_of(job: Job, sample: bytes, say: Callable[[str], None]) -> tuple[str, Parser]:
    if job.source is not None:
        return job.source.name, job.source.parser
    first, *others = job.candidates
    found = detect(sample, iter(job.candidates)) if others else (first, Batch())
    if found is None and first.name != job.candidates[-1].name:
        raise InputError(
            f"{job.file}: no known format matches any line at its beginning; "
            "name the parser with --parser, or pass one line to `dify-exporter explain`"
        )
    guess, batch = found or (first, Batch())
    if others:
        say(f"{job.file}: read as {guess}")
        if (sentence := several_services(guess.parser, sample)) is not None:
            say(f"{job.file}: {sentence}")
        for sentence in guess.parser.advice_on(sample, batch):
            say(f"{job.file}: absent: {sentence}")
    return guess.name, guess.parser
