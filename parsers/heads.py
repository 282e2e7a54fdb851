"""Recognise the beginning of a log record of any program: a time, a level, an address, or a log collector's prefix.

A parser of logs with tracebacks ignores a line that begins no record of its own, because such a line continues the
previous record. A line that begins like a record of any program is not a continuation: if it fits no format of the
parser, it is unparsed.
"""

from parsers.values.patterns import lazy

_DAY_OF_WEEK = rb"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},? )?"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
_CLOCK = rb"\d\d?:\d\d"

#: Dates and times as strftime(3), RFC 3339, RFC 3164, ctime(3), the common log format and glog write them.
_TIMES = (
    rb"\d{4}[-/.]\d\d?[-/.]\d\d?[T _:,-]{1,3}" + _CLOCK,
    rb"\d\d?[-/.]\d\d?[-/.](?:\d{4}|\d\d)[T _:,-]{1,3}" + _CLOCK,
    rb"\d\d[-/.]\d\d " + _CLOCK,
    rb"\d{8}(?:[T _-]\d\d:?\d\d|\d{6}\b)",
    rb"(?:1\d{9}|1\d{12}|1\d{15}|1\d{18})(?:[.,]\d{1,9})?[\] ]",
    rb"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?[\] ]",
    _DAY_OF_WEEK + rb"\d\d?[-/. ]" + _MONTH + rb"[-/. ](?:\d{4}|\d\d)[T _:,-]{1,3}" + _CLOCK,
    _DAY_OF_WEEK + _MONTH + rb" {1,2}\d\d?,?(?: \d{4})? " + _CLOCK,
    rb"[IWEFD]\d{4} " + _CLOCK,
)

#: Levels: in brackets; before a time, a bracket or a vertical bar; and as uvicorn prints them.
_LEVEL = rb"(?:DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL|debug|info|warning|warn|error|critical|fatal)"
_LEVELS = (rb"\[ ?" + _LEVEL + rb" ?\]", _LEVEL + rb" {1,5}(?:[-|] |\[|\d{4}[-/.]|\d\d:\d\d:)", _LEVEL + rb": {2,7}\S")

#: An access log line, a syslog priority, logfmt, and `docker compose logs`.
_OTHERS = (
    rb"[0-9A-Fa-f.:]{3,45} \S{1,64} \S{1,64} \[\d\d/[A-Z]",
    rb"<\d{1,3}>",
    rb"(?:time|ts|timestamp|level|lvl)=\S",
    rb"[A-Za-z0-9][\w.-]{0,63}[-_]\d{1,3} {1,40}\| ",
)
_BEGINS = lazy(rb"[\[(\"']?(?:" + b"|".join(_TIMES) + rb")|" + b"|".join((*_LEVELS, *_OTHERS)))

#: The first key of a JSON record: a time, a level, or a key of Docker or journald.
_JSON = lazy(
    rb'\{ ?"(?:'
    rb'(?:time|ts|t|timestamp|@timestamp|datetime|date|asctime|created)" ?: ?"?\d'
    rb'|(?:level|levelname|lvl|severity|log_level)" ?: ?"'
    rb'|(?:log|stream|MESSAGE|__CURSOR|__REALTIME_TIMESTAMP|_HOSTNAME)" ?: ?"'
    rb")"
)


def begins_record(line: bytes) -> bool:
    """Return whether a line of text begins like a record of some program. Only its first 200 bytes are read."""
    return _BEGINS.match(line) is not None


def begins_json_record(line: bytes) -> bool:
    """Return whether a line that begins with a brace is a JSON record of some program.

    A pretty-printed JSON body is not.
    """
    return _JSON.match(line) is not None
