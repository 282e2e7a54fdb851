"""What the modules that follow one path share."""

import os
from collections.abc import Mapping

from msgspec import structs

from exporter.tail.generation import FileState, Generation
from exporter.tail.position import Position, encoded
from exporter.tail.search import Search
from exporter.tail.search_folders import SearchFolders
from exporter.tail.source_context import SourceContext
from exporter.tail.table import GenerationTable, positions


class LogContext:
    """What the modules that follow one path share: its table of generations, its search, and their flags.

    `had_files`: the path has named a file before, in this process or an earlier one. `has_more`: the next window may be
    requested at once. `awaits_copy_check`: a file is not read until the tail knows that it is no copy.
    """

    def __init__(self, path: str, source: SourceContext, stored: Mapping[str, Position]) -> None:
        self.path, self.quoted, self.source = path, encoded(path), source
        self.table = GenerationTable(source.index)
        for key, position in stored.items():
            state = FileState.DONE if position.done else FileState.MISSING
            self.table.add(Generation(key, position, state, restored=not position.done))
        self.search = Search(self.table, source.index, SearchFolders(path, source), self.new)
        self.had_files = bool(stored)
        self.has_more = self.awaits_copy_check = False

    def new(self, position: Position, state: FileState) -> Generation:
        """Create a generation with a new key. The caller adds it to the table."""
        number = next(self.source.numbers)
        position = structs.replace(position, path=self.quoted, number=number)
        return Generation(f"{self.quoted}#{number}", position, state)

    def search_unseen(self, now: float, renamed: bool = True) -> None:
        """Search for unseen generations: the path names another file, or its file was truncated, so that further
        generations may have been created and rotated in between (B17).
        """
        newest = max((p.modified for p in positions(self.table.opened)), default=0)
        self.search.search_unseen(now, newest, renamed)

    def target(self) -> str:
        """Return the encoded target of the path if it is a symbolic link, else ""."""
        real = self.source.folders.real(self.path)
        return "" if real == os.path.abspath(self.path) else encoded(real)
