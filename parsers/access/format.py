"""A log format as a list of pieces, literal text and variables, and the one pattern that reads its lines.

Every variable but one takes what it can and gives nothing back, so that a line is read in one go forward. Nothing
crosses a newline.
"""

import re
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from msgspec import Struct

# No group repeats possessively: before Python 3.11.5 such a repeat may match nothing (python/cpython#106052). Where
# an iteration given up would let the rest match, a guard behind the loop says that it went on as long as it could.

#: What a value between quotes may hold, by the server's way of escaping; END is the text behind the closing quote.
_QUOTED = {
    "default": rb'[^"\n]*+',  # nginx writes a quote as \x22
    # Nearly every value holds no backslash: to choose a branch costs less than to begin a repeat.
    "json": rb'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*|)',
    "none": rb'[^"\n]*+(?:"(?!END)[^"\n]*+)*',
    # gunicorn escapes a quote but no backslash: after a client's own backslash, the value ends where the next
    # one begins or no quote is left. A header's value does not end with a blank (RFC 9110 §5.5).
    "gunicorn": rb'[^"\n]*+(?:INNER[^"\n]*+)*(?!INNER)'.replace(b"INNER", rb'(?<=\\)"(?! "|[^"\n]*$)'),
}

#: Several values between blanks: `0.000, 0.003`, between groups ` : ` (nginx' $upstream_… variables).
_LIST = rb"[^ \n]*+(?:BETWEEN[^ \n]*+)*(?!BETWEEN)".replace(b"BETWEEN", rb"(?:(?<=,) |(?<!,) : )")
_TO_THE_END = rb"[^\r\n]*+(?:\r(?!$)[^\r\n]*+)*"


class Extent(Enum):
    """How far a value without quotes reaches."""

    WORD = "to the character that follows it in the format"
    FIRST = "to the first place where what follows it fits"
    LIST = "the same; before a blank, several words with commas"
    CLIENTS = "the same; before a lone blank, several words with commas"
    LAST = "to the last place where all that follows it fits"
    BEHIND_LAST = "the same as FIRST, without the text before it: else each place would be tried to the end"
    LIST_BEHIND_LAST = "the same; between blanks, a few words with commas"


class Variable(NamedTuple):
    """A variable of a format; `shape` is the pattern of its value where the server fixes it.

    `regular` is the pattern of almost every value between quotes, with one group for the part that counts. `begins` is
    the character that each value but an empty one begins with: another variable may stand right before it.
    """

    name: str
    extent: Extent = Extent.WORD
    shape: bytes = b""
    regular: bytes = b""
    begins: bytes = b""


Piece = bytes | Variable

#: DELIMITER is the character that follows in the format, STOP the text that follows and its shape or the line's end;
#: BEFORE is the text that stands before, BEGIN its first character.
#: Almost every value, such as a user's name, is the dash of the first way; the second would find the same.
_TO_STOP = rb"(?:-(?=STOP)|[^\nDELIMITER]*+(?:(?!STOP)[^\n][^\nDELIMITER]*+)*(?=STOP))"
_WITHOUT_BEFORE = rb"[^\nDELIMITERBEGIN]*+(?:(?!STOP|BEFORE)[^\n][^\nDELIMITERBEGIN]*+)*(?=STOP)"
_LIST_WITHOUT_BEFORE = rb"[^\nDELIMITERBEGIN,]*+(?:(?:, | : )[^\nDELIMITERBEGIN,]*+){0,15}(?!, | : )"
_UNQUOTED = {
    Extent.WORD: rb"[^\nDELIMITER]*+",
    Extent.FIRST: _TO_STOP,
    Extent.LIST: _TO_STOP,
    Extent.CLIENTS: _TO_STOP,
    Extent.LAST: rb"[^\n]*",
    Extent.BEHIND_LAST: _WITHOUT_BEFORE,
    Extent.LIST_BEHIND_LAST: _WITHOUT_BEFORE,
}
_BEHIND = (Extent.BEHIND_LAST, Extent.LIST_BEHIND_LAST)
_LISTS = (Extent.LIST, Extent.CLIENTS)
#: Before a variable that begins with a character of its own, or where that one is empty before what follows it.
_TO_ITS_BEGINNING = rb"[^\n\\BEGINS]*+(?:\\[^\n][^\n\\BEGINS]*+)*(?!\\[^\n])"

#: Behind the name of a variable: what counts of a regular value, which leaves the variable's own group empty.
REGULAR = ":regular"


class Format(Struct, frozen=True):
    """`pattern` matches whole lines and captures `captured`, in this order; `parts` are its pieces, of which the first
    `telling` hold more than words and blanks.

    `every` matches each line of a block that is not empty: a last group holds the line that does not fit.
    """

    pieces: tuple[Piece, ...]
    quoting: str
    pattern: re.Pattern[bytes]
    every: re.Pattern[bytes]
    captured: tuple[str, ...]
    parts: tuple[bytes, ...]
    telling: int

    def matched_length(self, line: bytes) -> int:
        """How many bytes of a line fit; none before a piece that is more than a blank: words are in any line."""
        return matched_length(self.parts, line, self.telling)


def matched_length(parts: Sequence[bytes], line: bytes, least: int = 1) -> int:
    """The end of the longest run of patterns, at least so many, from the beginning of a line."""
    for end in range(len(parts), least - 1, -1):
        if match := re.match(b"".join(parts[:end]), line, re.DOTALL):
            return match.end()
    return 0


