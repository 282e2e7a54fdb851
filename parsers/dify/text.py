"""Head lines of Dify's text formats, of every era (api/configs/feature, api/.env.example, Celery's default)."""

import re
from datetime import tzinfo

from parsers.access import format
from parsers.dify.dates import moment
from parsers.dify.message import Head, Reader
from parsers.dropped import with_time
from parsers.gunicorn import INDENTS, OWN_LINE, own_failures
from parsers.heads import begins_record
from parsers.lines import Outcome
from parsers.values.times import iso

#: Without LOG_DATEFORMAT the time has milliseconds already, and the format adds them once more, behind `.` or `,`.
_TIME = rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[.,](\d{1,3})(?:[.,]\d{1,3})?"
#: What any other LOG_DATEFORMAT can give; the milliseconds follow it.
_OTHER_TIME = rb"([0-9A-Za-z][0-9A-Za-z:/.,+ _-]{0,47}?)[.,](\d{1,3})(?:\.\d{3})?"
_LEVEL = rb"(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL) *"
_REST = rb"(?:\[[^\]\n]*+\] (?=\[))?\[([^\]:\n]++):\d+\] ?(?:([0-9a-f]{8,32}) |) ?(?:- )?(.*)"

#: `TIME LEVEL [thread] [file:line] trace - message`; before 1.11 without the trace, in source installs without
#: thread and dash. The trace id may be empty.
_HEAD = re.compile(_TIME + rb" " + _LEVEL + _REST, re.DOTALL)
_HEAD_OF_OTHER_TIME = re.compile(_OTHER_TIME + rb" " + _LEVEL + _REST, re.DOTALL)
#: `[2024-07-10 13:58:35,803: INFO/MainProcess] message`: Celery before worker_hijack_root_logger=False.
_CELERY = re.compile(rb"\[" + _TIME + rb": ([A-Z]+)/[^\]\n]*+\] (.*)", re.DOTALL)
#: `ERROR:app:Exception on …`: Python's basicConfig, Dify 0.3 to 0.6.
_BASIC = re.compile(rb"(DEBUG|INFO|WARNING|ERROR|CRITICAL):([\w.]++):(.*)", re.DOTALL)
#: What Dify's migrations print before the api starts (api/migrations/alembic.ini).
_MIGRATION = re.compile(rb"[A-Z]{4,5} +\[(?:alembic|sqlalchemy|flask_migrate)[\w.]*\] ")
_ANSI = re.compile(rb"\x1b\[[0-9;]*m")

_CELERY_CALLER = b"trace.py"


def read(line: bytes, local: tzinfo, reader: Reader) -> Outcome:
    """What a text line gives. A line that begins no record of any program (a traceback, a body, a print) continues the
    record before it and is ignored.
    """
    if line[0] in INDENTS:
        return "format" if b"\0" in line else None
    if b"\x1b" in line:
        line = _ANSI.sub(b"", line)
    if match := _HEAD.fullmatch(line):
        time, milliseconds, level, caller, trace_id, message = match.groups()
        at = _at(iso(time, local), milliseconds)
        head = Head(level, caller, (trace_id or b"").decode(), message, at)
        return with_time(reader.records(head), time, at), at
    if match := _CELERY.fullmatch(line):
        time, milliseconds, level, message = match.groups()
        at = _at(iso(time, local), milliseconds)
        return with_time(reader.records(Head(level, _CELERY_CALLER, "", message, at)), time, at), at
    if match := OWN_LINE.fullmatch(line):
        at = iso(match[1] or b"", local)
        return with_time(own_failures(match[2], match[3]), match[1], at), at
    if match := _BASIC.fullmatch(line):
        return reader.records(Head(match[1], match[2], "", match[3], None)), None
    if match := _HEAD_OF_OTHER_TIME.fullmatch(line):
        time, milliseconds, level, caller, trace_id, message = match.groups()
        at = _at(moment(time, local), milliseconds)
        head = Head(level, caller, (trace_id or b"").decode(), message, at)
        return with_time(reader.records(head), time, at), at
    is_record = begins_record(line) and not _MIGRATION.match(line)
    return "format" if is_record or b"\0" in line else None


def reach(line: bytes) -> int:
    return format.reach((_TIME, b" ", _LEVEL, rb"(?:\[[^\]\n]*+\] ?)+"), line)


def _at(second: int | None, milliseconds: bytes) -> int | None:
    """The source installs' format prints milliseconds without leading zeros: `,11` is 11 ms."""
    return None if second is None else second + int(milliseconds) * 1_000_000
