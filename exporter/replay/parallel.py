"""Parses a large plain file in several processes at once; its batches come in the order of the file.

Any cut behind a parser's whole records is a good one (its laws), so the file is cut at newlines before anybody has
parsed it. Where a parser holds back the end of a chunk, because a record goes on, the next chunk is parsed again.
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
from parsers.batch import Batch
from parsers.parser import Parser

#: From which size on the processes pay for their start.
_LARGE = 8 * BLOCK

#: How much is read at once to find where a line ends.
_LOOK = 1 << 16

#: Chunks that a process has before it, so that it never waits for the next.
_AHEAD = 2

#: Chunks a process that wait for an earlier one, at most: what they gave is held in memory.
_MOST = 8


class LogFile(NamedTuple):
    """An open plain file, and what reads it."""

    descriptor: int
    parser: Parser
    line_length: int


class Chunk(NamedTuple):
    """Whole lines: where they begin and end. The last one has no end, since the file may still grow."""

    begin: int
    end: int | None


def pays(descriptor: int) -> bool:
    """Whether the file is large enough."""
    return os.fstat(descriptor).st_size >= _LARGE


def parse(log: LogFile, processes: int) -> Iterator[Batch]:
    """All batches of the file. Raises ChildProcessError where a process ends too early, as for want of memory."""
    position = 0
    skip: tuple[str, ...] = ()
    with _started(log, processes) as workers:
        for chunk, parsed in _parsed(log, workers):
            batches: Iterable[Batch] = parsed
            if chunk.begin != position or skip:
                batches = _batches(log, Chunk(position, chunk.end), skip)
            for batch in batches:
                position += batch.consumed
                skip = batch.skip if batch.consumed else skip
                yield batch


@contextmanager
def _started(log: LogFile, processes: int) -> Iterator[list[Connection]]:
    """Forked, a process has the parser and the open file, whatever has become of its name."""
    context, workers, ends = get_context("fork"), [], []
    try:
        # A fork's hooks would swallow an interrupt, and the processes are to see none: it is the parent's business.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(processes):
                ours, theirs = context.Pipe()
                worker = context.Process(target=_work, args=(log, ours, theirs), daemon=True)
                worker.start()
                theirs.close()
                workers.append(worker)
                ends.append(ours)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        yield ends
    except (EOFError, ConnectionError) as error:
        raise ChildProcessError("one of the processes that parse it has ended; try --processes 1") from error
    finally:
        for worker, end in zip(workers, ends, strict=True):
            worker.terminate()
            worker.join()
            end.close()


def _work(log: LogFile, parents: Connection, own: Connection) -> None:
    """Until the pipe ends, of which nobody but the parent may hold the other end."""
    parents.close()
    try:
        while True:
            own.send(list(_batches(log, own.recv())))
    except (EOFError, ConnectionError):
        return


def _parsed(log: LogFile, workers: list[Connection]) -> Iterator[tuple[Chunk, list[Batch]]]:
    """The chunks in their order; who has finished one gets the next, however busy the others' processors are."""
    chunks = _chunks(log.descriptor)
    given: dict[Connection, deque[Chunk]] = {worker: deque() for worker in workers}
    waiting, parsed = deque[Chunk](), dict[Chunk, list[Batch]]()
    while True:
        for worker, before in given.items():
            while len(before) < _AHEAD and len(waiting) < _MOST * len(workers) and (chunk := next(chunks, None)):
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
    """Behind the first newline from there on, else the end of the file."""
    while block := os.pread(descriptor, _LOOK, position):
        if end := block.find(b"\n") + 1:
            return position + end
        position += len(block)
    return position


def _batches(log: LogFile, chunk: Chunk, skip: tuple[str, ...] = ()) -> Iterator[Batch]:
    position, end = chunk
    first = not position
    size = BLOCK if end is not None and end - position < 2 * BLOCK else 0  # a very long line is not to be held

    def read(size: int) -> bytes:
        nonlocal position
        block = os.pread(log.descriptor, size if end is None else min(size, end - position), position)
        position += len(block)
        return block

    return feed(read, log.parser, log.line_length, size=size, part=Part(skip, first, end is None))
