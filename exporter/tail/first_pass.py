"""Tracks the first pass of a source: reading its files up to the sizes found at the start."""

from collections.abc import Iterable


class FirstPass:
    """The bytes left to read of each path. Methods without an argument may be called by any thread."""

    def __init__(self) -> None:
        self._has_begun = False
        self._to_measure: set[str] = set()
        self._left: dict[str, int] = {}
        self._found = 0

    def begin(self, paths: Iterable[str]) -> None:
        self._to_measure = set(paths)
        self._has_begun = True

    def measure(self, path: str, size: int) -> None:
        """Set the number of bytes to read of a path. Only the first call per path counts."""
        if path in self._to_measure:
            self._to_measure.discard(path)
            self._left[path] = size
            self._found += size

    def read(self, path: str, size: int) -> None:
        if path in self._left:
            self._left[path] = max(0, self._left[path] - size)

    def finish(self, path: str) -> None:
        """The file was read to its end, or cannot be read."""
        self._left.pop(path, None)

    def is_done(self) -> bool:
        """Return whether all files were read up to their sizes at the start. Unreadable files do not count."""
        return self._has_begun and not self._to_measure and not any(list(self._left.values()))

    def progress(self) -> tuple[int, int]:
        """Return how many of the bytes found at the start were read, and how many were found."""
        return self._found - sum(list(self._left.values())), self._found
