"""A log file to which several processes append and which log rotation may replace.

* Each append is one write of whole lines. If a full disk cuts it, the half line at its end is removed.
* The file is rotated by rename: by logrotate, or by this class when it has reached its size. Every process notices
  that its path leads to another file, and opens that one.
"""

import contextlib
import fcntl
import logging
import os
import stat
import time

_log = logging.getLogger(__name__)

#: O_NONBLOCK: a pipe without a reader loses lines, as a full disk does, but blocks no request.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK

#: The first bytes of each line that our programs write.
_LINE_BEGIN = b'{"ts":"'
_LONGEST_LINE = 1 << 20
#: Seconds between two warnings of one process that its file cannot be written.
_WARNING_SECONDS = 60.0


class LogFile:
    """Opens its path at the first append, and again when the path leads to another file.

    A file of `max_bytes` or more is renamed to .1, and .1 to .2, and so on up to `backups`; with 0 it is never renamed.
    If `is_exclusive`, the file is locked (flock) as long as it is open, and nothing is written to a file that another
    process has locked.
    """

    def __init__(self, path: str, max_bytes: int = 0, backups: int = 5, *, is_exclusive: bool = False) -> None:
        self.path, self._max_bytes, self._backups, self._is_exclusive = path, max_bytes, backups, is_exclusive
        self._descriptor = -1
        self._next_warning = 0.0

    def append(self, lines: bytes) -> int:
        """Write whole lines at once. Returns the number of bytes written: those of whole lines, 0 if there is none."""
        try:
            self.open()
            if self._is_full() and self._rotate():
                self.open()
            written = os.write(self._descriptor, lines)
        except OSError as error:
            self._warn(str(error.strerror))
            return 0
        if written == len(lines):
            return written
        self._warn("only a part of the lines fits, as on a full disk")
        kept = lines.rfind(b"\n", 0, written) + 1
        with contextlib.suppress(OSError):
            self._remove_last(written - kept)
        return kept

    def open(self) -> None:
        """Open the file of the path if it is not open. Raises BlockingIOError if another process has locked it."""
        if self._is_current():
            return
        self.close()
        descriptor = os.open(self.path, _FLAGS, 0o644)
        try:
            if self._is_exclusive:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove_half_line(self) -> None:
        """Remove what a killed process left behind the last newline. Only for a file that nobody else writes.

        If that is not the beginning of a line of ours, the line is completed instead. Raises OSError.
        """
        with open(self.path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            begin = max(0, size - _LONGEST_LINE)
            file.seek(begin)
            half = file.read().rpartition(b"\n")[2]
            if half.startswith(_LINE_BEGIN) or (half and _LINE_BEGIN.startswith(half)):
                file.truncate(size - len(half))
            elif half:
                file.write(b"\n")

    def _warn(self, reason: str) -> None:
        if time.monotonic() >= self._next_warning:
            self._next_warning = time.monotonic() + _WARNING_SECONDS
            _log.error("%s cannot be written: %s; each further line is tried again", self.path, reason)

    def _is_current(self) -> bool:
        if self._descriptor < 0:
            return False
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._descriptor))
        except OSError:
            return False

    def _is_full(self) -> bool:
        if not self._max_bytes:
            return False
        found = os.fstat(self._descriptor)
        return stat.S_ISREG(found.st_mode) and found.st_size >= self._max_bytes

    def _rotate(self) -> bool:
        """Rename the file to .1. Returns False if it keeps its name: another process renames it, or the rename
        failed."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_current():  # else another process has renamed it before it gave the lock back
                path = os.path.realpath(self.path)
                for number in range(self._backups - 1, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(f"{path}.{number}", f"{path}.{number + 1}")
                os.replace(path, f"{path}.1")
        except OSError:
            if not self._is_exclusive:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            return False
        return True

    def _remove_last(self, size: int) -> None:
        """Truncate the half line that a full disk left. With O_APPEND our position is the end of our last write."""
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if os.fstat(self._descriptor).st_size == end:  # else another process has written behind it
            os.ftruncate(self._descriptor, end - size)
