"""What the trackers of one source share."""

import itertools
from collections.abc import Callable

from exporter.tail.content_index import ContentIndex
from exporter.tail.file_reader import Lengths
from exporter.tail.folder_listings import FolderListings
from exporter.tail.table import GenerationIndex


class SourceContext:
    """What the trackers of one source share: its options, its folder listings and its indexes.

    `clock` is monotonic, in seconds. `numbers` numbers the generations; each number is unique within the source.
    """

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        log_patterns: tuple[str, ...],
        lengths: Lengths = Lengths(),  # noqa: B008  immutable
        first_number: int = 1,
    ) -> None:
        self.name, self.clock, self.log_patterns, self.lengths = name, clock, log_patterns, lengths
        self.numbers = itertools.count(first_number)
        self.folders = FolderListings(clock)
        self.index = GenerationIndex()
        self.contents = ContentIndex(self.folders, self.index)
