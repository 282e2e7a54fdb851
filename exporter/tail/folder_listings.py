"""Lists the folders of one source: once per folder and poll, however many logs are in the folder.

A tracker that has just seen a rotation needs a listing that was made after it. Stamps order both: a listing is good
for every look at a path that has a smaller stamp. The source therefore looks at all paths first, and then one listing
per folder serves all searches. A folder whose time stamps have not changed for 3 s is not listed again at all (time
stamps are as coarse as 2 s on FAT).
"""

import itertools
import os
from collections.abc import Callable

from msgspec import Struct

from exporter.tail.open_file import SETTLED


class Listing(Struct, frozen=True):
    """The content of one folder.

    `inodes` maps each name to its inode, negative for a symbolic link. `names` are sorted. `folders` are the names of
    subfolders. `names_moved`: names changed while the folder was listed, so the listing may lack a file. `stamp`
    orders listings and looks at paths. `signature` changes with the content, `changed_at` is the time in seconds at
    which it was seen first. `matched` caches the paths that a part of a glob matches.
    """

    signature: tuple[int, ...]
    changed_at: float
    inodes: dict[str, int]
    names: list[str]
    folders: list[str]
    names_moved: bool
    stamp: int
    matched: dict[str, list[str]] = {}

    def is_unfinished(self, name: str) -> bool:
        """Return whether gzip is still writing this `.gz`, because the original is beside it (B25)."""
        return name.endswith(".gz") and name[:-3] in self.inodes


_NOTHING = Listing((), 0.0, {}, [], [], False, 0)


class FolderListings:
    """The folder listings of one source. `clock` is monotonic, in seconds. `poll_stamp` is the last poll's stamp."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[str, Listing] = {}
        self._stamps = itertools.count(1)
        self._real: dict[str, str] = {}
        self.poll_stamp = 0

    def begin_poll(self) -> None:
        """Start a new poll: older listings are not good for it."""
        self.poll_stamp = self.next_stamp()
        self._real.clear()  # the targets of symbolic links may have changed

    def next_stamp(self) -> int:
        """Return a stamp for a look made now: only listings with a larger stamp were made after it."""
        return next(self._stamps)

    def listing(self, folder: str, since: int) -> Listing:
        """List a folder. The listing was made after the stamp `since`, or the folder is unchanged since it was made.

        The listing is empty if the folder cannot be listed.
        """
        known = self._known.get(folder, _NOTHING)
        if known.stamp > since:
            return known
        now = self._clock()
        try:
            found = os.stat(folder or ".")
            signature = found.st_dev, found.st_ino, found.st_mtime_ns
            changed_at = known.changed_at if known.signature == signature else now
            if now - changed_at <= SETTLED or known.names_moved:
                known = self._known[folder] = self._list(folder or ".", signature, changed_at)
        except OSError:
            self._known.pop(folder, None)
            return _NOTHING
        return known

    def real(self, path: str) -> str:
        """Resolve symbolic links with one system call per path: the folder is resolved once per poll."""
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        return os.path.join(self.real_folder(folder), name)

    def real_folder(self, folder: str) -> str:
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return self._real[folder]

    def _list(self, folder: str, signature: tuple[int, ...], changed_at: float) -> Listing:
        """List twice: a difference shows that names moved, so that the first listing may lack one."""
        stamp = next(self._stamps)
        with os.scandir(folder) as entries:
            found = list(entries)
        inodes = {entry.name: _inode(entry) for entry in found}
        folders = [entry.name for entry in found if _is_folder(entry)]
        with os.scandir(folder) as entries:
            moved = {entry.name: _inode(entry) for entry in entries} != inodes
        return Listing(signature, changed_at, inodes, sorted(inodes), folders, moved, stamp)


def _inode(entry: os.DirEntry[str]) -> int:
    return -entry.inode() if entry.is_symlink() else entry.inode()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that this user may not search
        return False
