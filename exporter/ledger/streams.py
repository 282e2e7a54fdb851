"""Accepted requests that may still fail: the access line says 200, and an error record behind it says otherwise.

Nearly all of these requests never fail, so adding one must cost next to nothing, and finding one may cost more. They
are kept in blocks of equal age: a block is a dictionary by trace id, and only an error record looks into the blocks.
"""

from collections.abc import Mapping
from itertools import islice

from exporter.ledger.change_tracker import ChangeTracker
from parsers.batch import Accepted, TraceError

#: A failed run writes its error record up to so many nanoseconds before the access line of a blocking request.
_EARLY = 2_000_000_000

#: Requests per block: a commit stores the blocks that have changed.
_BLOCK = 128

#: Route, failure and time (nanoseconds) of an accepted request.
Request = tuple[str, str, int]


def becomes(failure: str, accepted_at: int, error: TraceError) -> bool:
    """Whether an error of the same trace id makes this failure of a request that was accepted at this time.

    An error of a plugin that is older than the access line belongs to an answer that came whole: a blocking run with a
    branch for failed nodes.
    """
    if failure == "run_failed":
        return error.level == "run" and error.at >= accepted_at - _EARLY
    return error.level != "node" and error.at >= accepted_at


class Streams:
    """Of one source; `blocks` by a number that grows with every block, each with its requests by trace id."""

    def __init__(self) -> None:
        self.blocks: ChangeTracker[int, dict[str, Request]] = ChangeTracker()
        self._size = 0

    def restore(self, blocks: Mapping[int, dict[str, Request]]) -> None:
        """Goes on with stored blocks."""
        self.blocks.enter(dict(sorted(blocks.items())))
        self._size = sum(map(len, self.blocks.values()))

    def add(self, accepted: Accepted, capacity: int) -> None:
        """Adds requests, and drops the oldest blocks beyond the capacity."""
        route, failure = accepted.route, accepted.failure
        requests = iter([(trace_id, (route, failure, at)) for trace_id, at in accepted.requests])
        number = next(reversed(self.blocks), 0)
        block = self.blocks.get(number, {})
        while added := dict(islice(requests, _BLOCK - len(block) if len(block) < _BLOCK else _BLOCK)):
            if len(block) < _BLOCK:
                self._size -= len(block)
                block = block | added
            else:
                number, block = number + 1, added
            self.blocks[number] = block
            self._size += len(block)
        while self._size > capacity and self.blocks:
            self._size -= len(self.blocks.pop(next(iter(self.blocks))))

    def fail(self, error: TraceError) -> tuple[str, str] | None:
        """Takes the newest request that the error makes a failure; its route and failure."""
        for number in reversed(self.blocks):
            found = self.blocks[number].get(error.trace_id)
            if found is not None and becomes(found[1], found[2], error):
                self.blocks[number] = {
                    trace_id: request for trace_id, request in self.blocks[number].items() if request is not found
                }
                self._size -= 1
                return found[:2]
        return None
