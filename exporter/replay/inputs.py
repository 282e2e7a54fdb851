"""The files that `replay` and `check` read once: plain, gzip, or standard input."""

import gzip
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from exporter.replay.feed import Read
from exporter.tail.encoding import UTF_8_BOM, encoding_of, remedy
from exporter.tail.permissions import trouble

_GZIP_MAGIC = b"\x1f\x8b"

#: Enough lines to tell one format from another.
SAMPLE_BYTES = 1 << 18


class InputError(Exception):
    """One sentence: which input cannot be read, and why."""


class Input(NamedTuple):
    """A sample of the beginning without its byte order mark, a function that reads everything from the beginning on,
    and the descriptor of the file where it is one that can be read anywhere.
    """

    sample: bytes
    read: Read
    descriptor: int | None


@contextmanager
def reading(name: str) -> Iterator[Input]:
    """`-` is standard input; gzip is known by its first two bytes. Raises InputError."""
    try:
        with _open(name) as stream:
            # A read that fills its buffer would not notice an interrupt between two pieces of a pipe.
            take = stream.read1 if isinstance(stream, BufferedReader) else stream.read
            sample = b""
            while len(sample) < SAMPLE_BYTES and (block := take(SAMPLE_BYTES - len(sample))):
                sample += block
            if encoding := encoding_of(sample):
                raise InputError(f"{name}: is {encoding}; {remedy(encoding)}")
            waiting = [sample]

            def read(size: int) -> bytes:
                if not waiting:
                    return take(size)
                head = waiting.pop()
                if head[size:]:
                    waiting.append(head[size:])
                return head[:size] or take(size)

            yield Input(
                sample.removeprefix(UTF_8_BOM), read, stream.fileno() if name != "-" and _is_plain(stream) else None
            )
    except PermissionError as error:
        raise InputError(trouble(Path(name)) or f"{name}: cannot be read: {error.strerror}") from error
    except (OSError, EOFError, zlib.error) as error:  # the last two: a gzip file that is cut or damaged
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: cannot be read: {reason}") from error


@contextmanager
def _open(name: str) -> Iterator[BinaryIO]:
    """Raises InputError for what is no regular file: it might never end, or wait for a writer for ever."""
    if name == "-":
        if sys.stdin is None:
            raise InputError("-: standard input is closed")
        yield _plain(sys.stdin.buffer)
        return
    is_judged_by_open = _is_stream(name) or os.path.isdir(name) or not os.path.exists(name)
    if not is_judged_by_open and (reason := trouble(Path(name))):
        raise InputError(reason)
    # Not blocking, since the path may have become a FIFO in the meantime.
    with open(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        os.set_blocking(file.fileno(), True)
        yield _plain(file)


def _is_stream(name: str) -> bool:
    """Whether a shell has opened it: standard input under its name, or `<(command)`."""
    return name == "/dev/stdin" or os.path.dirname(name) in ("/dev/fd", "/proc/self/fd")


def _is_plain(stream: BinaryIO) -> bool:
    return isinstance(stream, BufferedReader) and stat.S_ISREG(os.fstat(stream.fileno()).st_mode)


def _plain(stream: BinaryIO) -> BinaryIO:
    """What is inside, known by the first two bytes; nothing is sought, so a pipe will do."""
    file = stream if isinstance(stream, BufferedReader) else BufferedReader(cast(RawIOBase, stream))
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if file.peek(2)[:2] == _GZIP_MAGIC else file


def ending(file: str) -> bytes:
    """The last whole lines of a file, in which its present format shows. Raises InputError."""
    with reading(file) as (sample, *_), Path(file).open("rb") as stream:
        lines = sample
        if len(sample) == SAMPLE_BYTES and stream.read(2) != _GZIP_MAGIC:
            stream.seek(-SAMPLE_BYTES, os.SEEK_END)
            lines = stream.read(SAMPLE_BYTES).partition(b"\n")[2]
    return lines[: lines.rfind(b"\n") + 1] or lines
