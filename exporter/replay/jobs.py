"""Reads logs once, from the beginning to the end, into a ledger."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from exporter.config.settings import SourceConfig
from exporter.ledger.ledger import Ledger
from exporter.replay import parallel
from exporter.replay.detect import Guess, detect, several_services
from exporter.replay.feed import ALWAYS, Span, feed, within
from exporter.replay.inputs import Input, InputError, reading
from exporter.tail.globs import tailed
from exporter.tail.permissions import trouble_of_log
from parsers.batch import Batch
from parsers.parser import Parser


class Job(Struct, frozen=True):
    """One file: read by the parser of its source, or by the candidate that takes it."""

    file: str
    source: SourceConfig | None = None
    candidates: tuple[Guess, ...] = ()


class Step(Struct, frozen=True):
    """A batch of a source; one outside the span of time is not `counted`."""

    source: str
    batch: Batch
    counted: bool


def jobs_of(sources: Iterable[SourceConfig]) -> list[Job]:
    """The files of the configured sources that `serve` would follow now. Raises InputError where a source has none, or
    one that cannot be tailed.
    """
    jobs = []
    for source in sources:
        files = sorted(filter(os.path.lexists, tailed(source.paths, source.log_patterns)))
        if not files:
            raise InputError(f'source "{source.name}": no file matches {", ".join(source.paths)}')
        for file in files:
            if (told := trouble_of_log(Path(file))) is not None:
                raise InputError(told)
        jobs += [Job(file, source) for file in files]
    return jobs


def run(
    jobs: Iterable[Job], ledger: Ledger, line_length: int, span: Span, say: Callable[[str], None], processes: int = 1
) -> Iterator[Step]:
    """Enters everything, step by step; whoever stops in between has entered what he has seen.

    `say` is told what was detected. Raises InputError.
    """
    for job in jobs:
        with reading(job.file) as log:
            if not log.sample:
                say(f"{job.file}: is empty")
                continue
            name, parser = _parser_of(job, log.sample, say)
            ledger.open(name)
            batches = _batches(log, parser, line_length, span, processes)
            for batch, counted in within(batches, span):
                if counted:
                    ledger.enter(name, batch)
                yield Step(name, batch, counted)


def _batches(log: Input, parser: Parser, line_length: int, span: Span, processes: int) -> Iterator[Batch]:
    if processes > 1 and span == ALWAYS and log.descriptor is not None and parallel.pays(log.descriptor):
        return parallel.parse(parallel.LogFile(log.descriptor, parser, line_length), processes)
    return feed(log.read, parser, line_length, span=span)


def _parser_of(job: Job, sample: bytes, say: Callable[[str], None]) -> tuple[str, Parser]:
    if job.source is not None:
        return job.source.name, job.source.parser
    first, *others = job.candidates
    found = detect(sample, iter(job.candidates)) if others else (first, Batch())
    if found is None and first.name != job.candidates[-1].name:
        raise InputError(
            f"{job.file}: no known format takes a line of its beginning; "
            "name one with --parser, or see `dify-exporter explain` for a line of it"
        )
    guess, batch = found or (first, Batch())
    if others:
        say(f"{job.file}: read as {guess}")
        if (sentence := several_services(guess.parser, sample)) is not None:
            say(f"{job.file}: {sentence}")
        for sentence in guess.parser.advice_on(sample, batch):
            say(f"{job.file}: absent: {sentence}")
    return guess.name, guess.parser
