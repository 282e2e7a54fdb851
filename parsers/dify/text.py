"""Read single text lines of all Dify versions (formats: api/configs/feature, api/.env.example, Celery's default)."""

import re
from datetime import tzinfo

from parsers.access import format
from parsers.batch import Failure
from parsers.dify.dates import time_in_any_format
from parsers.dify.message import MessageReader, RecordHead
from parsers.dropped import with_dropped_time
from parsers.gunicorn import ERROR_LOG_LINE, GEVENT_FAILURE, INDENTS, error_log_failures
from parsers.heads import begins_record
from parsers.lines import Outcome, without_colors
from parsers.values.numbers import MILLISECOND
from parsers.values.patterns import lazy
from parsers.values.times import iso

#: Without LOG_DATEFORMAT the time has milliseconds already, and the format adds them once more, behind `.` or `,`.
_TIME = rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[.,](\d{1,3})(?:[.,]\d{1,3})?"
#: A time in any other LOG_DATEFORMAT, with the milliseconds behind it.
_OTHER_TIME = rb"([0-9A-Za-z][0-9A-Za-z:/.,+ _-]{0,47}?)[.,](\d{1,3})(?:\.\d{3})?"
_LEVEL = rb"(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL) *"
_REST = rb"(?:\[([^\]\n]*+)\] (?=\[))?\[([^\]:\n]++):\d+\] ?(?:([0-9a-f]{8,32}) |) ?(?:- )?(.*)"

#: `TIME LEVEL [thread] [file:line] trace - message`. Before Dify 1.11 there is no trace id; source installs have
#: neither thread nor dash. The trace id may be empty.
_HEAD = lazy(_TIME + rb" " + _LEVEL + _REST, re.DOTALL)
_HEAD_OF_OTHER_TIME = lazy(_OTHER_TIME + rb" " + _LEVEL + _REST, re.DOTALL)
#: `[2024-07-10 13:58:35,803: INFO/MainProcess] message`: Celery before worker_hijack_root_logger=False.
_CELERY = lazy(rb"\[" + _TIME + rb": ([A-Z]+)/[^\]\n]*+\] (.*)", re.DOTALL)
#: `ERROR:app:Exception on …`: Python's basicConfig, Dify 0.3 to 0.6.
_BASIC = lazy(rb"(DEBUG|INFO|WARNING|ERROR|CRITICAL):([\w.]++):(.*)", re.DOTALL)
#: Lines that other programs write into the log: Dify's migrations before the api starts (api/migrations/alembic.ini),
#: and gRPC inside the clients of some vector stores (absl/log: `I0000 00:00:1732359600.123456 10 fork_posix.cc:77] …`).
_OF_OTHERS = lazy(
    rb"[A-Z]{4,5} +\[(?:alembic|sqlalchemy|flask_migrate)[\w.]*\] "
    rb"|[IWEF]\d{4} \d\d:\d\d:\d{2,10}\.\d{6,9} +\d+ \w+\.(?:cc|h):\d+\] "
)

_CELERY_CALLER = b"trace.py"


def read(line: bytes, local: tzinfo, reader: MessageReader) -> Outcome:
    """Read a text line.

    A line that begins no record of any program (of a traceback, a body, a print) continues the previous record and is
    ignored.
    """
    if line[0] in INDENTS:
        return "format" if b"\0" in line else None
    if b"\x1b" in line:
        line = without_colors(line)
    if match := _HEAD.fullmatch(line):
        return _of_head(match, iso(match[1], local), reader)
    if match := _CELERY.fullmatch(line):
        time, milliseconds, level, message = match.groups()
        at = _at(iso(time, local), milliseconds)
        return with_dropped_time(reader.records(RecordHead(level, _CELERY_CALLER, "", message, at)), time, at), at
    if match := ERROR_LOG_LINE.fullmatch(line):
        at = iso(match[1] or b"", local)
        return with_dropped_time(error_log_failures(match[2], match[3]), match[1], at), at
    if match := GEVENT_FAILURE.fullmatch(line):
        at = iso(match[1], local)
        return with_dropped_time((Failure("unhandled_exception"),), match[1], at), at
    if match := _BASIC.fullmatch(line):
        return reader.records(RecordHead(match[1], match[2], "", match[3], None)), None
    if match := _HEAD_OF_OTHER_TIME.fullmatch(line):
        return _of_head(match, time_in_any_format(match[1], local), reader)
    is_record = begins_record(line) and not _OF_OTHERS.match(line)
    return "format" if is_record or b"\0" in line else None


def _of_head(match: re.Match[bytes], second: int | None, reader: MessageReader) -> Outcome:
    time, milliseconds, level, thread, caller, trace_id, message = match.groups()
    at = _at(second, milliseconds)
    head = RecordHead(level, caller, (trace_id or b"").decode(), message, at, thread=thread or b"")
    return with_dropped_time(reader.records(head), time, at), at


def matched_length(line: bytes) -> int:
    return format.matched_length((_TIME, b" ", _LEVEL, rb"(?:\[[^\]\n]*+\] ?)+"), line)


def _at(second: int | None, milliseconds: bytes) -> int | None:
    """Add the milliseconds. Source installs print them without leading zeros: `,11` is 11 ms."""
    return None if second is None else second + int(milliseconds) * MILLISECOND
