"""Reads logs once, from the beginning to the end, and enters them into a ledger."""

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct, structs

from exporter.ledger.ledger import Ledger
from exporter.ledger.postings import Postings
from exporter.messages import address
from exporter.replay.detect import Guess, detect, several_services, unrecognised
from exporter.replay.errors import InputError, ParserError, parse_whole
from exporter.replay.event_times import Span, first_time
from exporter.replay.feed import Part, feed
from exporter.replay.inputs import open_input
from exporter.replay.pieces import Parsed, Piece, Plan, Result, cut
from exporter.replay.workers import NO_WORKERS, Workers
from exporter.tail.globs import tailed
from exporter.tail.permissions import log_problem
from exporter.tail.source_config import SourceConfig
from parsers.batch import Batch
from parsers.parser import Parser
from parsers.slices import Slice, SpanOf, later


class Job(Struct, frozen=True):
    """One file, and either the source that reads it, or the candidates from which its parser is detected.

    With `may_grow`, an unfinished record at the end of the file is not read.
    """

    file: str
    source: SourceConfig | None = None
    candidates: tuple[Guess, ...] = ()
    may_grow: bool = False


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
        files = sorted(filter(os.path.lexists, tailed(source)))
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
        """A log was opened. Its first step follows. An InputError that this raises becomes that of the log."""

    def failed(self, error: InputError) -> None:
        """An input, or the rest of it, cannot be read, or its format is not recognised. Raises the error."""
        raise error

    def damaged(self, sentence: str) -> None:
        """A packed input is cut or damaged. It was read up to there."""
        self.say(sentence)


def run(
    jobs: Sequence[Job],
    ledger: Ledger,
    line_length: int,
    span: Span,
    listener: Listener,
    workers: Workers = NO_WORKERS,
) -> Iterator[tuple[str, Batch, bool]]:
    """Enter all batches into the ledger, each before it is returned with its source, and with whether it counts.

    A batch outside of the time span does not count. A caller that stops has entered exactly what it has seen.

    Raises InputError, unless the listener takes it, and WorkersError.
    """
    with Reader(jobs, plan_of(ledger, line_length, span.boundaries), listener, workers) as reader:
        for number in range(len(jobs)):
            for source, each, postings in reader.read(number):
                counted = span.contains(each.at)
                if counted:
                    ledger.enter_slice(source, each, postings)
                yield source, each.batch, counted


def plan_of(ledger: Ledger, line_length: int, span_of: SpanOf | None) -> Plan:
    """What all logs have in common that are entered into this ledger."""
    return Plan("", "", Parser(), line_length, span_of, ledger.bounds, ledger.history_days > 0)


class _Log:
    """An opened log, which `stack` closes. Its pieces go to the workers; or its slices come from this process."""

    def __init__(self, job: Job) -> None:
        self.job, self.stack = job, ExitStack()
        self.damage: list[str] = []
        self.error: InputError | None = None
        self.found: Opened | None = None
        self.slices: Iterator[Slice] = iter(())
        self.is_read_here = False
        self.plan = b""
        self.pieces: Iterator[Piece] = iter(())
        self.futures: deque[tuple[Piece, Future[Result]]] = deque()


