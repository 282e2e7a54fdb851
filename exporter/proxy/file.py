"""A log file that several processes append to and others rotate: each line is one write."""

import os

#: Without a wait: a pipe that nobody reads costs lines, as a full disk does, and holds up no request.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK


class LogFile:
    """Opened when first written to, and again whenever its path leads elsewhere."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def append(self, line: bytes) -> bool:
        """True if the whole line is in the file; nothing of it is otherwise."""
        try:
            if not self._current():
                self.close()
                self._descriptor = os.open(self._path, _FLAGS, 0o644)
            written = os.write(self._descriptor, line)
            if written < len(line):
                self._take_back(written)
            return written == len(line)
        except OSError:
            return False

    def close(self) -> None:
        """The next line opens the path anew."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _current(self) -> bool:
        if self._descriptor < 0:
            return False
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except OSError:
            return False

    def _take_back(self, written: int) -> None:
        """A full disk takes half a line. With O_APPEND the position is the end of what we wrote."""
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if os.fstat(self._descriptor).st_size == end:
            os.ftruncate(self._descriptor, end - written)
