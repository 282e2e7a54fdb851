"""Read single JSON lines (api/core/logging/structured_formatter.py), written by orjson or by json.dumps."""

from datetime import UTC
from typing import Any

import msgspec
from msgspec import Struct

from parsers.dify import proxy, proxy_records, receiver
from parsers.dify.events import EVENTS
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
    if record.attributes:
        if record.service == proxy.SERVICE:
            return _proxied(record, at, reader)
        if record.message.startswith("telemetry."):
            return with_dropped_time(EVENTS.records(record.attributes, at), record.ts, at), at
        if record.service == receiver.SERVICE:
            return with_dropped_time(receiver.records(record.attributes, at), record.ts, at), at
        if proxy_records.EVENT in bytes(record.attributes):
            return _proxied(record, at, reader)
    return with_dropped_time(reader.records(_head(record, at)), record.ts, at), at


def _proxied(record: _StructuredLine, at: int | None, reader: MessageReader) -> Outcome:
    found = reader.proxy.records(record.attributes, at)
    return "json" if found is None else (with_dropped_time(found, record.ts, at), at)


def matched_length(line: bytes) -> int:
    return lenient_json.matched_length(line) if _ENVELOPE.match(line) else 0


def _head(record: _StructuredLine, at: int | None) -> RecordHead:
    severity = record.severity if isinstance(record.severity, str) else ""
    caller = record.caller if isinstance(record.caller, str) else ""
    trace_id = record.trace_id if isinstance(record.trace_id, str) else ""
    return RecordHead(
        severity.encode(),
        caller.partition(":")[0].encode(),
        trace_id[:64],
        record.message.encode(),
        at,
        record.stack_trace.encode() if isinstance(record.stack_trace, str) else b"",
    )
