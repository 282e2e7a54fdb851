"""Reads a whole stream through a parser, in windows that grow while nothing of them is consumed."""

from collections.abc import Callable, Iterator

from msgspec import Struct

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


def feed(
    read: Read, parser: Parser, line_length: int, *, span: Span = ALWAYS, size: int = 0, ended: bool = True
) -> Iterator[Batch]:
    """The batches of a stream, its unterminated last line included; `consumed` adds up to the stream's size.

    A line over `line_length` bytes is one unparsed line (`too_long`), however it goes on. Of a log of which only a
    `span` counts a batch holds one record, or several that are older. `size` are the bytes of the first window. A
    stream that is not `ended` is a piece of a log: an unfinished record at its end is not consumed.
    """
    # Not beyond a line in an envelope: its pieces are together no longer than that.
    begun = False
    most = line_length if isinstance(parser, Envelope) else max(line_length, BLOCK)
    window, over, size = b"", False, min(max(size, line_length), most)
    while True:
        window += b"" if over else (block := read(max(1, size - len(window))))
        over = over or not block
        if not begun and window.startswith(b"\0"):  # the hole that a truncation in place leaves
            hole = len(window) - len(window.lstrip(b"\0"))
            yield Batch(consumed=hole)
            window = window[hole:]
            if not window and not over:
                continue
        begun = True
        end, begin = _before_too_long(window, line_length), 0
        last = over and end == len(window)
        for batch in _parsed(parser, window[:end], last and ended, span):
            begin += batch.consumed
            yield batch
        if last:
            return
        window = window[begin:]
        if len(window) >= line_length:
            batch, window = _too_long(read, window)
            yield batch
        elif begin:
            size = min(2 * size, most)


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


def _parsed(parser: Parser, window: bytes, final: bool, span: Span) -> Iterator[Batch]:
    if span != ALWAYS:
        yield from _singly(parser, window, final, span.since)
    elif window:
        yield parser.parse(window, final)


def _singly(parser: Parser, window: bytes, final: bool, since: int | None) -> Iterator[Batch]:
    """A record each, but what stands behind one that is too old at once, if it is too old as well."""
    begin = end = 0
    while end := window.find(b"\n", end) + 1:
        batch = parser.parse(window[begin:end])
        if not batch.consumed:
            continue
        begin += batch.consumed
        yield batch
        if since is not None and batch.last_at is not None:
            rest = parser.parse(window[begin:], final) if batch.last_at < since else Batch()
            if rest.last_at is not None and rest.last_at < since:
                yield rest
                return
            since = None  # tried once a window
    if final and begin < len(window):
        yield parser.parse(window[begin:], final)


def _too_long(read: Read, window: bytes) -> tuple[Batch, bytes]:
    """Passes over the first line of the window, and gives what stands behind it."""
    example, passed = window[:200], 0
    while (end := window.find(b"\n") + 1) == 0 and window:
        passed += len(window)
        window = read(_PASSED)
    batch = Batch(consumed=passed + end, lines=1, unparsed={"too_long": 1}, examples={"too_long": example})
    return batch, window[end:]
