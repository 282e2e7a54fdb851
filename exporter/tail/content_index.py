"""An index of the files that no path reads, by inode and by their first bytes.

A missing generation may have any name by now. However many generations are missing, the index reads the first bytes of
a file once, and again only when it has changed. It skips files that are too old to be one of them.
"""

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import closing, suppress

from msgspec import Struct

from exporter.process.special_files import stat_signature
from exporter.tail.folder_listings import FolderListings, Listing
from exporter.tail.generation_index import GenerationIndex
from exporter.tail.open_file import FILE_ERRORS, Unpacking, identity_of, open_log
from exporter.tail.position import PREFIX, Fingerprint


class _File(Struct, frozen=True):
    """`modified` is the mtime in nanoseconds, `signature` changes whenever the file does."""

    path: str
    modified: int
    signature: tuple[int, ...]


class _Folder(Struct):
    """The index of one folder, valid for one listing and one poll (`stamps`). `unread` are the files whose first bytes
    are not indexed yet, the newest last.
    """

    stamps: tuple[int, int]
    by_inode: dict[int, str]
    unread: list[_File]
    by_prefix: dict[bytes, list[str]]


class ContentIndex:
    """Finds paths of files by inode or first bytes. Files that cannot be read are left out."""

    def __init__(self, folders: FolderListings, index: GenerationIndex) -> None:
        self._folders, self._index = folders, index
        self._known: dict[str, _Folder] = {}
        self._prefixes: dict[str, tuple[tuple[int, ...], bytes]] = {}

    def paths(
        self, folder: str, since: int, inodes: Collection[int], prefixes: Collection[bytes], oldest: int
    ) -> Iterator[str]:
        """Yield the paths of the files with one of these inodes, from a listing made after the stamp `since`. Also
        yield those of files whose first 32 bytes have one of these digests and whose mtime is at least `oldest`
        (nanoseconds).
        """
        known = self._folder(folder, since)
        yield from (known.by_inode[inode] for inode in inodes if inode in known.by_inode)
        while known.unread and known.unread[-1].modified >= oldest:
            file = known.unread.pop()
            known.by_prefix.setdefault(self._prefix(file), []).append(file.path)
        for prefix in prefixes:
            yield from known.by_prefix.get(prefix, ())

    def _folder(self, folder: str, since: int) -> _Folder:
        listing = self._folders.listing(folder, since)
        stamps = listing.stamp, self._folders.poll_stamp
        known = self._known.get(folder)
        if known is None or known.stamps != stamps:
            files = sorted(self._files_not_read(folder, listing), key=lambda file: file.modified)
            by_inode = {inode: os.path.join(folder, name) for name, inode in listing.inodes.items()}
            known = self._known[folder] = _Folder(stamps, by_inode, files, {})
        return known

    def _files_not_read(self, folder: str, listing: Listing) -> Iterator[_File]:
        for name, inode in listing.inodes.items():
            if listing.is_unfinished(name) or self._index.is_open((listing.signature[0], inode)):
                continue
            path = os.path.join(folder, name)
            try:
                found = os.stat(path)
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode) and not self._index.is_open(identity_of(found)):
                yield _File(path, found.st_mtime_ns, stat_signature(found))

    def _prefix(self, file: _File) -> bytes:
        """Return the digest of the first 32 bytes, b"" if the file is shorter or cannot be read."""
        signature, prefix = self._prefixes.get(file.path, (None, b""))
        if signature != file.signature:
            prefix = b""
            with suppress(*FILE_ERRORS, Unpacking), closing(open_log(file.path)) as opened:
                prefix = Fingerprint.of(opened.read(0, PREFIX)).lookup_key
                self._prefixes[file.path] = file.signature, prefix
        return prefix
