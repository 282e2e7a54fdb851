"""Parse lines of Docker's json-file driver: `{"log":"…\\n","stream":"stdout","time":"…"}`. Only `log` is required."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct

from parsers.envelope.envelope import Envelope
from parsers.envelope.pieces import LinePiece
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


_HEADS = (b'{"log":', b'{"stream":', b'{"time":')
_decode = lenient_json.decoder(_DockerLine)
_decode_whole_lines = msgspec.json.Decoder(_WholeLine).decode_lines


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

    def matched_length(self, line: bytes) -> int:
        return Envelope.matched_length(self, line) or (
            lenient_json.matched_length(line) if line.startswith(_HEADS) else 0
        )

    def piece(self, line: bytes) -> LinePiece | None:
        return docker_piece(line)

    def contents(self, block: bytes, count: int) -> bytes | None:
        # No object can begin or end elsewhere: a newline inside a string is not JSON.
        if not block.startswith(b"{") or not block.endswith(b"}\n") or block.count(b"}\n{") != count - 1:
            return None
        try:
            logs = [line.log for line in _decode_whole_lines(block)]
        except (ValueError, RecursionError):
            return None
        text = "".join(logs)
        ends_each = {log[-1] for log in logs} == {"\n"} and text.count("\n") == len(logs) == count
        return text.encode() if ends_each else None
