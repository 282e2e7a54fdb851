"""What is in the folders of one source: one listing per folder and poll, whatever the number of logs there.

A listing may be used by everybody whose evidence is older than the listing: a path that was seen to name another file
needs a listing made after that. So all paths are looked at first, and one listing then serves all searches. A folder
whose time stamps have not changed for 3 s need not be listed again either: they are as coarse as 2 s (FAT).
"""

import itertools
import os
from collections.abc import Callable

from msgspec import Struct

_SETTLED = 3.0


class Listing(Struct, frozen=True):
    """`inodes` by name, negative for a symbolic link; `names` sorted; `folders` the names of folders in it. `moving`:
    names changed while the folder was listed, so that one may have been overlooked. `stamp` orders listings and
    evidence.
    """

    device: int
    inodes: dict[str, int]
    names: list[str]
    folders: list[str]
    moving: bool
    stamp: int


class _Known(Struct):
    listing: Listing
    looks: tuple[int, int, int]
    changed_at: float


_NOTHING = Listing(0, {}, [], [], False, 0)


class Folders:
    """`clock` is monotonic, in seconds. `polled_at` is the evidence of the poll that has begun last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._stamps = itertools.count(1)
        self._real: dict[str, str] = {}
        self.polled_at = 0

    def begin_poll(self) -> None:
        """Listings made from now on are those of a new poll."""
        self.polled_at = self.evidence()
        self._real.clear()  # symbolic links to folders may lead elsewhere by now

    def evidence(self) -> int:
        """A stamp for what has been seen just now: only later listings can contain what follows from it."""
        return next(self._stamps)

    def listing(self, folder: str, since: int) -> Listing:
        """Made after `since`, or of a folder that is unchanged. Empty where the folder cannot be listed."""
        known = self._known.get(folder)
        if known is not None and known.listing.stamp > since:
            return known.listing
        now = self._clock()
        try:
            found = os.stat(folder or ".")
            looks = found.st_dev, found.st_ino, found.st_mtime_ns
            changed_at = known.changed_at if known is not None and known.looks == looks else now
            if known is None or known.looks != looks or now - changed_at <= _SETTLED or known.listing.moving:
                known = _Known(self._list(folder or ".", found.st_dev), looks, changed_at)
                self._known[folder] = known
        except OSError:
            self._known.pop(folder, None)
            return _NOTHING
        return known.listing

    def real(self, path: str) -> str:
        """The path without symbolic links, by one system call: the folder's own links are followed once per poll."""
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        return os.path.join(self.real_folder(folder), name)

    def real_folder(self, folder: str) -> str:
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return self._real[folder]

    def _list(self, folder: str, device: int) -> Listing:
        """Where names are moved meanwhile, one may be overlooked: a second look shows that."""
        stamp = next(self._stamps)
        with os.scandir(folder) as entries:
            found = list(entries)
        inodes = {entry.name: _inode(entry) for entry in found}
        folders = [entry.name for entry in found if entry.is_dir()]
        with os.scandir(folder) as entries:
            moving = {entry.name: _inode(entry) for entry in entries} != inodes
        return Listing(device, inodes, sorted(inodes), folders, moving, stamp)


def _inode(entry: os.DirEntry[str]) -> int:
    return -entry.inode() if entry.is_symlink() else entry.inode()
