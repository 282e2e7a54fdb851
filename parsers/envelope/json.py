"""Parse JSON objects that contain a log line as a string, in the formats of log shippers and archives.

The line is the first string among the members `log`, `message`, `MESSAGE` and `line`:

* Fluent Bit and Fluentd: `log`; their file outputs print a time and a tag in front of the object;
* Vector, Filebeat, Logstash: `message`; an export of Elasticsearch has it inside `_source`;
* `journalctl -o json`: `MESSAGE`, an array of bytes where it is not text (man journalctl, "json");
* `logcli --output=jsonl` (Grafana Loki): `line`.

A shipper that does not know the format of the container puts a line of Docker's json-file or of CRI into this string;
it is unwrapped too. Several lines in one string are one record that the shipper joined; only its first line is read.
"""

import re
from typing import Any, ClassVar
from zlib import crc32

import msgspec
from msgspec import Struct

from parsers.envelope.cri import cri_piece
from parsers.envelope.docker import docker_piece
from parsers.envelope.envelope import Envelope
from parsers.envelope.pieces import LinePiece
from parsers.values import json as lenient_json

#: `TIME TAB TAG TAB` (Fluentd, formatter out_file) or `TAG: [TIME, ` (Fluent Bit, out_file).
_FRONT = re.compile(rb"[^\s{}]{1,64}\t[^\s{}]{1,255}\t(?={)|[^\s{}]{1,255}: \[\d{1,12}(?:\.\d{1,9})?, (?={)")

#: The number of streams that can be distinguished. It bounds the size of `Batch.skip`.
_STREAMS = 64


class _ShippedLine(Struct, frozen=True, gc=False):
    """The members that may contain the line, and those that show whether it is a piece and its container."""

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


_decode = lenient_json.decoder(_ShippedLine)
# msgspec prepares a struct at its first use. Two threads that do this at once crash the process, so it is done here.
msgspec.convert({}, _ShippedLine)


class Json(Envelope, frozen=True):
    """Lines that a log shipper has wrapped into JSON objects."""

    joined: ClassVar[bool] = True

    def piece(self, line: bytes) -> LinePiece | None:
        if not line.startswith(b"{"):
            line = _without_front(line)
        try:
            record = _decode(line)
        except RecursionError:
            raise ValueError("nested too deep") from None
        text = _text(record)
        if text is None and isinstance(record.source, dict):
            text = _text(record := msgspec.convert(record.source, _ShippedLine))
        if text is None:
            raise ValueError("no string under log, message, MESSAGE or line")
        return _unwrapped(text, record)


def _without_front(line: bytes) -> bytes:
    """Return the object in a line of a file output of Fluentd or Fluent Bit. Raises ValueError for any other line."""
    front = _FRONT.match(line)
    if front is None:
        raise ValueError("not a JSON object")
    content = line[front.end() :]
    return content.rstrip().removesuffix(b"]") if b"\t" not in front[0] else content


def _text(record: _ShippedLine) -> bytes | None:
    """Return the line as the shipper received it, None if there is none."""
    for value in (record.log, record.message, record.MESSAGE, record.line):
        if isinstance(value, str):
            return value.encode()
    if isinstance(record.MESSAGE, list):
        try:
            return bytes(record.MESSAGE)
        except (TypeError, ValueError):
            return None
    return None


def _unwrapped(text: bytes, record: _ShippedLine) -> LinePiece:
    """Return the content of a text, which may be a line of Docker or CRI."""
    if text.startswith(b'{"log":') and b'"stream":' in text:
        inner = docker_piece(text.rstrip(b"\r\n"))
        return LinePiece(inner.content, _stream(record, inner.stream), inner.open)
    # Joined lines are one record, so the text behind the first line cannot be taken for another record.
    head = text.partition(b"\n")[0]
    if text[10:11] == b"T" and (inner_line := cri_piece(head)) is not None:
        return LinePiece(inner_line.content, _stream(record, inner_line.stream), inner_line.open)
    return LinePiece(head, _stream(record, _word(record.stream)), _is_open(record))


def _is_open(record: _ShippedLine) -> bool:
    """Return whether more pieces follow, by the members of Fluent Bit's CRI parser and of Docker's log drivers.

    Docker has drivers for Fluentd and for the journal.
    """
    if record.logtag == "P":
        return True
    is_piece = "true" in (_word(record.partial), _word(record.journal_partial))
    return is_piece and "true" not in (_word(record.last), _word(record.journal_last))


def _stream(record: _ShippedLine, stream: str) -> str:
    """Return a short name for a stream of a container. Of hundreds of streams two may have the same name."""
    known = [record.container_id, record.CONTAINER_ID_FULL]
    if isinstance(record.kubernetes, dict):
        known += map(record.kubernetes.get, ("docker_id", "namespace_name", "pod_name", "container_name"))
    container = [word for value in known if (word := _word(value))]
    return f"{crc32(' '.join([*container, stream]).encode()) % _STREAMS:02x}" if container or stream else ""


def _word(value: Any) -> str:
    """Return a member as text: a string, or "true"; "" for anything else."""
    return value if isinstance(value, str) else "true" if value is True else ""
