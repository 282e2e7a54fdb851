"""Ends a command with one sentence if a thread, memory, room for its output or a parser cannot be had."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import UnsupportedOperation
from typing import NoReturn

from exporter.cli.options import stop
from parsers.parser import PackageError

#: The message of CPython if pthread_create fails (Modules/_threadmodule.c).
_NO_THREAD = "can't start new thread"

#: The message of glibc if a library does not fit into memory (elf/dl-load.c).
_NOT_MAPPED = "failed to map segment"

#: The message of CPython if an import has no memory for its error (Python/import.c).
_NO_ERROR = "error return without exception set"

_NO_MEMORY = (
    b"dify-exporter: there is not enough memory: allow more "
    b"(ulimit -v, LimitAS, or the memory limit of the container)\n"
)
#: Made before the memory is used up.
_EXIT = SystemExit(2)

#: Errors of a write to standard output, beside EPIPE.
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


@contextmanager
def sentences() -> Iterator[None]:
    """Report an error that a limit of the system causes, also when the output is flushed, and end with exit code 2."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        stop(
            "no thread can be started: allow more memory or more threads (ulimit -v, ulimit -u, LimitAS, TasksMax, or "
            "the memory and pids limits of the container)"
        )
    except (MemoryError, ImportError, SystemError) as error:
        if not isinstance(error, MemoryError) and not any(part in str(error) for part in (_NOT_MAPPED, _NO_ERROR)):
            raise
        _stop_without_memory()
    except PackageError as error:
        stop(str(error))
    except BrokenPipeError:  # the rest of the output was not taken
        stop_without_reader()
    except OSError as error:
        if error.errno == errno.ENOMEM:
            _stop_without_memory()
        if error.filename is not None or error.errno not in _CANNOT_WRITE:
            raise
        _discard_output()
        stop(f"standard output cannot be written: {error.strerror}")


def _stop_without_memory() -> NoReturn:
    os.write(2, _NO_MEMORY)  # `stop` itself needs memory
    raise _EXIT from None


def stop_without_reader() -> NoReturn:
    """End a command because the reader of its output has exited, with the exit code of shells."""
    _discard_output()
    raise SystemExit(128 + signal.SIGPIPE) from None


def _discard_output() -> None:
    """Redirect standard output to /dev/null, so that the interpreter does not write its buffer again at exit."""
    with suppress(UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
