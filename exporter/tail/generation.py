"""The generations of one path's log: one table from key to state, and the one function that changes a state.

A *generation* is the life of one file of a log, from its first byte until a rotation ends it. A *rotation* makes the
path name another file (rename and create) or empties the file (copy and truncate); the file that was read goes on
under any name, as a copy, packed, or not at all.

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

Identity is device, inode and fingerprints; a name only says where to look.
"""

from enum import Enum, auto

from msgspec import structs

from exporter.tail.open_file import OpenFile
from exporter.tail.position import NO_EVENTS, Position, RotationEvents, Window
from exporter.tail.reader import Lengths, Reader


class State(Enum):
    FOLLOWED = auto()
    DRAINING = auto()
    MISSING = auto()
    DONE = auto()
    DROPPED = auto()


class Event(Enum):
    NAMED = auto()
    LEFT = auto()
    FOUND = auto()
    LOST = auto()
    FINISHED = auto()
    NOT_FOUND = auto()
    FORGOTTEN = auto()


TRANSITIONS: dict[Event, tuple[frozenset[State], State]] = {
    Event.NAMED: (frozenset({State.DRAINING, State.MISSING, State.DONE}), State.FOLLOWED),
    Event.LEFT: (frozenset({State.FOLLOWED}), State.DRAINING),
    Event.FOUND: (frozenset({State.MISSING}), State.DRAINING),
    Event.LOST: (frozenset({State.FOLLOWED, State.DRAINING}), State.MISSING),
    Event.FINISHED: (frozenset({State.DRAINING}), State.DONE),
    Event.NOT_FOUND: (frozenset({State.MISSING}), State.DONE),
    Event.FORGOTTEN: (frozenset({State.FOLLOWED, State.DRAINING, State.MISSING, State.DONE}), State.DROPPED),
}

#: The file of a generation in one of these states is open.
OPEN = frozenset({State.FOLLOWED, State.DRAINING})


class Generation:
    """`posted`: the ledger has the position as it is since the file was opened. `must_post`: the ledger has to learn of
    a generation that is not open. `restored`: the position comes from an earlier process. `unproven`: the file may be
    a copy of another path's generation. `events` are counted with the generation's next window.
    """

    def __init__(self, key: str, position: Position, state: State, restored: bool = False) -> None:
        self.key, self.position, self.state, self.restored = key, position, state, restored
        self.reader: Reader | None = None
        self.events = NO_EVENTS
        self.posted = self.must_post = self.unproven = False

    @property
    def opened(self) -> Reader:
        """The reader of a generation that is FOLLOWED or DRAINING."""
        assert self.reader is not None, f"{self.key} is {self.state.name}"
        return self.reader

    def open(self, file: OpenFile, lengths: Lengths, now: float) -> None:
        """Raises OSError, and then leaves the generation as it was."""
        found = file.stat()
        self.reader = Reader(file, found, self.position, lengths, now)
        self.posted = False
        self.position = structs.replace(
            self.position,
            device=found.st_dev,
            inode=found.st_ino,
            compressed=file.packed,
            size=self.position.size if file.packed else found.st_size,
            done=False,
        )

    def window(self, source: str) -> Window | None:
        """The next window, None where there is nothing new. Raises Truncated, FILE_ERRORS, Unpacking."""
        piece = self.opened.read(self.position)
        if piece is None:
            return None
        return Window(source, self.key, self.position, piece.data, piece.before, piece.kind, piece.final, piece.closes)

    def acknowledge(self, window: Window, position: Position, consumed: int) -> None:
        """The ledger has posted the window; `position` is the one behind the consumed bytes."""
        self.events, self.must_post = NO_EVENTS, False
        if self.reader is None:
            return
        self.posted = True
        self.reader.acknowledge(window, consumed)
        if consumed:
            self.unproven = False
            known = self.position
            self.position = structs.replace(position, size=known.size, modified=known.modified)

    def count(self, rotations: int = 0, truncations: int = 0, lost_bytes: int = 0) -> None:
        self.events += RotationEvents(rotations, truncations, lost_bytes)

    def raise_low_water(self, modified: int) -> None:
        """Everything older than this mtime (nanoseconds) is in the ledger."""
        if modified != self.position.modified:
            self.position = structs.replace(self.position, modified=modified)

    def take_file(self) -> OpenFile:
        """The open file, for another generation; this one does not close it any more."""
        file, self.reader = self.opened.file, None
        return file

    def close(self) -> None:
        if self.reader is not None:
            self.reader.file.close()
            self.reader = None
