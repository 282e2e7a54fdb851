"""All generations of one source, and those of one path: where a state changes, and how one path knows of another."""

from collections.abc import Iterable, Iterator

from msgspec import structs

from exporter.tail.fingerprint import matches
from exporter.tail.generation import OPEN, TRANSITIONS, Event, Generation, State
from exporter.tail.open_file import OpenFile
from exporter.tail.position import NO_EVENTS, PREFIX, Identity, Position, RotationEvents, Window


class Index:
    """All generations of one source, by (device, inode) and by the fingerprint of their first bytes."""

    def __init__(self) -> None:
        self._by_identity: dict[Identity, dict[str, Generation]] = {}
        self._by_prefix: dict[bytes, dict[str, Generation]] = {}
        self._places: dict[str, tuple[Identity, bytes]] = {}
        self._tables: dict[str, Generations] = {}

    def update(self, generation: Generation, table: "Generations") -> None:
        """After any change of a generation's identity, first bytes or table."""
        position, key = generation.position, generation.key
        prefix = position.prefix.digest if position.prefix.length == PREFIX else b""
        place = (position.identity, prefix)
        if self._places.get(key) != place:
            self.discard(key)
            self._places[key] = place
            self._by_identity.setdefault(place[0], {})[key] = generation
            self._by_prefix.setdefault(prefix, {})[key] = generation
        self._tables[key] = table

    def discard(self, key: str) -> None:
        if key in self._places:
            identity, prefix = self._places.pop(key)
            del self._tables[key], self._by_identity[identity][key], self._by_prefix[prefix][key]
            if not self._by_identity[identity]:
                del self._by_identity[identity]
            if not self._by_prefix[prefix]:
                del self._by_prefix[prefix]

    def table_of(self, generation: Generation) -> "Generations":
        return self._tables[generation.key]

    def of(self, identity: Identity) -> list[Generation]:
        return list(self._by_identity.get(identity, {}).values())

    def holder(self, identity: Identity, but: "Generations") -> Generation | None:
        """The generation of another path that is the one to read a file: it is open or missing."""
        held = self._elsewhere(self._by_identity.get(identity, {}), but)
        held = [g for g in held if g.state in OPEN] or [g for g in held if g.state is State.MISSING]
        return held[0] if held else None

    def is_open(self, identity: Identity) -> bool:
        """Whether any path reads this file; not while that file may be a copy of another path's."""
        return any(g.state in OPEN and not g.unproven for g in self._by_identity.get(identity, {}).values())

    def is_read(self, identity: Identity, but: "Generations") -> bool:
        """Whether another path reads this file; not while that file may be a copy of yet another path's."""
        return any(
            g.state in OPEN and not g.unproven for g in self._elsewhere(self._by_identity.get(identity, {}), but)
        )

    def was_read(self, identity: Identity, file: OpenFile, but: "Generations") -> bool:
        """Whether the file is open elsewhere, or its bytes were read there: an inode alone may be reused (B27)."""
        return self.is_read(identity, but) or any(
            g.reader is None and g.position.tail.length and matches(file, g.position)
            for g in self._elsewhere(self._by_identity.get(identity, {}), but)
        )

    def alike(self, prefix: bytes, but: "Generations") -> list[Generation]:
        """Generations of other paths whose first 32 bytes have this digest."""
        return self._elsewhere(self._by_prefix.get(prefix, {}), but) if prefix else []

    def _elsewhere(self, generations: dict[str, Generation], but: "Generations") -> list[Generation]:
        return [g for g in generations.values() if self._tables[g.key] is not but and g.state is not State.DROPPED]


