"""Parses a large plain file in several processes at once. The slices keep the order of the file.

The laws of parsers allow a cut after any whole record. So the file is cut at newlines into chunks before any of it is
parsed. If a parser does not consume the end of a chunk, because a record continues in the next chunk, the rest and the
next chunk are parsed again together. The slices of a chunk do not know the event times before it; the caller of `parse`
does.
"""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import NamedTuple, cast

from exporter.replay.feed import BLOCK, Part, feed
from parsers.parser import Parser
from parsers.slices import Slice, SpanOf

#: The file size in bytes from which the start of the processes is worthwhile.
_LARGE = 8 * BLOCK

#: How many bytes are read at once to find the end of a line.
_LOOK = 1 << 16

#: How many chunks are queued per process, so that it never waits for its next chunk.
_QUEUED = 2

#: The largest number of unfinished chunks per process. It bounds the memory for results that wait for earlier ones.
_MAX_CHUNKS = 8


class OpenLog(NamedTuple):
    """An open plain file, its parser, the largest length of a line in bytes, and the spans of event time to cut at."""

    descriptor: int
    parser: Parser
    line_length: int
    span_of: SpanOf | None = None


class Chunk(NamedTuple):
    """The offsets of some whole lines. The last chunk has no `end`, because the file may still grow."""

    begin: int
    end: int | None


def is_worthwhile(descriptor: int) -> bool:
    """Whether the file is large enough for several processes."""
    return os.fstat(descriptor).st_size >= _LARGE


def parse(log: OpenLog, processes: int) -> Iterator[Slice]:
    """All slices of the file. Raises ChildProcessError if a process dies, for example for lack of memory."""
    position = 0
    skip: tuple[str, ...] = ()
    with _processes(log, processes) as workers:
        for chunk, parsed in _parsed(log, workers):
            slices: Iterable[Slice] = parsed
            if chunk.begin != position or skip:
                slices = _slices(log, Chunk(position, chunk.end), skip)
            for each in slices:
                position += each.batch.consumed
                skip = each.batch.skip if each.batch.consumed else skip
                yield each


@contextmanager
def _processes(log: OpenLog, processes: int) -> Iterator[list[Connection]]:
    """Start the processes. They are forked, so they inherit the parser and the open file."""
    context, workers, pipes = get_context("fork"), [], []
    try:
        # Python's fork hooks would lose an interrupt, and only the parent process handles interrupts.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(processes):
                own_end, child_end = context.Pipe()
                worker = context.Process(target=_work, args=(log, own_end, child_end), daemon=True)
                worker.start()
                child_end.close()
                workers.append(worker)
                pipes.append(own_end)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        yield pipes
    except (EOFError, ConnectionError) as error:
        raise ChildProcessError("one of the parsing processes has died; try --processes 1") from error
    finally:
        for worker, pipe in zip(workers, pipes, strict=True):
            worker.terminate()
            worker.join()
            pipe.close()


def _work(log: OpenLog, parents: Connection, own: Connection) -> None:
    """Parse chunks until the pipe is closed. Only the parent may keep the other end of the pipe open."""
    parents.close()
    try:
        while True:
            own.send(list(_slices(log, own.recv())))
    except (EOFError, ConnectionError):
        return


def _parsed(log: OpenLog, workers: list[Connection]) -> Iterator[tuple[Chunk, list[Slice]]]:
    """The parsed chunks in their order. Each process gets its next chunk as soon as it has finished one."""
    chunks = _chunks(log.descriptor)
    given: dict[Connection, deque[Chunk]] = {worker: deque() for worker in workers}
    waiting, parsed = deque[Chunk](), dict[Chunk, list[Slice]]()
    while True:
        for worker, before in given.items():
            while len(before) < _QUEUED and len(waiting) < _MAX_CHUNKS * len(workers) and (chunk := next(chunks, None)):
                worker.send(chunk)
                before.append(chunk)
                waiting.append(chunk)
        if not waiting:
            return
        for worker in cast(list[Connection], wait([worker for worker in workers if given[worker]])):
            parsed[given[worker].popleft()] = worker.recv()
        while waiting and waiting[0] in parsed:
            chunk = waiting.popleft()
            yield chunk, parsed.pop(chunk)


def _chunks(descriptor: int) -> Iterator[Chunk]:
    begin, size = 0, os.fstat(descriptor).st_size
    while begin + BLOCK < size:
        end = _line_end(descriptor, begin + BLOCK)
        yield Chunk(begin, end)
        begin = end
    yield Chunk(begin, None)


def _line_end(descriptor: int, position: int) -> int:
    """The offset after the first newline at or after `position`, or else the end of the file."""
    while block := os.pread(descriptor, _LOOK, position):
        if end := block.find(b"\n") + 1:
            return position + end
        position += len(block)
    return position


def _slices(log: OpenLog, chunk: Chunk, skip: tuple[str, ...] = ()) -> Iterator[Slice]:
    position, end = chunk
    first = not position
    size = BLOCK if end is not None and end - position < 2 * BLOCK else 0  # a very long line must not be held in memory

    def read(size: int) -> bytes:
        nonlocal position
        block = os.pread(log.descriptor, size if end is None else min(size, end - position), position)
        position += len(block)
        return block

    part = Part(skip, first, end is None)
    return feed(read, log.parser, log.line_length, span_of=log.span_of, size=size, part=part)
