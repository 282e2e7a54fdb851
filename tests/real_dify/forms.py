"""The real logs in every other form in which Dify writes the same records.

Sources of the forms in langgenius/dify: `api/configs/feature/__init__.py` (LOG_FORMAT), `api/.env.example` (LOG_FORMAT
of a source install), `api/core/logging/structured_formatter.py` (LOG_OUTPUT_FORMAT=json), and the envelopes of Docker's
json-file driver and of Kubernetes' CRI.
"""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent

_HEAD = re.compile(
    r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)[.,](\d{1,3})(?:\.\d{3})? ([A-Z]+) +(?:\[([^\]]*)\] (?=\[))?\[([^\]:]+):(\d+)\]"
    r" ?([0-9a-f]{8,32})? ?(?:- )?(.*)"
)
_SEVERITIES = {"WARNING": "WARN", "CRITICAL": "ERROR"}


#: api/core/plugin/impl/base.py.
DAEMON_NOT_REACHED = "Request to Plugin Daemon Service failed"


class Record(NamedTuple):
    """One log record: its head, and the lines that follow it."""

    date: str
    time: str
    milliseconds: int
    level: str
    thread: str
    file: str
    line: str
    trace_id: str
    message: str
    rest: list[str]


def read(name: str) -> bytes:
    """The bytes of one of the real logs, unpacked."""
    data = (HERE / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def records(log: bytes) -> Iterator[Record | str]:
    """The records of a text log; a line before the first record, or of gunicorn, comes as it is."""
    found: Record | None = None
    for line in log.decode().split("\n")[:-1]:
        if head := _HEAD.fullmatch(line):
            if found is not None:
                yield found
            date, time, ms, level, thread, file, number, trace_id, message = head.groups()
            found = Record(date, time, int(ms), level, thread or "", file, number, trace_id or "", message, [])
        elif found is not None:
            found.rest.append(line)
        else:
            yield line
    if found is not None:
        yield found


def text(record: Record) -> str:
    """LOG_FORMAT of the code, with compose's LOG_DATEFORMAT."""
    head = f"{record.date} {record.time}.{record.milliseconds:03d} {record.level} [{record.thread or 'MainThread'}]"
    return "\n".join([f"{head} [{record.file}:{record.line}] {record.trace_id} - {record.message}", *record.rest])


def source_install(record: Record) -> str:
    """LOG_FORMAT of api/.env.example: request ids of 10 digits, milliseconds without leading zeros, no thread."""
    head = f"{record.date} {record.time},{record.milliseconds} {record.level:<2} [{record.file}:{record.line}]"
    return "\n".join([f"{head} {record.trace_id[:10]} {record.message}", *record.rest])


def structured(record: Record) -> str:
    """LOG_OUTPUT_FORMAT=json."""
    message, rest = record.message, record.rest
    trace = next((i for i, line in enumerate(rest) if line.startswith("Traceback ")), len(rest))
    line = {
        "ts": f"{record.date}T{record.time}.{record.milliseconds:03d}Z",
        "severity": _SEVERITIES.get(record.level, record.level),
        "service": "langgenius/dify",
        "caller": f"{record.file}:{record.line}",
        "message": "\n".join([message, *rest[:trace]]),
    }
    if record.trace_id:
        line["trace_id"] = record.trace_id
    if rest[trace:]:
        line["stack_trace"] = "\n".join(rest[trace:])
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False)


def docker(line: str) -> str:
    return json.dumps({"log": line + "\n", "stream": "stderr", "time": "2026-11-29T23:29:02.223456789Z"})


def cri(line: str) -> str:
    return f"2026-11-29T23:29:02.223456789Z stderr F {line}"


def rewritten(log: bytes, form: Callable[[Record], str], envelope: Callable[[str], str] | None = None) -> bytes:
    """A text log in another form, and in an envelope."""
    lines = [part if isinstance(part, str) else form(part) for part in records(log)]
    if envelope is not None:
        lines = [envelope(line) for part in lines for line in part.split("\n")]
    return ("\n".join(lines) + "\n").encode()


def without_cut_access_lines(log: bytes) -> bytes:
    """The log without requests whose path holds a newline: in a text log the rest of such a line is lost."""
    return _only(log, lambda record: record.file != "ext_request_logging.py" or not record.rest)


def without_unreached_daemon(log: bytes) -> bytes:
    """The log without failed requests to the plugin daemon: only the stack trace of a JSON log has their cause."""
    return _only(log, lambda record: record.message != DAEMON_NOT_REACHED)


def _only(log: bytes, keeps: Callable[[Record], bool]) -> bytes:
    """The log without some of its records."""
    kept = [
        part if isinstance(part, str) else text(part) for part in records(log) if isinstance(part, str) or keeps(part)
    ]
    return ("\n".join(kept) + "\n").encode()
