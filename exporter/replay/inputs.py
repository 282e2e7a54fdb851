"""Opens the inputs that `replay` and `check` read once: files, packed or not, standard input, and remote addresses."""

import gzip
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import F_SETPIPE_SZ, fcntl
from functools import cache, partial
from importlib import import_module
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from exporter.messages import address
from exporter.process.special_files import is_stream
from exporter.replay import remote
from exporter.replay.errors import InputError
from exporter.replay.feed import Read
from exporter.tail.encoding import UTF_8_BOM, encoding_of, remedy
from exporter.tail.permissions import file_problem, is_gzip

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

#: The largest size in bytes that Linux gives a pipe without a privilege.
_PIPE_SIZE = 1 << 20

#: Enough bytes to detect the format of a log.
SAMPLE_BYTES = 1 << 18


class Input(NamedTuple):
    """An open input. `sample` is its beginning, without a byte order mark. `read` reads from the beginning on.

    `descriptor` is the file descriptor of a local file; None for an address and for a stream, which can be read only
    once. `size` is the size in bytes of an input that can be read at any offset; None for a packed one and a stream.
    """

    sample: bytes
    read: Read
    descriptor: int | None
    size: int | None
    is_stream: bool


@contextmanager
def open_input(name: str, on_damage: Callable[[str], None] | None = None) -> Iterator[Input]:
    """Open a file or an address, or standard input for `-`. Packed ones are detected by magic bytes. Raises InputError.

    With `on_damage`, a packed input that is cut or damaged is read up to there, and `on_damage` gets the reason.
    """
    with open_file(name) as file:
        stream = _unpacked(file, name)
        is_packed = stream is not file
        # `read` fills its buffer, so an interrupt between two reads of a pipe would go unnoticed.
        take: Read = stream.read if is_packed else file.read1
        if on_damage is not None and is_packed:
            take = _up_to_damage(stream, on_damage)
        sample = filled(take, SAMPLE_BYTES)
        if encoding := encoding_of(sample):
            raise InputError(f"{address(name)}: is {encoding}; {remedy(encoding)}")
        begin = BytesIO(sample)

        def read(size: int) -> bytes:
            return begin.read(size) or take(size)

        descriptor, size, is_stream = _kind(file, name)
        yield Input(sample.removeprefix(UTF_8_BOM), read, descriptor, None if is_packed else size, is_stream)


def filled(read: Read, size: int) -> bytes:
    """Read `size` bytes. The result is shorter only at the end of the input."""
    block = b""
    while len(block) < size and (more := read(size - len(block))):
        block += more
    return block


@contextmanager
def open_file(name: str) -> Iterator[BufferedReader]:
    """Open an input as it is, packed or not. Raises InputError, also for what happens while it is read."""
    try:
        with remote.opened(name) if remote.is_remote(name) else _open(name) as file:
            yield file
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(file_problem(Path(name)) or f"{name}: cannot be read: {error.strerror}") from error
    except _read_errors() as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{address(name)}: cannot be read: {reason}") from error


def _kind(file: BufferedReader, name: str) -> tuple[int | None, int | None, bool]:
    """The descriptor of a local file, the size of what can be read at any offset, and whether it is a stream."""
    if remote.is_remote(name):
        return None, remote.size(file), False
    if name == "-" or not stat.S_ISREG((status := os.fstat(file.fileno())).st_mode):
        return None, None, True
    return file.fileno(), status.st_size, False


def _up_to_damage(stream: BinaryIO, on_damage: Callable[[str], None]) -> Read:
    """Reads a packed input, until an error ends it. Small reads lose nothing of what comes before the error."""
    is_damaged = False

    def take(size: int) -> bytes:
        nonlocal is_damaged
        try:
            return b"" if is_damaged else stream.read1(size)  # type: ignore[attr-defined]
        except _damages() as error:
            is_damaged = True
            on_damage(str(error))
            return b""

    return partial(filled, take)


@contextmanager
def _open(name: str) -> Iterator[BufferedReader]:
    """Raises InputError for a special file, which might never end or block for ever."""
    if name == "-":
        if sys.stdin is None:
            raise InputError("-: standard input is closed")
        yield _buffered(sys.stdin.buffer)
        return
    open_reports_errors = is_stream(name) or os.path.isdir(name) or not os.path.exists(name)
    if not open_reports_errors and (reason := file_problem(Path(name))):
        raise InputError(reason)
    # Non-blocking, because the path may be a FIFO by now.
    with open(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        os.set_blocking(file.fileno(), True)
        yield _buffered(file)


def _buffered(stream: BinaryIO) -> BufferedReader:
    # A pipe of the usual 64 KiB makes windows of this size, which cost three times as much per line.
    with suppress(OSError):  # most files are no pipes
        fcntl(stream.fileno(), F_SETPIPE_SZ, _PIPE_SIZE)
    return stream if isinstance(stream, BufferedReader) else BufferedReader(cast(RawIOBase, stream))


def _unpacked(file: BufferedReader, name: str) -> BinaryIO:
    """Unpack gzip and Zstandard, detected by the first bytes. It never seeks, so the stream can be a pipe."""
    magic = file.peek(4)[:4]
    if is_gzip(magic):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if magic != _ZSTD_MAGIC:
        return file
    if (zstd := _zstd()) is None:
        raise InputError(f"{address(name)}: is packed with Zstandard: install dify-exporter[remote] or unpack it")
    return cast(BinaryIO, zstd.ZstdFile(file))


@cache
def _zstd() -> Any:
    """The module that unpacks Zstandard; None if there is none."""
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(name)
    return None


def _damages() -> tuple[type[Exception], ...]:
    """The exceptions of a cut or damaged packed input. Called only after an exception, because it imports modules."""
    zstd = _zstd()
    return EOFError, zlib.error, gzip.BadGzipFile, *(() if zstd is None else (zstd.ZstdError,))


def _read_errors() -> tuple[type[Exception], ...]:
    return OSError, *_damages()


def last_lines(file: str) -> bytes:
    """The last whole lines of a file, which are in its present format. Raises InputError."""
    with open_input(file) as log, Path(file).open("rb") as stream:
        lines = log.sample
        if len(lines) == SAMPLE_BYTES and log.size is not None:
            stream.seek(-SAMPLE_BYTES, os.SEEK_END)
            lines = stream.read(SAMPLE_BYTES).partition(b"\n")[2]
    return lines[: lines.rfind(b"\n") + 1] or lines
