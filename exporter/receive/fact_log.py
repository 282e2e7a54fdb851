"""The log of facts: one line per fact, each fact once, and a heartbeat with the number of items."""

import time
from collections import Counter
from collections.abc import Callable
from itertools import accumulate

from exporter.receive.known_keys import KnownKeys
from exporter.wsgi.log_file import LogFile
from parsers.tracing import Fact, Reading, heartbeat_line

_HEARTBEAT_SECONDS = 10.0


class FactLog:
    """Writes facts whose keys are not known. `clock` returns seconds since the epoch."""

    def __init__(self, file: LogFile, keys: KnownKeys, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._keys = keys
        self._clock = clock
        self._items: Counter[tuple[str, str]] = Counter()
        self._logged_at = 0.0

    def write(self, reading: Reading) -> bool:
        """Write the new facts of one request. Returns False if not all of them are in the file: it must come again.

        All lines are one write. If it is cut, its whole lines stay, because a reader may have seen them already.
        Nothing here switches to another greenlet, so two requests with the same fact cannot both find it new.
        """
        new, duplicates = self._new_facts(reading.facts)
        written = self._file.append(b"".join(fact.line for fact in new)) if new else 0
        is_complete = True
        for fact, end in zip(new, accumulate(len(fact.line) for fact in new), strict=True):
            if end > written:
                is_complete = False
                break
            self._remember(fact)
            self._items[fact.dialect, "written"] += 1
        if is_complete:
            self.count("duplicate", duplicates)
            self.count("ignored", reading.ignored)
            self.count("rejected", reading.rejected)
        return is_complete

    def count(self, outcome: str, items: dict[str, int]) -> None:
        """Count items by dialect. The next heartbeat reports them."""
        for dialect, number in items.items():
            self._items[dialect, outcome] += number

    def heartbeat(self) -> None:
        """Write a heartbeat if the last one is 10 s old."""
        if self._clock() - self._logged_at >= _HEARTBEAT_SECONDS:
            self.write_heartbeat()

    def write_heartbeat(self) -> None:
        """Write a heartbeat now. If this fails, the next one has its numbers."""
        now = self._clock()
        if self._file.append(heartbeat_line(self._items, int(now * 1e9))):
            self._items.clear()
            self._logged_at = now

    def _new_facts(self, facts: list[Fact]) -> tuple[list[Fact], Counter[str]]:
        """The facts, or parts of facts, that are not in the log, and the number of the others by dialect."""
        new: list[Fact] = []
        duplicates: Counter[str] = Counter()
        keys: set[str] = set()
        for fact in facts:
            if fact.alias:
                self._keys.add_alias(*fact.alias)
                if fact.alias[0] in keys:
                    keys.add(fact.alias[1])
            part: Fact | None = fact
            while part is not None and (part.key in self._keys or part.key in keys):
                part = part.rest
            if part is None:
                duplicates[fact.dialect] += 1
                continue
            new.append(part)
            keys.update(_keys(part))
        return new, duplicates

    def _remember(self, fact: Fact) -> None:
        for key in _keys(fact):
            self._keys.add(key)


def _keys(fact: Fact) -> list[str]:
    """The keys that the line of a fact makes known."""
    return [fact.key, *(_keys(fact.rest) if fact.rest else ())]
