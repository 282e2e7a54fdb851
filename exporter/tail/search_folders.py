"""Lists the files that may be generations of one log, and checks their inode, size and mtime before they are opened."""

import glob
import os
import stat
from collections.abc import Collection, Container, Iterable, Iterator, Mapping

from msgspec import Struct

from exporter.tail.folder_listings import Listing
from exporter.tail.open_file import identity_of
from exporter.tail.position import Identity, Position, decoded
from exporter.tail.rotated_names import (
    expanded,
    is_numbered_before_ending,
    matching_names,
    number_of,
    rotated_names,
)
from exporter.tail.source_context import SourceContext
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


class SearchFolders:
    """The folders that may contain generations of one log.

    These are: the folder of the log; the folder of its present or earlier symbolic link target (B28); folders to which
    a file was moved that is open or was found again; and, while a generation is missing, the subfolders of the log's
    folder (B29). A subfolder is unconfirmed until a missing generation is found there.

    After a call of `candidates`, `present` has the sizes of all files with rotated names. `names_moved`: names changed
    while they were listed, so a file may have been overlooked.
    """

    def __init__(self, path: str, source: SourceContext) -> None:
        self._path, self._log_patterns = path, source.config.log_patterns
        self._folders, self._contents = source.folders, source.contents
        self._folder, self._name = os.path.split(path)
        self._confirmed: set[str] = set()
        self._unconfirmed: set[str] = set()
        self.names_moved = False
        self.present: dict[Identity, int] = {}

    def confirm(self, folder: str) -> None:
        self._confirmed.add(folder)
        self._unconfirmed.discard(folder)

    def is_confirmed(self, folder: str) -> bool:
        return folder not in self._unconfirmed

    def is_ambiguous(self, candidate: Candidate) -> bool:
        return is_numbered_before_ending(self._name, os.path.basename(candidate.path))

    def candidates(self, since: int, missing: Collection[Position] = (), oldest: int = 0) -> list[Candidate]:
        """Return the files to compare: those in confirmed folders first, the oldest first. Raise nothing.

        Listings are made after the stamp `since`. For each missing position that was read in part, the result has files
        of any name with its inode or its first bytes. Files with an mtime before `oldest` (nanoseconds) are left out
        unless they have the inode of a missing position.
        """
        self.names_moved, self.present = False, {}
        real = self._folders.real(self._path)
        targets = {decoded(p.target) for p in missing if p.target} - {real}
        rotated: dict[str, int] = dict.fromkeys(targets, -1)
        for log in {self._path, real} | targets:
            rotated.update(self._rotated(log, self._log_patterns, since))
        own = {self._folder, os.path.dirname(real), self._folders.real_folder(self._folder)}
        self._confirmed -= {"", *own}
        below = self._list(self._folder, since).folders if missing else ()
        self._unconfirmed = {os.path.join(self._folder, name) for name in below} - self._confirmed
        for folder in self._confirmed | self._unconfirmed:
            rotated.update(self._rotated(os.path.join(folder, self._name), (), since))
        paths = dict.fromkeys(self._others(real, since, missing), -1) | rotated
        paths.pop(self._path, None)
        identities = {p.identity for p in missing}
        found = [c for c in self._candidates(paths, rotated) if c.modified >= oldest or c.identity in identities]
        return sorted(found, key=lambda c: (not self.is_confirmed(c.folder), c.age))

    def _list(self, folder: str, since: int) -> Listing:
        listing = self._folders.listing(folder, since)
        self.names_moved |= listing.names_moved
        return listing

    def _rotated(self, log: str, log_patterns: tuple[str, ...], since: int) -> Iterator[tuple[str, int]]:
        """Yield path and inode of each rotated file. A log pattern may name another folder (B29)."""
        folder, name = os.path.split(log)
        listing = self._list(folder, since)
        yield from _finished(folder, rotated_names(name, listing.names), listing)
        for pattern in log_patterns:
            below, named = os.path.split(pattern)
            if glob.has_magic(below):
                wanted = os.path.join(glob.escape(folder), expanded(pattern, name))
                yield from ((path, -1) for path in (*glob.iglob(wanted), *glob.iglob(wanted + ".gz")))
            else:
                where = os.path.join(folder, below) if below else folder
                listing = self._list(where, since)
                yield from _finished(where, matching_names(named, name, listing.names), listing)

    def _others(self, real: str, since: int, missing: Collection[Position]) -> Iterator[str]:
        """Yield files of any name that may have the bytes that were read of a missing generation."""
        read = [p for p in missing if p.tail.length]
        prefixes = {p.prefix.lookup_key for p in read} - {b""}
        for folder in {self._folder, os.path.dirname(real)} | self._confirmed if read else ():
            oldest = min(p.modified for p in read) // SECOND * SECOND
            yield from self._contents.paths(folder, since, {p.inode for p in read}, prefixes, oldest)

    def _candidates(self, paths: Mapping[str, int], rotated: Container[str]) -> Iterator[Candidate]:
        """Stat the paths, given with their inodes from the listing. Only regular files are returned."""
        for path, inode in paths.items():
            try:
                found = os.stat(path)
            except OSError as error:
                self.names_moved |= inode > 0 and isinstance(error, FileNotFoundError)
                continue
            if 0 < inode != found.st_ino:
                self.names_moved = True  # the file was renamed after it was listed
            if stat.S_ISREG(found.st_mode):
                identity, size = identity_of(found), found.st_size
                if is_rotated := path in rotated:
                    self.present[identity] = size
                yield Candidate(path, identity, found.st_mtime_ns, size, is_rotated)


def _finished(folder: str, names: Iterable[str], listing: Listing) -> Iterator[tuple[str, int]]:
    """Yield path and inode of each file that gzip is not writing."""
    return ((os.path.join(folder, name), listing.inodes[name]) for name in names if not listing.is_unfinished(name))


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
