"""Whether a file holds what was read of another: by its beginning and by the bytes before a position, never by all."""

from collections.abc import Iterable

from exporter.files.opened import Opened
from exporter.window import MARKER, Position, digest


def head_fits(file: Opened, position: Position) -> bool:
    """Whether the file begins as the one of this position did."""
    return digest(file.read(0, position.head_length)) == position.head


def fits(file: Opened, position: Position) -> bool:
    """Whether the bytes posted so far are those of this file, as far as its beginning and the marker tell."""
    marker = position.marker_length
    return (
        marker <= position.offset
        and head_fits(file, position)  # first: it tells most files apart, and a `.gz` need not be unpacked for it
        and file.size() >= position.offset
        and digest(file.read(position.offset - marker, marker)) == position.marker
    )


def is_copy(file: Opened, size: int, known: Iterable[Position], opened: Iterable[Opened]) -> bool:
    """Whether the first `size` bytes of a file are those of a generation that is known, or how one begins."""
    return any(_begins(file, size, other) for other in opened) or any(_is_copy_of(file, size, p) for p in known)


def _is_copy_of(file: Opened, size: int, position: Position) -> bool:
    """Whether a file is a copy, perhaps a half-made one, of a generation that is known (B29)."""
    if position.head_length == 0 or not head_fits(file, position):
        return False
    return position.head_length <= size and (size < position.offset or fits(file, position))


def _begins(file: Opened, size: int, other: Opened) -> bool:
    """Whether all of a file is how the other begins, as far as its own beginning and end tell. The other way round it
    is no copy: a log's first line, half written, is how many of its generations begin.
    """
    ends = ((0, min(size, MARKER)), (max(0, size - MARKER), min(size, MARKER)))
    return 0 < size <= other.size() and all(file.read(*end) == other.read(*end) for end in ends)
