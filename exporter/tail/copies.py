"""Whether a file that a path has come to name is a copy of another path's generation (B29).

A glob may match the copies that a rotator or an operator makes (`copytruncate` with `extension`, `cp x.log x.log.bak`).
What was counted once, or is read elsewhere, is not counted again, whatever the copy is called.
"""

import os

from exporter.tail.fingerprint import head_matches, is_beginning, matches, tail_matches
from exporter.tail.generation import Generation, State
from exporter.tail.open_file import OpenFile
from exporter.tail.position import FINGERPRINT, Fingerprint, Position, decoded


def copied_bytes(file: OpenFile, size: int, path: str, others: list[Generation]) -> int | None:
    """How many of the first `size` bytes of a file that `path` names are a copy of one of the other generations.

    None where that cannot be decided yet: another path is about to find out that this is the copy of what it misses.
    """
    head = file.read(0, min(size, FINGERPRINT))
    heads: dict[int, Fingerprint] = {}
    for other in others:
        known = other.position.head
        if known.length <= len(head):  # else its own file has to be compared
            if known.length not in heads:
                heads[known.length] = Fingerprint.of(head[: known.length])
            if heads[known.length] != known:
                continue
        copied = _of_open(file, size, other) if other.reader else _of_closed(file, size, path, other)
        if copied != 0:
            return copied
    return 0


def _of_open(file: OpenFile, size: int, other: Generation) -> int | None:
    original, position = other.opened.file, other.position
    present = original.size()
    if present < position.offset or not (head_matches(original, position) and tail_matches(original, position)):
        return None  # it was truncated just now, and this may be the copy of what it held
    common = min(size, present)
    return common if is_beginning(file, common, original) else 0


def _of_closed(file: OpenFile, size: int, path: str, other: Generation) -> int | None:
    position = other.position
    if size >= position.offset:
        if not (position.tail.length and matches(file, position)):
            return 0
        is_searched = other.state is State.MISSING and _folder(position) == os.path.dirname(path)
        return None if is_searched else position.offset
    # Its end cannot be compared: a whole head, which is known to match, is much evidence, a shorter one is none.
    return size if position.head.length == FINGERPRINT <= size else 0


def _folder(position: Position) -> str:
    return os.path.dirname(decoded(position.path))
