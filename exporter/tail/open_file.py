"""An open log file, plain or gzip, read at any uncompressed offset.

Operations: return the size, and read bytes at an offset.
Goals: a plain file costs one system call per read. A gzip file is unpacked forwards only: once to check that it is
whole, so that half a file is never used, and once to read it. Its beginning and the bytes before the last read are
kept, so that comparing fingerprints never rewinds. A decompression bomb takes no more memory than any other file, and
delays other files by at most `_STEP` bytes at a time.

The first pass is needed, also after a restart, because what is counted cannot be taken back:

* Only the end of the file shows whether its bytes are right (CRC) and whether a program is still writing it.
* Only its last bytes show whether it is a copy of a generation that was read. Most packed files are such copies, and
  need no second pass.
* Only its size shows whether it is an earlier copy, shorter than the generation that is missing.
"""

import errno
import gzip
import os
import stat
import zlib

from exporter.process.limits import fd_limit
from exporter.process.special_files import KINDS
from exporter.tail.permissions import is_packed
from exporter.tail.position import FINGERPRINT, Identity

_BLOCK = 1 << 18

#: Seconds without a change after which a file or folder counts as unchanged: time stamps are as coarse as 2 s (FAT).
SETTLED = 3.0

#: Bytes that are unpacked at a time to check whether a file is whole.
_STEP = 1 << 24

#: Descriptors reserved for connections and for the state: too many logs stop neither scrapes nor commits.
_RESERVED = 32


class NotAFileError(OSError):
    """The path names a FIFO, folder, socket or device instead of a log."""


class PackedError(OSError):
    """nginx compresses this log while it writes it (`access_log … gzip`)."""


class Unpacking(Exception):  # noqa: N818  a state, not an error
    """A gzip file has not been unpacked to its end yet: try again."""


#: What any operation on a file may raise.
FILE_ERRORS = (OSError, EOFError, zlib.error)


class OpenFile:
    """An open plain file. Every operation raises FILE_ERRORS."""

    packed = False

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def stat(self) -> os.stat_result:
        return os.fstat(self.descriptor)

    def size(self) -> int:
        return self.stat().st_size

    def read(self, offset: int, size: int) -> bytes:
        """Read up to `size` uncompressed bytes at an uncompressed offset."""
        return os.pread(self.descriptor, size, offset)

    def folder(self) -> str:
        """Return the folder that the file is in now, "" if the file was deleted or the kernel does not know."""
        try:
            path = os.readlink(f"/proc/self/fd/{self.descriptor}")
            return os.path.dirname(path) if identity_of(os.stat(path)) == identity_of(self.stat()) else ""
        except OSError:
            return ""

    def close(self) -> None:
        os.close(self.descriptor)


class PackedFile(OpenFile):
    """An open gzip file.

    `size` and `read` raise FILE_ERRORS if the file is damaged or incomplete, and Unpacking until it was unpacked to its
    end once. If it grows after that, nginx compresses it while it writes it, and they raise PackedError. The first 256
    bytes can be read without waiting for the end.
    """

    packed = True

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._packed = os.fdopen(descriptor, "rb")
        self._stream = gzip.GzipFile(fileobj=self._packed)
        self._size: int | None = None
        self._packed_size = 0
        self._unpacked = 0
        self._head = b""
        self._begin, self._buffer = 0, b""

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
        if offset + size <= FINGERPRINT:
            while self._size is None and len(self._head) < FINGERPRINT and self._unpack():
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

    def close(self) -> None:
        self._stream.close()
        self._packed.close()

    def _unpack(self) -> bool:
        """Unpack one block to measure the size. Return False at the end of the file."""
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
    """Open a file by its path. Raise OSError (including NotAFileError). The call never waits for a FIFO's writer."""
    refuse(path, os.stat(path))  # before opening it: that alone rewinds a tape, or starts a watchdog device
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        refuse(path, os.fstat(descriptor))
        if descriptor >= (most := fd_limit()) - min(_RESERVED, most // 4):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
    except OSError:
        os.close(descriptor)
        raise
    return PackedFile(descriptor) if path.endswith(".gz") else OpenFile(descriptor)


def open_current(path: str) -> OpenFile:
    """Open the log that is written at this path. Raise OSError (including PackedError and NotAFileError)."""
    file = open_log(path)
    try:
        if is_packed(path, file.descriptor):
            raise PackedError(f"{path} is packed by nginx")
    except OSError:
        file.close()
        raise
    return file


def refuse(path: str, found: os.stat_result) -> None:
    """Raise NotAFileError unless the path names a regular file. The message says what the path names."""
    if not stat.S_ISREG(found.st_mode):
        raise NotAFileError(f"{path} is {KINDS.get(stat.S_IFMT(found.st_mode), 'no regular file')}")


def error_reason(error: Exception) -> str:
    """Return why a file cannot be read, as one of a fixed set of values of the label `reason`."""
    if isinstance(error, NotAFileError):
        return "not_a_file"
    if isinstance(error, PackedError):
        return "packed"
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "too_many_files"
    return "permission" if isinstance(error, PermissionError) else "io"


def identity_of(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino
