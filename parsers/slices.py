"""Cut windows of a log at boundaries of event time, with any parser.

Goals: a slice belongs to one span of event time, such as a day. The slices of a window add up to its batch. A cut costs
a few parses of a part of the window. Only `consumed`, `skip`, `last_at` and `first_at` of batches are used, so the
parser of a third party can be sliced too.

Rules: the running maximum of the event times decides. The cut is before the first record whose time is at or behind the
boundary, so records that are out of order by seconds move nothing far. A record without a time goes with the record
before it. A time that is more than a day ahead of the clock, or of the records around it, moves nothing; its record is
a slice of its own, which `is_doubtful` marks. If the clock has jumped back by more than BACK, the later records are at
their own times. A single record that is so far behind is at the time of the record before it, as a slice of its own,
which `is_behind` marks.

Plan: single lines are parsed to find a line that is probably the first one behind the boundary. The part before it is
parsed once and checked by its `last_at`. Only if that check fails, the exact cut is found by bisection.
"""

from collections.abc import Callable, Iterator

from msgspec import Struct

from parsers.batch import Batch
from parsers.values.times import newest_known

#: Parses a window: its bytes, whether the log ends with it, and the `skip` of the batch before it.
Parse = Callable[[bytes, bool, tuple[str, ...]], Batch]

#: Returns the span of event time that contains a moment: its beginning and its end, which is not part of it. All are in
#: nanoseconds since the epoch.
SpanOf = Callable[[int], tuple[int, int]]

DAY = 86_400 * 10**9

#: A time that is further behind comes from a clock that was set back, or was not set yet: in nanoseconds. Programs that
#: write one log in two time zones, such as UTC and a local one, are at most 14 hours apart.
BACK = 16 * 3600 * 10**9

#: Before every time.
_NEVER = -(2**63)

#: How many records behind a record decide whether its time is plausible.
_WITNESSES = 15

#: The number of implausible times per window above which the rest of the window is not searched any further.
MOST_DOUBTS = 64

#: The size in bytes of the part before a probable cut that is parsed by itself, because it may have records that are
#: out of order.
_DISORDER = 8192

#: The first step of the search for a cut, in bytes.
_STEP = 4096


class Slice(Struct, frozen=True, gc=False):
    """A batch that belongs to one span of event time.

    `at` is the newest plausible event time up to its end, in nanoseconds since the epoch; None if no record had a time.
    `is_doubtful` marks a record whose time is implausible, `is_behind` one that is far behind the records around it.
    """

    batch: Batch
    at: int | None = None
    is_doubtful: bool = False
    is_behind: bool = False


def later(reached: int | None, at: int | None) -> int | None:
    """Return the running maximum after a slice that reached `at`. After a jump back it is `at` itself."""
    if at is None or reached is None:
        return reached if at is None else at
    return at if at < reached - BACK else max(reached, at)


class Slicer:
    """Cuts the windows of one log, one after the other. `reached` is the running maximum of the event times."""

    def __init__(self, parse: Parse, span_of: SpanOf, reached: int | None = None) -> None:
        self.reached = reached
        self._parse, self._span_of = parse, span_of

    def slices(
        self, window: bytes, final: bool, skip: tuple[str, ...], now: int, whole: Batch | None = None
    ) -> Iterator[Slice]:
        """Return the slices of a window. `now` is the clock in nanoseconds; `whole` is its batch, if it is known."""
        if whole is not None and self.holds(whole):
            yield self.take(whole)
        elif whole is None or whole.consumed:
            yield from _Cutter(self, self._parse, (window, final), skip, now).slices(whole)

    @property
    def end(self) -> int:
        """The end of the present span. Before the first time it is before every time."""
        return _NEVER if self.reached is None else self._span_of(self.reached)[1]

    def holds(self, batch: Batch) -> bool:
        """Return whether a batch belongs to the present span as a whole, without a jump back in it."""
        newest = batch.last_at
        if newest is None:
            return True
        oldest = newest if batch.first_at is None else batch.first_at
        return newest < self.end and not self.is_behind(oldest, newest)

    def is_behind(self, at: int, newest: int) -> bool:
        """Return whether a time is too far behind the running maximum, or behind a newer time of its batch."""
        return at < (newest if self.reached is None else max(self.reached, newest)) - BACK

    def take(self, batch: Batch, is_doubtful: bool = False, is_behind: bool = False) -> Slice:
        """Return the slice of a batch. The time of a doubtful one moves nothing."""
        if not is_doubtful:
            self.reached = newest_known((self.reached, batch.last_at))
        return Slice(batch, self.reached, is_doubtful, is_behind)


