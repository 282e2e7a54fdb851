"""The keys of the facts that are in the log: a fact that comes again is not written again."""

from typing import Any

#: About 20 MB of memory.
LIMIT = 100_000


class KnownKeys:
    """The newest keys, oldest first. A key may be an alias of another one: both are keys of one fact."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._keys: dict[str, None] = {}
        self._aliases: dict[str, str] = {}
        #: The keys that another key is an alias of.
        self._named: dict[str, None] = {}
        self.limit = limit

    def __contains__(self, key: str) -> bool:
        return self.resolve(key) in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def resolve(self, key: str) -> str:
        """Return the key that this one is an alias of, or the key itself."""
        return self._aliases.get(key, key)

    def has_alias(self, key: str) -> bool:
        """Whether both keys of this fact are known to be the same."""
        return key in self._aliases or key in self._named

    def add(self, key: str) -> None:
        """Remember a key. The oldest key is forgotten if there are too many."""
        self._keys[key] = None
        if key in self._aliases:
            self._keys[self._aliases[key]] = None
        forget_oldest(self._keys, self.limit)

    def add_alias(self, key: str, other: str) -> None:
        """From now on `key` means `other`. If one of the two is known, so is the other."""
        self._aliases[key] = other
        self._named[other] = None
        forget_oldest(self._aliases, self.limit)
        forget_oldest(self._named, self.limit)
        if key in self._keys or other in self._keys:
            self.add(key)


def forget_oldest(entries: dict[str, Any], limit: int) -> None:
    while len(entries) > limit:
        del entries[next(iter(entries))]
