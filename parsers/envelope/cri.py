"""Parse the CRI format of Kubernetes: `<RFC 3339 time> <stdout|stderr> <P|F>[:tags] <content>`.

A line with P is a piece of a longer line, which ends with the next F of its stream.
"""

import re
from typing import ClassVar

from parsers.envelope.envelope import Envelope
from parsers.envelope.pieces import LinePiece
from parsers.frame import ANY_DIGIT, Frame

_LINE = re.compile(
    rb"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d) (stdout|stderr) ([PF])(?::[^ ]*)?(?: (.*))?", re.DOTALL
)

#: Matches every line. The group captures the text behind the head of a line in one piece, with its newline; it is empty
#: for any other line.
_WHOLE_LINE = re.compile(
    rb"^\d{4}-\d\d-\d\dT[0-9:.]++(?:Z|[+-]\d\d:\d\d) std(?:out|err) F(?::[^ \n]*+)?(?: |(?=\n))(.*\n)|^.*\n",
    re.MULTILINE,
)

_ANY_DIGITS = bytes.maketrans(b"0123456789", bytes([ANY_DIGIT]) * 10)
#: The usual head of a line in one piece.
_HEAD = re.compile(rb"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d) std(?:out|err) F ")


def cri_piece(line: bytes) -> LinePiece | None:
    """Return the content of a CRI line, None for a line that is not CRI."""
    match = _LINE.fullmatch(line)
    return match and LinePiece(match[3] or b"", match[1].decode(), open=match[2] == b"P")


class Cri(Envelope, frozen=True):
    """The lines of a container as containerd and CRI-O store them."""

    joined: ClassVar[bool] = True

    def piece(self, line: bytes) -> LinePiece | None:
        if (piece := cri_piece(line)) is None:
            raise ValueError("not a CRI line")
        return piece

    def frame(self, line: bytes) -> Frame | None:
        head = _HEAD.match(line)
        return head and Frame(head[0].translate(_ANY_DIGITS))

    def contents(self, block: bytes) -> tuple[bytes, int] | None:
        found = _WHOLE_LINE.findall(block)
        return None if b"" in found else (b"".join(found), len(found))
