"""Derives nginx's log_format from the lines of a log: JSON of any keys, and the usual formats of Apache httpd."""

import re
from collections.abc import Iterable, Iterator

from parsers.nginx.log_format import COMBINED, COMMON, DIFY, REST, TIMED

#: A key of a JSON object and its value: a text, a number, a literal, or nothing where nginx knows no number.
_MEMBER = re.compile(
    r'"((?:[^"\\]|\\.)*)"(\s*:\s*)("(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|-?(?=\s*[,}]))'
)
_LITERALS = ("true", "false", "null")

_TIME = "time|timestamp|ts|timeiso8601|timelocal|date|datetime|msec"
_REQUEST = "request|requestline|req"

#: The name of a key in lower case and without `_`, `-`, `@` and `.`; the form of its values; and nginx's variable.
_VARIABLES: tuple[tuple[str, str, str], ...] = (
    (_TIME, r"\d{4}-\d\d-\d\dT.*", "time_iso8601"),
    (_TIME, r"\d\d/[A-Z][a-z]{2}/\d{4}:.*", "time_local"),
    (_TIME, r"\d{10}\.\d{3}", "msec"),
    (_REQUEST, r"[A-Z]+ \S+ HTTP/[\d.]+", "request"),
    (_REQUEST, r"[A-Z]+ /\S*", "request_method $request_uri"),
    ("requesturi|uri|url|path|requestpath|requesturl|target", r"/.*", "request_uri"),
    ("requestmethod|method|httpmethod|verb", r"[A-Z]+", "request_method"),
    ("status|statuscode|httpstatus|responsecode|responsestatus|code", r"[1-9]\d\d", "status"),
    ("bodybytessent|bytessent|bytes|size|bodybytes|responsesize", r"\d+", "body_bytes_sent"),
    ("requesttime|duration|responsetime|rt|latency|elapsed", r"\d+\.\d{3}", "request_time"),
    ("upstreamheadertime|uht|ttfb", r".*", "upstream_header_time"),
)
#: Variables that a key without a known meaning must not be named after.
_WITH_MEANING = {"uri", "document_uri", "bytes_sent", *(v for _, _, vs in _VARIABLES for v in vs.split(" $"))}

#: The usual formats, with a host in front (also with a port, as in Apache's vhost_combined) or without. Apache writes a
#: quote inside a value as JSON does. The last format reads the requests of any log that begins like them.
_USUAL = tuple(
    f"log_format usual escape={escape} '{host}{format}';"
    for escape in ("default", "json")
    for host in ("", "$host ")
    for format in (TIMED, DIFY, COMBINED, COMMON, f"{COMMON} ${REST}")
)


def derived(lines: Iterable[str]) -> Iterator[str]:
    """Formats of nginx that may fit a log with these lines. None of them contains a value of a line."""
    for line in lines:
        if line.startswith("{"):
            if (found := _json(line)) is not None:
                yield found
                return
        elif '] "' in line:
            yield from _USUAL
            return


def _json(line: str) -> str | None:
    """The log_format of a JSON line; None if it has no status or no path of a request."""
    found: set[str] = set()

    def member(match: re.Match[str]) -> str:
        key, colon, value = match.groups()
        if value in _LITERALS:
            return match[0]
        variable = _variable(key, value.strip('"'), found)
        found.update(variable.split(" $"))
        return f'"{key}"{colon}' + (f'"${variable}"' if value.startswith('"') else f"${variable}")

    format = _MEMBER.sub(member, line)
    # A quote or a dollar in a key would end or change the directive, and an array holds values of the line.
    rest = _MEMBER.sub("", line)
    if "status" not in found or not found & {"request", "request_uri"} or "'" in format or "$" in rest or "[" in rest:
        return None
    return f"log_format json escape=json '{format}';"


def _variable(key: str, value: str, found: set[str]) -> str:
    """nginx's variable for a member of an object. A key without a known meaning gets a variable of its own name."""
    name = re.sub(r"[_\-@.]", "", key.lower())
    for names, form, variable in _VARIABLES:
        if variable not in found and re.fullmatch(names, name) and re.fullmatch(form, value, re.DOTALL):
            return variable
    own = re.sub(r"\W", "_", key, flags=re.ASCII)
    return f"json_{own}" if own in _WITH_MEANING or own != key else own
