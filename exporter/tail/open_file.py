"""An open log file, plain or gzip, read at any uncompressed offset.

Operations: its size, and its bytes at an offset; nothing else is known of a file here.
Goals: a plain file costs one system call per read. A gzip file is unpacked forwards only: once to learn that it is
whole, so that half a file is never used, and once while it is read. Its beginning and the bytes before the last read
are kept, so that comparing fingerprints never rewinds. A file that unpacks to far more than it holds takes no more
memory than any other, and delays other files by no more than `_STEP` bytes at a time.
"""

import errno
import gzip
import os
import stat
import zlib
from typing import Protocol

from exporter.process.fd_limit import fd_limit
from exporter.tail.permissions import KINDS, is_packed_file
from exporter.tail.position import FINGERPRINT, Identity

_BLOCK = 1 << 18

#: Bytes that are unpacked at a time to learn whether a file is whole.
_STEP = 1 << 24

#: Descriptors that logs leave to connections and to the state: too many logs stop neither scrapes nor commits.
_RESERVED = 32


class NotAFileError(OSError):
    """A FIFO, folder, socket or device where a log should be."""


class PackedError(OSError):
    """A log that nginx packs while it writes it (`access_log … gzip`)."""


class Unpacking(Exception):  # noqa: N818  a state, not an error
    """A gzip file has not been unpacked to its end yet: ask again."""


#: What a gzip file raises that is damaged or not yet whole.
GZIP_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error)

#: What any operation on a file may raise.
FILE_ERRORS = (OSError, EOFError, zlib.error)


class OpenFile(Protocol):
    """`size` counts uncompressed bytes."""

    packed: bool

    def stat(self) -> os.stat_result: ...

    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes: ...

    def folder(self) -> str: ...

    def is_packed(self, path: str) -> bool: ...

    def close(self) -> None: ...


class PlainFile:
    packed = False

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


class PackedFile:
    """`size` and `read` raise GZIP_ERRORS; Unpacking until the file was unpacked to its end once; and PackedError where
    it grows after that, because then nginx packs it while it writes it.

    The first bytes can be read before that.
    """

    packed = True

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._packed = os.fdopen(descriptor, "rb")
        self._stream = gzip.GzipFile(fileobj=self._packed)
        self._size: int | None = None
        self._packed_size = 0
        self._unpacked = 0
        self._head = b""
        self._begin, self._buffer = 0, b""

    def stat(self) -> os.stat_result:
        return os.fstat(self._descriptor)

    def size(self) -> int:
        if self._size is not None and self._packed_size < self.stat().st_size:
            raise PackedError("a member was added behind the end")
        if self._size is None:
            self._packed_size = self.stat().st_size
            enough = self._unpacked + _STEP
            while self._unpack():
                if self._unpacked >= enough:
                    raise Unpacking
            self._size = self._unpacked
            self._rewind()
        return self._size

    def read(self, offset: int, size: int) -> bytes:
        if offset + size <= FINGERPRINT and (len(self._head) == FINGERPRINT or self._size is not None):
            return self._head[offset : offset + size]
        if self._size is None and offset + size <= FINGERPRINT:
            while len(self._head) < FINGERPRINT and self._unpack():
                pass
            return self._head[offset : offset + size]
        self.size()
        if offset < self._begin:
            self._rewind()
        while self._begin + len(self._buffer) < offset + size:
            block = self._stream.read(_BLOCK)
            if not block:
                break
            kept = max(0, min(offset - FINGERPRINT, self._begin + len(self._buffer)) - self._begin)
            self._buffer = self._buffer[kept:] + block
            self._begin += kept
        return self._buffer[offset - self._begin :][:size]

    def folder(self) -> str:
        return _folder_of(self._descriptor)

    def is_packed(self, path: str) -> bool:
        return is_packed_file(path, self._descriptor)

    def close(self) -> None:
        self._stream.close()
        self._packed.close()

    def _unpack(self) -> bool:
        """Unpacks one block to learn the size. Whether there was one."""
        block = self._stream.read(_BLOCK)
        if len(self._head) < FINGERPRINT:
            self._head += block[: FINGERPRINT - len(self._head)]
        self._unpacked += len(block)
        return bool(block)

    def _rewind(self) -> None:
        self._stream.rewind()
        self._unpacked = 0
        self._begin, self._buffer = 0, b""


def open_log(path: str) -> OpenFile:
    """Raises OSError, NotAFileError among them. Never waits for a FIFO's writer."""
    refuse(path, os.stat(path))  # opening alone may do something: a tape is wound back, a watchdog is armed
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        refuse(path, os.fstat(descriptor))
        if descriptor >= (most := fd_limit()) - min(_RESERVED, most // 4):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
    except OSError:
        os.close(descriptor)
        raise
    return PackedFile(descriptor) if path.endswith(".gz") else PlainFile(descriptor)


def open_current(path: str) -> OpenFile:
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
    """Raises NotAFileError, which says what is there instead of a file."""
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


def _folder_of(descriptor: int) -> str:
    """The folder of an open file; "" where the file was deleted or the kernel does not say."""
    try:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        return os.path.dirname(path) if identity(os.stat(path)) == identity(os.fstat(descriptor)) else ""
    except OSError:
        return ""
