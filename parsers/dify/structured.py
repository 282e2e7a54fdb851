"""Read single JSON lines (api/core/logging/structured_formatter.py), written by orjson or by json.dumps."""

from datetime import UTC
from typing import Any

import msgspec
from msgspec import Struct

from parsers.dify import proxy, proxy_sums, receiver
from parsers.dify.events import EVENTS, EventReader
from parsers.dify.message import MessageReader, RecordHead
from parsers.dropped import with_dropped_time
from parsers.heads import begins_json_record
from parsers.lines import Outcome
from parsers.plugin_daemon import SERVICE as PLUGIN_DAEMON
from parsers.values import json as lenient_json
from parsers.values.patterns import lazy
from parsers.values.times import iso

_NOTHING = msgspec.Raw(b"")


class _StructuredLine(Struct, frozen=True, gc=False):
    ts: str
    message: str
    severity: Any = ""
    caller: Any = ""
    service: Any = ""
    trace_id: Any = ""
    attributes: msgspec.Raw = _NOTHING
    stack_trace: Any = ""


_decode = lenient_json.decoder(_StructuredLine)

#: Dify's JSON lines begin with one of these keys. Other lines that begin with a brace are pretty-printed bodies.
_ENVELOPE = lazy(rb'\{"(?:ts|severity|service|caller|message|trace_id)": ?"')
#: The beginning of a line with a time, which a pretty-printed body does not have.
_TIMED = lazy(rb'\{"ts": ?"\d{4}-')


def read(line: bytes, reader: MessageReader) -> Outcome:
    """Read a line that begins with a brace. A line that begins no record of any program, such as a body, is ignored."""
    try:
        record = _decode(line)
    except msgspec.ValidationError:
        if _TIMED.match(line):
            return "json"
        return "format" if begins_json_record(line) else None
    except (ValueError, RecursionError):
        return "json" if _ENVELOPE.match(line) else None
    if record.service == PLUGIN_DAEMON:
        return "format"
    at = iso(record.ts.encode("ascii", "replace"), UTC)
    events = _events_of(record, reader)
    found = events.records(record.attributes, at) if events else reader.records(_head(record, at))
    if found is None and events is reader.proxy:
        return "json"
    return with_dropped_time(found or (), record.ts, at), at


def _events_of(record: _StructuredLine, reader: MessageReader) -> EventReader | None:
    """Return the reader of the line's attributes; None if its message is to be read."""
    if not record.attributes:
        return None
    if record.service == proxy.SERVICE:
        return reader.proxy
    if record.message.startswith("telemetry."):
        return EVENTS
    if record.service == receiver.SERVICE:
        return receiver.RECEIVED
    return reader.proxy if proxy_sums.EVENT in bytes(record.attributes) else None


def matched_length(line: bytes) -> int:
    return lenient_json.matched_length(line) if _ENVELOPE.match(line) else 0


def _head(record: _StructuredLine, at: int | None) -> RecordHead:
    values = record.severity, record.caller, record.trace_id, record.stack_trace
    severity, caller, trace_id, stack_trace = (value if isinstance(value, str) else "" for value in values)
    file = caller.partition(":")[0].encode()
    return RecordHead(severity.encode(), file, trace_id[:64], record.message.encode(), at, stack_trace.encode())
