"""An open log file, plain or gzip, read at any uncompressed offset without moving anything."""

import errno
import gzip
import os
import stat
import zlib
from typing import Protocol

from msgspec import structs

from exporter.files.readable import KINDS, is_packed_file
from exporter.process.fd_limit import fd_limit
from exporter.window import MARKER, Position, digest

Identity = tuple[int, int]

_BLOCK = 1 << 18

#: Descriptors that logs leave to connections and to the state: too many logs stop neither scrapes nor commits.
_LEFT = 32

#: What a gzip file raises that is damaged or not yet whole.
GZIP_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error)


class NotAFileError(OSError):
    """A FIFO, folder, socket or device where a log should be."""


class PackedError(OSError):
    """A log that nginx packs while it writes it."""


class Opened(Protocol):
    """`size` counts uncompressed bytes."""

    compressed: bool

    def stat(self) -> os.stat_result: ...

    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes: ...

    def folder(self) -> str: ...

    def is_packed(self, path: str) -> bool: ...

    def close(self) -> None: ...


def _folder_of(descriptor: int) -> str:
    """Where an open file is now; "" where it was deleted, or the kernel does not say."""
    try:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        return os.path.dirname(path) if identity(os.stat(path)) == identity(os.fstat(descriptor)) else ""
    except OSError:
        return ""


class Plain:
    compressed = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def stat(self) -> os.stat_result:
        return os.fstat(self._descriptor)

    def size(self) -> int:
        return self.stat().st_size

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def folder(self) -> str:
        return _folder_of(self._descriptor)

    def is_packed(self, path: str) -> bool:
        return is_packed_file(path, self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class Gzip:
    """Its size is known once it has been read to its end, so that half a file is never taken for a whole one
    (B25); its head may be looked at before. Reading forwards costs no second decompression: the block read last
    is kept. `size` and `read` raise GZIP_ERRORS, `size` PackedError where the file grows after its end was found.
    """

    compressed = True

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._packed = os.fdopen(descriptor, "rb")
        self._stream = gzip.GzipFile(fileobj=self._packed)
        self._size: int | None = None
        self._packed_size = 0
        self._begin, self._block = 0, b""

    def stat(self) -> os.stat_result:
        return os.fstat(self._descriptor)

    def size(self) -> int:
        if self._size is not None and self.stat().st_size > self._packed_size:
            raise PackedError("a member was added behind the end")
        if self._size is None:
            size = self._begin = self._stream.seek(0)
            while block := self._stream.read(_BLOCK):
                size += len(block)
            self._stream.rewind()
            self._size, self._block, self._packed_size = size, b"", self.stat().st_size
        return self._size

    def read(self, offset: int, size: int) -> bytes:
        end = self._begin + len(self._block)
        if not self._begin <= offset <= end:
            self._begin = end = self._stream.seek(offset)
            self._block = b""
        if offset + size > end:
            self._block = self._block[offset - self._begin :] + self._stream.read(offset + size - end)
            self._begin = offset
        return self._block[offset - self._begin :][:size]

    def folder(self) -> str:
        return _folder_of(self._descriptor)

    def is_packed(self, path: str) -> bool:
        return is_packed_file(path, self._descriptor)

    def close(self) -> None:
        self._stream.close()
        self._packed.close()


def open_log(path: str) -> Opened:
    """Raises OSError, NotAFileError among them. Never waits for a FIFO's writer."""
    refuse(path, os.stat(path))  # opening alone may do something: a tape is wound back, a watchdog is armed
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        refuse(path, os.fstat(descriptor))
        if descriptor >= (most := fd_limit()) - min(_LEFT, most // 4):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
    except OSError:
        os.close(descriptor)
        raise
    return Gzip(descriptor) if path.endswith(".gz") else Plain(descriptor)


def open_current(path: str) -> Opened:
    """The log that is written at this path. Raises OSError, PackedError and NotAFileError among them."""
    file = open_log(path)
    try:
        if file.is_packed(path):
            raise PackedError(f"{path} is packed by nginx")
    except OSError:
        file.close()
        raise
    return file


def refuse(path: str, found: os.stat_result) -> None:
    """Raises NotAFileError, which says what stands there instead of a file."""
    if not stat.S_ISREG(found.st_mode):
        raise NotAFileError(f"{path} is {KINDS.get(stat.S_IFMT(found.st_mode), 'no regular file')}")


def reason(error: Exception) -> str:
    """The reason, of a closed set, why a file cannot be read."""
    if isinstance(error, NotAFileError):
        return "not_a_file"
    if isinstance(error, PackedError):
        return "packed"
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "too_many_files"
    return "permission" if isinstance(error, PermissionError) else "io"


def identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino


def at_end(file: Opened, position: Position, offset: int) -> Position:
    """The position moved to `offset`, with the file's own bytes as head and marker; inside a line, what is left of
    that is skipped.
    """
    marker = file.read(max(0, offset - MARKER), min(MARKER, offset))
    head = file.read(0, min(MARKER, offset))
    return structs.replace(
        position,
        offset=offset,
        skipping=bool(marker) and not marker.endswith(b"\n"),
        head=digest(head),
        head_length=len(head),
        marker=digest(marker),
        marker_length=len(marker),
        size=offset,
    )


def unread_of(file: Opened) -> Position:
    """The position at the beginning of a file, its path and number left open."""
    found = file.stat()
    return Position(
        path="",
        number=0,
        device=found.st_dev,
        inode=found.st_ino,
        modified=found.st_mtime_ns,
        compressed=file.compressed,
    )
