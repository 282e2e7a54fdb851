"""Advice for operators: what an nginx log_format does not contain, and what to add to it."""

import re
from collections.abc import Collection, Iterator, Sequence

from parsers.access import roles
from parsers.access.format import FormatPiece, Variable
from parsers.nginx.log_format import REST, is_json, own_variables
from parsers.values.patterns import lazy

_TIMED = "add the dify-timed log_format, see deploy/nginx"
_NO_DURATION = f"this nginx format carries no $request_time: latency metrics stay empty; {_TIMED}"
_NO_FIRST_BYTE = f"this nginx format carries no $upstream_header_time: time to first byte stays empty; {_TIMED}"
_STOPS_EARLY = (
    "this format does not say what its lines contain behind the bytes: for durations copy the whole log_format from "
    "nginx.conf, or see docs/other-logs.md for another gateway"
)
_NO_TIME = (
    "this nginx format carries no time: the age of its newest line is unknown, and --since counts every line; "
    "add $time_iso8601"
)
_FORGEABLE = (
    "this nginx format has escape=none: a client can write quotes and line breaks into a line and forge its numbers; "
    "use escape=json or leave escape out"
)
_JSON_UNESCAPED = (
    "this nginx format is JSON and carries no escape=json: nginx then writes a quote as \\x22, which other JSON "
    "parsers refuse; use log_format NAME escape=json '…';, in nginx.conf and here"
)
_REWRITTEN = (
    "this nginx format carries no path as the client asked for it, only $uri, which nginx' rewrites, index and error "
    "pages change; add $request or $request_uri"
)

_PATHS = lazy(r"uri|url|path|request_line", re.IGNORECASE)
_STATUSES = lazy(r"status|response_code|http_code", re.IGNORECASE)

#: What to change so that a line with an escaped quote fits.
ESCAPE_JSON = (
    'a quote is written as \\" in this line, which nginx does with escape=json: '
    "use the whole directive, log_format NAME escape=json '…';, as format"
)


def sentences(pieces: Sequence[FormatPiece], escape: str, variable_roles: Collection[str]) -> Iterator[str]:
    """Return the sentences of advice on a format. `variable_roles` are the roles of its variables."""
    if roles.REQUEST not in variable_roles and roles.TARGET not in variable_roles:
        if roles.PATH in variable_roles:
            yield _REWRITTEN
        else:
            yield (
                "this nginx format carries no request path: the route of every request is unknown; "
                f"add $request, or $request_uri and $request_method{_not_nginx(pieces, _PATHS)}"
            )
    if isinstance(pieces[-1], Variable) and pieces[-1].name == REST:
        yield _STOPS_EARLY
    else:
        if roles.DURATION not in variable_roles:
            yield _NO_DURATION
        if roles.FIRST_BYTE not in variable_roles:
            yield _NO_FIRST_BYTE
    if roles.STATUS not in variable_roles:
        yield (
            "this nginx format carries no $status: every request has status unknown; "
            f"add $status{_not_nginx(pieces, _STATUSES)}"
        )
    if not any(role.startswith("time_") for role in variable_roles):
        yield _NO_TIME
    if escape == "default" and is_json(pieces):
        yield _JSON_UNESCAPED
    if escape == "none":
        yield _FORGEABLE


def _not_nginx(pieces: Sequence[FormatPiece], about: re.Pattern[str]) -> str:
    """Name the variables whose name looks right but that nginx itself does not have."""
    names = ", ".join(f"${name}" for name in own_variables(pieces, about))
    return f" ({names}: not a variable of nginx itself, so its content is not known)" if names else ""
