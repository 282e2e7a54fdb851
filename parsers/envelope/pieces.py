"""Join the pieces of lines: a container runtime splits a long line into pieces, and these become whole lines again.

Goals: the pieces of several streams may be mixed in any order. A record that never ends, or is longer than
`line_length`, is lost itself but affects no other record.

Plan: the cut is the first piece of the first record that is still open. Nothing behind the cut is consumed. A record
that begins before the cut and ends behind it is read at once, and its stream is added to `skip`: the next parse passes
over its remaining pieces. A record whose pieces span more than `line_length` bytes is dropped, and its stream is
skipped in the same way. Therefore the names of the streams are all that must be known about records open at the cut.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

#: A number and an offset behind all physical lines.
_NEVER = 1 << 62


class LinePiece(Struct, frozen=True, gc=False):
    """The content of one physical line, without its newline.

    `stream` names the stream that it belongs to. An `open` piece continues in the next piece of its stream.
    """

    content: bytes
    stream: str = ""
    open: bool = False


#: A physical line: a piece; None for a line without output of the container; or why the line is unparsed.
PhysicalLine = LinePiece | None | str


class _JoinedRecord(Struct, gc=False):
    """A record and its pieces. `first` and `last` are numbers of physical lines, `begin` and `end` offsets in bytes.

    `first` is -1 for a record that began before the window. Its pieces are skipped.
    """

    stream: str
    first: int
    begin: int
    contents: list[bytes] = []
    last: int = _NEVER
    end: int = _NEVER


class ConsumedLines(Struct, frozen=True, gc=False):
    """The part of a window that is consumed: the physical lines before the line `cut`.

    * `contents`: the whole lines that a container wrote, in the order of their ends.
    * `firsts`: the numbers of their first physical lines; None if each physical line with a piece is a whole line.
    * `dropped`: the numbers of the first physical lines of records that are too long.
    * `skip`: see `Batch.skip`.
    """

    lines: Sequence[PhysicalLine]
    contents: list[bytes]
    cut: int
    firsts: list[int] | None = None
    dropped: list[int] = []
    skip: tuple[str, ...] = ()

    def first_line(self, index: int) -> int:
        """Return the number of the first physical line of `contents[index]`."""
        if self.firsts is not None:
            return self.firsts[index]
        return [number for number, line in enumerate(self.lines) if isinstance(line, LinePiece)][index]


class WindowLimits(Struct, frozen=True, gc=False):
    """How a window begins and ends.

    * `size`: its size in bytes, including an unfinished last line.
    * `final`: the log ends here.
    * `skip`: the streams whose record began before the window and is passed over.
    * `line_length`: the largest number of bytes that a record may span; None for no limit. Without a limit no record
      may span the cut.
    """

    size: int
    final: bool
    skip: tuple[str, ...]
    line_length: int | None


def single_line_records(lines: Sequence[PhysicalLine]) -> ConsumedLines | None:
    """Return all lines of a window in which each record is a single line; None if a record has several pieces."""
    contents = []
    for line in lines:
        if isinstance(line, LinePiece):
            if line.open:
                return None
            contents.append(line.content)
    return ConsumedLines(lines, contents, len(lines))


def join(lines: Sequence[PhysicalLine], physical: Sequence[bytes], limits: WindowLimits) -> ConsumedLines:
    """Join the pieces of a window to records. `physical` are the bytes of its lines."""
    ended, still_open = _records(lines, physical, limits.skip)
    if limits.final:
        for record in still_open:
            record.last, record.end = len(lines) - 1, limits.size
        ended, still_open = ended + still_open, []
    # An open record that is already too long has no end yet. It is dropped below.
    waiting = [r for r in still_open if r.first >= 0 and not _is_longer(limits.size - r.begin, limits.line_length)]
    cut = min((record.first for record in waiting), default=len(lines))
    if limits.line_length is None:
        cut = _before_spanning(cut, ended)
    consumed = [record for record in (*ended, *still_open) if record.first < cut]
    skip = tuple(sorted({record.stream for record in consumed if cut <= record.last}))
    begun = [record for record in consumed if record.first >= 0]
    too_long = [_is_longer(record.end - record.begin, limits.line_length) for record in begun]
    whole = [record for record, drop in zip(begun, too_long, strict=True) if not drop]
    return ConsumedLines(
        lines,
        contents=[b"".join(record.contents) for record in whole],
        cut=cut,
        firsts=[record.first for record in whole],
        dropped=[record.first for record, drop in zip(begun, too_long, strict=True) if drop],
        skip=skip,
    )


def _records(
    lines: Sequence[PhysicalLine], physical: Sequence[bytes], skip: Iterable[str]
) -> tuple[list[_JoinedRecord], list[_JoinedRecord]]:
    """Return the records that end in these lines, in the order of their ends, and those that are still open."""
    ended: list[_JoinedRecord] = []
    still_open = {stream: _JoinedRecord(stream, -1, 0) for stream in skip}
    end = 0
    for number, (line, text) in enumerate(zip(lines, physical, strict=True)):
        begin, end = end, end + len(text) + 1
        if isinstance(line, LinePiece):
            record = still_open.pop(line.stream, None) or _JoinedRecord(line.stream, number, begin)
            record.contents.append(line.content)
            if line.open:
                still_open[line.stream] = record
            else:
                record.last, record.end = number, end
                ended.append(record)
    return ended, list(still_open.values())


def _is_longer(span: int, line_length: int | None) -> bool:
    return line_length is not None and span > line_length


def _before_spanning(cut: int, ended: Sequence[_JoinedRecord]) -> int:
    """Return the last line at or before `cut` that is not inside a record."""
    for record in reversed(ended):
        if record.first < cut <= record.last:
            cut = record.first
    return cut
