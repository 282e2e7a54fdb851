"""Parses a whole stream in window_parser. A window grows while the parser consumes nothing of it."""

from collections.abc import Callable, Iterator

from msgspec import Struct, structs

from exporter.tail.encoding import UTF_8_BOM
from parsers.batch import Batch
from parsers.envelope import Envelope
from parsers.lines import before_too_long
from parsers.parser import Parser

#: The size of a large window in bytes. In a large window, the fixed cost per window is small per line.
BLOCK = 1 << 22
#: How many bytes of a line that is too long are read at once.
_SKIP_BLOCK = 1 << 18

#: Returns at most the given number of bytes, and none at the end of the stream.
Read = Callable[[int], bytes]


class Span(Struct, frozen=True):
    """The event times that count, in nanoseconds since the epoch: [since, until)."""

    since: int | None = None
    until: int | None = None

    def holds(self, at: int) -> bool:
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


#: The span in which all event times count.
ALWAYS = Span()


class Part(Struct, frozen=True):
    """Which part of a log is parsed. `skip` is the `skip` of the batch before this part.

    `first` means that the part begins at the beginning of the log, `ended` that it ends at the end of the log.
    """

    skip: tuple[str, ...] = ()
    first: bool = True
    ended: bool = True


WHOLE = Part()


def feed(
    read: Read, parser: Parser, line_length: int, *, span: Span = ALWAYS, size: int = 0, part: Part = WHOLE
) -> Iterator[Batch]:
    """The batches of a stream, with its unterminated last line. The sum of `consumed` is the size of the stream.

    A line of more than `line_length` bytes is one unparsed line (`too_long`). If `span` is limited, each batch has one
    record, or several that are all too old. `size` is the size of the first window in bytes. If the part does not end
    the log, an unfinished record at its end is not consumed.
    """
    # In an envelope, a larger window would not fit into the cache of the processor.
    usual = line_length if isinstance(parser, Envelope) else max(line_length, BLOCK)
    most = 2 * line_length if parser.joined else usual
    window_parser = _WindowParser(parser, line_length, part.skip)
    window, over, size = b"", False, min(max(size, line_length), usual)
    wanted, is_first = 0, part.first
    while True:
        while not over and (len(window) < wanted or not window):
            over = not (block := read(max(1, max(size, wanted) - len(window))))
            window += block
        if is_first and (skipped := _before_first_line(window)):
            window = window[skipped:]
            yield Batch(consumed=skipped)
            if not window and not over:
                continue
        is_first = False
        end, begin = len(window) if parser.joined else before_too_long(window, line_length), 0
        last = over and end == len(window)
        for batch in _parse_window(window_parser, window[:end], last and part.ended, span):
            begin += batch.consumed
            yield batch
        if last:
            return
        window = window[begin:]
        # A parser with joined records consumes a part of the largest window, unless the window has no newline.
        is_too_long = not begin and len(window) >= most if parser.joined else len(window) >= line_length
        # The rest of a window is parsed again only after it has doubled, because a pipe returns few bytes at once.
        wanted = len(window) + 1 if begin >= len(window) else min(most, 2 * len(window))
        if is_too_long:
            batch, window = _too_long(read, window)
            yield structs.replace(batch, skip=window_parser.skip)
        elif begin:
            size = min(2 * size, usual)


def _before_first_line(window: bytes) -> int:
    """The number of bytes before the first line: a byte order mark, or the NULs that a truncation leaves."""
    return len(UTF_8_BOM) if window.startswith(UTF_8_BOM) else len(window) - len(window.lstrip(b"\0"))


class _WindowParser:
    """Parses windows one after the other. `skip` is the `skip` of the last batch that was taken."""

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


def within(batches: Iterator[Batch], span: Span) -> Iterator[tuple[Batch, bool]]:
    """Each batch, with whether its event time is in the span.

    A batch without a time, such as a line of a traceback, is treated as the batch before it.
    """
    inside = True
    for batch in batches:
        if batch.last_at is not None:
            inside = span.holds(batch.last_at)
        yield batch, inside


def _parse_window(window_parser: _WindowParser, window: bytes, final: bool, span: Span) -> Iterator[Batch]:
    if span != ALWAYS:
        yield from _parse_records(window_parser, window, final, span.since)
    elif window:
        yield window_parser.take(window, final)


def _parse_records(window_parser: _WindowParser, window: bytes, final: bool, since: int | None) -> Iterator[Batch]:
    """Parse one record per batch. If the first record and the rest of the window are too old, the rest is one batch."""
    begin = 0
    while end := _record_end(window_parser, window, begin):
        batch = window_parser.take(window[begin:end])
        begin += batch.consumed
        yield batch
        if since is not None and batch.last_at is not None:
            rest = window_parser.parse(window[begin:], final) if batch.last_at < since else Batch()
            if rest.last_at is not None and rest.last_at < since:
                yield window_parser.take(window[begin:], final)
                return
            since = None  # only one attempt per window
    if final and begin < len(window):
        yield window_parser.take(window[begin:], final)


def _record_end(window_parser: _WindowParser, window: bytes, begin: int) -> int:
    """The end of the first record that begins at `begin`; 0 if no record ends in the window.

    An exponential search followed by a binary search: a record of n lines is parsed O(log n) times.
    """
    end = window.find(b"\n", begin) + 1
    if not end or window_parser.parse(window[begin:end]).consumed:
        return end
    too_short, whole = end, window.rfind(b"\n", begin) + 1
    while not window_parser.parse(window[begin:end]).consumed:
        if end == whole:
            return 0
        too_short, end = end, min(whole, window.find(b"\n", min(whole, begin + 2 * (end - begin)) - 1) + 1 or whole)
    while (middle := window.rfind(b"\n", too_short, (too_short + end) // 2) + 1) or (
        middle := window.find(b"\n", too_short, end - 1) + 1
    ):
        if window_parser.parse(window[begin:middle]).consumed:
            end = middle
        else:
            too_short = middle
    return end


def _too_long(read: Read, window: bytes) -> tuple[Batch, bytes]:
    """Skip the first line of the window. Returns its batch, and the bytes after it."""
    example, skipped = window[:200], 0
    while (end := window.find(b"\n") + 1) == 0 and window:
        skipped += len(window)
        window = read(_SKIP_BLOCK)
    batch = Batch(consumed=skipped + end, lines=1, unparsed={"too_long": 1}, examples={"too_long": example})
    return batch, window[end:]
