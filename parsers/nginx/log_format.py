"""Parse nginx' log_format (ngx_http_log_module): a built-in name, a bare string, quoted strings, or the directive."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from parsers.access.format import Extent, FormatPiece, Variable
from parsers.access.request_line import REGULAR
from parsers.values.patterns import lazy

#: `log_format main` in Dify's docker/nginx/nginx.conf.template.
DIFY = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" "$http_x_forwarded_for"'
)
TIMED = (
    DIFY + ' rt=$request_time uct="$upstream_connect_time" uht="$upstream_header_time" '
    'urt="$upstream_response_time" us="$upstream_status"'
)
#: The common log format of other servers.
COMMON = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'
COMBINED = COMMON + ' "$http_referer" "$http_user_agent"'
#: The default of ingress-nginx (internal/ingress/controller/config).
INGRESS = (
    COMBINED + " $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] "
    "$upstream_addr $upstream_response_length $upstream_response_time $upstream_status $req_id"
)
BUILT_IN = {"dify-timed": TIMED, "dify": DIFY, "combined": COMBINED, "ingress-nginx": INGRESS}
ERROR = "error"
#: The variable of a derived format for what its lines contain behind what is known.
REST = "rest"

#: Values in exactly the form that nginx writes. Text of a client behind a request rarely has this form.
_SHAPES = {
    "time_local": rb"[0-9]{2}/[A-Za-z]{3}/[0-9:]{13} [+-][0-9]{4}",
    "time_iso8601": rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}"
    rb"(?:[+-][0-9]{2}:[0-9]{2}|(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2}))",
    **dict.fromkeys(("status", "body_bytes_sent", "bytes_sent"), rb"(?:[0-9]++|-?)"),
    **dict.fromkeys(("request_time", "msec"), rb"(?:[0-9]++\.[0-9.]++|-?)"),
}

#: nginx writes durations with decimals; other gateways also write whole seconds.
_WHOLE_TIMES = dict.fromkeys(("request_time", "msec"), rb"(?:[0-9]++\.[0-9.]++|[0-9]++|-?)")

#: The extents of variables whose value may contain blanks or several values.
_EXTENTS = {
    "http_x_forwarded_for": Extent.CLIENTS,
    "proxy_add_x_forwarded_for": Extent.CLIENTS,
    "remote_user": Extent.FIRST,
    "host": Extent.FIRST,
    "request": Extent.LAST,
    "uri": Extent.LAST,
    "document_uri": Extent.LAST,
}
#: The same by the beginning of a name: values of several upstream servers, and values that a client wrote.
_EXTENTS_BY_PREFIX = (
    ("upstream_", Extent.LIST),
    *((prefix, Extent.FIRST) for prefix in ("http_", "sent_http_", "cookie_", "arg_", "args", "query_string")),
)
#: The first character of values, needed for `$scheme://$host$request_uri` and `$uri$is_args$args`.
_BEGINS = {"request_uri": b"/", "uri": b"/", "document_uri": b"/", "is_args": b"?"}

#: The first name and its colon in a JSON object.
_JSON_NAME = lazy(rb'\{\s*"[^"]*"\s*:')

#: Those of nginx' own variables (ngx_http_variables.c and modules) whose names contain words for a path or a status.
_NGINX_OWN = lazy(
    r"request|request_uri|uri|document_uri|request_filename|realpath_root|document_root|fastcgi_(?:path_info|script_name)"
    r"|status|(?:upstream|http|sent_http|sent_trailer|upstream_http|arg|cookie|ssl|session_log|gzip|limit)_\w+"
)

_ESCAPES = ("default", "json", "none")
_COMMENTS = lazy(r"(?:\s*#[^\n]*(?:\n|$))*")
_TOKEN = lazy(r"""\s*(?:#[^\n]*|'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s'";#][^\s'";]*))""", re.DOTALL)
_VARIABLE = lazy(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)

#: Escapes of nginx.conf, inside quotes and outside (ngx_conf_read_token in src/core/ngx_conf_file.c).
_ESCAPED = lazy(r"""\\(["'\\trn])""")
_CHARACTERS = {"t": "\t", "r": "\r", "n": "\n"}


def pieces(format: str) -> tuple[tuple[FormatPiece, ...], str]:
    """Return the pieces of a format and its escape mode. Raises ValueError for a text that is not a format."""
    text = _COMMENTS.sub("", BUILT_IN.get(format, format), count=1).strip()
    if re.fullmatch(r"[\w.-]*", text):
        near = get_close_matches(text, [*BUILT_IN, ERROR], n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"expected one of {', '.join([*BUILT_IN, ERROR])}"
        raise ValueError(f'format: unknown name "{text}", {hint} (or nginx\' log_format itself)')
    escape = "default"
    if re.match(r"log_format\s", text):
        text, escape = _directive(text)
    elif text.startswith("'"):
        text = "".join(_tokens(text))
    else:
        text = _unescaped(text)
    if not _VARIABLE.search(text):
        raise ValueError(f'format: no variable such as $status in "{text[:60]}"')
    if "\n" in text or "\r" in text:
        raise ValueError("format: a line break inside; each request must be one line")
    return tuple(_with_whole_times(_split(text))), escape


def is_json(pieces: Sequence[FormatPiece]) -> bool:
    """Return whether the lines of a format contain a JSON object that begins with a literal name."""
    return any(isinstance(piece, bytes) and _JSON_NAME.search(piece) for piece in pieces)


def own_variables(pieces: Sequence[FormatPiece], about: re.Pattern[str]) -> list[str]:
    """Return the variables whose name matches `about` and that nginx itself does not have.

    They come from `map` or `set`, or from another gateway.
    """
    names = [piece.name for piece in pieces if isinstance(piece, Variable)]
    return [name for name in names if about.search(name) and not _NGINX_OWN.fullmatch(name)]


def _split(text: str) -> list[FormatPiece]:
    found: list[FormatPiece] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        if match.start() > end:
            found.append(text[end : match.start()].encode())
        found.append(_variable(match[1] or match[2]))
        end = match.end()
    if end < len(text):
        found.append(text[end:].encode())
    return found


def _with_whole_times(pieces: list[FormatPiece]) -> list[FormatPiece]:
    """Accept whole seconds too, unless a request without quotes is followed by a client's text without quotes.

    In that case only the decimals distinguish nginx' own duration from a number that the client wrote.
    """
    has_open_request = False
    for before, piece, following in zip([b"", *pieces], pieces, [*pieces[1:], b""], strict=False):
        if not isinstance(piece, Variable):
            continue
        if has_open_request and not piece.shape and not _is_quoted(before, following):
            return pieces
        has_open_request |= piece.extent is Extent.LAST and not _is_quoted(before, following)
    return [
        piece._replace(shape=_WHOLE_TIMES.get(piece.name, piece.shape)) if isinstance(piece, Variable) else piece
        for piece in pieces
    ]


def _is_quoted(before: FormatPiece, following: FormatPiece) -> bool:
    return isinstance(before, bytes) and isinstance(following, bytes) and before[-1:] == following[:1] == b'"'


def _variable(name: str) -> Variable:
    by_prefix = (extent for prefix, extent in _EXTENTS_BY_PREFIX if name.startswith(prefix))
    extent = _EXTENTS.get(name) or next(by_prefix, Extent.WORD)
    return Variable(name, extent, _SHAPES.get(name, b""), REGULAR if name == "request" else b"", _BEGINS.get(name, b""))


def _directive(text: str) -> tuple[str, str]:
    """Return the string and the escape mode of the directive `log_format NAME [escape=…] '…' '…';`."""
    _, *words = _tokens(text)
    if not words or "$" in words[0]:
        raise ValueError("format: expected log_format NAME '…';, found no name")
    escape = "default"
    if words[1:] and words[1].startswith("escape="):
        escape = words.pop(1).removeprefix("escape=")
        if escape not in _ESCAPES:
            raise ValueError(f'format: escape must be one of {", ".join(_ESCAPES)}, found "{escape}"')
    return "".join(words[1:]), escape


def _tokens(text: str) -> list[str]:
    """Return the words of a directive up to its semicolon, without quotes."""
    tokens, end = list[str](), 0
    while match := _TOKEN.match(text, end):
        end = match.end()
        tokens += [_unescaped(word) for word in match.groups() if word is not None]
    rest = text[end:].strip()
    if rest[:1] in ("'", '"'):
        raise ValueError(f"format: a quote is not closed at {rest[:30]}")
    if _COMMENTS.sub("", rest[1:], count=1).strip():
        raise ValueError(f"format: expected one log_format, found {rest[1:].strip()[:30]} behind the semicolon")
    return tokens


def _unescaped(word: str) -> str:
    return _ESCAPED.sub(lambda match: _CHARACTERS.get(match[1], match[1]), word)
