"""How far the files of one source were read in event time, and which of them are being read."""

from collections.abc import Iterator

from msgspec import Struct

from parsers.values.numbers import SECOND

#: A file counts as being read for this time after its last lines were posted. Nanoseconds of the wall clock.
ACTIVE = 60 * SECOND


class Reached(Struct, frozen=True):
    """How far a file was read. `read_at` is the wall clock when its last lines with a time were read.

    `last` is the event time of these lines. `newest` is the newest plausible event time of the file (see
    `parsers.slices`), None before the first one. All times are in nanoseconds since the epoch.
    """

    last: int
    newest: int | None
    read_at: int


class ReachedTimes:
    """The files of one source, by file generation. `now` is always the wall clock in nanoseconds.

    Several files of a source may be read at once, or one after the other, and one may be days ahead.
    """

    def __init__(self, now: int) -> None:
        self._started_at = now
        #: When the first lines were posted.
        self._read_since: int | None = None
        self._files: dict[str, Reached] = {}

    def begin(self, now: int) -> None:
        """Note that lines are being read, with or without a time."""
        if self._read_since is None:
            self._read_since = now

    def advance(self, file: str, last: int, newest: int | None, now: int) -> None:
        self._files[file] = Reached(last, newest, now)

    def forget(self, file: str) -> None:
        self._files.pop(file, None)

    def active(self, now: int) -> Iterator[Reached]:
        return (each for each in self._files.values() if now - each.read_at < ACTIVE)

    def knows_all_files(self, now: int) -> bool:
        """Whether the source was read for at least `ACTIVE`, so that all files that are being read are known."""
        return self._read_since is not None and now - self._read_since >= ACTIVE

    def by_all(self, now: int) -> int:
        """The event time that every file that is being read has reached; 0 if no file is being read."""
        return min((each.last for each in self.active(now)), default=0)

    def assumed(self, file: str, at: int, now: int) -> int:
        """The event time that a file has reached by now, if it is known to have reached `at`.

        Where no line follows, event time is assumed to advance with the wall clock. A clock that was set back has
        advanced too, by an unknown time.
        """
        reached = self._files.get(file)
        since = (at, self._started_at) if reached is None else (reached.last, reached.read_at)
        return since[0] + abs(now - since[1])
