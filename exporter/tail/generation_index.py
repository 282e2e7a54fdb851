"""An index of the generations of all paths of a source, so that no path reads the bytes of another one.

A glob may match the copies that a rotator or an operator makes (`copytruncate` with `extension`, `cp x.log x.log.bak`).
Their lines are not counted again, whatever the name of the copy (B29).
"""

import os
from functools import cache

from exporter.tail.fingerprint import is_beginning, matches
from exporter.tail.generation import OPEN, FileState, Generation, Table, last_of_inode
from exporter.tail.open_file import OpenFile
from exporter.tail.position import FINGERPRINT, PREFIX, Fingerprint, Identity, decoded


class GenerationIndex:
    """All generations of one source, by (device, inode) and by the fingerprint of their first bytes.

    Arguments named `but` are the table of one path; the result has generations of other paths only.
    """

    def __init__(self) -> None:
        self._by_key: dict[Identity | bytes, dict[str, Generation]] = {}

    def update(self, generation: Generation) -> None:
        """Update the index after a change of a generation's identity or first bytes."""
        keys = [key for key in (generation.position.identity, generation.position.prefix.lookup_key) if key]
        if generation.index_keys != keys:
            self.discard(generation)
            generation.index_keys = keys
            for key in keys:
                self._by_key.setdefault(key, {})[generation.key] = generation

    def discard(self, generation: Generation) -> None:
        for key in generation.index_keys:
            del self._by_key[key][generation.key]
            if not self._by_key[key]:
                del self._by_key[key]
        generation.index_keys = []

    def of(self, key: Identity | bytes) -> list[Generation]:
        return list(self._by_key.get(key, {}).values())

    def owner(self, identity: Identity, but: Table) -> Generation | None:
        """Return the generation of another path that must read this file: an open one, else a missing one."""
        held = self._elsewhere(identity, but)
        held = [g for g in held if g.state in OPEN] or [g for g in held if g.state is FileState.MISSING]
        return max(held, key=last_of_inode, default=None)

    def is_open(self, identity: Identity, but: Table | None = None) -> bool:
        """Return whether any path reads this file. A file that may be a copy is not counted."""
        return any(g.state in OPEN and not g.may_be_copy for g in self._elsewhere(identity, but))

    def was_read(self, file: OpenFile, identity: Identity, but: Table) -> bool:
        """Return whether another path reads or has read the file, or one that it is a copy of.

        The inode alone may be reused (B27).
        """
        if self.is_open(identity, but) or any(
            g.reader is None and g.position.tail.length and matches(file, g.position)
            for g in self._elsewhere(identity, but)
        ):
            return True
        size = file.size()
        copied = self.copied_bytes(file, size, but)
        return copied is None or copied == size > 0

    def copied_bytes(self, file: OpenFile, size: int, but: Table) -> int | None:
        """Return how many of the first `size` bytes of a file are a copy of another path's generation.

        Return None if this cannot be decided yet, because the file may be the copy that another path is missing.
        """
        head = file.read(0, min(size, FINGERPRINT))
        head_of = cache(lambda length: Fingerprint.of(head[:length]))  # the heads of most generations are equally long
        for other in self._elsewhere(head_of(PREFIX).lookup_key, but):
            known = other.position.head
            if known.length <= len(head) and known != head_of(known.length):
                continue  # a longer head is compared with the open file
            copied = _of_open(file, size, other) if other.reader else _of_closed(file, size, but.path, other)
            if copied != 0:
                return copied
        return 0

    def _elsewhere(self, key: Identity | bytes, but: Table | None) -> list[Generation]:
        return [g for g in self.of(key) if g.table is not but and g.state is not FileState.DROPPED]


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
