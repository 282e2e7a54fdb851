"""The generations of one path that are open: what the path names now, and what it named that may still grow.

Opening, finding again and giving up; what is read of them, and in which order, is the tail's affair.
"""

import os
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct, structs

from exporter.files.generation import Generation, Truncated
from exporter.files.lineage import Lineage, encoded
from exporter.files.opened import Identity, Opened, at_end, identity, open_current, reason
from exporter.window import Position

#: Seconds that a file which the path no longer names stays open after it last grew.
GRACE = 5.0

#: The same where nothing has followed it: it may come back under its old name (B16, B31).
_ORPHANED = 3600.0


class Terms(Struct, frozen=True):
    """What the tails of one source share: `clock` is monotonic, in seconds, `numbers` gives each generation one
    that is unique within the source, `line_length` is in bytes, a log pattern has one `%s` for the file's name.
    """

    source: str
    clock: Callable[[], float]
    numbers: Iterator[int]
    line_length: int = 1 << 20
    log_patterns: tuple[str, ...] = ()


class Following:
    """`generations` are the oldest first; `current` is the one that the path names, `error` the trouble with it.

    `elsewhere` finds whoever else of the same source `holds` a file.
    """

    def __init__(
        self,
        path: str,
        terms: Terms,
        positions: Mapping[str, Position],
        from_end: bool,
        elsewhere: "Callable[[Identity, Opened | None], Following | None]",
    ) -> None:
        self.error = ""
        self.generations: list[Generation] = []
        self.current: Generation | None = None
        self.lineage = Lineage(path, terms.log_patterns, positions)
        self._path, self._quoted = path, encoded(path)
        self._terms, self._from_end, self._elsewhere = terms, from_end, elsewhere
        self._looked, self._awaited = self.lineage.history, False

    def follow(self, now: float) -> os.stat_result | None:
        """B13-B18, B27, B28, B31: sees what the path names now, and finds what it named meanwhile.

        Gives what the current file looks like, where that is known.
        """
        found, error = None, ""
        try:
            found = os.stat(self._path)
        except OSError as trouble:
            error = reason(trouble)
        if not self._looked:
            self._looked, self._awaited = True, found is None
            self._remember_ancient(found)
        if found is not None and (self.current is None or self.current.identity != identity(found)):
            error, found = self._arrive(found, now), None  # it has grown since
        elif error == "missing" and self.current is not None:
            self.lineage.departed(now, [g.position for g in self.generations])
            self._depart()
        for generation in [g for g in self.generations if not g.position.offset]:
            found = self._measure(generation, found, now)
        self.error = error
        for key, file, position in self.lineage.search(now, not error, self.generations):
            try:
                self._insert(key, file, position, now)
            except OSError:  # it is where it was, for the next look
                file.close()
                break
        return found

    @property
    def complete(self) -> bool:
        """All that is older than the current generation is in the ledger."""
        return not self.lineage.waits and all(g.announced for g in self.generations if g is not self.current)

    @property
    def gone(self) -> bool:
        """The path names nothing and all that it named has been read."""
        return self.error == "missing" and not self.generations and not self.lineage.missing

    @property
    def files(self) -> tuple[str, ...]:
        """Keys of all generations whose positions the ledger may hold."""
        return (*(g.key for g in self.generations), *self.lineage.keys)

    def holds(self, held: Identity, file: Opened | None) -> bool:
        """Whether this is the one to read a file: it is open here, missing, or was read by its bytes, as `file`."""
        for generation in self.generations:
            if generation.identity == held:
                return True
        if file is not None:
            return self.lineage.has_read(file)
        return any((p.device, p.inode) == held for p in self.lineage.missing.values())

    def release(self, held: Identity) -> tuple[str, Position] | None:
        """Hands a generation over to another path that names it now; None while this one does."""
        if self.current is not None and self.current.identity == held:
            return None
        for generation in self.generations:
            if generation.identity == held:
                self.generations.remove(generation)
                generation.close()
                return generation.key, generation.position
        return self.lineage.take_over(held)

    def close(self) -> None:
        for generation in self.generations:
            generation.close()
        self.generations, self.current = [], None

    def _remember_ancient(self, found: os.stat_result | None) -> None:
        for position in self.lineage.ancient(found.st_mtime_ns if found else 0):
            key, numbered = self._numbered(position)
            self.lineage.remember(key, numbered)

    def _arrive(self, found: os.stat_result, now: float) -> str:
        """The path names another file than before. Gives the trouble with it."""
        self._depart()
        named = identity(found)
        back = next((g for g in self.generations if g.identity == named), None)
        if back is not None:
            back.closing = False
            self.generations.remove(back)
            self.generations.append(back)
            self.current = back
            return ""
        other = self._elsewhere(named, None)
        handed = other.release(named) if other else None
        if handed:
            self.lineage.mislaid(*handed, now)
        elif other:
            return ""
        try:
            file = open_current(self._path)
        except OSError as error:
            if isinstance(error, PermissionError):
                self._unreadable(found, now)
            return reason(error)
        try:
            self._begin(file, now)
        except OSError as error:
            file.close()
            return reason(error)
        return ""

    def _measure(self, generation: Generation, found: os.stat_result | None, now: float) -> os.stat_result | None:
        """Of what nothing was read, its size alone tells that it was emptied: before its copy is found (B17, B23).

        Takes and gives what the current file looks like, where that is still known.
        """
        is_current, changed_at = generation is self.current, generation.changed_at
        try:
            generation.look(now, found if is_current else None)
        except OSError:
            return found
        except Truncated:
            self.truncated(generation, now)
            return None if is_current else found  # it has grown since
        if is_current and generation.changed_at != changed_at:
            self.lineage.departed(now, [], renamed=False)  # it may have been full and emptied again
        return found

    def _depart(self) -> None:
        """What was written before the path moved on is read before what follows."""
        if self.current is not None:
            self.current.drained = False
        self.current = None

    def _begin(self, file: Opened, now: float) -> None:
        """Where reading of a file that the path has come to name begins. Raises OSError."""
        known = self.lineage.resume(file)
        key, position = known or ("", self.lineage.unread(file))
        if not key:
            key, position = self._numbered(position)
        renamed = False
        if known is None and self.lineage.history:
            renamed = self.lineage.arrived(key, file)
        elif known is None and self._from_end:
            position = at_end(file, position, file.size())
        elif position.offset and not position.marker_length:
            position = at_end(file, position, position.offset)  # found at the start, readable only now
        # Nothing was read of it, so it may be another file under the old inode (B27).
        if (self.lineage.history or self._awaited) and not position.marker_length:
            self.lineage.departed(now, [g.position for g in self.generations], renamed)
        self.lineage.history = True
        position = structs.replace(position, target=self._target())
        self.current = self._generation(key, file, position, now)
        self.generations.append(self.current)
        self.lineage.reopened(key)

    def _unreadable(self, found: os.stat_result, now: float) -> None:
        """D42: what is there is known, and read as soon as it may be, wherever it is by then."""
        held, lineage = identity(found), self.lineage
        known = next((k for k, p in lineage.missing.items() if (p.device, p.inode) == held), None)
        if known is not None:
            lineage.still_unreadable(known, found)
            return
        at = found.st_size if self._from_end and not lineage.history else 0
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
        key, position = self._numbered(position)
        if lineage.history:
            lineage.moved_on(key, now, [g.position for g in self.generations])
        lineage.history = True
        lineage.unreadable(key, position, now)

    def _target(self) -> str:
        real = os.path.realpath(self._path)
        return "" if real == os.path.abspath(self._path) else encoded(real)

    def _numbered(self, position: Position) -> tuple[str, Position]:
        number = next(self._terms.numbers)
        return f"{self._quoted}#{number}", structs.replace(position, path=self._quoted, number=number)

    def _generation(self, key: str, file: Opened, position: Position, now: float) -> Generation:
        position = structs.replace(position, path=self._quoted)
        return Generation(key, file, position, self._terms.line_length, now)

    def _insert(self, known: str, file: Opened, position: Position, now: float) -> None:
        """Before the current one, which is the last. Another path's file is that one's affair."""
        if not known and self._elsewhere(identity(file.stat()), file):
            file.close()
            return
        key, position = (known, position) if known else self._numbered(position)
        place = len(self.generations) - (self.current is not None)
        self.generations.insert(place, generation := self._generation(key, file, position, now))
        self.lineage.reopened(key)
        if not known:
            self.lineage.appeared(generation)

    def truncated(self, generation: Generation, now: float) -> None:
        """B19-B22, B27: other bytes stand where we have read."""
        known = generation.last_seen
        key, fresh = self._numbered(structs.replace(self.lineage.unread(generation.file), target=known.target))
        self.lineage.truncated(generation.key, known, now, followed_by=key)
        self.lineage.departed(now, [known], renamed=False)
        place = self.generations.index(generation)
        self.generations[place] = self._generation(key, generation.file, fresh, now)
        if generation is self.current:
            self.current = self.generations[place]

    def stumbled(self, generation: Generation, error: Exception, now: float) -> None:
        """D43: a descriptor may have gone stale where the name is still good."""
        self.error = reason(error)
        if generation is not self.current:
            self.generations.remove(generation)
            generation.close()
            self.lineage.mislaid(generation.key, generation.position, now)
            return
        try:
            file = open_current(self._path)
        except OSError:
            return
        if identity(file.stat()) == generation.identity:
            generation.replace_file(file)
        else:
            file.close()

    def over(self, generation: Generation, now: float) -> bool:
        """B14, B16: the path has left it, it was read to its end, and it has not grown for the grace."""
        if generation is self.current or not generation.drained:
            return False
        followed = self.current is not None or not generation.links
        return now - generation.grown_at >= (GRACE if followed else _ORPHANED)

    def given_up(self, generation: Generation) -> None:
        self.generations.remove(generation)
        generation.close()
        self.lineage.finish(generation.key, generation.position, generation.shortfall)
