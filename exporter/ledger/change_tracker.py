"""A dictionary that records its changes, so that the cost of a commit depends on the changes, not on the size."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class ChangeTracker(dict[K, V]):
    """Not thread-safe. Values must be replaced, never mutated, because `changes` returns them without a copy."""

    __slots__ = ("_changed",)

    def __init__(self) -> None:
        super().__init__()
        self._changed: dict[K, V | None] = {}

    def __setitem__(self, key: K, value: V) -> None:
        dict.__setitem__(self, key, value)  # super() would double the time
        self._changed[key] = value

    def __delitem__(self, key: K) -> None:
        super().__delitem__(key)
        self._changed[key] = None

    @overload
    def pop(self, key: K, /) -> V: ...

    @overload
    def pop(self, key: K, default: V | D, /) -> V | D: ...

    def pop(self, key: K, *default: V | D) -> V | D:
        if key in self:
            self._changed[key] = None
        return dict.pop(self, key, *default)

    def enter(self, entries: Mapping[K, V]) -> None:
        super().update(entries)
        self._changed.update(entries)

    def changes(self) -> dict[K, V | None]:
        """The entries that changed since the last call; None for deleted ones."""
        changed, self._changed = self._changed, {}
        return changed


def evicted(table: ChangeTracker[K, V], capacity: int) -> Iterator[V]:
    if len(table) > capacity:
        for key in list(islice(table, len(table) - capacity)):
            yield table.pop(key)
