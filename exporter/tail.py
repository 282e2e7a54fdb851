"""The tail of one path: windows of every generation of its log, each byte once, the oldest first.

A generation lives from the moment the path names it until 5 s after it last grew once the path has moved on.
Its descriptor stays open meanwhile, so its name does not matter. What is lost from sight while nobody looks
(truncated, or rotated while we were down) is a missing position: its file is searched among the siblings, by
inode and by content, for as long as the grace lasts, and then counted as lost. Nothing is read that existed
under a rotated name before the path was first seen.
"""

import os
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct, structs
from pygtail import Pygtail

from exporter.generation import Generation, Truncated
from exporter.lineage import Lineage, encoded
from exporter.opened import GZIP_ERRORS, Identity, NotAFileError, Opened, at_end, identity, open_log
from exporter.search import unread_of
from exporter.window import Position, Window

#: Seconds that a file which the path no longer names stays open after it last grew.
GRACE = 5.0

#: The same where nothing has followed it: it may come back under its old name (B16, B31).
_ORPHANED = 3600.0


def trouble(error: Exception) -> str:
    """The reason, of a closed set, why a file cannot be read."""
    if isinstance(error, NotAFileError):
        return "not_a_file"
    if isinstance(error, FileNotFoundError):
        return "missing"
    return "permission" if isinstance(error, PermissionError) else "io"


class Terms(Struct, frozen=True):
    """What the tails of one source share: `clock` is monotonic, in seconds, `numbers` gives each generation one
    that is unique within the source, `line_length` is in bytes, a log pattern has one `%s` for the file's name.
    """

    source: str
    clock: Callable[[], float]
    numbers: Iterator[int]
    line_length: int = 1 << 20
    log_patterns: tuple[str, ...] = ()


