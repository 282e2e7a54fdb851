"""A log format as a list of pieces, literal text and variables, and the one pattern that reads its lines.

Every variable matches a class that excludes what follows it, so that a line is read in one go forward. Nothing
crosses a newline.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

#: Values that hold anything but a quote, and values in which a backslash escapes one.
_UNQUOTED = rb'[^"\n]*+'
_ESCAPED = rb'(?:[^"\\\n]|\\[^\n])*+'

#: Several values in one variable: `0.000, 0.003`, between groups ` : ` (nginx' $upstream_… variables).
_LIST = rb"[^ \n]*(?:(?:(?<=,) | : )[^ \n]*)*"
_LIST_BEFORE_COMMA = rb"[^,\n]*(?:, [^,\n]*)*"


class Variable(NamedTuple):
    """A variable of a format. `several`: its value may be a list; `spaced`: it may hold blanks unquoted;
    `shape`: the pattern of its value where the server fixes it.
    """

    name: str
    several: bool = False
    spaced: bool = False
    shape: bytes = b""


Piece = bytes | Variable


class Format(Struct, frozen=True):
    """`pattern` matches whole lines of a block and captures `captured`, in this order."""

    pieces: tuple[Piece, ...]
    pattern: re.Pattern[bytes]
    captured: tuple[str, ...]
    escaped_quotes: bool

    def reach(self, line: bytes) -> int:
        """How many bytes of a line fit: the longest run of pieces from its beginning."""
        for end in range(len(self.pieces), 0, -1):
            if match := re.match(_source(self.pieces[:end], frozenset(), self.escaped_quotes), line):
                return match.end()
        return 0


def compiled(pieces: Sequence[Piece], wanted: frozenset[str], escaped_quotes: bool) -> Format:
    """The format of these pieces; variables in `wanted` are captured, the first of each name.

    Raises ValueError where two variables stand side by side and one of them is wanted.
    """
    merged: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Variable) and merged and isinstance(merged[-1], Variable):
            if {piece.name, merged[-1].name} & wanted:
                raise ValueError(f"format: {merged[-1].name} and {piece.name} stand side by side, with nothing between")
            continue
        merged.append(piece)
    names = [piece.name for piece in merged if isinstance(piece, Variable) and piece.name in wanted]
    source = rb"^(?=[^\r\n])" + _source(merged, wanted, escaped_quotes) + rb"\r?$"
    return Format(tuple(merged), re.compile(source, re.MULTILINE), tuple(dict.fromkeys(names)), escaped_quotes)


def _source(pieces: Sequence[Piece], wanted: frozenset[str], escaped_quotes: bool) -> bytes:
    left, source = set(wanted), b""
    for piece, following in zip(pieces, [*pieces[1:], b""], strict=True):
        if isinstance(piece, bytes):
            source += re.escape(piece)
            continue
        value = _value(piece, following if isinstance(following, bytes) else b"", escaped_quotes)
        source += b"(" + value + b")" if piece.name in left else b"(?:" + value + b")"
        left.discard(piece.name)
    return source


def _value(variable: Variable, following: bytes, escaped_quotes: bool) -> bytes:
    """What a variable may hold, given the literal text behind it."""
    if variable.shape:
        return variable.shape
    delimiter = following[:1]
    if delimiter == b'"':
        return _ESCAPED if escaped_quotes else _UNQUOTED
    if variable.several and delimiter in (b" ", b""):
        return _LIST
    if variable.several and delimiter == b",":
        return _LIST_BEFORE_COMMA
    if variable.spaced:
        return rb"[^\n]*?" if following else rb"[^\n]*"
    return b"[^\\n" + re.escape(delimiter or b"\r") + b"]*+"