class _Cutter:
    """Cuts one window. `begin` is the offset behind the last slice, `skip` the `skip` of its batch."""

    def __init__(
        self, slicer: Slicer, parse: Parse, window: tuple[bytes, bool], skip: tuple[str, ...], now: int
    ) -> None:
        self._slicer, self._parse_window, self._now = slicer, parse, now
        self._window, self._final = window
        self._skip, self._begin, self._doubts = skip, 0, 0
        #: The offset of the first slice of the present span, and the length of the span before, in bytes.
        self._first, self._length = 0, 0
        #: The boundary that the last line of the window is known to be behind.
        self._crossed: int | None = None

    def slices(self, whole: Batch | None) -> Iterator[Slice]:
        """Return the slices. `whole` is the batch of the window, if it is known."""
        window, slicer = self._window, self._slicer
        while self._begin < len(window):
            stop = self._probable_cut()
            is_whole = not self._begin and stop == len(window)
            batch = whole if whole is not None and is_whole else self._parse(stop)
            if not batch.consumed and stop == len(window):
                return
            if batch.consumed and slicer.holds(batch):
                yield self._take(batch)
            else:
                yield from self._exact_cut(stop)
                yield from self._cross()

    def _parse(self, stop: int) -> Batch:
        return self._parse_window(
            self._window[self._begin : stop], self._final and stop == len(self._window), self._skip
        )

    def _take(self, batch: Batch, is_doubtful: bool = False, is_behind: bool = False) -> Slice:
        self._begin += batch.consumed
        self._skip = batch.skip
        return self._slicer.take(batch, is_doubtful, is_behind)

    def _probable_cut(self) -> int:
        """Return the offset of a line that is probably the first one behind the boundary, and behind `begin`.

        An exponential search and a binary search look at single lines, as if they were in order. The search begins at
        half of the length of the last span, because spans of the same length are often similar.
        """
        window, end = self._window, self._slicer.end
        if self._doubts > MOST_DOUBTS:
            return len(window)
        if self._crossed != end:
            if not self._is_behind(self._last_line(), end):
                return len(window)
            self._crossed = end
        low, step = self._begin, max(_STEP, self._length // 2)
        high = self._line_at(low + step)
        while high < len(window) and not self._is_behind(high, end):
            low, step = high, 2 * step
            high = self._line_at(low + step)
        if low == self._begin and self._is_behind(low, end):
            return low
        is_large = low - self._begin > 8 * _DISORDER
        while (middle := self._line_between(low, high)) and not (is_large and high - low < _DISORDER):
            if self._is_behind(middle, end):
                high = middle
            else:
                low = middle
        return self._line_at(low - _DISORDER) if is_large else high

    def _line_between(self, low: int, high: int) -> int:
        """Return the offset of a line between two offsets, near their middle; 0 if there is none."""
        middle = self._line_at((low + high) // 2)
        if middle >= high:
            middle = self._line_at(low + 1)
        return middle if low < middle < high else 0

    def _last_line(self) -> int:
        """Return the offset of the last whole line, or of the last line of a log that ends here."""
        window = self._window
        end = len(window) if self._final and not window.endswith(b"\n") else window.rfind(b"\n", self._begin)
        return max(self._begin, window.rfind(b"\n", self._begin, max(self._begin, end)) + 1)

    def _line_at(self, offset: int) -> int:
        """Return the offset of the first line that begins at or behind `offset`, or the end of the window."""
        if offset <= self._begin:
            return self._begin
        return self._window.find(b"\n", offset - 1) + 1 or len(self._window)

    def _is_behind(self, begin: int, end: int) -> bool:
        """Return whether the first time at or behind the line at `begin` is at or behind the boundary `end`."""
        window, size = self._window, 1
        while begin < len(window):
            stop = self._line_at(begin + size)
            at = self._parse_window(window[begin:stop], self._final and stop == len(window), ()).last_at
            if at is not None:
                return at >= end
            begin, size = stop, 4 * (size + 256)
        return False

    def _exact_cut(self, stop: int) -> Iterator[Slice]:
        """Return the slices up to the first record that the present span does not hold. It begins before `stop`."""
        shortest = self._begin
        while middle := self._line_between(max(shortest, self._begin), stop):
            batch = self._parse(middle)
            if not batch.consumed:
                shortest = middle
            elif self._slicer.holds(batch):
                yield self._take(batch)
            else:
                stop = middle

    def _cross(self) -> Iterator[Slice]:
        """Look at the first record. Begin at its time, or return it as a slice if its time is implausible."""
        record, slicer = self._first_record(self._begin, self._skip), self._slicer
        if not record.consumed:
            # No record ends in this window, or it is not searched any further.
            self._begin = len(self._window)
        elif record.last_at is None or slicer.holds(record):
            yield from self._doubt(self._take(record))
        elif self._is_plausible(record, record.last_at):
            slicer.reached = record.last_at
            self._first, self._length = self._begin, self._begin - self._first
        else:
            is_behind = slicer.is_behind(record.last_at, record.last_at)
            yield from self._doubt(self._take(record, not is_behind, is_behind))

    def _doubt(self, each: Slice) -> Iterator[Slice]:
        """Return a record whose time decides nothing; after many of them also the rest of the window."""
        self._doubts += 1
        yield each
        if self._doubts > MOST_DOUBTS and (rest := self._parse(len(self._window))).consumed:
            self._begin = len(self._window)
            yield Slice(rest, self._slicer.reached)

    def _is_plausible(self, record: Batch, at: int) -> bool:
        reached = self._slicer.reached
        if at > self._now + DAY:
            return False
        is_behind = self._slicer.is_behind(at, at)
        if reached is not None and not is_behind and at <= reached + DAY:
            return True
        begin, skip, votes = self._begin + record.consumed, record.skip, 0
        for _ in range(_WITNESSES):
            record = self._first_record(begin, skip)
            if not record.consumed:
                break
            begin, skip = begin + record.consumed, record.skip
            if record.last_at is not None:
                alike = record.last_at <= at + BACK if is_behind else record.last_at >= at - DAY
                votes += 1 if alike else -1
        return votes >= 0

    def _first_record(self, begin: int, skip: tuple[str, ...]) -> Batch:
        """Return the batch of the first record behind `begin`. It consumes nothing if no record ends in the window.

        An exponential search followed by a binary search: a record of n lines is parsed O(log n) times.
        """
        window = self._window

        def parsed(stop: int) -> Batch:
            return self._parse_window(window[begin:stop], self._final and stop == len(window), skip)

        short, size, stop = begin, 1, self._line_at(begin + 1)
        batch = parsed(stop)
        while not batch.consumed and stop < len(window):
            short, size = stop, 2 * size + 256
            stop = self._line_at(begin + size)
            batch = parsed(stop)
        while batch.consumed and (middle := self._line_between(short, stop)):
            if (shorter := parsed(middle)).consumed:
                batch, stop = shorter, middle
            else:
                short = middle
        return batch
