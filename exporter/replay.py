"""Reads logs once, from the beginning to the end, into a ledger."""

from collections.abc import Callable, Iterable, Mapping
from glob import glob

from msgspec import Struct

from exporter.detect import Guess, detect
from exporter.feed import Read, between, feed
from exporter.inputs import InputError, reading
from exporter.ledger import Ledger
from exporter.settings import Source
from parsers.batch import Batch
from parsers.parser import Parser

Examples = dict[tuple[str, str], bytes]


class Job(Struct, frozen=True):
    """One file: read by the parser of its source, or by the candidate that takes it."""

    file: str
    source: Source | None = None
    candidates: tuple[Guess, ...] = ()


class Span(Struct, frozen=True):
    """Event times that count, in nanoseconds since the epoch: [since, until)."""

    since: int | None = None
    until: int | None = None


def jobs_of(sources: Iterable[Source]) -> list[Job]:
    """The files that the configured sources match now. Raises InputError where a source has none."""
    jobs = []
    for source in sources:
        files = sorted({file for path in source.paths for file in glob(path)})
        if not files:
            raise InputError(f'source "{source.name}": no file matches {", ".join(source.paths)}')
        jobs += [Job(file, source) for file in files]
    return jobs


def run(
    jobs: Iterable[Job],
    ledger: Ledger,
    line_length: int,
    span: Span,
    say: Callable[[str], None],
    advance: Callable[[int, int], None],
) -> Examples:
    """Enters everything; gives one unparsed line a source and reason.

    `say` is told what was detected, `advance` the bytes and lines of each batch. Raises InputError.
    """
    examples: Examples = {}
    for job in jobs:
        with reading(job.file) as (sample, read):
            name, parser = _parser_of(job, sample, say)
            ledger.open(name)
            for batch in _batches(read, parser, line_length, span):
                ledger.enter(name, batch)
                advance(batch.consumed, batch.lines)
                _keep(examples, name, batch.examples)
    return examples


def _parser_of(job: Job, sample: bytes, say: Callable[[str], None]) -> tuple[str, Parser]:
    if job.source is not None:
        return job.source.name, job.source.parser
    if len(job.candidates) == 1:
        return job.candidates[0].name, job.candidates[0].parser
    found = detect(sample, iter(job.candidates))
    if found is None and sample:
        raise InputError(
            f"{job.file}: no known format takes a line of its beginning; "
            "name one with --parser, or see `dify-exporter explain` for a line of it"
        )
    guess = found[0] if found else job.candidates[0]
    say(f"{job.file}: {guess}")
    return guess.name, guess.parser


def _batches(read: Read, parser: Parser, line_length: int, span: Span) -> Iterable[Batch]:
    if span == Span():
        return feed(read, parser, line_length)
    return between(feed(read, parser, line_length, singly=True), span.since, span.until)


def _keep(examples: Examples, source: str, found: Mapping[str, bytes]) -> None:
    for reason, line in found.items():
        examples.setdefault((source, reason), line)
