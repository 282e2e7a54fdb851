"""The table of one path's generations, and the index of all generations of a source."""

from collections.abc import Iterable, Iterator

from msgspec import structs

from exporter.tail.fingerprint import matches
from exporter.tail.generation import OPEN, TRANSITIONS, Event, FileState, Generation
from exporter.tail.open_file import OpenFile
from exporter.tail.position import NO_EVENTS, Fingerprint, Identity, Position, Window


class GenerationIndex:
    """All generations of one source, by (device, inode) and by the fingerprint of their first bytes.

    Arguments named `but` are the table of one path; the result has generations of other paths only.
    """

    def __init__(self) -> None:
        self._by_key: dict[Identity | bytes, dict[str, Generation]] = {}
        self._keys_of: dict[str, list[Identity | bytes]] = {}
        self._tables: dict[str, GenerationTable] = {}

    def update(self, generation: Generation, table: "GenerationTable") -> None:
        """Update the index after a change of a generation's identity, first bytes or table."""
        position, name = generation.position, generation.key
        keys = [key for key in (position.identity, position.prefix.lookup_key) if key]
        if self._keys_of.get(name) != keys:
            self.discard(name)
            self._keys_of[name] = keys
            for key in keys:
                self._by_key.setdefault(key, {})[name] = generation
        self._tables[name] = table

    def discard(self, name: str) -> None:
        self._tables.pop(name, None)
        for key in self._keys_of.pop(name, ()):
            del self._by_key[key][name]
            if not self._by_key[key]:
                del self._by_key[key]

    def table_of(self, generation: Generation) -> "GenerationTable":
        return self._tables[generation.key]

    def of(self, key: Identity | bytes) -> list[Generation]:
        return list(self._by_key.get(key, {}).values())

    def owner(self, identity: Identity, but: "GenerationTable") -> Generation | None:
        """Return the generation of another path that must read this file: an open one, else a missing one."""
        held = self._elsewhere(identity, but)
        held = [g for g in held if g.state in OPEN] or [g for g in held if g.state is FileState.MISSING]
        return held[0] if held else None

    def is_open(self, identity: Identity, but: "GenerationTable | None" = None) -> bool:
        """Return whether any path reads this file. A file that may be a copy is not counted."""
        return any(g.state in OPEN and not g.may_be_copy for g in self._elsewhere(identity, but))

    def was_read(self, identity: Identity, file: OpenFile, but: "GenerationTable") -> bool:
        """Return whether another path reads the file or has read its bytes. The inode alone may be reused (B27)."""
        return self.is_open(identity, but) or any(
            g.reader is None and g.position.tail.length and matches(file, g.position)
            for g in self._elsewhere(identity, but)
        )

    def alike(self, prefix: Fingerprint, but: "GenerationTable") -> list[Generation]:
        """Return generations of other paths that begin with the same 32 bytes."""
        return self._elsewhere(prefix.lookup_key, but)

    def _elsewhere(self, key: Identity | bytes, but: "GenerationTable | None") -> list[Generation]:
        return [g for g in self.of(key) if self._tables[g.key] is not but and g.state is not FileState.DROPPED]


