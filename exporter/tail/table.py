"""The table of one path's generations."""

import os
from collections.abc import Iterable, Iterator, Mapping

from msgspec import structs

from exporter.tail.generation import OPEN, Event, FileState, Generation
from exporter.tail.position import NO_EVENTS, Position, Window, encoded
from exporter.tail.source_context import SourceContext


class GenerationTable:
    """The generations of one path, by state. `stored` are the positions of an earlier process.

    Within a state they are in the order in which they entered it, so the oldest is first. The FOLLOWED generation is
    read last. Each query costs time in proportion to the size of its result.
    """

    def __init__(self, path: str, source: SourceContext, stored: Mapping[str, Position] = {}) -> None:
        self.path, self.source, self.quoted = path, source, encoded(path)
        self._by_state: dict[FileState, dict[str, Generation]] = {state: {} for state in FileState}
        self._to_post: dict[str, Generation] = {}
        for key, position in stored.items():
            state = FileState.DONE if position.done else FileState.MISSING
            self.add(Generation(key, position, state, restored=not position.done))

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
        """Return the missing generations, the one with the most posted bytes first, then the newest.

        A file is compared with them in this order, because the bytes of one may begin with those of another.
        """
        missing = self._by_state[FileState.MISSING].values()
        return sorted(missing, key=lambda g: (g.position.offset, g.position.number), reverse=True)

    @property
    def done(self) -> list[Generation]:
        return [*self._by_state[FileState.DONE].values()]

    def new(self, position: Position, state: FileState) -> Generation:
        """Create a generation of this path with a new key. The caller adds it."""
        number = next(self.source.numbers)
        position = structs.replace(position, path=self.quoted, number=number)
        return Generation(f"{self.quoted}#{number}", position, state)

    def target(self) -> str:
        real = self.source.folders.real(self.path)
        return "" if real == os.path.abspath(self.path) else encoded(real)

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
        """Change the state of a generation; no other code does. Raise ValueError if the event does not allow it."""
        states, target = event.value
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
        if generation.state in OPEN:
            generation.table.transition(generation, Event.LOST)
        generation.table.remove(generation)
        self.add(generation)

    def remove(self, generation: Generation) -> None:
        del self._by_state[generation.state][generation.key]
        self._to_post.pop(generation.key, None)
        self.source.index.discard(generation)

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
        generation.table = self
        self.source.index.update(generation)


def positions(generations: Iterable[Generation]) -> list[Position]:
    return [generation.position for generation in generations]
