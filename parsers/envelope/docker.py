"""Docker's json-file driver: `{"log":"…\\n","stream":"stdout","time":"…"}`; only `log` is needed."""

from typing import Any, ClassVar

from msgspec import Struct

from parsers.envelope.envelope import Envelope
from parsers.envelope.pieces import Piece
from parsers.values import json as lenient_json

#: Docker cuts a line every 16 KiB (moby daemon/logger/copier.go). Bytes that are not UTF-8 grow when it writes
#: them as JSON, so a cut piece is at least as long.
_CUT = 16 * 1024

_STREAMS = ("stdout", "stderr")


class _Record(Struct, frozen=True, gc=False):
    log: str
    stream: Any = ""


_HEADS = (b'{"log":', b'{"stream":', b'{"time":')
_decode = lenient_json.decoder(_Record)


def piece(line: bytes) -> Piece:
    """What a line of Docker's json-file holds. Raises ValueError.

    A piece without its newline is open only if it is as long as Docker cuts: a killed container leaves a short piece
    behind, and nothing may wait for its end.
    """
    try:
        record = _decode(line)
    except RecursionError:
        raise ValueError("nested too deep") from None
    content = record.log.encode()
    ended = content.endswith(b"\n")
    content = content[:-1] if ended else content
    if b"\n" in content:
        raise ValueError("Docker cuts at newlines: this line was not written by it")
    stream = record.stream if record.stream in _STREAMS else ""
    return Piece(content, stream, open=not ended and len(content) >= _CUT)


class Docker(Envelope, frozen=True):
    """The lines of a container as Docker's json-file driver stores them."""

    joined: ClassVar[bool] = True

    def matched_length(self, line: bytes) -> int:
        return Envelope.matched_length(self, line) or (
            lenient_json.matched_length(line) if line.startswith(_HEADS) else 0
        )

    def piece(self, line: bytes) -> Piece | None:
        return piece(line)
