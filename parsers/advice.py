"""Advice for operators: what a log does not contain, and how to change that."""

from collections.abc import Collection, Iterable, Iterator

from msgspec import Struct

from parsers.batch import OfSpan, Record


class Advice(Struct, frozen=True):
    """A sentence about what a log lacks. It is superfluous if any log has a record of one of the types `elsewhere`."""

    sentence: str
    elsewhere: frozenset[type] = frozenset()

    def is_needed(self, known: Collection[type]) -> bool:
        """Return whether no log has a record of those types. `known` are the types of the records of all logs."""
        return self.elsewhere.isdisjoint(known)


def record_types(records: Iterable[Record]) -> frozenset[type]:
    """Return the types of the records that count something: none for a request that another line counts.

    A record that waits for the app of its span has its own type.
    """
    return frozenset(type(record) for record in map(OfSpan.inner, records) if getattr(record, "count", 1))


def merged(advice: Iterable[tuple[str, Advice]], known: Collection[type]) -> Iterator[tuple[str, list[str]]]:
    """Return each needed sentence once, with the names of its logs.

    `advice` are pairs of the name of a log and an advice on it. `known` are the types of the records of all logs.
    """
    logs: dict[str, list[str]] = {}
    for name, each in advice:
        if each.is_needed(known) and name not in logs.setdefault(each.sentence, []):
            logs[each.sentence].append(name)
    yield from logs.items()