class Generations:
    """The table of one path, by state. The order within a state is that of the changes, so the oldest is first; the
    FOLLOWED generation is read last. Every question costs as much as its answer is long.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._by_state: dict[State, dict[str, Generation]] = {state: {} for state in State}
        self._to_post: dict[str, Generation] = {}
        self.followed: Generation | None = None

    def __iter__(self) -> Iterator[Generation]:
        return iter([g for generations in self._by_state.values() for g in generations.values()])

    def __contains__(self, generation: Generation) -> bool:
        return generation.key in self._by_state[generation.state]

    @property
    def opened(self) -> list[Generation]:
        draining = [*self._by_state[State.DRAINING].values()]
        return draining if self.followed is None else [*draining, self.followed]

    @property
    def missing(self) -> list[Generation]:
        return [*self._by_state[State.MISSING].values()]

    @property
    def done(self) -> list[Generation]:
        return [*self._by_state[State.DONE].values()]

    def read_from(self, identity: Identity) -> list[Generation]:
        """Generations of this path that were read from a file."""
        return [g for g in self._index.of(identity) if g in self]

    def add(self, generation: Generation, instead_of: Generation | None = None) -> None:
        """Puts a generation at the end, or in the place of another one of the same state that is about to leave it."""
        entries = self._by_state[generation.state]
        if instead_of is None:
            entries[generation.key] = generation
        else:
            order = [generation if g is instead_of else g for g in entries.values()]
            self._by_state[generation.state] = {g.key: g for g in [*order, instead_of]}
        self._has_changed(generation)

    def transition(self, generation: Generation, event: Event) -> None:
        """The only place where a state changes. Raises ValueError for what is not in the table of `generation`."""
        states, target = TRANSITIONS[event]
        if generation.state not in states:
            raise ValueError(f"{event.name} is no event for {generation.key}, which is {generation.state.name}")
        del self._by_state[generation.state][generation.key]
        if generation is self.followed:
            self.followed = None
        generation.state = target
        self._by_state[target][generation.key] = generation
        if target not in OPEN:
            generation.close()
        self._has_changed(generation)

    def take(self, generation: Generation) -> None:
        """Takes a generation over from another path of the source, as MISSING."""
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
        """The ledger has posted a window: its generation, where this path still has that."""
        generation = next((entries[window.file] for entries in self._by_state.values() if window.file in entries), None)
        if generation is not None:
            generation.acknowledge(window, position, consumed)
            self._has_changed(generation)
        dropped = self._by_state[State.DROPPED]
        for key in [key for key in window.events.forget if key in dropped]:
            self.remove(dropped[key])
        return generation

    def with_events(self, window: Window) -> Window:
        """The window with its generation's events: together they are posted once, whenever a crash comes."""
        forget = tuple(self._by_state[State.DROPPED])
        generation = next((entries[window.file] for entries in self._by_state.values() if window.file in entries), None)
        events = (generation.events if generation else NO_EVENTS) + RotationEvents(forget=forget)
        return window if events == NO_EVENTS else structs.replace(window, events=events)

    def announcement(self, waits: bool) -> Generation | None:
        """A generation that the ledger must learn of by an empty window. `waits`: an older one may still turn up."""
        for generation in self.opened:
            is_new = not generation.posted
            if (is_new and not waits) or (generation.posted and generation.events != NO_EVENTS):
                return generation
        return None if waits else next(iter(self._to_post.values()), None)

    def is_settled(self, generation: Generation) -> bool:
        """Apart from this generation, nothing is open, missing, or to be posted."""
        return self.opened == [generation] and not self._by_state[State.MISSING] and not self._to_post

    def is_empty(self) -> bool:
        return not any(self._by_state.values())

    def _has_changed(self, generation: Generation) -> None:
        if generation.state is State.FOLLOWED:
            self.followed = generation
        is_closed = generation.state not in OPEN
        if is_closed and (generation.must_post or generation.events != NO_EVENTS or generation.state is State.DROPPED):
            self._to_post[generation.key] = generation
        else:
            self._to_post.pop(generation.key, None)
        self._index.update(generation, self)


def positions(generations: Iterable[Generation]) -> list[Position]:
    return [generation.position for generation in generations]
