"""Reads a whole stream through a parser, in windows that grow while nothing of them is consumed."""

from collections.abc import Callable, Iterator

from msgspec import Struct, structs

from exporter.tail.encoding import UTF_8_BOM
from parsers.batch import Batch
from parsers.envelope import Envelope
from parsers.parser import Parser

#: Bytes of a large window: what costs once a window, such as a look at each of its labels, costs little a line.
BLOCK = 1 << 22
#: How much of a line that is too long is held at once.
_PASSED = 1 << 18

#: Gives at most so many bytes, none at the end.
Read = Callable[[int], bytes]


class Span(Struct, frozen=True):
    """Event times that count, in nanoseconds since the epoch: [since, until)."""

    since: int | None = None
    until: int | None = None

    def holds(self, at: int) -> bool:
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


#: Everything counts.
ALWAYS = Span()


class Part(Struct, frozen=True):
    """A part of a log: `skip` is that of the batch before it; `first` and `ended`: nothing is before or behind it."""

    skip: tuple[str, ...] = ()
    first: bool = True
    ended: bool = True


WHOLE = Part()


def feed(
    read: Read, parser: Parser, line_length: int, *, span: Span = ALWAYS, size: int = 0, part: Part = WHOLE
) -> Iterator[Batch]:
    """The batches of a stream, its unterminated last line included; `consumed` adds up to the stream's size.

    A line over `line_length` bytes is one unparsed line (`too_long`), however it goes on. Of a log of which only a
    `span` counts a batch holds one record, or several that are older. `size` are the bytes of the first window. In a
    part that is not the log's end, an unfinished record at its end is not consumed.
    """
    # What becomes of a larger window in an envelope does not fit into the processor's cache.
    usual = line_length if isinstance(parser, Envelope) else max(line_length, BLOCK)
    most = 2 * line_length if parser.joined else usual
    parses = _Parses(parser, line_length, part.skip)
    window, over, size = b"", False, min(max(size, line_length), usual)
    wanted, is_first = 0, part.first
    while True:
        while not over and (len(window) < wanted or not window):
            over = not (block := read(max(1, max(size, wanted) - len(window))))
            window += block
        if is_first and (passed := _before_first_line(window)):
            window = window[passed:]
            yield Batch(consumed=passed)
            if not window and not over:
                continue
        is_first = False
        end, begin = len(window) if parser.joined else _before_too_long(window, line_length), 0
        last = over and end == len(window)
        for batch in _parsed(parses, window[:end], last and part.ended, span):
            begin += batch.consumed
            yield batch
        if last:
            return
        window = window[begin:]
        # Of the largest window of a parser with joined records a part is consumed, unless it holds no newline.
        is_too_long = not begin and len(window) >= most if parser.joined else len(window) >= line_length
        # A window of which little was consumed is parsed again when it has doubled: pipes give little at once.
        wanted = len(window) + 1 if begin >= len(window) else min(most, 2 * len(window))
        if is_too_long:
            batch, window = _too_long(read, window)
            yield structs.replace(batch, skip=parses.skip)
        elif begin:
            size = min(2 * size, usual)


def _before_first_line(window: bytes) -> int:
    """The bytes at the beginning of a log that are no line: a byte order mark, the hole that a truncation leaves."""
    return len(UTF_8_BOM) if window.startswith(UTF_8_BOM) else len(window) - len(window.lstrip(b"\0"))


class _Parses:
    """Parses windows one after the other: each begins with the `skip` of the batch that was taken before it."""

    def __init__(self, parser: Parser, line_length: int, skip: tuple[str, ...]) -> None:
        self.skip = skip
        self._parser, self._line_length = parser, line_length

    def parse(self, window: bytes, final: bool = False) -> Batch:
        return self._parser.parse_part(window, final, self.skip, self._line_length)

    def take(self, window: bytes, final: bool = False) -> Batch:
        batch = self.parse(window, final)
        if batch.consumed:
            self.skip = batch.skip
        return batch


def _before_too_long(window: bytes, line_length: int) -> int:
    """Where the first line that is too long begins, else the window's end."""
    begin = 0
    while len(window) - begin >= line_length:
        end = window.rfind(b"\n", begin, begin + line_length) + 1
        if not end:
            return begin
        begin = end
    return len(window)


def within(batches: Iterator[Batch], span: Span) -> Iterator[tuple[Batch, bool]]:
    """The batches, and whether their event time lies in the span.

    One without a time, such as a traceback's line, goes with the one before it.
    """
    inside = True
    for batch in batches:
        if batch.last_at is not None:
            inside = span.holds(batch.last_at)
        yield batch, inside


def _parsed(parses: _Parses, window: bytes, final: bool, span: Span) -> Iterator[Batch]:
    if span != ALWAYS:
        yield from _singly(parses, window, final, span.since)
    elif window:
        yield parses.take(window, final)


def _singly(parses: _Parses, window: bytes, final: bool, since: int | None) -> Iterator[Batch]:
    """A record each, but what stands behind one that is too old at once, if it is too old as well."""
    begin = 0
    while end := _record_end(parses, window, begin):
        batch = parses.take(window[begin:end])
        begin += batch.consumed
        yield batch
        if since is not None and batch.last_at is not None:
            rest = parses.parse(window[begin:], final) if batch.last_at < since else Batch()
            if rest.last_at is not None and rest.last_at < since:
                yield parses.take(window[begin:], final)
                return
            since = None  # tried once a window
    if final and begin < len(window):
        yield parses.take(window[begin:], final)


def _record_end(parses: _Parses, window: bytes, begin: int) -> int:
    """The end of the line with which the first record from `begin` on ends; 0 where none ends in the window.

    Doubles the span until a record ends in it, then halves the interval, so that a record of many lines is parsed as
    often as the logarithm of its lines.
    """
    end = window.find(b"\n", begin) + 1
    if not end or parses.parse(window[begin:end]).consumed:
        return end
    too_short, whole = end, window.rfind(b"\n", begin) + 1
    while not parses.parse(window[begin:end]).consumed:
        if end == whole:
            return 0
        too_short, end = end, min(whole, window.find(b"\n", min(whole, begin + 2 * (end - begin)) - 1) + 1 or whole)
    while (middle := window.rfind(b"\n", too_short, (too_short + end) // 2) + 1) or (
        middle := window.find(b"\n", too_short, end - 1) + 1
    ):
        if parses.parse(window[begin:middle]).consumed:
            end = middle
        else:
            too_short = middle
    return end


def _too_long(read: Read, window: bytes) -> tuple[Batch, bytes]:
    """Passes over the first line of the window, and gives what stands behind it."""
    example, passed = window[:200], 0
    while (end := window.find(b"\n") + 1) == 0 and window:
        passed += len(window)
        window = read(_PASSED)
    batch = Batch(consumed=passed + end, lines=1, unparsed={"too_long": 1}, examples={"too_long": example})
    return batch, window[end:]
