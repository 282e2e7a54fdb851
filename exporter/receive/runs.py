"""The keys of the facts that are in the log, and the runs that two channels send under different keys.

A fact that comes again is not written again. A tracing provider sends a run with its id. ENABLE_OTEL sends it as a span
that does not know the id; only the span of its start node does. Until that span arrives, a run of one channel may be a
run that the other channel has sent already. Such a run waits: its draft is in the log and does not count, so that a
restart does not lose the run.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from parsers.tracing import Fact, run_of_draft

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


#: Seconds that a run waits for its start node. Dify sends both within five seconds, a client tries again for ten.
WAIT_SECONDS = 30.0
#: Seconds for which a run may come through the other channel: the provider OpenTelemetry tries for five minutes.
_PAIR_SECONDS = 600.0
_LIMIT = 10_000


class Runs:
    """The runs whose other key is not known: those in the log, and those that wait. `clock` returns seconds."""

    def __init__(self, keys: KnownKeys, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._clock = clock
        #: The runs in the log, by whether their key is that of a span.
        self._unpaired = {True: _Unpaired(), False: _Unpaired()}
        #: The drafts by the key of the run, and when each one came.
        self._drafts: dict[str, tuple[bytes, float]] = {}

    def must_wait(self, fact: Fact) -> bool:
        """Whether the fact may be a run that is in the log under its other key.

        That is a run of the same app that came through the other channel, and whose start node has not come.
        """
        if fact.run_app is None or self._keys.has_alias(fact.key):
            return False
        others = self._unpaired[not _is_of_span(fact.key)]
        others.forget(self._clock() - _PAIR_SECONDS)
        return others.has_run_of(fact.run_app)

    def add(self, key: str, app_id: str) -> None:
        """Add a run that is in the log, unless its other key is known."""
        if not self._keys.has_alias(key):
            self._unpaired[_is_of_span(key)].add(key, app_id, self._clock())

    def pair(self, alias: tuple[str, str]) -> None:
        for key in alias:
            self._unpaired[_is_of_span(key)].remove(key)

    def wait(self, draft: bytes) -> None:
        key = run_of_draft(draft).key
        if key not in self._keys:
            self._drafts[key] = draft, self._clock()

    def due(self) -> Iterator[Fact]:
        """Return the runs that must be written now, and forget those that are in the log under their other key."""
        now, surplus = self._clock(), len(self._drafts) - _LIMIT
        found: set[str] = set()
        for number, (key, (draft, at)) in enumerate(list(self._drafts.items())):
            if key in self._keys or self._keys.resolve(key) in found:
                del self._drafts[key]
            elif number < surplus or abs(now - at) >= WAIT_SECONDS or self._keys.has_alias(key):
                found.add(self._keys.resolve(key))
                yield run_of_draft(draft)

    def written(self, run: Fact) -> None:
        del self._drafts[run.key]
        self.add(run.key, run.run_app or "")


class _Unpaired:
    """Runs of one channel, oldest first, with their app ("" if unknown) and the time when they came."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[str, float]] = {}
        self._apps: Counter[str] = Counter()

    def add(self, key: str, app_id: str, at: float) -> None:
        self.remove(key)
        self._runs[key] = app_id, at
        self._apps[app_id] += 1
        while len(self._runs) > _LIMIT:
            self.remove(next(iter(self._runs)))

    def remove(self, key: str) -> None:
        if key in self._runs:
            app_id, _ = self._runs.pop(key)
            self._apps[app_id] -= 1
            if not self._apps[app_id]:
                del self._apps[app_id]

    def forget(self, before: float) -> None:
        while self._runs and next(iter(self._runs.values()))[1] < before:
            self.remove(next(iter(self._runs)))

    def has_run_of(self, app_id: str) -> bool:
        """Whether one of the runs may be one of this app."""
        return bool(self._apps[app_id] or self._apps[""] if app_id else self._runs)


def _is_of_span(key: str) -> bool:
    return key.startswith("span:")
