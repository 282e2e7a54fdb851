"""Tracks the first pass of a source: reading its files up to the sizes found at the start."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class FirstPass(Generic[T]):
    """The bytes left to read of each file. Methods without an argument may be called by any thread."""

    def __init__(self) -> None:
        self._has_begun = False
        self._to_measure: set[T] = set()
        self._left: dict[T, int] = {}
        self._found = 0

    def begin(self, files: Iterable[T]) -> None:
        self._to_measure = set(files)
        self._has_begun = True

    def measure(self, file: T, size: int) -> None:
        """Set the number of bytes to read of a file. Only the first call per file counts."""
        if file in self._to_measure:
            self._to_measure.discard(file)
            self._left[file] = size
            self._found += size

    def read(self, file: T, size: int) -> None:
        if file in self._left:
            self._left[file] = max(0, self._left[file] - size)

    def finish(self, file: T) -> None:
        """The file was read to its end, or cannot be read."""
        self._left.pop(file, None)

    def is_done(self) -> bool:
        return self._has_begun and not self._to_measure and not any(list(self._left.values()))

    def progress(self) -> tuple[int, int]:
        """Return how many of the bytes found at the start were read, and how many were found."""
        return self._found - sum(list(self._left.values())), self._found
