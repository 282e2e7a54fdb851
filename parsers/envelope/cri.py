"""Kubernetes' CRI: `<RFC 3339 time> <stdout|stderr> <P|F>[:tags] <content>`; a piece P continues until F."""

import re
from typing import ClassVar

from parsers.envelope.envelope import Envelope
from parsers.envelope.pieces import Piece

_LINE = re.compile(
    rb"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d) (stdout|stderr) ([PF])(?::[^ ]*)?(?: (.*))?", re.DOTALL
)


def opened(line: bytes) -> Piece | None:
    """What a line of a container's log on a Kubernetes node holds; None where it is no such line."""
    match = _LINE.fullmatch(line)
    return match and Piece(match[3] or b"", match[1].decode(), open=match[2] == b"P")


class Cri(Envelope, frozen=True):
    """The lines of a container as containerd and CRI-O store them."""

    joined: ClassVar[bool] = True

    def piece(self, line: bytes) -> Piece | None:
        if (piece := opened(line)) is None:
            raise ValueError("no CRI line")
        return piece