class GenerationTable:
    """The generations of one path, by state.

    Within a state they are in the order in which they entered it, so the oldest is first. The FOLLOWED generation is
    read last. Each query costs time in proportion to the size of its result.
    """

    def __init__(self, index: GenerationIndex) -> None:
        self._index = index
        self._by_state: dict[FileState, dict[str, Generation]] = {state: {} for state in FileState}
        self._to_post: dict[str, Generation] = {}

    def __iter__(self) -> Iterator[Generation]:
        return iter([g for generations in self._by_state.values() for g in generations.values()])

    def __contains__(self, generation: Generation) -> bool:
        return generation.key in self._by_state[generation.state]

    @property
    def followed(self) -> Generation | None:
        return next(iter(self._by_state[FileState.FOLLOWED].values()), None)

    @property
    def opened(self) -> list[Generation]:
        return [*self._by_state[FileState.DRAINING].values(), *self._by_state[FileState.FOLLOWED].values()]

    @property
    def missing(self) -> list[Generation]:
        return [*self._by_state[FileState.MISSING].values()]

    @property
    def done(self) -> list[Generation]:
        return [*self._by_state[FileState.DONE].values()]

    def read_from(self, identity: Identity) -> list[Generation]:
        """Return the generations of this path with this device and inode."""
        return [g for g in self._index.of(identity) if g in self]

    def add(self, generation: Generation, instead_of: Generation | None = None) -> None:
        """Add a generation at the end, or in the place of another one, which is about to leave their state."""
        entries = self._by_state[generation.state]
        if instead_of is None:
            entries[generation.key] = generation
        else:
            order = [generation if g is instead_of else g for g in entries.values()]
            self._by_state[generation.state] = {g.key: g for g in [*order, instead_of]}
        self._update(generation)

    def transition(self, generation: Generation, event: Event) -> None:
        """Change the state of a generation; no other code does. Raise ValueError if TRANSITIONS does not allow it."""
        states, target = TRANSITIONS[event]
        if generation.state not in states:
            raise ValueError(f"{event.name} is no event for {generation.key}, which is {generation.state.name}")
        del self._by_state[generation.state][generation.key]
        generation.state = target
        self._by_state[target][generation.key] = generation
        if target not in OPEN:
            generation.close()
        self._update(generation)

    def adopt(self, generation: Generation) -> None:
        """Move a generation from another path of the source to this path, as MISSING."""
        table = self._index.table_of(generation)
        if generation.state in OPEN:
            table.transition(generation, Event.LOST)
        table.remove(generation)
        self.add(generation)

    def remove(self, generation: Generation) -> None:
        del self._by_state[generation.state][generation.key]
        self._to_post.pop(generation.key, None)
        self._index.discard(generation.key)

    def acknowledge(self, window: Window, position: Position, consumed: int) -> Generation | None:
        """Store that the ledger has posted a window. Return its generation, None if this path no longer has it."""
        generation = self._find(window.file)
        if generation is not None:
            generation.acknowledge(window, position, consumed)
            self._update(generation)
        dropped = self._by_state[FileState.DROPPED]
        for key in [key for key in window.events.forget if key in dropped]:
            self.remove(dropped[key])
        return generation

    def with_events(self, window: Window) -> Window:
        """Return the window with the events of its generation: they are posted together, whenever a crash comes."""
        forget = tuple(self._by_state[FileState.DROPPED])
        generation = self._find(window.file)
        events = structs.replace(generation.events if generation else NO_EVENTS, forget=forget)
        return window if events == NO_EVENTS else structs.replace(window, events=events)

    def next_to_post(self, waits: bool) -> Generation | None:
        """Return a generation for which an empty window must be posted. `waits`: an older one may still be found."""
        for generation in self.opened:
            is_new = not generation.posted
            if (is_new and not waits) or (generation.posted and generation.events != NO_EVENTS):
                return generation
        return None if waits else next(iter(self._to_post.values()), None)

    def is_alone(self, generation: Generation) -> bool:
        """Return whether no other generation is open, missing, or to be posted."""
        return self.opened == [generation] and not self._by_state[FileState.MISSING] and not self._to_post

    def is_empty(self) -> bool:
        return not any(self._by_state.values())

    def _find(self, key: str) -> Generation | None:
        return next((entries[key] for entries in self._by_state.values() if key in entries), None)

    def _update(self, generation: Generation) -> None:
        is_dropped = generation.state is FileState.DROPPED
        if is_dropped or (generation.state not in OPEN and (generation.must_post or generation.events != NO_EVENTS)):
            self._to_post[generation.key] = generation
        else:
            self._to_post.pop(generation.key, None)
        self._index.update(generation, self)


def positions(generations: Iterable[Generation]) -> list[Position]:
    return [generation.position for generation in generations]
