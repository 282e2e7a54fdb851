"""The files among which the generations of one log are searched."""

import glob
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator

from msgspec import Struct

from exporter.tail.contents import Contents
from exporter.tail.folders import Folders, Listing
from exporter.tail.position import PREFIX, Identity, Position, decoded
from exporter.tail.rotated_names import expanded, is_numbered_before_ending, matching_names, number_of, rotated_names
from parsers.values.numbers import SECOND

#: Nanoseconds. Some tools restore an mtime in whole seconds.


class Sibling(Struct, frozen=True):
    """A file beside a log. `modified` is its mtime in nanoseconds; `rotated`: its name is that of a rotated file."""

    path: str
    identity: Identity
    modified: int
    number: int
    size: int
    rotated: bool

    @property
    def age(self) -> tuple[int, int, str]:
        """Sorts the oldest first; of numbered names with equal times the highest number is the oldest."""
        return self.modified, -self.number, self.path


class SearchFolders:
    """The log's own folder; the folder of the file that the log leads or led to as a symbolic link (B28); folders to
    which a file was moved that is open or was found again; and, while a generation is missing, the folders below the
    log's own (B29). The latter are not confirmed until a missing generation is found there.

    After `siblings`, `present` has the sizes of all files with rotated names. `moving`: names were moved while they
    were listed, so that one may have been overlooked.
    """

    def __init__(self, path: str, log_patterns: tuple[str, ...], folders: Folders, contents: Contents) -> None:
        self._path, self._log_patterns = path, log_patterns
        self._folders, self._contents = folders, contents
        self._folder, self._name = os.path.split(path)
        self._confirmed: set[str] = set()
        self._unconfirmed: set[str] = set()
        self.moving = False
        self.present: dict[Identity, int] = {}

    def confirm(self, folder: str) -> None:
        """A file of this log is there."""
        self._confirmed.add(folder)
        self._unconfirmed.discard(folder)

    def is_confirmed(self, path: str) -> bool:
        """Whether a file is where files of this log are."""
        return os.path.dirname(path) not in self._unconfirmed

    def is_ambiguous(self, old: Sibling) -> bool:
        """Whether a rotated name might as well be that of another log."""
        return is_numbered_before_ending(self._name, os.path.basename(old.path))

    def siblings(
        self,
        since: int,
        missing: Collection[Position],
        is_wanted: Callable[[os.stat_result], bool],
    ) -> list[Sibling]:
        """The files to look at, those in confirmed folders first, the oldest first. Listings are made after `since`.
        Raises nothing.

        With missing positions that were read in part, files of any name are among them that have the inode or begin
        with the bytes of one.
        """
        self.moving, self.present = False, {}
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
        rotated.pop(self._path, None)
        others = {path: -1 for path in self._others(real, since, missing) if path != self._path and path not in rotated}
        found = [*self._siblings(rotated, True, is_wanted), *self._siblings(others, False, is_wanted)]
        return sorted(found, key=lambda s: (not self.is_confirmed(s.path), s.age))

    def _list(self, folder: str, since: int) -> Listing:
        listing = self._folders.listing(folder, since)
        self.moving |= listing.moving
        return listing

    def _rotated(self, log: str, log_patterns: tuple[str, ...], since: int) -> Iterator[tuple[str, int]]:
        """Path and inode of each rotated file. A log pattern may lead to another folder (B29, logrotate's olddir)."""
        folder, name = os.path.split(log)
        listing = self._list(folder, since)
        yield from _without_twins(folder, rotated_names(name, listing.names), listing)
        for pattern in log_patterns:
            below, named = os.path.split(pattern)
            if glob.has_magic(below):
                wanted = os.path.join(glob.escape(folder), expanded(pattern, name))
                yield from ((path, -1) for path in (*glob.iglob(wanted), *glob.iglob(wanted + ".gz")))
            else:
                where = os.path.join(folder, below) if below else folder
                listing = self._list(where, since)
                yield from _without_twins(where, matching_names(named, name, listing.names), listing)

    def _others(self, real: str, since: int, missing: Collection[Position]) -> Iterator[str]:
        """Files of any name that may hold what was read of a missing generation."""
        read = [p for p in missing if p.tail.length]
        prefixes = {p.prefix.digest for p in read if p.prefix.length == PREFIX}
        for folder in {self._folder, os.path.dirname(real)} | self._confirmed if read else ():
            yield from self._contents.names_of_inodes(folder, since, {p.inode for p in read})
            oldest = min(p.modified for p in read) // SECOND * SECOND
            yield from self._contents.names_of_prefixes(folder, since, prefixes, oldest)

    def _siblings(
        self, paths: dict[str, int], rotated: bool, is_wanted: Callable[[os.stat_result], bool]
    ) -> Iterator[Sibling]:
        """Of paths and their inodes, which are negative for symbolic links. What is no file is left out."""
        for path, inode in paths.items():
            try:
                found = os.stat(path)
            except OSError as error:
                self.moving |= inode > 0 and isinstance(error, FileNotFoundError)
                continue
            if 0 < inode != found.st_ino:
                self.moving = True  # it was renamed since it was listed
            if stat.S_ISREG(found.st_mode):
                if rotated:
                    self.present[found.st_dev, found.st_ino] = found.st_size
                if is_wanted(found):
                    number = number_of(os.path.basename(path))
                    held = found.st_dev, found.st_ino
                    yield Sibling(path, held, found.st_mtime_ns, number, found.st_size, rotated)


def _without_twins(folder: str, names: Iterable[str], listing: Listing) -> Iterator[tuple[str, int]]:
    """A `.gz` beside its uncompressed twin is being written: it is left out (B25)."""
    for name in names:
        if not (name.endswith(".gz") and name[:-3] in listing.inodes):
            yield os.path.join(folder, name), listing.inodes[name]
