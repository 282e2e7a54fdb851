"""The first pass of a source: its files are read up to the sizes that were found at the start."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class FirstPass(Generic[T]):
    """What is left to read of each file. The methods without an argument may be called by any thread."""

    def __init__(self) -> None:
        self._has_begun = False
        self._to_measure: set[T] = set()
        self._left: dict[T, int] = {}
        self._found = 0

    def begin(self, files: Iterable[T]) -> None:
        self._to_measure = set(files)
        self._has_begun = True

    def measure(self, file: T, size: int) -> None:
        """The number of bytes to read of a file, which counts when it is given first."""
        if file in self._to_measure:
            self._to_measure.discard(file)
            self._left[file] = size
            self._found += size

    def read(self, file: T, size: int) -> None:
        if file in self._left:
            self._left[file] = max(0, self._left[file] - size)

    def finish(self, file: T) -> None:
        """There is nothing more to read of a file, or it cannot be read."""
        self._left.pop(file, None)

    def is_done(self) -> bool:
        return self._has_begun and not self._to_measure and not any(list(self._left.values()))

    def progress(self) -> tuple[int, int]:
        """Bytes read of those found at the start, and those found."""
        return self._found - sum(list(self._left.values())), self._found
