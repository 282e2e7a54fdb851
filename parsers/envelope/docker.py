"""Parse lines of Docker's json-file driver: `{"log":"…\\n","stream":"stdout","time":"…"}`. Only `log` is required."""

import re
from io import BytesIO
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct

from parsers.envelope.envelope import Envelope
from parsers.envelope.pieces import LinePiece
from parsers.frame import Frame
from parsers.values import json as lenient_json

#: Docker splits a line every 16 KiB (moby daemon/logger/copier.go). Bytes that are not UTF-8 become longer in JSON, so
#: a piece that Docker has split off is at least as long.
_PIECE_LENGTH = 16 * 1024

_STREAMS = ("stdout", "stderr")


class _DockerLine(Struct, frozen=True, gc=False):
    log: str
    stream: Any = ""


class _WholeLine(Struct, frozen=True, gc=False):
    log: Annotated[str, Meta(min_length=1)]


_USUAL_RECORD = re.compile(rb'({"log":").*(\\n","stream":"std(?:out|err)","time":")[^"]*("})')
_HEADS = (b'{"log":', b'{"stream":', b'{"time":')
_decode = lenient_json.decoder(_DockerLine)
_decode_whole = msgspec.json.Decoder(_WholeLine).decode


def docker_piece(line: bytes) -> LinePiece:
    """Return the content of a line of Docker's json-file driver. Raises ValueError for any other line.

    A piece without a newline is open only if it is at least as long as the pieces of Docker. A killed container leaves
    a shorter piece without an end, and no other record may wait for that end.
    """
    try:
        record = _decode(line)
    except RecursionError:
        raise ValueError("nested too deep") from None
    content = record.log.encode()
    has_end = content.endswith(b"\n")
    content = content[:-1] if has_end else content
    if b"\n" in content:
        raise ValueError("a newline inside: Docker writes one line per newline")
    stream = record.stream if record.stream in _STREAMS else ""
    return LinePiece(content, stream, open=not has_end and len(content) >= _PIECE_LENGTH)


class Docker(Envelope, frozen=True):
    """The lines of a container as Docker's json-file driver stores them."""

    joined: ClassVar[bool] = True
    in_json: ClassVar[bool] = True

    def matched_length(self, line: bytes) -> int:
        return Envelope.matched_length(self, line) or (
            lenient_json.matched_length(line) if line.startswith(_HEADS) else 0
        )

    def piece(self, line: bytes) -> LinePiece | None:
        return docker_piece(line)

    def frame(self, line: bytes) -> Frame | None:
        # Docker's options `labels`, `env` and `tag` add a member to each record. Such a log is unwrapped.
        record = _USUAL_RECORD.fullmatch(line)
        return record and Frame(record[1], record[2], record[3])

    def contents(self, block: bytes) -> tuple[bytes, int] | None:
        try:
            logs = [line.log for line in map(_decode_whole, BytesIO(block))]
        except (ValueError, RecursionError):
            return None
        return ("".join(logs).encode(), len(logs)) if {log[-1] for log in logs} <= {"\n"} else None
