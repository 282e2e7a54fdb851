"""A file that may be a generation of a log, and the checks of its inode, size and mtime before it is opened."""

import os

from msgspec import Struct

from exporter.tail.position import Identity
from exporter.tail.rotated_names import number_of
from exporter.tail.table import GenerationTable, positions
from parsers.values.numbers import SECOND

#: Nanoseconds by which a clock may have been set back since a plain file was last seen.
_DAY = 86400 * SECOND


class Candidate(Struct, frozen=True):
    """A file beside a log. `modified` is its mtime in nanoseconds. `rotated`: it has a rotated name of the log."""

    path: str
    identity: Identity
    modified: int
    size: int
    rotated: bool

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)

    @property
    def is_packed(self) -> bool:
        return self.path.endswith(".gz")

    @property
    def age(self) -> tuple[int, int, str]:
        """A sort key: the oldest file first. Of files with the same mtime, the highest number is the oldest."""
        return self.modified, -number_of(os.path.basename(self.path)), self.path


def oldest_mtime(known_until: int, table: GenerationTable) -> int:
    """Return the smallest mtime (nanoseconds, whole seconds) that a file to be found can have."""
    return min([known_until, *(p.modified - _DAY for p in positions(table.missing))]) // SECOND * SECOND


def may_be_unseen(candidate: Candidate, known_until: int, table: GenerationTable) -> bool:
    """Return whether the file is newer than all known generations, by its mtime or as the file that was truncated.

    mtimes are compared in seconds, because some tools restore an mtime in whole seconds.
    """
    unreadable = [p for p in positions(table.done) if not p.head.length]  # files that existed before the first look
    if any(p.identity == candidate.identity and p.modified == candidate.modified for p in unreadable):
        return False
    if not candidate.is_packed and any(p.identity == candidate.identity for p in positions(table.missing)):
        return True
    return candidate.modified // SECOND >= known_until // SECOND


def may_be_missing(candidate: Candidate, known_until: int, table: GenerationTable) -> bool:
    """Return whether the file may hold a missing generation.

    Programs that pack a file keep its mtime, so an old `.gz` is rejected without unpacking it.
    """
    missing = positions(table.missing)
    if not missing:
        return False
    if any(p.identity == candidate.identity for p in missing):
        return True
    if not (candidate.rotated or candidate.is_packed or any(candidate.size >= p.size for p in missing)):
        return False
    earliest = min(known_until, *(p.modified for p in missing))
    if candidate.rotated and not candidate.is_packed:
        earliest -= _DAY
    return candidate.modified // SECOND >= earliest // SECOND
