"""A log format as a plan for `parsers.access.columns`: what stands between the quotes of a line, and how wide it is."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from parsers.access.format import Extent, Piece, Variable

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
    """A text, or an unquoted variable; a width of 0 varies from line to line."""

    kind: str
    width: int
    text: bytes = b""
    name: str = ""


class Plan(Struct, frozen=True):
    """The names of the variables between quotes, and the gaps before, between and behind them.

    A gap has at most one field whose width varies, so that all its fields have their place.
    """

    cells: tuple[str, ...]
    gaps: tuple[tuple[Field, ...], ...]

    def reads(self, name: str) -> bool:
        """Whether the plan gives the value of this variable."""
        return name in self.cells or any(
            field.name == name and field.kind != WORD for gap in self.gaps for field in gap
        )


def plan_of(pieces: Sequence[Piece], quoting: str) -> Plan | None:
    """The plan of a format whose values hold no quotes; None where its lines must be read as rows."""
    if quoting != "default":
        return None
    gaps, cells = list[tuple[Field, ...]](), list[str]()
    for number, part in enumerate(_between_quotes(pieces)):
        if number % 2 == 0:
            gap = [_field(piece, following) for piece, following in zip(part, [*part[1:], b'"'], strict=False)]
            gaps.append(tuple(field for field in gap if field))
            widths = [field.width for field in gaps[-1]]
            if None in gap or widths.count(0) > 1 or sum(widths) > _WIDEST:
                return None
        elif len(part) == 1 and isinstance(part[0], Variable) and not part[0].shape:
            cells.append(part[0].name)
        else:
            return None
    return Plan(tuple(cells), tuple(gaps)) if len(gaps) == len(cells) + 1 else None


def _between_quotes(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The pieces outside and inside quotes, in turn."""
    parts: list[list[Piece]] = [[]]
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


def _field(piece: Piece, following: Piece) -> Field | None:
    """What an unquoted piece is; a line with a user's name is left to the rows."""
    if isinstance(piece, bytes):
        return Field(TEXT, len(piece), piece)
    if piece.name == "remote_user":
        return Field(TEXT, 1, b"-")
    if kind := _KINDS.get(piece.name):
        return Field(kind, _WIDTHS.get(kind, 0), name=piece.name)
    if piece.extent in (Extent.WORD, Extent.FIRST) and not piece.shape and isinstance(following, bytes):
        return Field(WORD, 0, following[:1], piece.name)
    return None