class Reader:
    """Reads several logs. The workers parse pieces of the next ones while the slices of one are taken.

    `plan` is what all of them have in common.
    """

    def __init__(self, jobs: Sequence[Job], plan: Plan, listener: Listener, workers: Workers) -> None:
        self._jobs, self._plan, self._listener, self._workers = jobs, plan, listener, workers
        self._logs: list[_Log] = []
        #: The number of the first log that may have further pieces, and the number of pieces given out.
        self._giving = self._unfinished = 0

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        for log in self._logs:
            log.stack.close()

    def read(self, number: int) -> Iterator[tuple[str, Slice, Postings | None]]:
        """The slices of a log, with the name of its source. Raises InputError, unless the listener takes it.

        In the history, the lines before the first time of a log, such as a program's banner, go with that time.
        """
        while number >= len(self._logs):
            self._open()
        log = self._logs[number]
        reached: int | None = None
        try:
            with log.stack:
                if log.error is not None:
                    raise log.error
                if log.found is None:
                    return
                yield log.found.source, Slice(Batch()), None
                begun = first_time(log.found.parser, log.found.sample) if self._plan.has_history else None
                for each, postings in self._parsed(log):
                    reached = later(reached, each.at)
                    at = begun if reached is None else reached
                    yield log.found.source, structs.replace(each, at=at), postings
        except InputError as error:
            name = address(log.job.file)
            error = error.of(log.job.file) if isinstance(error, ParserError) else error
            self._listener.failed(InputError(f"{name}: cannot be read: {log.damage[0]}") if log.damage else error)
        else:
            for reason in log.damage[:1]:
                self._listener.damaged(f"{address(log.job.file)}: is cut or damaged, and is read up to there: {reason}")

    def _open(self) -> None:
        """Open the next log, detect its parser, and cut it into pieces if the workers take it."""
        job = self._jobs[len(self._logs)]
        log = _Log(job)
        self._logs.append(log)
        try:
            opened = log.stack.enter_context(open_input(job.file, log.damage.append))
            if not opened.sample and not log.damage:
                self._listener.say(f"{address(job.file)}: is empty")
                return
            found = _recognised(job, opened.sample, self._listener.say)
            self._listener.opened(found)
        except InputError as error:
            log.error = error
            return
        log.found = found
        plan = structs.replace(self._plan, file=job.file, source=found.source, parser=found.parser)
        if job.may_grow or not self._workers.takes(opened, len(self._jobs) == 1):
            part = Part(ended=not job.may_grow)
            log.slices = feed(opened.read, plan.parser, plan.line_length, span_of=plan.span_of, part=part)
            log.is_read_here = True
            return
        log.plan = pickle.dumps(self._workers.located(plan, opened))
        log.pieces = cut(opened.size, self._workers.piece_size)

    def _parsed(self, log: _Log) -> Iterator[Parsed]:
        yield from ((each, None) for each in log.slices)
        position, skip = 0, tuple[str, ...]()
        while True:
            if not log.futures and (following := next(log.pieces, None)) is not None:
                self._give(log, following)
            while self._unfinished < self._workers.capacity and self._give_ahead():
                pass
            if not log.futures:
                return
            piece, future = log.futures.popleft()
            result = self._workers.result(future)
            self._unfinished -= 1
            if result.begin != position or skip:
                piece = structs.replace(piece, begin=position, skip=skip, is_exact=True)
                result = self._workers.result(self._workers.submit(log.plan, piece))
            position, skip = result.position, result.skip
            if result.damage:
                log.damage = [result.damage]
            yield from result.parsed

    def _give_ahead(self) -> bool:
        """Give the workers the next piece, perhaps of the next log. Returns False if there is none yet."""
        if self._giving == len(self._logs):
            if self._giving == len(self._jobs) or (self._logs and self._logs[-1].is_read_here):
                return False
            self._open()
        log = self._logs[self._giving]
        if (piece := next(log.pieces, None)) is None:
            self._giving += 1
        else:
            self._give(log, piece)
        return True

    def _give(self, log: _Log, piece: Piece) -> None:
        log.futures.append((piece, self._workers.submit(log.plan, piece)))
        self._unfinished += 1


def resolved(job: Job, say: Callable[[str], None]) -> tuple[Job, bytes] | None:
    """The job with its detected parser as a source, and the beginning of the file; None for an empty file.

    Raises InputError; a ParserError for a fault of the parser.
    """
    with open_input(job.file, lambda _: None) as log:
        if not log.sample:
            say(f"{address(job.file)}: is empty")
            return None
        found = _recognised(job, log.sample, say)
        source = job.source or SourceConfig(found.source, (), found.parser)
        return structs.replace(job, source=source), log.sample


def _recognised(job: Job, sample: bytes, say: Callable[[str], None]) -> Opened:
    """Detect the parser of a log, unless it is configured or named. Raises InputError."""
    if job.source is not None:
        parser = job.source.parser
        return Opened(job.file, job.source.name, parser, sample, parse_whole(parser, sample))
    first, *others = job.candidates
    found = detect(sample, job.candidates) if others else None
    if found is None and others and first.name != job.candidates[-1].name:
        raise InputError(f"{address(job.file)}: {unrecognised(sample)}")
    guess, batch = found or (first, parse_whole(first.parser, sample))
    if others:
        say(f"{address(job.file)}: read as {guess}")
        if (sentence := several_services(guess.parser, sample)) is not None:
            say(f"{address(job.file)}: {sentence}")
    return Opened(job.file, guess.name, guess.parser, sample, batch, guess if others else None)
