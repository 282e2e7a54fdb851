"""What an nginx log_format cannot tell, and what to add to it."""

import re
from collections.abc import Collection, Iterator, Sequence

from parsers.access import rows as access
from parsers.access.format import Piece
from parsers.nginx.log_format import is_json, own_variables

_TIMED = "add the dify-timed log_format, see deploy/nginx"
_NO_DURATION = f"this nginx format carries no $request_time: latency metrics stay empty; {_TIMED}"
_NO_FIRST_BYTE = f"this nginx format carries no $upstream_header_time: time to first byte stays empty; {_TIMED}"
_NO_TIME = (
    "this nginx format carries no time: nobody sees how old its newest line is, and --since counts every line; "
    "add $time_iso8601"
)
_FORGEABLE = (
    "this nginx format has escape=none: a client can write quotes and line breaks into a line and forge its numbers; "
    "take escape=json or leave escape out"
)
_JSON_UNESCAPED = (
    "this nginx format is JSON and carries no escape=json: nginx then writes a quote as \\x22, which other readers of "
    "JSON refuse; take log_format NAME escape=json '…';, in nginx.conf and here"
)
_REWRITTEN = (
    "this nginx format carries no path as the client asked for it, only $uri, which nginx' rewrites, index and error "
    "pages change; add $request or $request_uri"
)

_PATHS = re.compile(r"uri|url|path|request_line", re.IGNORECASE)
_STATUSES = re.compile(r"status|response_code|http_code", re.IGNORECASE)

#: What makes a line fit that does not.
ESCAPE_JSON = (
    'a quote is written as \\" in this line, which nginx does with escape=json: '
    "take the whole directive, log_format NAME escape=json '…';, as format"
)


def sentences(pieces: Sequence[Piece], escape: str, roles: Collection[str]) -> Iterator[str]:
    """On a format with these pieces, of which variables play the `roles`."""
    if access.REQUEST not in roles and access.TARGET not in roles:
        if access.PATH in roles:
            yield _REWRITTEN
        else:
            yield (
                "this nginx format carries no request path: the route of every request is unknown; "
                f"add $request, or $request_uri and $request_method{_not_nginx(pieces, _PATHS)}"
            )
    if access.DURATION not in roles:
        yield _NO_DURATION
    if access.FIRST_BYTE not in roles:
        yield _NO_FIRST_BYTE
    if access.STATUS not in roles:
        yield (
            "this nginx format carries no $status: every request has status unknown; "
            f"add $status{_not_nginx(pieces, _STATUSES)}"
        )
    if not any(role.startswith("time_") for role in roles):
        yield _NO_TIME
    if escape == "default" and is_json(pieces):
        yield _JSON_UNESCAPED
    if escape == "none":
        yield _FORGEABLE


def _not_nginx(pieces: Sequence[Piece], about: re.Pattern[str]) -> str:
    """Says which variables look as if they were it."""
    names = ", ".join(f"${name}" for name in own_variables(pieces, about))
    return f" ({names}: no variable of nginx itself, so what it holds is not known)" if names else ""
