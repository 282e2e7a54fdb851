"""Parses a whole stream in windows. A window grows while the parser consumes nothing of it.

A window ends with a whole line, so that no parser has to copy the whole lines of a window out of it.
"""

import time
from collections.abc import Callable, Iterator

from msgspec import Struct, structs

from exporter.replay.errors import parse_parts
from exporter.tail.encoding import UTF_8_BOM
from parsers.batch import Batch
from parsers.lines import before_too_long
from parsers.parser import Parser
from parsers.slices import Parse, Slice, Slicer, SpanOf

#: The size of a large window in bytes. In a large window, the fixed cost per window is small per line. Windows of 2 MiB
#: need 2 MB (telemetry) to 5 MB (nginx) less memory, and those of 1 MiB 5 to 7 MB less. They cost up to 9 % more time.
BLOCK = 3 << 20
#: How many bytes of a line that is too long are read at once.
_SKIP_BLOCK = 1 << 18

#: Returns at most the given number of bytes, and none at the end of the stream.
Read = Callable[[int], bytes]


class Part(Struct, frozen=True):
    """Which part of a log is parsed. `skip` is the `skip` of the batch before this part.

    `first` means that the part begins at the beginning of the log, `ended` that it ends at the end of the log.
    """

    skip: tuple[str, ...] = ()
    first: bool = True
    ended: bool = True


WHOLE = Part()


def feed(
    read: Read, parser: Parser, line_length: int, *, span_of: SpanOf | None = None, part: Part = WHOLE
) -> Iterator[Slice]:
    """The slices of a stream, with its unterminated last line. The sum of `consumed` is the size of the stream.

    With `span_of`, each slice belongs to one span of event time; else a window is not cut. A line of more than
    `line_length` bytes is one unparsed line (`too_long`). If the part does not end the log, an unfinished record at its
    end is not consumed. Raises ParserError.
    """
    usual, parse = max(line_length, BLOCK), parse_parts(parser, line_length)
    most = 2 * line_length if parser.joined else usual
    slicer = _Uncut(parse) if span_of is None else Slicer(parse, span_of)
    stream, window, skip = _Stream(read, usual), b"", part.skip
    wanted, is_first = 0, part.first
    while True:
        window = stream.fill(window, wanted)
        if is_first and (skipped := _before_first_line(window)):
            window = window[skipped:]
            yield Slice(Batch(consumed=skipped), slicer.reached)
            if not window and not stream.ended:
                continue
        is_first = False
        end, begin = len(window) if parser.joined else before_too_long(window, line_length), 0
        last = stream.ended and end == len(window)
        for each in slicer.slices(window[:end], last and part.ended, skip, time.time_ns()):
            begin += each.batch.consumed
            skip = each.batch.skip if each.batch.consumed else skip
            yield each
        if last:
            return
        window = window[begin:]
        if window:
            window += stream.take_held()
        # A parser with joined records consumes a part of the largest window, unless the window has no newline.
        is_too_long = not begin and len(window) >= most if parser.joined else len(window) >= line_length
        # The rest of a window is parsed again only after it has doubled, because a pipe returns few bytes at once.
        wanted = len(window) + 1 if begin >= len(window) else min(most, 2 * len(window))
        if is_too_long:
            batch, window = _too_long(read, window)
            yield Slice(structs.replace(batch, skip=skip), slicer.reached)


class _Stream(Struct):
    """A stream that is read in windows of whole lines. `held` is the unfinished line behind the window."""

    read: Read
    usual: int
    held: bytes = b""
    ended: bool = False

    def fill(self, window: bytes, wanted: int) -> bytes:
        """Return the window with the following bytes, so that it has a whole line and about `wanted` bytes, or more."""
        while not self.ended and (len(window) + len(self.held) < wanted or not window):
            block = self.read(max(1, max(self.usual, wanted) - len(window) - len(self.held)))
            self.ended, whole = not block, block.rfind(b"\n") + 1 or len(block)
            window = b"".join((window, self.take_held(), memoryview(block)[:whole]))
            self.held = block[whole:]
            del block  # its memory is used for what the parser makes
        return window

    def take_held(self) -> bytes:
        held, self.held = self.held, b""
        return held


def _before_first_line(window: bytes) -> int:
    """The number of bytes before the first line: a byte order mark, or the NULs that a truncation leaves."""
    return len(UTF_8_BOM) if window.startswith(UTF_8_BOM) else len(window) - len(window.lstrip(b"\0"))


class _Uncut(Struct):
    """Parses windows like a Slicer, and cuts none of them."""

    parse: Parse
    reached: None = None

    def slices(self, window: bytes, final: bool, skip: tuple[str, ...], now: int) -> Iterator[Slice]:
        if window:
            batch = self.parse(window, final, skip)
            yield Slice(batch, batch.last_at)


def _too_long(read: Read, window: bytes) -> tuple[Batch, bytes]:
    """Skip the first line of the window. Returns its batch, and the bytes after it."""
    example, skipped = window[:200], 0
    while (end := window.find(b"\n") + 1) == 0 and window:
        skipped += len(window)
        window = read(_SKIP_BLOCK)
    batch = Batch(consumed=skipped + end, lines=1, unparsed={"too_long": 1}, examples={"too_long": example})
    return batch, window[end:]
