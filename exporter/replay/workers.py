"""The processes that parse pieces of logs: a `concurrent.futures.Executor`, on this machine or on a cluster."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import ExitStack, contextmanager
from functools import cached_property
from threading import Thread

from msgspec import structs

from exporter.process.signals import BLOCKED
from exporter.replay.errors import WorkersError
from exporter.replay.feed import BLOCK
from exporter.replay.inputs import Input
from exporter.replay.pieces import Piece, Plan, Result, parse_piece, version
from parsers.parser import checked_call

#: How many pieces per processor are parsed, or wait for earlier ones. It bounds the memory for results.
_AHEAD = 3

#: The sizes in bytes from which other processes are worthwhile: of a file, and of one of several packed files.
_LARGE, _LARGE_PACKED = 1 << 25, 1 << 20


class Workers:
    """The processes of this machine. With 0 processors they accept no input."""

    #: The size of a piece in bytes.
    piece_size = BLOCK

    def __init__(self, executor: Callable[[], Executor], processors: int) -> None:
        """`executor` is called for the first piece, because its processes and pipes may never be needed."""
        self._new_executor, self._processors = executor, processors

    @cached_property
    def _executor(self) -> Executor:
        return self._new_executor()

    @property
    def capacity(self) -> int:
        """How many pieces may be unfinished at once."""
        return _AHEAD * self._processors

    def takes(self, log: Input, is_only: bool) -> bool:
        """Whether an input is worth their while; `is_only` says that there is no other input."""
        if log.is_stream or not self._processors:
            return False
        size = log.size if log.descriptor is None else os.fstat(log.descriptor).st_size
        return (not is_only and (size or _LARGE) >= _LARGE_PACKED) if log.size is None else log.size >= _LARGE

    def located(self, plan: Plan, log: Input) -> Plan:
        """The plan with what a worker opens: a local file, which may be renamed, or a version of an object."""
        checked_call(plan.parser, "prepare")  # once, so that the processes share the memory
        if log.descriptor is None:
            return structs.replace(plan, version=version(plan.file))
        return structs.replace(plan, file=f"/proc/{os.getpid()}/fd/{log.descriptor}")

    def submit(self, plan: bytes, piece: Piece) -> "Future[Result]":
        """Start to parse a piece; `plan` is pickled."""
        # The first call forks. Python's fork hooks would lose a signal, and only this process handles signals.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        try:
            return self._executor.submit(parse_piece, (), plan, piece)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def result(self, future: "Future[Result]") -> Result:
        """Wait for a piece. Raises InputError, and WorkersError."""
        try:
            return future.result()
        except BrokenExecutor:
            raise WorkersError("one of the parsing processes has died; try --processes 1") from None


NO_WORKERS = Workers(Executor, 0)


@contextmanager
def local(processes: int, has_addresses: bool) -> Iterator[Workers]:
    """Processes that start with the first piece and end with the context; NO_WORKERS for fewer than two processes."""
    if processes < 2:
        yield NO_WORKERS
        return
    context = multiprocessing.get_context("fork")  # they share the memory of this process
    with ExitStack() as stack:

        def executor() -> Executor:
            from concurrent.futures import ProcessPoolExecutor

            made = ProcessPoolExecutor(processes, context, _begin)
            stack.callback(_end, made)
            return made

        workers = Workers(executor, processes)
        if has_addresses:
            workers.submit(b"", Piece())  # a later fork, beside the threads of a filesystem, could lock up
        yield workers


def _end(executor: Executor) -> None:
    for process in multiprocessing.active_children():
        process.kill()
    executor.shutdown(cancel_futures=True)  # without this wait, the interpreter could write to a closed pipe at its end


def _begin() -> None:
    """Prepare a process: it ends with its parent."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    Thread(target=end_with_parent, daemon=True).start()
