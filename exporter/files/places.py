"""The folders in which rotated files of a log may lie."""

import os
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import unquote_to_bytes

from exporter.files.siblings import Sibling, folders_in, rotated, siblings
from exporter.window import Position


class Places:
    """The log's own folder; that of what it leads to or led to as a symbolic link (B28); one to which a file was moved
    that is open or was found again; and, as long as something is missing, those below the log's own (B29): nothing is
    proved of these until one of the missing is found there.
    """

    def __init__(self, path: str, log_patterns: tuple[str, ...]) -> None:
        self._path, self._log_patterns = path, log_patterns
        self._proved: set[str] = set()
        self._unproved: set[str] = set()

    def prove(self, folder: str) -> None:
        """A file of this log lies there."""
        self._proved.add(folder)
        self._unproved.discard(folder)

    def is_proved(self, path: str) -> bool:
        """Whether a file lies where those of this log do."""
        return os.path.dirname(path) not in self._unproved

    def siblings(self, missing: Collection[Position]) -> list[Sibling]:
        """The rotated files that are there, those in proved places first, the oldest first. Raises nothing."""
        now = os.path.realpath(self._path)
        left = {os.fsdecode(unquote_to_bytes(p.target)) for p in missing if p.target}
        found = set(siblings(left - {now}))
        for path in {self._path, now} | left:
            with suppress(OSError):
                found |= {*rotated(path, self._log_patterns)}
        folder, name = os.path.split(self._path)
        self._proved -= {"", folder, os.path.realpath(folder)}
        self._unproved = {*folders_in(folder)} - self._proved if missing else set()
        for each in self._proved | self._unproved:
            with suppress(OSError):
                found |= {*rotated(os.path.join(each, name))}
        return sorted(found, key=lambda s: (not self.is_proved(s.path), s.age))
