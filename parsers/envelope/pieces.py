"""Pieces of the lines that a container writes, and how they become whole lines again.

Goals: pieces of several streams may come in any order; a record that never ends, or is longer than `line_length`,
costs its own size and nothing else.

Plan: the cut, behind which nothing is consumed, is the first piece of the first record that is still open. A record
that begins before the cut and ends behind it is taken at once, and its stream is named in `skip`: its other pieces are
passed over where the next window holds them. A record whose pieces span more than `line_length` bytes is dropped, and
its stream is skipped in the same way. So all records that are open at the cut are known by the names of their streams.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

#: Behind every physical line.
_NEVER = 1 << 62


class Piece(Struct, frozen=True, gc=False):
    """The content of one physical line, without its newline; an open piece continues in the next one of its stream."""

    content: bytes
    stream: str = ""
    open: bool = False


#: What a physical line holds: a piece, nothing of the container's output, or why the line is unparsed.
Line = Piece | None | str


class _Record(Struct, gc=False):
    """`first` and `last` are numbers of physical lines, `begin` and `end` are offsets in bytes.

    `first` is -1 for a record that began before the window, and whose pieces are skipped.
    """

    stream: str
    first: int
    begin: int
    contents: list[bytes] = []
    last: int = _NEVER
    end: int = _NEVER


class Taken(Struct, frozen=True, gc=False):
    """What is consumed of a window: the physical lines before the line `cut`.

    `contents` are the whole lines that a container wrote, in the order of their ends, and `firsts` the numbers of their
    first physical lines; None where each physical line with a piece is a whole line. `dropped` are the first physical
    lines of records that are too long.
    """

    lines: Sequence[Line]
    contents: list[bytes]
    cut: int
    firsts: list[int] | None = None
    dropped: list[int] = []
    skip: tuple[str, ...] = ()

    def first_line(self, index: int) -> int:
        """The first physical line of the content of this index."""
        if self.firsts is not None:
            return self.firsts[index]
        return [number for number, line in enumerate(self.lines) if isinstance(line, Piece)][index]


class Limits(Struct, frozen=True, gc=False):
    """Where a window begins and ends: `skip` names the streams whose record began before it and is passed over.

    `size` is its size in bytes, with an unfinished last line. `line_length` is the most bytes that a record may span;
    None lifts this limit, and no record may then span the cut. With `final` nothing more will come.
    """

    size: int
    final: bool
    skip: tuple[str, ...]
    line_length: int | None


def taken_whole(lines: Sequence[Line]) -> Taken | None:
    """All lines of a window in which no record has several pieces; None where one has."""
    contents = []
    for line in lines:
        if isinstance(line, Piece):
            if line.open:
                return None
            contents.append(line.content)
    return Taken(lines, contents, len(lines))


def join(lines: Sequence[Line], physical: Sequence[bytes], limits: Limits) -> Taken:
    """The records of a window."""
    ended, still_open = _records(lines, physical, limits.skip)
    if limits.final:
        for record in still_open:
            record.last, record.end = len(lines) - 1, limits.size
        ended, still_open = ended + still_open, []
    # A record that is open and too long already has no end yet, and is dropped below.
    waiting = [r for r in still_open if r.first >= 0 and not _is_longer(limits.size - r.begin, limits.line_length)]
    cut = min((record.first for record in waiting), default=len(lines))
    if limits.line_length is None:
        cut = _before_spanning(cut, ended)
    taken = [record for record in (*ended, *still_open) if record.first < cut]
    skip = tuple(sorted({record.stream for record in taken if cut <= record.last}))
    begun = [record for record in taken if record.first >= 0]
    too_long = [_is_longer(record.end - record.begin, limits.line_length) for record in begun]
    whole = [record for record, drop in zip(begun, too_long, strict=True) if not drop]
    return Taken(
        lines,
        contents=[b"".join(record.contents) for record in whole],
        cut=cut,
        firsts=[record.first for record in whole],
        dropped=[record.first for record, drop in zip(begun, too_long, strict=True) if drop],
        skip=skip,
    )


def _records(
    lines: Sequence[Line], physical: Sequence[bytes], skip: Iterable[str]
) -> tuple[list[_Record], list[_Record]]:
    """The records that end in these lines, in the order of their ends, and those that do not."""
    ended: list[_Record] = []
    still_open = {stream: _Record(stream, -1, 0) for stream in skip}
    end = 0
    for number, (line, text) in enumerate(zip(lines, physical, strict=True)):
        begin, end = end, end + len(text) + 1
        if isinstance(line, Piece):
            record = still_open.pop(line.stream, None) or _Record(line.stream, number, begin)
            record.contents.append(line.content)
            if line.open:
                still_open[line.stream] = record
            else:
                record.last, record.end = number, end
                ended.append(record)
    return ended, list(still_open.values())


def _is_longer(span: int, line_length: int | None) -> bool:
    return line_length is not None and span > line_length


def _before_spanning(cut: int, ended: Sequence[_Record]) -> int:
    """The last place at or before `cut` that no record spans."""
    for record in reversed(ended):
        if record.first < cut <= record.last:
            cut = record.first
    return cut