class Tail(Pygtail):  # type: ignore[misc]  # Pygtail has no types
    """Pygtail whose "next line" is the next window of bytes, and whose offset file is the caller's ledger.

    After each window `posted` must be called. `elsewhere` finds the tail of the same source that holds a file.
    """

    def __init__(
        self,
        path: str,
        terms: Terms,
        positions: Mapping[str, Position] | None = None,
        read_from_end: bool = False,
        elsewhere: "Callable[[Tail, Identity], Tail | None] | None" = None,
    ) -> None:
        patterns = list(terms.log_patterns)
        # An empty file in the place of the offset file: Pygtail neither reads nor writes one.
        super().__init__(
            path,
            offset_file=os.devnull,
            read_from_end=read_from_end,
            log_patterns=patterns,
            save_on_end=False,
        )
        self.error = ""
        self.lag = self.backlog = 0
        self.left = self.reads = False
        self._terms, self._elsewhere = terms, elsewhere
        self._quoted = encoded(path)
        self._lineage = Lineage(path, terms.log_patterns, positions or {})
        self._generations: list[Generation] = []
        self._current: Generation | None = None
        self._given: Window | None = None
        self._turn = 0
        self._looked, self._awaited = self._lineage.history, False

    def window(self) -> Window | None:
        """The next window, None where there is nothing new. Never raises OSError: see `error`."""
        window: Window | None = next(self, None)
        self._given = window
        self._measure()
        return window

    def posted(self, consumed: int) -> None:
        """The window last given is in the ledger, and the parser took so many bytes of it."""
        window, self._given = self._given, None
        if window is None:
            return
        self._lineage.told(window)
        for generation in self._generations:
            if generation.key == window.file:
                generation.posted(window, consumed)
                if generation.closed:
                    self._generations.remove(generation)
                    generation.close()
                    self._lineage.finish(generation.key, generation.position, generation.shortfall)
                break
        self._measure()

    def _measure(self) -> None:
        """For whoever asks from another thread."""
        self.reads = self._current is not None
        self.lag = sum(g.position.unread for g in self._generations) + self._lineage.missing_bytes
        self.backlog = sum(g.position.unread for g in self._generations if not g.resting)

    @property
    def gone(self) -> bool:
        """The path names nothing and all that it named has been read."""
        return self.error == "missing" and not self._generations and not self._lineage.missing

    @property
    def files(self) -> tuple[str, ...]:
        """Keys of all generations whose positions the ledger may hold."""
        return (*(g.key for g in self._generations), *self._lineage.keys)

    def holds(self, held: Identity) -> bool:
        for generation in self._generations:
            if generation.identity == held:
                return True
        return any((p.device, p.inode) == held for p in self._lineage.missing.values())

    def release(self, held: Identity) -> tuple[str, Position] | None:
        """Hands a generation over to another path that names it now; None while this one does."""
        if self._current is not None and self._current.identity == held:
            return None
        for generation in self._generations:
            if generation.identity == held:
                self._generations.remove(generation)
                generation.close()
                return generation.key, generation.position
        return self._lineage.take_over(held)

    def forget(self) -> None:
        """Nothing of this path is needed any more: the next windows only say so."""
        self.close()
        self.left = True
        self._lineage.forget()

    def close(self) -> None:
        for generation in self._generations:
            generation.close()
        self._generations, self._current = [], None

    def __del__(self) -> None:
        """D41: Pygtail's opens the file in order to close it, and raises where it is missing."""
        for generation in getattr(self, "_generations", ()):
            generation.close()

    def _get_next_line(self) -> Window:
        """The next window instead of the next line: bytes (A3, A4), cut at no `\\r` (A5), of bounded size (A6)."""
        now = self._terms.clock()
        found = None if self.left else self._follow(now)
        self._retire(now)
        before: list[Generation] = []
        while self._generations != before:  # one that was truncated or cannot be read makes way for others
            before = list(self._generations)
            for generation in self._in_turn():
                window = self._window_of(generation, now, found if generation is self._current else None)
                if window is not None:
                    return self._lineage.tell(window)
            found = None
        window = self._lineage.news(self._terms.source, next((g for g in self._generations if not g.announced), None))
        if window is None:
            raise StopIteration
        return window

    def _is_new_file(self) -> bool:
        """B14, B15, B17: Pygtail leaves the old file at its first end; here several are read side by side."""
        return False

    def _in_turn(self) -> list[Generation]:
        """The generations up to the first that was not yet read to its end, another one first each time."""
        ready: list[Generation] = []
        for generation in self._generations:
            ready.append(generation)
            if not generation.drained:
                break
        self._turn = (self._turn + 1) % max(1, len(ready))
        return ready[self._turn :] + ready[: self._turn]

    def _window_of(self, generation: Generation, now: float, found: os.stat_result | None) -> Window | None:
        known = generation.position
        try:
            cut = generation.look(now, found)
            if generation.quiet(now):
                return None
            if not known.offset and generation.announced and generation.position is not known:
                self._lineage.departed(now, [known], renamed=False)  # it may have been full and emptied again meanwhile
            window = generation.window(self._terms.source)
        except Truncated:
            self._truncated(generation, known, now)
        except (OSError, *GZIP_ERRORS) as error:
            self._stumbled(generation, error, now)
        else:
            if cut:
                self._lineage.cut(cut)
            return window
        return None

    def _follow(self, now: float) -> os.stat_result | None:
        """B13-B18, B27, B28, B31: sees what the path names now, and finds what it named meanwhile.

        Gives what the current file looks like, where that is known.
        """
        found, error = None, ""
        try:
            found = os.stat(self.filename)
        except OSError as trouble_:
            error = trouble(trouble_)
        if not self._looked:
            self._looked, self._awaited = True, found is None
            self._remember_ancient(found)
        if found is not None and (self._current is None or self._current.identity != identity(found)):
            error, found = self._arrive(found, now), None  # it has grown since
        elif error == "missing" and self._current is not None:
            self._lineage.departed(now, [g.position for g in self._generations])
            self._depart()
        self.error = error
        for key, file, position in self._lineage.search(now, not error, self._generations):
            self._insert(key, file, position, now)
        return found

    def _remember_ancient(self, found: os.stat_result | None) -> None:
        for position in self._lineage.ancient(found.st_mtime_ns if found else 0):
            key, numbered = self._numbered(position)
            self._lineage.remember(key, numbered)

    def _arrive(self, found: os.stat_result, now: float) -> str:
        """The path names another file than before. Gives the trouble with it."""
        self._depart()
        named = identity(found)
        back = next((g for g in self._generations if g.identity == named), None)
        if back is not None:
            back.closing = False
            self._generations.remove(back)
            self._generations.append(back)
            self._current = back
            return ""
        other = self._elsewhere(self, named) if self._elsewhere else None
        handed = other.release(named) if other else None
        if handed:
            self._lineage.mislaid(*handed, now)
        elif other:
            return ""
        try:
            file = open_log(self.filename)
        except OSError as error:
            if isinstance(error, PermissionError):
                self._unreadable(found, now)
            return trouble(error)
        try:
            self._begin(file, now)
        except OSError as error:
            file.close()
            return trouble(error)
        return ""

    def _depart(self) -> None:
        """What was written before the path moved on is read before what follows."""
        if self._current is not None:
            self._current.drained = False
        self._current = None

    def _begin(self, file: Opened, now: float) -> None:
        """Where reading of a file that the path has come to name begins. Raises OSError."""
        known = self._lineage.resume(file)
        key, position = known or ("", unread_of(file))
        renamed = False
        if known is None and self._lineage.history:
            renamed = self._lineage.arrived(file)
        elif known is None and self.read_from_end:
            position = at_end(file, position, file.size())
        elif position.offset and not position.marker_length:
            position = at_end(file, position, position.offset)  # found at the start, readable only now
        # Nothing was read of it, so it may be another file under the old inode (B27).
        if (self._lineage.history or self._awaited) and not position.marker_length:
            self._lineage.departed(now, [g.position for g in self._generations], renamed)
        self._lineage.history = True
        position = structs.replace(position, modified=file.stat().st_mtime_ns, target=self._target())
        self._current = self._generation(key, file, position, now)
        self._generations.append(self._current)

    def _unreadable(self, found: os.stat_result, now: float) -> None:
        """D42: what is there is known, and read as soon as it may be, wherever it is by then."""
        held, lineage = identity(found), self._lineage
        known = next((k for k, p in lineage.missing.items() if (p.device, p.inode) == held), None)
        if known is not None:
            lineage.still_unreadable(known, found)
            return
        at = found.st_size if self.read_from_end and not lineage.history else 0
        position = Position(
            path=self._quoted,
            number=0,
            device=held[0],
            inode=held[1],
            offset=at,
            size=found.st_size,
            modified=found.st_mtime_ns,
            target=self._target(),
        )
        if lineage.history:
            lineage.moved_on(now, [g.position for g in self._generations])
        lineage.history = True
        lineage.unreadable(*self._numbered(position), now)

    def _target(self) -> str:
        real = os.path.realpath(self.filename)
        return "" if real == os.path.abspath(self.filename) else encoded(real)

    def _numbered(self, position: Position) -> tuple[str, Position]:
        number = next(self._terms.numbers)
        return f"{self._quoted}#{number}", structs.replace(position, path=self._quoted, number=number)

    def _generation(self, key: str, file: Opened, position: Position, now: float) -> Generation:
        if not key:
            key, position = self._numbered(position)
        position = structs.replace(position, path=self._quoted)
        return Generation(key, file, position, self._terms.line_length, now)

    def _insert(self, key: str, file: Opened, position: Position, now: float) -> None:
        """Before the current one, which is the last."""
        place = len(self._generations) - (self._current is not None)
        self._generations.insert(place, self._generation(key, file, position, now))

    def _truncated(self, generation: Generation, known: Position, now: float) -> None:
        """B19-B22, B27: other bytes stand where we have read; `known` is the position before that was seen."""
        self._generations.remove(generation)
        self._lineage.truncated(generation.key, known, now)
        if generation is not self._current:
            generation.close()
            return
        self._lineage.departed(now, [known], renamed=False)
        fresh = structs.replace(unread_of(generation.file), target=self._target())
        self._current = self._generation("", generation.file, fresh, now)
        self._generations.append(self._current)

    def _retire(self, now: float) -> None:
        """B14, B16: gives up what the path has left and what has not grown for the grace."""
        for generation in self._generations:
            if generation is not self._current and generation.drained:
                followed = self._current is not None or not generation.links
                generation.closing = now - generation.grown_at >= (GRACE if followed else _ORPHANED)

    def _stumbled(self, generation: Generation, error: Exception, now: float) -> None:
        """D43: a descriptor may have gone stale where the name is still good."""
        self.error = trouble(error)
        if generation is not self._current:
            self._generations.remove(generation)
            generation.close()
            self._lineage.mislaid(generation.key, generation.position, now)
            return
        try:
            file = open_log(self.filename)
        except OSError:
            return
        if identity(file.stat()) == generation.identity:
            generation.replace_file(file)
        else:
            file.close()
