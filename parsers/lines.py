"""Split a window into whole lines and parse them one by one. An unfinished line waits for the next window."""

import re
from collections.abc import Callable, Sequence

from msgspec import structs

from parsers.batch import Batch, Record
from parsers.values.times import newest_known, oldest_known

#: The result of parsing a line: its records and its event time (nanoseconds since the epoch, or None); None where the
#: line is ignored; one of UNPARSED_REASONS where it is unparsed.
Outcome = tuple[Sequence[Record], int | None] | None | str

#: The length of an example of an unparsed line, in bytes.
EXAMPLE_LENGTH = 200

#: No log has lines that are shorter than this on average, in bytes, unless many of them are empty.
_SHORT = 16

_ANSI_COLOR = re.compile(rb"\x1b\[[0-9;]*m")


def without_colors(line: bytes) -> bytes:
    """Remove the ANSI colors that programs print for a terminal."""
    return _ANSI_COLOR.sub(b"", line)


def whole_lines(window: bytes, final: bool) -> tuple[int, int]:
    """Return the size of the whole lines of a window in bytes, and their number.

    With `final` the last line needs no newline.
    """
    consumed = len(window) if final else window.rfind(b"\n") + 1
    lines = window.count(b"\n", 0, consumed)
    if consumed and window[consumed - 1] != 0x0A:
        lines += 1
    return consumed, lines


def without_empty_lines(block: bytes, lines: int) -> bytes:
    """Return a block of `lines` whole lines. If many of them may be empty, runs of empty lines are removed.

    A flood of empty lines then costs no object per line.
    """
    if lines * _SHORT > len(block):
        while b"\n\n" in block:
            block = block.replace(b"\n\n", b"\n")
    return block


def before_too_long(window: bytes, line_length: int) -> int:
    """Return the offset of the first line of `line_length` bytes or more, the size of the window if there is none."""
    begin = 0
    while len(window) - begin >= line_length:
        end = window.rfind(b"\n", begin, begin + line_length) + 1
        if not end:
            return begin
        begin = end
    return len(window)


def by_line(window: bytes, final: bool, read: Callable[[bytes], Outcome]) -> Batch:
    """Make the batch of a window by calling `read` with each line, without its newline. Empty lines are ignored."""
    consumed, count = whole_lines(window, final)
    block = without_empty_lines(window[:consumed], count)
    left = whole_lines(block, True)[1]
    ignored, first_at, last_at = count - left, None, None
    unparsed: dict[str, int] = {}
    examples: dict[str, bytes] = {}
    records: list[Record] = []
    has_nuls = b"\0" in window
    for line in block.split(b"\n", left)[:left]:
        text = line.removesuffix(b"\r")
        outcome = read(text) if text else None
        if has_nuls and b"\0" in text:
            outcome = _behind_nuls(text, outcome, read)
        if outcome is None:
            ignored += 1
        elif isinstance(outcome, str):
            unparsed[outcome] = unparsed.get(outcome, 0) + 1
            examples.setdefault(outcome, text[:EXAMPLE_LENGTH])
        else:
            records += outcome[0]
            if (at := outcome[1]) is not None:
                first_at = at if first_at is None or at < first_at else first_at
                last_at = at if last_at is None or at > last_at else last_at
    return Batch(consumed, count, ignored, unparsed, examples, last_at, tuple(records), first_at=first_at)


def _behind_nuls(text: bytes, outcome: Outcome, read: Callable[[bytes], Outcome]) -> Outcome:
    """Return the outcome of a line with NUL bytes: its own, or that of the text behind the last run of NULs.

    A truncation in place and a power failure leave such a run in front of a whole line. The outcome of a line that was
    recognised stays as it is, so that a client that writes a NUL can neither hide nor forge a record.
    """
    rest = text.rstrip(b"\0")
    if not rest:
        return None
    if isinstance(outcome, str) or (outcome is None and text.startswith(b"\0")):
        return read(rest.rpartition(b"\0")[2]) or outcome
    return outcome


def together(some: Batch, others: Batch) -> Batch:
    """Return the batch of a block whose lines were read in two parts. `some` has no unparsed lines."""
    return structs.replace(
        others,
        consumed=some.consumed + others.consumed,
        lines=some.lines + others.lines,
        ignored=some.ignored + others.ignored,
        last_at=newest_known((some.last_at, others.last_at)),
        first_at=oldest_known((some.first_at, others.first_at)),
        records=(*some.records, *others.records),
    )
