"""Opens the inputs that `replay` and `check` read once: plain files, gzip files, or standard input."""

import gzip
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from exporter.replay.feed import Read
from exporter.tail.encoding import UTF_8_BOM, encoding_of, remedy
from exporter.tail.permissions import file_problem

_GZIP_MAGIC = b"\x1f\x8b"

#: Enough bytes to detect the format of a log.
SAMPLE_BYTES = 1 << 18


class InputError(Exception):
    """An input cannot be read. The message is one sentence: which input, and why."""


class Input(NamedTuple):
    """An open input. `sample` is its beginning, without a byte order mark. `read` reads from the beginning on.

    `descriptor` is the file descriptor of a plain file, which can be read at any offset; None for any other input.
    """

    sample: bytes
    read: Read
    descriptor: int | None


@contextmanager
def open_input(name: str, on_damage: Callable[[str], None] | None = None) -> Iterator[Input]:
    """Open a file, or standard input for `-`. Gzip is detected by its magic bytes. Raises InputError.

    With `on_damage`, a gzip file that is cut or damaged is read up to there, and `on_damage` gets the reason.
    """
    try:
        with _open(name) as stream:
            # `read` fills its buffer, so an interrupt between two reads of a pipe would go unnoticed.
            take: Read = stream.read1 if isinstance(stream, BufferedReader) else stream.read
            if on_damage is not None and not isinstance(stream, BufferedReader):
                take = _up_to_damage(stream, on_damage)
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
        raise InputError(file_problem(Path(name)) or f"{name}: cannot be read: {error.strerror}") from error
    except (OSError, EOFError, zlib.error) as error:  # the last two: a truncated or damaged gzip file
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: cannot be read: {reason}") from error


def _up_to_damage(stream: BinaryIO, on_damage: Callable[[str], None]) -> Read:
    """Reads a gzip file, until an error ends it. Small reads lose nothing of what comes before the error."""
    is_damaged = False

    def take(size: int) -> bytes:
        nonlocal is_damaged
        block = b""
        while not is_damaged and len(block) < size:
            try:
                more = stream.read1(size - len(block))  # type: ignore[attr-defined]
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                is_damaged = True
                on_damage(str(error))
                break
            if not more:
                break
            block += more
        return block

    return take


@contextmanager
def _open(name: str) -> Iterator[BinaryIO]:
    """Raises InputError for a special file, which might never end or block for ever."""
    if name == "-":
        if sys.stdin is None:
            raise InputError("-: standard input is closed")
        yield _decompressed(sys.stdin.buffer)
        return
    open_reports_errors = _is_stream(name) or os.path.isdir(name) or not os.path.exists(name)
    if not open_reports_errors and (reason := file_problem(Path(name))):
        raise InputError(reason)
    # Non-blocking, because the path may be a FIFO by now.
    with open(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        os.set_blocking(file.fileno(), True)
        yield _decompressed(file)


def _is_stream(name: str) -> bool:
    """Whether the name is a stream that the shell has opened: standard input, or `<(command)`."""
    return name == "/dev/stdin" or os.path.dirname(name) in ("/dev/fd", "/proc/self/fd")


def _is_plain(stream: BinaryIO) -> bool:
    return isinstance(stream, BufferedReader) and stat.S_ISREG(os.fstat(stream.fileno()).st_mode)


def _decompressed(stream: BinaryIO) -> BinaryIO:
    """Decompress gzip, detected by its first two bytes. It never seeks, so the stream can be a pipe."""
    file = stream if isinstance(stream, BufferedReader) else BufferedReader(cast(RawIOBase, stream))
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if file.peek(2)[:2] == _GZIP_MAGIC else file


def last_lines(file: str) -> bytes:
    """The last whole lines of a file, which are in its present format. Raises InputError."""
    with open_input(file) as (sample, *_), Path(file).open("rb") as stream:
        lines = sample
        if len(sample) == SAMPLE_BYTES and stream.read(2) != _GZIP_MAGIC:
            stream.seek(-SAMPLE_BYTES, os.SEEK_END)
            lines = stream.read(SAMPLE_BYTES).partition(b"\n")[2]
    return lines[: lines.rfind(b"\n") + 1] or lines
