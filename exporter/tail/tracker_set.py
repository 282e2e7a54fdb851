"""Keeps one tracker for each path of a source: plain paths, matches of globs, and paths with stored positions."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from exporter.tail.globs import Globs
from exporter.tail.position import Position, Searched, decoded
from exporter.tail.source_context import SourceContext
from exporter.tail.tracker import Tracker
from parsers.values.numbers import SECOND


class TrackerSet:
    """The trackers of one source.

    `stored` are the positions in the ledger, by key. `searched` are the configured paths that an earlier process has
    searched. `from_end`: without stored positions, of the files that exist at the start only new bytes are read.
    """

    def __init__(
        self,
        context: SourceContext,
        stored: Mapping[str, Position],
        searched: Searched,
        from_end: bool,
    ) -> None:
        self._context, self._stored = context, stored
        self._globs = Globs(context.config.paths, context.config.log_patterns, context.folders)
        self._newest = max((position.modified for position in stored.values()), default=0)
        # A file that appeared while the exporter was down, where it found none before, is read from its beginning.
        self._searched_paths, self._searched_until = frozenset(map(decoded, searched.paths)), searched.until
        self._searched_before = Globs(self._searched_paths, context.config.log_patterns, context.folders)
        self._from_end = from_end and not stored
        self._wanted: frozenset[str] = frozenset()
        self._by_path: dict[str, Tracker] = {}

    def __iter__(self) -> Iterator[Tracker]:
        return iter(list(self._by_path.values()))

    def get(self, path: str) -> Tracker | None:
        return self._by_path.get(path)

    @property
    def present(self) -> list[Tracker]:
        """Return the trackers of paths that are configured or match. Any thread may call this."""
        return [tracker for tracker in self if not tracker.is_forgotten]

    def update(self, is_first: bool) -> list[str]:
        """Add trackers for new matches, and drop those that have nothing left to do. Return the dropped paths."""
        wanted = self._globs.paths(self._by_path.keys())
        if is_first:
            self._restore(wanted)
        for path in wanted - self._by_path.keys() if wanted is not self._wanted else ():
            from_end = is_first and self._from_end and os.path.lexists(path) and not self._searched_before.covers(path)
            self._by_path[path] = Tracker(
                path,
                self._context,
                None,
                from_end,
                trusted=is_first and not self._stored,
                absent_since=self._absent_since(path) if is_first else None,
            )
        self._wanted = wanted
        dropped = []
        for path, tracker in [each for each in self._by_path.items() if each[1].quiet_signature is None]:
            if tracker.is_forgotten and tracker.is_empty:
                del self._by_path[path]
                dropped.append(path)
            elif tracker.is_gone and path not in wanted:
                tracker.forget()
        return dropped

    def _absent_since(self, path: str) -> int | None:
        """Return since when rotated files of a path without positions are new. None if nobody has searched the path.

        The positions of a plain path show which rotated files existed. The positions of a log that only a glob matched
        were dropped with the log, so only the files of a later second are new.
        """
        if path in self._searched_paths:
            return self._newest
        return max(self._newest, self._searched_until + SECOND) if self._searched_before.covers(path) else None

    def _restore(self, wanted: frozenset[str]) -> None:
        """Create the trackers of the stored positions. Positions of paths that are no longer configured are dropped.

        But if another path, such as a link instead of its target, names their file now, that path gets the positions,
        so that the file is not read twice.
        """
        by_path: dict[str, dict[str, Position]] = {}
        for key, position in self._stored.items():
            by_path.setdefault(decoded(position.path), {})[key] = position
        uncovered = [path for path in by_path if not self._globs.covers(path)]
        paths_by_inode = _paths_by_inode(wanted) if uncovered else {}
        for path in uncovered:
            heirs = [paths_by_inode[p.inode] for p in by_path[path].values() if p.inode in paths_by_inode]
            if heirs:
                by_path.setdefault(min(heirs), {}).update(by_path.pop(path))
        for path, positions in by_path.items():
            tracker = self._by_path[path] = Tracker(path, self._context, positions)
            if not self._globs.covers(path):
                tracker.forget()


def _paths_by_inode(paths: Iterable[str]) -> dict[int, str]:
    """Return the first path of each inode. The path's tracker checks whether the content is still the same."""
    found: dict[int, str] = {}
    for path in sorted(paths):
        with suppress(OSError):
            found.setdefault(os.stat(path).st_ino, path)
    return found
