"""Accepted requests that may still fail: their access line has status 200, but an error record may follow.

Nearly all of these requests succeed, so adding one must be cheap, while finding one may cost more. They are kept in
blocks of similar age. A block is a dictionary by trace id, and only an error record needs a lookup in the blocks.
"""

from collections.abc import Mapping
from itertools import islice

from msgspec import Struct, structs

from exporter.ledger.change_tracker import ChangeTracker
from parsers.batch import Accepted, TraceError
from parsers.values.numbers import SECOND
from parsers.values.times import iso, zone

#: A failed run writes its error record at most this many nanoseconds before the access line of a blocking request.
_EARLY = 2 * SECOND

#: The largest number of requests per block. A commit stores whole blocks, those that have changed.
_BLOCK = 128


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
        self._newest: dict[str, int] | None = None  # the newest block per trace id; None before the first error

    def restore(self, blocks: Mapping[int, Block]) -> None:
        """Restore stored blocks."""
        self.blocks.enter(dict(sorted(blocks.items())))
        self._size = sum(len(block.times) for block in self.blocks.values())

    def add(self, accepted: Accepted, errors: Mapping[str, TraceError], capacity: int) -> int:
        """Add requests. Returns how many have failed, by error records that were read before.

        Requests beyond the capacity are kept until `trim`, because errors of the same batch may follow.
        """
        block = Block(accepted.route, accepted.failure, accepted.timezone, {})
        size, number, failed = max(1, min(_BLOCK, capacity // 4)), next(reversed(self.blocks), 0), 0
        requests = zip(accepted.trace_ids.split("\n"), accepted.times.split("\n"), strict=False)
        while times := dict(islice(requests, size)):
            added = structs.replace(block, times=times)
            if errors and not errors.keys().isdisjoint(times):
                early = [trace_id for trace_id in times if trace_id in errors and added.fails(errors[trace_id])]
                for trace_id in early:
                    del times[trace_id]
                failed += len(early)
            number = self._put(number, added, size)
            if self._newest is not None:
                self._newest.update(dict.fromkeys(times, number))
        return failed

    def _put(self, number: int, added: Block, size: int) -> int:
        """Add a block, or merge it into the newest one if it fits. Returns the number of the newest block."""
        last = self.blocks.get(number)
        merged = structs.replace(added, times={})
        if (
            last is not None
            and structs.replace(last, times={}) == merged
            and len(last.times) + len(added.times) <= size
        ):
            added = structs.replace(added, times=last.times | added.times)
            self._size -= len(last.times)
        else:
            number += 1
        self.blocks[number] = added
        self._size += len(added.times)
        return number

    def trim(self, capacity: int) -> None:
        """Drop the oldest blocks beyond the capacity."""
        while self._size > capacity:
            number = next(iter(self.blocks))
            dropped = self.blocks.pop(number).times
            self._size -= len(dropped)
            if self._newest is not None:
                for trace_id in [each for each in dropped if self._newest.get(each) == number]:
                    del self._newest[trace_id]

    def fail(self, error: TraceError) -> tuple[str, str] | None:
        """Remove the newest request of this trace id if it failed by the error. Returns its route and failure."""
        if self._newest is None:
            self._newest = {trace_id: number for number, block in self.blocks.items() for trace_id in block.times}
        number = self._newest.get(error.trace_id)
        if number is None or not (block := self.blocks[number]).fails(error):
            return None
        del self._newest[error.trace_id]
        times = {trace_id: time for trace_id, time in block.times.items() if trace_id != error.trace_id}
        if times:
            self.blocks[number] = structs.replace(block, times=times)
        else:
            del self.blocks[number]
        self._size -= 1
        return block.route, block.failure
