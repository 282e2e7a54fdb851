"""One generation of a log, its states, and the events that change a state.

A *generation* is the life of one file of a log, from its first byte until a rotation ends it. A *rotation* makes the
path name another file (rename and create) or empties the file (copy and truncate). The bytes of the old generation
may then be under any name, in a copy, in a packed file, or lost.

| state    | the generation's file                                         | its bytes                              |
|----------|---------------------------------------------------------------|----------------------------------------|
| FOLLOWED | is open, and the path names it                                | are read as they are written           |
| DRAINING | is open, and the path has moved on                            | are read until it stays unchanged      |
| MISSING  | is not open: it was truncated, lost from sight, or unreadable | are searched for by inode and content  |
| DONE     | is closed, or was not found in time                           | are recognised, and never read again   |
| DROPPED  | is of no interest any more                                    | are forgotten with the next window     |

| event     | meaning                                                       | from                    | to       |
|-----------|---------------------------------------------------------------|-------------------------|----------|
| NAMED     | the path names the file                                       | DRAINING, MISSING, DONE | FOLLOWED |
| LEFT      | the path names another file, or none                          | FOLLOWED                | DRAINING |
| FOUND     | the search found the file, or a copy of it                    | MISSING                 | DRAINING |
| LOST      | the file was truncated, cannot be read, or another path's now | FOLLOWED, DRAINING      | MISSING  |
| FINISHED  | read to the end, and unchanged for the grace period           | DRAINING                | DONE     |
| NOT_FOUND | the search's deadline has passed                              | MISSING                 | DONE     |
| FORGOTTEN | nothing needs the position any more, or it was a copy         | any but DROPPED         | DROPPED  |

Device, inode and fingerprints identify a file; a name only says where to look.
"""

from enum import Enum, auto
from typing import Protocol

from msgspec import structs

from exporter.tail.file_reader import FileReader, Lengths
from exporter.tail.open_file import OpenFile
from exporter.tail.position import NO_EVENTS, Identity, Position, RotationEvents, Window


class FileState(Enum):
    FOLLOWED = auto()
    DRAINING = auto()
    MISSING = auto()
    DONE = auto()
    DROPPED = auto()


class Event(Enum):
    """The states in which an event may happen, and the state that follows."""

    NAMED = frozenset({FileState.DRAINING, FileState.MISSING, FileState.DONE}), FileState.FOLLOWED
    LEFT = frozenset({FileState.FOLLOWED}), FileState.DRAINING
    FOUND = frozenset({FileState.MISSING}), FileState.DRAINING
    LOST = frozenset({FileState.FOLLOWED, FileState.DRAINING}), FileState.MISSING
    FINISHED = frozenset({FileState.DRAINING}), FileState.DONE
    NOT_FOUND = frozenset({FileState.MISSING}), FileState.DONE
    FORGOTTEN = frozenset(FileState) - {FileState.DROPPED}, FileState.DROPPED


#: The file of a generation in one of these states is open.
OPEN = frozenset({FileState.FOLLOWED, FileState.DRAINING})


class Table(Protocol):
    """The generations of one path."""

    path: str

    def transition(self, generation: "Generation", event: Event) -> None: ...

    def remove(self, generation: "Generation") -> None: ...


class Generation:
    """The life of one file of a log.

    `posted`: the ledger has received a window of this generation since its file was opened. `must_post`: the file is
    not open, and the ledger must still receive the position. `restored`: the position was stored by an earlier process.
    `may_be_copy`: the file may be a copy of another path's generation. `events` are counted with the generation's next
    window. `table` is the one of its path.
    """

    table: Table

    def __init__(self, key: str, position: Position, state: FileState, restored: bool = False) -> None:
        self.key, self.position, self.state, self.restored = key, position, state, restored
        self.reader: FileReader | None = None
        self.events = NO_EVENTS
        self.posted = self.must_post = self.may_be_copy = False
        self.index_keys: list[Identity | bytes] = []

    @property
    def opened(self) -> FileReader:
        assert self.reader is not None, f"{self.key} is {self.state.name}"
        return self.reader

    def open(self, file: OpenFile, lengths: Lengths, now: float) -> None:
        """Start to read from an open file. If this raises OSError, the generation is unchanged."""
        found = file.stat()
        self.reader = FileReader(file, found, self.position, lengths, now)
        self.posted = False
        self.position = structs.replace(
            self.position,
            device=found.st_dev,
            inode=found.st_ino,
            compressed=file.packed,
            size=self.position.size if file.packed else found.st_size,
            done=False,
        )

    def acknowledge(self, window: Window, position: Position, consumed: int) -> None:
        """Store that the ledger has posted the window. `position` is the position after the consumed bytes."""
        self.events, self.must_post = NO_EVENTS, False
        if self.reader is None:
            return
        self.posted = True
        self.reader.acknowledge(window, consumed)
        if consumed:
            self.may_be_copy = False
            known = self.position
            self.position = structs.replace(position, size=known.size, modified=known.modified)

    def count(self, rotations: int = 0, truncations: int = 0, lost_bytes: int = 0) -> None:
        known = self.events
        self.events = RotationEvents(
            known.rotations + rotations, known.truncations + truncations, known.lost_bytes + lost_bytes
        )

    def close(self) -> None:
        if self.reader is not None:
            self.reader.file.close()
            self.reader = None


def last_of_inode(generation: Generation) -> tuple[bool, int]:
    """A sort key: of the generations of one inode, the one that was read last has the greatest."""
    return generation.position.tail.length > 0, generation.position.number
