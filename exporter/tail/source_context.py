"""What the trackers of one source share."""

import itertools
from collections.abc import Callable

from exporter.tail.content_index import ContentIndex
from exporter.tail.file_reader import Lengths
from exporter.tail.folder_listings import FolderListings
from exporter.tail.generation_index import GenerationIndex
from exporter.tail.source_config import SourceConfig


class SourceContext:
    """What the trackers of one source share: its configuration, its folder listings and its indexes.

    `clock` is monotonic, in seconds. `numbers` numbers the generations; each number is unique within the source.
    """

    def __init__(
        self, config: SourceConfig, clock: Callable[[], float], line_length: int = 1 << 20, first_number: int = 1
    ) -> None:
        self.config, self.clock = config, clock
        self.lengths = Lengths(line_length, config.parser.joined)
        self.numbers = itertools.count(first_number)
        self.folders = FolderListings(clock)
        self.index = GenerationIndex()
        self.contents = ContentIndex(self.folders, self.index)
