"""JSON objects with a line in one of their strings, as shippers and archives keep it.

The line is the first string among the members `log`, `message`, `MESSAGE` and `line`:

* Fluent Bit and Fluentd: `log`, also behind the time and the tag that their file outputs print;
* Vector, Filebeat, Logstash: `message`; an export of Elasticsearch keeps it below `_source`;
* `journalctl -o json`: `MESSAGE`, an array of bytes where it is not text (man journalctl, "json");
* `logcli --output=jsonl` (Grafana Loki): `line`.

A shipper that does not know the container's format leaves a line of Docker's json-file or of CRI in that string; it is
opened too. Several lines in one string are one record that the shipper joined: its first line is its head.
"""

import re
from typing import Any, ClassVar
from zlib import crc32

import msgspec
from msgspec import Struct

from parsers.envelope import cri, docker
from parsers.envelope.envelope import Envelope
from parsers.envelope.pieces import Piece
from parsers.values import json as lenient_json

#: `TIME TAB TAG TAB` (Fluentd, formatter out_file) or `TAG: [TIME, ` (Fluent Bit, out_file).
_FRONT = re.compile(rb"[^\s{}]{1,64}\t[^\s{}]{1,255}\t(?={)|[^\s{}]{1,255}: \[\d{1,12}(?:\.\d{1,9})?, (?={)")

#: Streams of pieces that are told apart, so that what a position holds is bounded.
_STREAMS = 64

_TEXTS = ("log", "message", "MESSAGE", "line")


class _Record(Struct, frozen=True, gc=False):
    """The members that may hold the line, and those that say whether it is a piece, and of which container."""

    log: Any = None
    message: Any = None
    MESSAGE: Any = None
    line: Any = None
    source: Any = msgspec.field(name="_source", default=None)
    stream: Any = None
    logtag: Any = None
    partial: Any = msgspec.field(name="partial_message", default=None)
    last: Any = msgspec.field(name="partial_last", default=None)
    container_id: Any = None
    CONTAINER_ID_FULL: Any = None
    journal_partial: Any = msgspec.field(name="CONTAINER_PARTIAL_MESSAGE", default=None)
    journal_last: Any = msgspec.field(name="CONTAINER_PARTIAL_LAST", default=None)
    kubernetes: Any = None


_decode = lenient_json.decoder(_Record)
# msgspec builds what it knows of a struct at its first use, and two threads that do so at once crash the process.
msgspec.convert({}, _Record)


class Json(Envelope, frozen=True):
    """The lines that a shipper wrapped into JSON objects."""

    joined: ClassVar[bool] = True

    def piece(self, line: bytes) -> Piece | None:
        if not line.startswith(b"{"):
            line = _without_front(line)
        try:
            record = _decode(line)
        except RecursionError:
            raise ValueError("nested too deep") from None
        text = _text(record)
        if text is None and isinstance(record.source, dict):
            text = _text(record := msgspec.convert(record.source, _Record))
        if text is None:
            raise ValueError("no string under log, message, MESSAGE or line")
        return _opened(text, record)


def _without_front(line: bytes) -> bytes:
    """The object in a line of a file output of Fluentd or Fluent Bit. Raises ValueError."""
    front = _FRONT.match(line)
    if front is None:
        raise ValueError("no JSON object")
    content = line[front.end() :]
    return content.rstrip().removesuffix(b"]") if b"\t" not in front[0] else content


def _text(record: _Record) -> bytes | None:
    """The line as the shipper got it; None where there is none."""
    for value in (record.log, record.message, record.MESSAGE, record.line):
        if isinstance(value, str):
            return value.encode()
    if isinstance(record.MESSAGE, list):
        try:
            return bytes(record.MESSAGE)
        except (TypeError, ValueError):
            return None
    return None


def _opened(text: bytes, record: _Record) -> Piece:
    """The piece that a text holds."""
    if text.startswith(b'{"log":') and b'"stream":' in text:
        inner = docker.piece(text.rstrip(b"\r\n"))
        return Piece(inner.content, _stream(record, inner.stream), inner.open)
    # What a shipper joined is one record, so nothing behind its first line can pass for another record.
    head = text.partition(b"\n")[0]
    if text[10:11] == b"T" and (inner_line := cri.opened(head)) is not None:
        return Piece(inner_line.content, _stream(record, inner_line.stream), inner_line.open)
    return Piece(head, _stream(record, _word(record.stream)), _is_open(record))


def _is_open(record: _Record) -> bool:
    """Whether more pieces follow: Fluent Bit's CRI parser, Docker's drivers for Fluentd and for the journal."""
    if record.logtag == "P":
        return True
    is_piece = "true" in (_word(record.partial), _word(record.journal_partial))
    return is_piece and "true" not in (_word(record.last), _word(record.journal_last))


def _stream(record: _Record, stream: str) -> str:
    """A short name for the stream of a container; two streams of hundreds may share one."""
    known = [record.container_id, record.CONTAINER_ID_FULL]
    if isinstance(record.kubernetes, dict):
        known += map(record.kubernetes.get, ("docker_id", "namespace_name", "pod_name", "container_name"))
    container = [word for value in known if (word := _word(value))]
    return f"{crc32(' '.join([*container, stream]).encode()) % _STREAMS:02x}" if container or stream else ""


def _word(value: Any) -> str:
    """A member that is a word, or true; "" for anything else."""
    return value if isinstance(value, str) else "true" if value is True else ""
