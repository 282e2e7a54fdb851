"""Compares files by their fingerprints: the first bytes, and the bytes before a position. All functions are pure."""

import os
from collections.abc import Iterable

from msgspec import structs

from exporter.tail.open_file import OpenFile
from exporter.tail.position import FINGERPRINT, PREFIX, SKIP_LINE, Fingerprint, Position


def head_matches(file: OpenFile, position: Position) -> bool:
    return position.head.matches(file.read(0, position.head.length))


def matches(file: OpenFile, position: Position) -> bool:
    """Return whether the head of the file and the bytes before the offset are the ones that were posted."""
    length = position.tail.length
    return (
        length <= position.offset
        and head_matches(file, position)  # first: it rejects most files, and does not unpack a `.gz`
        and file.size() >= position.offset
        and position.tail.matches(file.read(position.offset - length, length))
    )


def is_copy(file: OpenFile, size: int, known: Iterable[Position], opened: Iterable[OpenFile]) -> bool:
    """Return whether the first `size` bytes of a file are a copy of a known generation or of its beginning."""
    return any(is_beginning(file, size, other) for other in opened) or any(_is_copy_of(file, size, p) for p in known)


def is_beginning(file: OpenFile, size: int, other: OpenFile) -> bool:
    """Return whether the first and last of `size` bytes are equal in both files.

    The other file may be longer, never shorter: many generations of a log begin with the same half-written line.
    """
    ends = ((0, min(size, FINGERPRINT)), (max(0, size - FINGERPRINT), min(size, FINGERPRINT)))
    return 0 < size <= other.size() and all(file.read(*end) == other.read(*end) for end in ends)


def _is_copy_of(file: OpenFile, size: int, position: Position) -> bool:
    """Return whether a file is a copy of a known generation, finished or not (B29)."""
    if position.head.length == 0 or not head_matches(file, position):
        return False
    return position.head.length <= size and (size < position.offset or matches(file, position))


def position_at(file: OpenFile, position: Position, offset: int) -> Position:
    """Return the position moved to `offset`, with fingerprints of this file. If `offset` is inside a line, the rest of
    the line is skipped.
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
    """Return the position at the beginning of a file. The caller sets its path and number."""
    return structs.replace(first_position(file.stat()), compressed=file.packed)


def first_position(found: os.stat_result) -> Position:
    return Position("", 0, found.st_dev, found.st_ino, modified=found.st_mtime_ns)
