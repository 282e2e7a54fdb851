"""Pure comparisons of files by content: by their beginning and by the bytes before a position, never by all bytes."""

from collections.abc import Iterable

from msgspec import structs

from exporter.tail.open_file import OpenFile
from exporter.tail.position import FINGERPRINT, PREFIX, SKIP_LINE, Fingerprint, Position


def head_matches(file: OpenFile, position: Position) -> bool:
    """Whether the file begins with the bytes that the generation of this position began with."""
    return position.head.matches(file.read(0, position.head.length))


def tail_matches(file: OpenFile, position: Position) -> bool:
    """Whether the bytes before the offset are those that were posted."""
    length = position.tail.length
    return length <= position.offset and position.tail.matches(file.read(position.offset - length, length))


def matches(file: OpenFile, position: Position) -> bool:
    """Whether the file holds the bytes that were posted, as far as its head and the bytes before the offset say."""
    return (
        position.tail.length <= position.offset
        and head_matches(file, position)  # first: it decides most, and a `.gz` need not be unpacked for it
        and file.size() >= position.offset
        and tail_matches(file, position)
    )


def is_copy(file: OpenFile, size: int, known: Iterable[Position], opened: Iterable[OpenFile]) -> bool:
    """Whether the first `size` bytes of a file are those of a known generation, or the beginning of one."""
    return any(is_beginning(file, size, other) for other in opened) or any(_is_copy_of(file, size, p) for p in known)


def is_beginning(file: OpenFile, size: int, other: OpenFile) -> bool:
    """Whether the file is the beginning of the other one, as far as its first and last bytes say.

    The reverse is not a copy: many generations of a log begin with the same half-written first line.
    """
    ends = ((0, min(size, FINGERPRINT)), (max(0, size - FINGERPRINT), min(size, FINGERPRINT)))
    return 0 < size <= other.size() and all(file.read(*end) == other.read(*end) for end in ends)


def _is_copy_of(file: OpenFile, size: int, position: Position) -> bool:
    """Whether a file is a copy, perhaps an unfinished one, of a known generation (B29)."""
    if position.head.length == 0 or not head_matches(file, position):
        return False
    return position.head.length <= size and (size < position.offset or matches(file, position))


def position_at(file: OpenFile, position: Position, offset: int) -> Position:
    """The position moved to `offset`, with the fingerprints of the file's own bytes. Inside a line, the rest of that
    line is skipped.
    """
    before = file.read(max(0, offset - FINGERPRINT), min(FINGERPRINT, offset))
    head = file.read(0, min(FINGERPRINT, offset))
    return structs.replace(
        position,
        offset=offset,
        skip=SKIP_LINE if before and not before.endswith(b"\n") else "",
        prefix=Fingerprint.of(head[:PREFIX]),
        head=Fingerprint.of(head),
        tail=Fingerprint.of(before),
        size=offset,
    )


def start_of(file: OpenFile) -> Position:
    """The position at the beginning of a file, with its path and number left open."""
    found = file.stat()
    return Position(
        path="",
        number=0,
        device=found.st_dev,
        inode=found.st_ino,
        modified=found.st_mtime_ns,
        compressed=file.packed,
    )
