"""Plan how `parsers.access.columns` reads a log format: the fields between the quotes of a line, and their widths."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from parsers.access.format import Extent, FormatPiece, Variable

TEXT, STATUS, SIZE, SECONDS, TIME, WORD = "text", "status", "size", "seconds", "time", "word"

_KINDS = {
    "status": STATUS,
    "body_bytes_sent": SIZE,
    "bytes_sent": SIZE,
    "request_time": SECONDS,
    "time_local": TIME,
}
_WIDTHS = {STATUS: 3, TIME: 26}
_WIDEST = 128


class Field(NamedTuple):
    """A text or an unquoted variable. Its width is in bytes, 0 where it varies from line to line."""

    kind: str
    width: int
    text: bytes = b""
    name: str = ""


class ColumnPlan(Struct, frozen=True):
    """The names of the variables between quotes (`cells`), and the fields before, between and behind them (`gaps`).

    At most one field of a gap has no fixed width, so the offsets of all its fields can be computed.
    """

    cells: tuple[str, ...]
    gaps: tuple[tuple[Field, ...], ...]

    def reads(self, name: str) -> bool:
        """Return whether the plan reads the value of this variable."""
        return name in self.cells or any(
            field.name == name and field.kind != WORD for gap in self.gaps for field in gap
        )


def plan_of(pieces: Sequence[FormatPiece], quoting: str) -> ColumnPlan | None:
    """Return the plan of a format, or None if its lines must be read as rows: if values may contain quotes."""
    if quoting != "default":
        return None
    gaps, cells = list[tuple[Field, ...]](), list[str]()
    for number, part in enumerate(_between_quotes(pieces)):
        if number % 2 == 0:
            gap = [_field(piece, following) for piece, following in zip(part, [*part[1:], b'"'], strict=False)]
            gaps.append(_joined([field for field in gap if field]))
            widths = [field.width for field in gaps[-1]]
            if None in gap or widths.count(0) > 1 or sum(widths) > _WIDEST:
                return None
        elif len(part) == 1 and isinstance(part[0], Variable) and not part[0].shape:
            cells.append(part[0].name)
        else:
            return None
    return ColumnPlan(tuple(cells), tuple(gaps)) if len(gaps) == len(cells) + 1 else None


def _between_quotes(pieces: Sequence[FormatPiece]) -> list[list[FormatPiece]]:
    """Split pieces at the quotes: the parts outside and inside quotes alternate."""
    parts: list[list[FormatPiece]] = [[]]
    for piece in pieces:
        if isinstance(piece, Variable):
            parts[-1].append(piece)
            continue
        texts = piece.split(b'"')
        for number, text in enumerate(texts):
            if number:
                parts.append([])
            if text:
                parts[-1].append(text)
    return parts


def _joined(fields: Sequence[Field]) -> tuple[Field, ...]:
    """Join neighbouring texts, which are compared at once."""
    joined = list[Field]()
    for field in fields:
        if field.kind == TEXT and joined and joined[-1].kind == TEXT:
            before = joined.pop()
            joined.append(Field(TEXT, before.width + field.width, before.text + field.text))
        else:
            joined.append(field)
    return tuple(joined)


def _field(piece: FormatPiece, following: FormatPiece) -> Field | None:
    """Return the field of an unquoted piece, None if there is none. The field of a user name only accepts a dash."""
    if isinstance(piece, bytes):
        return Field(TEXT, len(piece), piece)
    if piece.name == "remote_user":
        return Field(TEXT, 1, b"-")
    if kind := _KINDS.get(piece.name):
        return Field(kind, _WIDTHS.get(kind, 0), name=piece.name)
    if piece.extent in (Extent.WORD, Extent.FIRST) and not piece.shape and isinstance(following, bytes):
        return Field(WORD, 0, following[:1], piece.name)
    return None
