"""A dictionary that knows what has changed in it: what makes the cost of a commit follow the change."""

from collections.abc import Mapping
from typing import TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class ChangeTracker(dict[K, V]):
    """Not locked. A value is replaced and never changed, so that what has changed is handed out as it is."""

    __slots__ = ("_changed",)

    def __init__(self) -> None:
        super().__init__()
        self._changed: dict[K, V | None] = {}

    def __setitem__(self, key: K, value: V) -> None:
        dict.__setitem__(self, key, value)  # without super(), which costs half of it
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
        return super().pop(key, *default)

    def enter(self, entries: Mapping[K, V]) -> None:
        """Sets many."""
        super().update(entries)
        self._changed.update(entries)

    def changes(self) -> dict[K, V | None]:
        """What has changed since the last call, None for what is gone."""
        changed, self._changed = self._changed, {}
        return changed
