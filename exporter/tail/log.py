"""What the rooms of one path share: its table of generations, its search, and what both are made from."""

import os
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct, structs

from exporter.tail.contents import Contents
from exporter.tail.folders import Folders
from exporter.tail.generation import Generation, State
from exporter.tail.position import Position, encoded
from exporter.tail.reader import Lengths
from exporter.tail.search import Search
from exporter.tail.search_folders import SearchFolders
from exporter.tail.table import Generations, Index, positions


class Terms(Struct, frozen=True):
    """What the trackers of one source share: `clock` is monotonic, in seconds, `numbers` gives each generation one
    that is unique within the source.
    """

    source: str
    clock: Callable[[], float]
    numbers: Iterator[int]
    folders: Folders
    index: Index
    contents: Contents
    lengths: Lengths = Lengths()
    log_patterns: tuple[str, ...] = ()


class Log:
    """`evidence` is the stamp of the last look at the path: folders are listed after it. `had_files`: the path has
    named a file before, now or in an earlier life. `has_more`: the next window may be asked for at once. `may_be_copy`:
    a file waits until it is known to be no copy.
    """

    def __init__(self, path: str, terms: Terms, stored: Mapping[str, Position]) -> None:
        self.path, self.quoted, self.terms = path, encoded(path), terms
        self.table = Generations(terms.index)
        for key, position in stored.items():
            state = State.DONE if position.done else State.MISSING
            self.table.add(Generation(key, position, state, restored=not position.done))
        folders = SearchFolders(path, terms.log_patterns, terms.folders, terms.contents)
        self.search = Search(self.table, terms.index, folders)
        self.evidence = 0
        self.had_files = bool(stored)
        self.has_more = self.may_be_copy = False

    def new(self, position: Position, state: State) -> Generation:
        """A generation with a key of its own; it is in no table yet."""
        number = next(self.terms.numbers)
        position = structs.replace(position, path=self.quoted, number=number)
        return Generation(f"{self.quoted}#{number}", position, state)

    def search_newer(self, now: float, renamed: bool = True) -> None:
        """The path has moved on, or its file was truncated: further generations may have come and gone (B17)."""
        newest = max((p.modified for p in positions(self.table.opened)), default=0)
        self.search.for_newer(now, newest, renamed)

    def target(self) -> str:
        """The file that the path leads to as a symbolic link, "" where it is none."""
        real = self.terms.folders.real(self.path)
        return "" if real == os.path.abspath(self.path) else encoded(real)
