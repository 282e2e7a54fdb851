"""Expands globs into paths. A folder that has not changed is not listed again."""

import os
import time
from collections.abc import Collection, Iterable
from fnmatch import filter as matching
from fnmatch import fnmatchcase
from glob import has_magic

from exporter.tail.folder_listings import FolderListings
from exporter.tail.rotated_names import originals
from exporter.tail.source_config import SourceConfig

#: Endings that logrotate's `compresscmd` may produce. Only `.gz` files are searched for missing generations.
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z")


def tailed(source: SourceConfig) -> frozenset[str]:
    """Return the paths that `serve` tails: plain paths, and the matches of globs except rotated and packed files."""
    return Globs(source.paths, source.log_patterns, FolderListings(time.monotonic)).paths()


class Globs:
    """Expands the paths of a source: a plain path is always included; a glob matches existing files, except packed
    files and rotated generations of a log that exists too. As in a shell, `*` matches no name that begins with a dot.
    """

    def __init__(self, paths: Iterable[str], log_patterns: tuple[str, ...], folders: FolderListings) -> None:
        self._plain = frozenset(path for path in paths if not has_magic(path))
        self._globs = [path.split(os.sep) for path in paths if has_magic(path)]
        self._log_patterns, self._folders = log_patterns, folders
        self._found: list[str] = []
        self._wanted = self._plain

    def paths(self, known: Collection[str] = ()) -> frozenset[str]:
        """Return the paths that are configured or match now. `known` are logs that may not exist at the moment.

        The result is the same object as long as nothing has changed.
        """
        found = [path for parts in self._globs for path in self._expand("", parts)]
        if found != self._found:
            self._found = found
            logs = self._plain.union(found, known)
            matched = {
                p for p in found if not p.endswith(_PACKED) and logs.isdisjoint(originals(p, self._log_patterns))
            }
            self._wanted = self._plain | matched
        return self._wanted

    def covers(self, path: str) -> bool:
        """Return whether this path is configured or matches a glob, whether it exists or not."""
        parts = path.split(os.sep)
        return path in self._plain or any(
            len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern)) for pattern in self._globs
        )

    def _expand(self, folder: str, parts: list[str]) -> list[str]:
        """Return the existing paths below `folder` that match the parts of a pattern."""
        part, rest = parts[0], parts[1:]
        paths = self._matching(folder, part) if has_magic(part) else [folder + part]
        if rest:
            return [below for path in paths for below in self._expand(path + os.sep, rest)]
        return paths if has_magic(part) else [path for path in paths if os.path.lexists(path)]

    def _matching(self, folder: str, part: str) -> list[str]:
        """Return what one part of a pattern matches in a folder. The result is cached for the listing."""
        listing = self._folders.listing(folder, self._folders.poll_stamp)
        if part not in listing.matched:
            names = [n for n in matching(listing.names, part) if n[0] != "." or part[0] == "."]
            listing.matched[part] = [folder + name for name in names]
        return listing.matched[part]
