"""The paths that globs match, without listing a folder again that has not changed."""

import os
import time
from collections.abc import Collection, Iterable
from fnmatch import filter as matching
from fnmatch import fnmatchcase
from glob import has_magic

from exporter.tail.folders import Folders, Listing
from exporter.tail.rotated_names import originals

#: What logrotate's `compresscmd` may leave; of these only `.gz` can be searched for what is missing.
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z")


def tailed(paths: Iterable[str], log_patterns: tuple[str, ...]) -> frozenset[str]:
    """The paths that `serve` follows now: plain ones, and what a glob matches without rotated and packed files."""
    return Globs(paths, log_patterns, Folders(time.monotonic)).now()


class Globs:
    """What a source's paths mean: plain ones always, globs what is there, except packed files and rotated generations
    of a log that is there too. As in a shell, `*` matches no name that begins with a dot.
    """

    def __init__(self, paths: Iterable[str], log_patterns: tuple[str, ...], folders: Folders) -> None:
        self._plain = frozenset(path for path in paths if not has_magic(path))
        self._globs = [path.split(os.sep) for path in paths if has_magic(path)]
        self._log_patterns, self._folders = log_patterns, folders
        self._matched: dict[tuple[str, str], tuple[Listing, list[str]]] = {}
        self._found: list[str] = []
        self._wanted = self._plain

    def now(self, known: Collection[str] = ()) -> frozenset[str]:
        """The paths that are configured or match now. `known` are logs that need not be there just now.

        The same object as long as nothing has changed.
        """
        found = [path for parts in self._globs for path in self._expand("", parts)]
        if found != self._found:
            self._found = found
            self._matched = {key: each for key, each in self._matched.items() if each[1]}
            logs = self._plain.union(found, known)
            matched = {p for p in found if not p.endswith(_PACKED) and not self._is_rotated(p, logs)}
            self._wanted = self._plain | matched
        return self._wanted

    def covers(self, path: str) -> bool:
        """Whether a configured path or glob means this one, whether it exists or not."""
        parts = path.split(os.sep)
        return path in self._plain or any(
            len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern)) for pattern in self._globs
        )

    def _is_rotated(self, path: str, logs: Collection[str]) -> bool:
        return any(log in logs for log in originals(path, self._log_patterns))

    def _expand(self, folder: str, parts: list[str]) -> list[str]:
        """The existing paths below `folder` that the parts of a pattern match."""
        part, rest = parts[0], parts[1:]
        paths = self._matching(folder, part) if has_magic(part) else [folder + part]
        if rest:
            return [below for path in paths for below in self._expand(path + os.sep, rest)]
        return paths if has_magic(part) else [path for path in paths if os.path.lexists(path)]

    def _matching(self, folder: str, part: str) -> list[str]:
        """What one part of a pattern matches in a folder; the same as before, as long as the listing is the same."""
        listing = self._folders.listing(folder, self._folders.polled_at)
        known = self._matched.get((folder, part))
        if known is None or known[0] is not listing:
            names = [n for n in matching(listing.names, part) if n[0] != "." or part[0] == "."]
            known = self._matched[folder, part] = listing, [folder + name for name in names]
        return known[1]
