"""Decides whether a file that a path newly names is a copy of another path's generation (B29).

A glob may match the copies that a rotator or an operator makes (`copytruncate` with `extension`, `cp x.log x.log.bak`).
Their lines are not counted again, whatever the name of the copy.
"""

import os
from functools import cache

from exporter.tail.fingerprint import is_beginning, matches
from exporter.tail.generation import FileState, Generation
from exporter.tail.open_file import OpenFile
from exporter.tail.position import FINGERPRINT, PREFIX, Fingerprint, decoded
from exporter.tail.table import GenerationIndex, GenerationTable


def copied_bytes(file: OpenFile, size: int, path: str, index: GenerationIndex, table: GenerationTable) -> int | None:
    """Return how many of the first `size` bytes of the file at `path` are a copy of another path's generation.

    `table` is the one of `path`. Return None if this cannot be decided yet, because the file may be the copy that
    another path is missing.
    """
    head = file.read(0, min(size, FINGERPRINT))
    head_of = cache(lambda length: Fingerprint.of(head[:length]))  # the heads of most generations are equally long
    for other in index.alike(head_of(PREFIX), table):
        known = other.position.head
        if known.length <= len(head) and known != head_of(known.length):
            continue  # a longer head is compared with the open file
        copied = _of_open(file, size, other) if other.reader else _of_closed(file, size, path, other)
        if copied != 0:
            return copied
    return 0


def _of_open(file: OpenFile, size: int, other: Generation) -> int | None:
    original = other.opened.file
    if not matches(original, other.position):
        return None  # it was truncated just now, and this file may be a copy of the old content
    common = min(size, original.size())
    return common if is_beginning(file, common, original) else 0


def _of_closed(file: OpenFile, size: int, path: str, other: Generation) -> int | None:
    position = other.position
    if size >= position.offset:
        if not (position.tail.length and matches(file, position)):
            return 0
        is_searched = other.state is FileState.MISSING and (
            os.path.dirname(decoded(position.path)) == os.path.dirname(path)
        )
        return None if is_searched else position.offset
    # The file is too short to compare its end. A full head, which already matched, is enough evidence; a shorter one is
    # not.
    return size if position.head.length == FINGERPRINT <= size else 0
