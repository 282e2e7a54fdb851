"""Compile a log format, a list of literal texts and variables, to one regular expression that parses its lines.

Every variable except one matches possessively: it takes what it can and never gives a character back, so a line is read
in one forward pass. Nothing matches across a newline.
"""

import re
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from msgspec import Struct

# No group repeats possessively: before Python 3.11.5 such a repeat may match nothing (python/cpython#106052). Where
# the rest could match after a loop gives up an iteration, a lookahead behind the loop demands that it was complete.

#: The pattern of a value between quotes, by the server's escape mode. END is the text behind the closing quote.
_QUOTED = {
    "default": rb'[^"\n]*+',  # nginx writes a quote as \x22
    # Nearly every value has no backslash, and an alternation costs less than starting a repeat.
    "json": rb'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*|)',
    "none": rb'[^"\n]*+(?:"(?!END)[^"\n]*+)*',
    # gunicorn escapes quotes but not backslashes: after a backslash of the client, the value ends where the next
    # value begins or no quote is left. The value of a header does not end with a blank (RFC 9110 §5.5).
    "gunicorn": rb'[^"\n]*+(?:INNER[^"\n]*+)*(?!INNER)'.replace(b"INNER", rb'(?<=\\)"(?! "|[^"\n]*$)'),
}

#: Several values between blanks: `0.000, 0.003`, with ` : ` between groups (the $upstream_… variables of nginx).
_LIST = rb"[^ \n]*+(?:BETWEEN[^ \n]*+)*(?!BETWEEN)".replace(b"BETWEEN", rb"(?:(?<=,) |(?<!,) : )")
_TO_THE_END = rb"[^\r\n]*+(?:\r(?!$)[^\r\n]*+)*"


class Extent(Enum):
    """Where a value without quotes ends."""

    WORD = "at the character that follows it in the format"
    FIRST = "at the first place where the text that follows it in the format matches"
    LIST = "as FIRST; before a blank it may be several words with commas"
    CLIENTS = "as FIRST; before a single blank it may be several words with commas"
    LAST = "at the last place where the rest of the format matches"
    BEHIND_LAST = "as FIRST, but without the text before it; otherwise each place would be tried to the end of the line"
    LIST_BEHIND_LAST = "as BEHIND_LAST; between blanks it may be a few words with commas"


class Variable(NamedTuple):
    """A variable of a format.

    * `shape`: the pattern of its values, if the server always writes them in the same form.
    * `regular`: the pattern of almost every value between quotes, with one group for the part that is used.
    * `begins`: the character that every non-empty value begins with. It allows another variable directly before it.
    """

    name: str
    extent: Extent = Extent.WORD
    shape: bytes = b""
    regular: bytes = b""
    begins: bytes = b""


FormatPiece = bytes | Variable

#: DELIMITER is the next character of the format. STOP is the next text with the shape of the variable behind it, or the
#: end of the line. BEFORE is the text in front of the variable, BEGIN its first character.
#: Almost every value, such as the name of a user, is a dash: the first alternative. The second one would match it too.
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
#: For a value directly before a variable with `begins`: up to this character, or up to the text behind that variable.
_TO_ITS_BEGINNING = rb"[^\n\\BEGINS]*+(?:\\[^\n][^\n\\BEGINS]*+)*(?!\\[^\n])"

#: The suffix of a variable's name for the used part of a regular value. The variable's own group is then empty.
REGULAR = ":regular"


class Format(Struct, frozen=True):
    """A compiled format.

    * `quoting`: the escape mode of nginx (default, json, none) or gunicorn.
    * `pattern`: matches a whole line. Its groups are the variables `captured`, in this order.
    * `every`: matches each line of a block that is not empty. Its last group holds a line that does not fit.
    * `parts`: the patterns of the pieces. The first `decisive` of them are needed to recognise a line: words and blanks
      alone match any line.
    """

    pieces: tuple[FormatPiece, ...]
    quoting: str
    pattern: re.Pattern[bytes]
    every: re.Pattern[bytes]
    captured: tuple[str, ...]
    parts: tuple[bytes, ...]
    decisive: int

    def matched_length(self, line: bytes) -> int:
        """Return how many bytes of a line fit, 0 if fewer than `decisive` parts match."""
        return matched_length(self.parts, line, self.decisive)


def matched_length(parts: Sequence[bytes], line: bytes, least: int = 1) -> int:
    """Return the length of the longest match of the first patterns (at least `least`) at the beginning of a line."""
    for end in range(len(parts), least - 1, -1):
        if match := re.match(b"".join(parts[:end]), line, re.DOTALL):
            return match.end()
    return 0


def compiled(pieces: Sequence[FormatPiece], wanted: frozenset[str], quoting: str) -> Format:
    """Compile pieces to a format. Of the variables in `wanted` the first of each name is captured.

    Raises ValueError if two variables follow each other without text between them, one of them is wanted, and nothing
    shows where the second one begins.
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
    decisive = next((at for at, piece in enumerate(merged, 1) if _is_decisive(piece)), len(merged))
    patterns = re.compile(line, re.MULTILINE), re.compile(every, re.MULTILINE)
    return Format(tuple(merged), quoting, *patterns, tuple(captured), tuple(parts), decisive)


def _is_decisive(piece: FormatPiece) -> bool:
    return bool(piece.strip() if isinstance(piece, bytes) else piece.shape)


def _is_quoted(before: bytes, following: Sequence[FormatPiece]) -> bool:
    return before[-1:] == b'"' and all(isinstance(piece, bytes) and piece.startswith(b'"') for piece in following)


def _merged(pieces: Sequence[FormatPiece], wanted: frozenset[str]) -> list[FormatPiece]:
    """Merge neighbouring variables that are not wanted, so that a text follows each variable."""
    merged: list[FormatPiece] = []
    for piece in pieces:
        before = merged[-1] if merged else b""
        if isinstance(piece, bytes) or isinstance(before, bytes):
            merged.append(piece)
            continue
        is_wanted = bool({piece.name, before.name} & wanted)
        if is_wanted and piece.begins:
            merged.append(piece)
        elif is_wanted:
            raise ValueError(f"format: found {before.name} and {piece.name} with no text between them")
    return merged


def _with_one_greedy(pieces: list[FormatPiece], quoting: str) -> list[FormatPiece]:
    """Keep the extent LAST of the first variable that has it, and change the extents of those behind it.

    With escape=none no variable keeps it: a quoted value may then contain quotes, and would be read again from each
    place.
    """
    changed: list[FormatPiece] = []
    greedy = False
    for piece, following in zip(pieces, [*pieces, b""][1:], strict=True):
        if isinstance(piece, bytes):
            changed.append(piece)
            continue
        last = piece.extent is Extent.LAST and isinstance(following, bytes) and not following.startswith(b'"')
        extent = Extent.WORD if last and quoting == "none" else piece.extent
        if greedy:
            extent = Extent.LIST_BEHIND_LAST if extent in _LISTS else Extent.BEHIND_LAST
        changed.append(piece._replace(extent=extent))
        greedy = greedy or (last and extent is Extent.LAST)
    return changed


def _value(variable: Variable, before: bytes, following: Sequence[FormatPiece], quoting: str) -> bytes:
    """Return the pattern of a variable's value, from the text before it, and the text and the variable behind it."""
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