def compiled(pieces: Sequence[Piece], wanted: frozenset[str], quoting: str) -> Format:
    """The format of these pieces; variables in `wanted` are captured, the first of each name. `quoting` is
    nginx' escape mode (default, json, none) or gunicorn.

    Raises ValueError where two variables stand side by side, one of them is wanted, and nothing tells where it begins.
    """
    merged = _with_one_greedy(_merged(pieces, wanted), quoting)
    parts, groups, captured = list[bytes](), list[bytes](), list[str]()
    before = b""
    for at, piece in enumerate(merged):
        if isinstance(piece, bytes):
            part = group = re.escape(piece)
            before = piece
        else:
            part = b"(?:" + _value(piece, before, merged[at + 1 : at + 3], quoting) + b")"
            group = part
            if piece.name in wanted and piece.name not in captured:
                group = b"(" + part + b")"
                if piece.regular and _is_quoted(before, merged[at + 1 : at + 2]):
                    captured.append(piece.name + REGULAR)
                    group = b"(?:" + piece.regular + b"|" + group + b")"
                captured.append(piece.name)
        parts.append(part)
        groups.append(group)
    line = rb"^(?=[^\r\n])" + b"".join(groups) + rb"\r?$"
    every = line + rb"|^(.+)$"
    telling = next((at for at, piece in enumerate(merged, 1) if _is_telling(piece)), len(merged))
    patterns = re.compile(line, re.MULTILINE), re.compile(every, re.MULTILINE)
    return Format(tuple(merged), quoting, *patterns, tuple(captured), tuple(parts), telling)


def _is_telling(piece: Piece) -> bool:
    return bool(piece.strip() if isinstance(piece, bytes) else piece.shape)


def _is_quoted(before: bytes, following: Sequence[Piece]) -> bool:
    return before[-1:] == b'"' and all(isinstance(piece, bytes) and piece.startswith(b'"') for piece in following)


def _merged(pieces: Sequence[Piece], wanted: frozenset[str]) -> list[Piece]:
    """Neighbours that nobody wants become one variable, so that text follows each."""
    merged: list[Piece] = []
    for piece in pieces:
        before = merged[-1] if merged else b""
        if isinstance(piece, bytes) or isinstance(before, bytes):
            merged.append(piece)
            continue
        is_wanted = bool({piece.name, before.name} & wanted)
        if is_wanted and piece.begins:
            merged.append(piece)
        elif is_wanted:
            raise ValueError(f"format: {before.name} and {piece.name} stand side by side, with nothing between")
    return merged


def _with_one_greedy(pieces: list[Piece], quoting: str) -> list[Piece]:
    """Of the variables that matched_length to a last place only the first one; those behind it are told so.

    With escape=none there is none: a quoted value, which may then hold quotes, would be read again from each place.
    """
    settled: list[Piece] = []
    greedy = False
    for piece, following in zip(pieces, [*pieces, b""][1:], strict=True):
        if isinstance(piece, bytes):
            settled.append(piece)
            continue
        last = piece.extent is Extent.LAST and isinstance(following, bytes) and not following.startswith(b'"')
        extent = Extent.WORD if last and quoting == "none" else piece.extent
        if greedy:
            extent = Extent.LIST_BEHIND_LAST if extent in _LISTS else Extent.BEHIND_LAST
        settled.append(piece._replace(extent=extent))
        greedy = greedy or (last and extent is Extent.LAST)
    return settled


def _value(variable: Variable, before: bytes, following: Sequence[Piece], quoting: str) -> bytes:
    """What a variable may hold, given the text before it, and the text and the variable behind it."""
    literal = next((piece for piece in following[:1] if isinstance(piece, bytes)), b"")
    begins = next((piece.begins for piece in following[:1] if isinstance(piece, Variable)), b"")
    shape = next((piece.shape for piece in following[1:] if isinstance(piece, Variable)), b"")
    if variable.shape:
        return variable.shape
    if begins:
        behind = next((piece[:1] for piece in following[1:] if isinstance(piece, bytes)), b"")
        return _TO_ITS_BEGINNING.replace(b"BEGINS", re.escape(begins + behind))
    if not literal:
        return _TO_THE_END
    if literal.startswith(b'"') and (variable.extent not in _BEHIND or before[-1:] == b'"'):
        end = re.escape(literal[1:]) or (rb"\r?$" if len(following) == 1 else b"")
        return _QUOTED[quoting].replace(b"END", end)
    delimiter, stop = re.escape(literal[:1]), re.escape(literal) + (shape if len(following) > 1 else rb"\r?$")
    if variable.extent in _LISTS and (literal == b" " or (literal[:1] == b" " and variable.extent is Extent.LIST)):
        return _LIST
    is_between_blanks = variable.extent is Extent.LIST_BEHIND_LAST and b" " in (before, literal)
    return (
        (_LIST_WITHOUT_BEFORE if is_between_blanks else _UNQUOTED[variable.extent])
        .replace(b"BEFORE", re.escape(before))
        .replace(b"BEGIN", re.escape(before[:1]))
        .replace(b"DELIMITER", delimiter)
        .replace(b"STOP", stop)
    )
