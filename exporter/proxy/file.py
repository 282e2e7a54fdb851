"""A log file to which several processes append and which log rotation may replace. Each line is one write."""

import os

#: O_NONBLOCK: a pipe without a reader loses lines, as a full disk does, but blocks no request.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK


class AppendedFile:
    """Opens its path at the first write, and again when the path leads to another file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def append(self, line: bytes) -> bool:
        """Write one line. Returns False if the line was not written; then no part of it is in the file."""
        try:
            if not self._is_current():
                self.close()
                self._descriptor = os.open(self._path, _FLAGS, 0o644)
            written = os.write(self._descriptor, line)
            if written < len(line):
                self._remove_partial_line(written)
            return written == len(line)
        except OSError:
            return False

    def close(self) -> None:
        """Close the file. The next `append` opens the path again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_current(self) -> bool:
        if self._descriptor < 0:
            return False
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except OSError:
            return False

    def _remove_partial_line(self, written: int) -> None:
        """Truncate a line that a full disk cut. With O_APPEND our position is the end of our last write."""
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if os.fstat(self._descriptor).st_size == end:
            os.ftruncate(self._descriptor, end - written)
