"""Parse nginx's error log (ngx_log.c, ngx_log_error): `TIME [LEVEL] PID#TID: *CONNECTION MESSAGE, client: …`."""

import re
from datetime import tzinfo

from parsers.batch import Failure
from parsers.dropped import with_dropped_time
from parsers.lines import Outcome
from parsers.values.patterns import lazy
from parsers.values.times import iso

_HEAD = lazy(rb"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(\w+)\] \d+#\d+: (?:\*\d+ )?(.*)", re.DOTALL)
_COUNTED = frozenset({b"error", b"crit", b"alert", b"emerg"})

#: Lines without a time: `nginx: [emerg] …`, and those of the scripts in nginx's own image.
_UNTIMED = lazy(rb"nginx: (?:\[|(?:the )?configuration )|/docker-entrypoint\.sh: |\d\d-[a-z0-9-]+\.sh: ")

#: The kind of a message by its words, tried in this order (texts of ngx_http_upstream.c and its neighbours).
_KINDS = (
    (lazy(rb"host not found in upstream|could not be resolved|no resolver defined"), "upstream_unresolved"),
    (lazy(rb"upstream timed out|\(110: [^(]*upstream"), "upstream_timeout"),
    (lazy(rb"client intended to send too large|too large chunked body"), "request_too_large"),
    (lazy(rb"no live upstreams|connect\(\) [^()]*failed \((?!104)"), "upstream_refused"),
    (lazy(rb"upstream prematurely closed|\((?:104|32): [^(]*upstream"), "upstream_reset"),
)

KINDS = frozenset({kind for _, kind in _KINDS} | {"other"})


def read(line: bytes, local: tzinfo) -> Outcome:
    """Read a line of the error log: a failure, or nothing for levels below error and for lines without a time.

    nginx writes an `[emerg]` of its start twice: to standard error without a time, and to the log with one.
    """
    match = _HEAD.match(line)
    if match is None:
        return None if _UNTIMED.match(line) else "format"
    if match[2] not in _COUNTED:
        return None
    at = iso(match[1], local)
    return with_dropped_time((Failure(_kind(match[3])),), match[1], at), at


def matched_length(line: bytes) -> int:
    match = re.match(rb"\d{4}/\d\d/\d\d(?: \d\d:\d\d:\d\d(?: \[\w+\](?: \d+#\d+:.*)?)?)?", line, re.DOTALL)
    return match.end() if match else 0


def _kind(message: bytes) -> str:
    """Return the kind of a message.

    The text behind `, client: ` or a quote is ignored, because a client can write it: `open() "/upstream timed out"`.
    """
    text = message.partition(b", client: ")[0].partition(b'"')[0]
    return next((kind for pattern, kind in _KINDS if pattern.search(text)), "other")
