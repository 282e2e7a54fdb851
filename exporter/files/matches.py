"""The paths that globs match, without listing a folder again that has not changed: a stat per folder and poll."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from fnmatch import filter as matching
from fnmatch import fnmatchcase
from glob import has_magic

from msgspec import Struct

from exporter.files.siblings import originals

#: Seconds after which a folder that looks as before is as before: time stamps are as coarse as 2 s (FAT).
_SETTLED = 3.0

#: What logrotate's `compresscmd` may leave; of these only `.gz` can be searched for what is missing.
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z")


def tailed(paths: Iterable[str], log_patterns: tuple[str, ...]) -> frozenset[str]:
    """The paths that `serve` follows now: plain ones, and what a glob matches without rotated and packed files."""
    return Matches(paths, log_patterns, time.monotonic).now()


class _Listing(Struct):
    """A folder's names, how the folder looked then, when it was seen to have changed and when it was last asked
    for (monotonic seconds).
    """

    names: list[str]
    looks: tuple[int, int, int]
    changed_at: float
    asked_at: float


class Matches:
    """What a source's paths mean: plain ones always, globs what is there, without rotated generations and packed files.

    `clock` is monotonic, in seconds. As in a shell, `*` matches no name that begins with a dot.
    """

    def __init__(self, paths: Iterable[str], log_patterns: tuple[str, ...], clock: Callable[[], float]) -> None:
        self._plain = frozenset(path for path in paths if not has_magic(path))
        self._globs = [path.split(os.sep) for path in paths if has_magic(path)]
        self._log_patterns, self._clock = log_patterns, clock
        self._listings: dict[str, _Listing] = {}
        self._found: list[str] = []
        self._wanted = self._plain

    def now(self) -> frozenset[str]:
        """The paths that are configured or match now."""
        found = [path for parts in self._globs for path in self._expand("", parts)]
        if found != self._found:
            self._found = found
            self._wanted = self._plain | {p for p in found if not p.endswith(_PACKED) and not self._is_rotated(p)}
            now = self._clock()
            self._listings = {folder: each for folder, each in self._listings.items() if each.asked_at >= now - 60}
        return self._wanted

    def covers(self, path: str) -> bool:
        """Whether a configured path or glob means this one, be it there or not."""
        parts = path.split(os.sep)
        return path in self._plain or any(
            len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern)) for pattern in self._globs
        )

    def _is_rotated(self, path: str) -> bool:
        return any(map(self.covers, originals(path, self._log_patterns)))

    def _expand(self, folder: str, parts: list[str]) -> Iterator[str]:
        """The existing paths below `folder` that the parts of a pattern match."""
        part, rest = parts[0], parts[1:]
        if has_magic(part):
            names = [n for n in matching(self._names(folder), part) if n[0] != "." or part[0] == "."]
        else:
            names = [part]
        for name in names:
            path = folder + name
            if rest:
                yield from self._expand(path + os.sep, rest)
            elif has_magic(part) or os.path.lexists(path):
                yield path

    def _names(self, folder: str) -> list[str]:
        """Raises nothing: a folder that cannot be listed has no names, as for a shell."""
        now = self._clock()
        try:
            found = os.stat(folder)
            looks = found.st_dev, found.st_ino, found.st_mtime_ns
            known = self._listings.get(folder)
            if known is None or known.looks != looks:
                known = self._listings[folder] = _Listing([], looks, now, now)
            if now - known.changed_at <= _SETTLED:
                known.names = os.listdir(folder)
            known.asked_at = now
        except OSError:
            self._listings.pop(folder, None)
            return []
        return known.names
