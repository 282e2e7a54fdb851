"""Finds the configured source of a log file: the one that tails it, or the log from which it was rotated."""

import os
import time
from collections.abc import Iterable

from msgspec import Struct

from exporter.tail.globs import Globs
from exporter.tail.rotated_names import originals, rotated_names
from exporter.tail.search_folders import SearchFolders
from exporter.tail.source_config import SourceConfig
from exporter.tail.source_context import SourceContext


class Owner(Struct, frozen=True):
    """A source, and the path of its log. The file at this path is the log itself, any other file a rotated one."""

    source: SourceConfig
    log: str


class Owners:
    """The owners of the files that exist now."""

    def __init__(self, sources: Iterable[SourceConfig]) -> None:
        self._by_path: dict[str, Owner] = {}
        self._globs: list[tuple[SourceConfig, Globs]] = []
        for source in sources:
            context = SourceContext(source, time.monotonic)
            globs = Globs(source.paths, source.log_patterns, context.folders)
            self._globs.append((source, globs))
            for log in sorted(globs.paths()):
                rotated = SearchFolders(log, context).candidates(0)
                for path in (log, *(os.path.abspath(each.path) for each in rotated)):
                    self._by_path.setdefault(path, Owner(source, log))

    def of(self, file: str) -> Owner | None:
        """The owner of a file beside its log, or in a folder that `log_patterns` names."""
        path = os.path.abspath(file)
        if path in self._by_path:
            return self._by_path[path]
        for source, globs in self._globs:  # the log itself may not exist
            for log in originals(path, source.log_patterns):
                if globs.covers(log):
                    return Owner(source, log)
        return None

    def named_like(self, file: str) -> list[Owner]:
        """The owners of logs in any folder that have the name of the file, or a name from which it was rotated."""
        name = os.path.basename(file)
        return [
            owner
            for path, owner in self._by_path.items()
            if path == owner.log
            and (name.removesuffix(".gz") == os.path.basename(path) or rotated_names(os.path.basename(path), [name]))
        ]

    def logs_of(self, source: SourceConfig) -> list[str]:
        """The logs of a source that exist, and those without a glob."""
        return [path for path, owner in self._by_path.items() if path == owner.log and owner.source is source]
