"""The files of a source's folders that nobody reads, by inode and by their first bytes.

A missing generation may have any name by now. Each file is looked into once, until it changes, whatever the number of
missing generations; and only where it is young enough for one of them.
"""

import os
import stat
from collections.abc import Collection, Iterator

from msgspec import Struct

from exporter.tail.folders import Folders, Listing
from exporter.tail.open_file import FILE_ERRORS, Unpacking, identity, open_log
from exporter.tail.position import PREFIX, Fingerprint
from exporter.tail.reader import looks_of
from exporter.tail.table import Index


class _File(Struct, frozen=True):
    """`modified` is its mtime in nanoseconds, `looks` changes whenever the file does."""

    path: str
    modified: int
    looks: tuple[int, ...]


class _Folder(Struct):
    """`unread` are the files that were not looked into yet, the youngest last. `stamps` say for which listing and poll
    all this is true.
    """

    stamps: tuple[int, int]
    by_inode: dict[int, str]
    unread: list[_File]
    by_prefix: dict[bytes, list[str]]


class Contents:
    """`names_of_inodes` and `names_of_prefixes` give paths of files; neither raises anything."""

    def __init__(self, folders: Folders, index: Index) -> None:
        self._folders, self._index = folders, index
        self._known: dict[str, _Folder] = {}
        self._prefixes: dict[str, tuple[tuple[int, ...], bytes]] = {}

    def names_of_inodes(self, folder: str, since: int, inodes: Collection[int]) -> Iterator[str]:
        """Listings are made after `since`."""
        known = self._folder(folder, since)
        yield from (known.by_inode[inode] for inode in inodes if inode in known.by_inode)

    def names_of_prefixes(self, folder: str, since: int, prefixes: Collection[bytes], oldest: int) -> Iterator[str]:
        """Files whose first 32 bytes have one of the digests and that are not older than an mtime in nanoseconds."""
        known = self._folder(folder, since)
        while known.unread and known.unread[-1].modified >= oldest:
            file = known.unread.pop()
            known.by_prefix.setdefault(self._prefix(file), []).append(file.path)
        for prefix in prefixes:
            yield from known.by_prefix.get(prefix, ())

    def _folder(self, folder: str, since: int) -> _Folder:
        listing = self._folders.listing(folder, since)
        stamps = listing.stamp, self._folders.polled_at
        known = self._known.get(folder)
        if known is None or known.stamps != stamps:
            files = sorted(self._unowned(folder, listing), key=lambda file: file.modified)
            by_inode = {inode: os.path.join(folder, name) for name, inode in listing.inodes.items()}
            known = self._known[folder] = _Folder(stamps, by_inode, files, {})
        return known

    def _unowned(self, folder: str, listing: Listing) -> Iterator[_File]:
        for name, inode in listing.inodes.items():
            is_twin = name.endswith(".gz") and name[:-3] in listing.inodes  # it is being written (B25)
            if is_twin or self._index.is_open((listing.device, inode)):
                continue
            path = os.path.join(folder, name)
            try:
                found = os.stat(path)
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode) and not self._index.is_open(identity(found)):
                yield _File(path, found.st_mtime_ns, looks_of(found))

    def _prefix(self, file: _File) -> bytes:
        """The digest of the first bytes, b"" where the file is shorter or cannot be read."""
        looks, prefix = self._prefixes.get(file.path, (None, b""))
        if looks != file.looks:
            try:
                opened = open_log(file.path)
            except OSError:
                return b""
            try:
                found = Fingerprint.of(opened.read(0, PREFIX))
            except (*FILE_ERRORS, Unpacking):
                return b""
            finally:
                opened.close()
            prefix = found.digest if found.length == PREFIX else b""
            self._prefixes[file.path] = file.looks, prefix
        return prefix
