"""Accepted requests that may still fail: their access line has status 200, but an error record may follow.

Nearly all of these requests succeed, so adding one must be cheap, while finding one may cost more. They are kept in
blocks of similar age. A block is a dictionary by trace id, and only an error record needs a lookup in the blocks.

A client that is traced itself sends one trace id with many requests (the header `traceparent`). Then each of them is in
a block of its own, and an error belongs to the newest request that it can belong to.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct, structs

from exporter.ledger.change_tracker import ChangeTracker
from parsers.batch import Accepted, TraceError
from parsers.values.numbers import SECOND
from parsers.values.times import iso, zone

#: A failed run writes its error record at most this many nanoseconds before the access line of a blocking request.
_EARLY = 2 * SECOND

#: The largest number of requests per block. A commit stores whole blocks, those that have changed.
_BLOCK = 128

#: The number of newest requests of one trace id among which an error is looked up.
_SEARCHED = 16


class Block(Struct, frozen=True):
    """Accepted requests of one route (see `Accepted`), with the time of each by its trace id."""

    route: str
    failure: str
    timezone: str
    times: dict[str, str]

    def fails(self, error: TraceError) -> bool:
        """Whether a request of this block failed by this error.

        A plugin error that is older than the access line did not break the answer: it belongs to a blocking run with a
        branch for failed nodes.
        """
        time = self.times.get(error.trace_id)
        if time is None or (at := iso(time.encode(), zone(self.timezone))) is None:
            return False
        if self.failure == "run_failed":
            return error.level == "run" and error.at >= at - _EARLY
        return error.level != "node" and error.at >= at


class Streams:
    """The accepted requests of one source. `blocks` is keyed by a number that grows with every block."""

    def __init__(self) -> None:
        self.blocks: ChangeTracker[int, Block] = ChangeTracker()
        self._size = 0
        #: The blocks of each trace id, newest first; some may be dropped by now. None before the first error.
        self._numbers: dict[str, tuple[int, ...]] | None = None

    def restored(self) -> None:
        """Count the requests that wait, after stored blocks were entered."""
        self._size = sum(len(block.times) for block in self.blocks.values())

    def add(self, accepted: Accepted, errors: Mapping[str, TraceError], capacity: int) -> set[str]:
        """Add requests. Returns the trace ids of those that have failed, each by an error record that was read before.

        Requests beyond the capacity are kept until `trim`, because errors of the same batch may follow.
        """
        block = Block(accepted.route, accepted.failure, accepted.timezone, {})
        size, number, failed = max(1, min(_BLOCK, capacity // 4)), next(reversed(self.blocks), 0), set[str]()
        for times in _unique(accepted, size):
            added = structs.replace(block, times=times)
            if errors and not errors.keys().isdisjoint(times):
                early = [each for each in errors.keys() & times.keys() - failed if added.fails(errors[each])]
                for trace_id in early:
                    del times[trace_id]
                failed.update(early)
            number = self._put(number, added, size)
            if self._numbers is not None:
                _index(self._numbers, number, times)
        return failed

    def _put(self, number: int, added: Block, size: int) -> int:
        """Add a block, or merge it into the newest one if it fits. Returns the number of the newest block."""
        last = self.blocks.get(number)
        self._size += len(added.times)
        if (
            last is not None
            and structs.replace(last, times=added.times) == added
            and len(last.times) + len(added.times) <= size
            and last.times.keys().isdisjoint(added.times)
        ):
            added = structs.replace(added, times=last.times | added.times)
        else:
            number += 1
        self.blocks[number] = added
        return number

    def trim(self, capacity: int) -> None:
        """Drop the oldest blocks beyond the capacity."""
        numbers = self._numbers or {}
        while self._size > capacity:
            number = next(iter(self.blocks))
            dropped = self.blocks.pop(number).times
            self._size -= len(dropped)
            for trace_id in dropped if numbers else ():
                if numbers.get(trace_id, ())[:1] == (number,):
                    del numbers[trace_id]

    def fail(self, error: TraceError) -> tuple[str, str] | None:
        """Remove the newest request of this trace id that failed by the error. Returns its route and failure."""
        trace_id = error.trace_id
        if self._numbers is None:
            self._numbers = {}
            for number, block in self.blocks.items():
                _index(self._numbers, number, block.times)
        numbers = [each for each in self._numbers.get(trace_id, ()) if each in self.blocks]
        found = next((each for each in numbers if self.blocks[each].fails(error)), None)
        if found is None:
            return None
        if rest := tuple(each for each in numbers if each != found):
            self._numbers[trace_id] = rest
        else:
            del self._numbers[trace_id]
        block = self.blocks[found]
        if times := {each: time for each, time in block.times.items() if each != trace_id}:
            self.blocks[found] = structs.replace(block, times=times)
        else:
            del self.blocks[found]
        self._size -= 1
        return block.route, block.failure


def _index(numbers: dict[str, tuple[int, ...]], number: int, times: Mapping[str, str]) -> None:
    added: dict[str, tuple[int, ...]] = dict.fromkeys(times, (number,))
    for trace_id in numbers.keys() & times.keys():
        added[trace_id] = (number, *numbers[trace_id])[:_SEARCHED]
    numbers.update(added)


def _unique(accepted: Accepted, size: int) -> Iterator[dict[str, str]]:
    """The time of each request by its trace id, at most `size` at once; one that repeats a trace id comes later."""
    trace_ids, moments = accepted.trace_ids.split("\n"), accepted.times.split("\n")
    for begin in range(0, len(trace_ids), size):
        requests = trace_ids[begin : begin + size], moments[begin : begin + size]
        while requests[0]:
            times = dict(zip(*requests, strict=False))
            repeated: tuple[list[str], list[str]] = [], []
            if len(times) < len(requests[0]):
                times.clear()
                for trace_id, time in zip(*requests, strict=False):
                    if trace_id in times:
                        repeated[0].append(trace_id)
                        repeated[1].append(time)
                    else:
                        times[trace_id] = time
            yield times
            requests = repeated
