"""nginx' log_format (ngx_http_log_module): a built-in name, the bare string, its quoted pieces, or the directive."""

import re
from difflib import get_close_matches

from parsers.format import Piece, Variable

#: docker/nginx/nginx.conf.template of Dify, `log_format main`.
DIFY = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" "$http_x_forwarded_for"'
)
TIMED = (
    DIFY + ' rt=$request_time uct="$upstream_connect_time" uht="$upstream_header_time" '
    'urt="$upstream_response_time" us="$upstream_status"'
)
COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)
BUILT_IN = {"dify-timed": TIMED, "dify": DIFY, "combined": COMBINED}
ERROR = "error"

#: Short and of known letters, so that the blanks a user name may hold are not tried over and over.
_SHAPES = {"time_local": rb"[0-9A-Za-z/: +-]{0,32}+"}

_ESCAPES = ("default", "json", "none")
_TOKEN = re.compile(r"""\s*(?:#[^\n]*|;|'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s'";#]+))""", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_QUOTED_ESCAPE = re.compile(r"""\\(["'\\])""")


def pieces(format: str) -> tuple[tuple[Piece, ...], str]:
    """The pieces of a format and its escape mode. Raises ValueError for what is no format."""
    text = BUILT_IN.get(format, format).strip()
    if re.fullmatch(r"[\w.-]*", text):
        near = get_close_matches(text, [*BUILT_IN, ERROR], n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"expected one of {', '.join([*BUILT_IN, ERROR])}"
        raise ValueError(f'format: unknown name "{text}", {hint} (or nginx\' log_format itself)')
    escape = "default"
    if re.match(r"log_format\s", text):
        text, escape = _directive(text)
    elif text.startswith("'"):
        text = _joined(_tokens(text))
    if not _VARIABLE.search(text):
        raise ValueError(f'format: no variable such as $status in "{text[:60]}"')
    return tuple(_split(text)), escape


def _split(text: str) -> list[Piece]:
    found: list[Piece] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        if match.start() > end:
            found.append(text[end : match.start()].encode())
        name = match[1] or match[2]
        found.append(Variable(name, name.startswith("upstream_"), name == "remote_user", _SHAPES.get(name, b"")))
        end = match.end()
    if end < len(text):
        found.append(text[end:].encode())
    return found


def _directive(text: str) -> tuple[str, str]:
    """`log_format NAME [escape=…] '…' '…';` as its string and escape mode."""
    tokens = _tokens(text)[2:]  # the directive's word and the format's name
    escape = "default"
    if tokens and not tokens[0][1] and tokens[0][0].startswith("escape="):
        escape = tokens.pop(0)[0].removeprefix("escape=")
        if escape not in _ESCAPES:
            raise ValueError(f'format: escape must be one of {", ".join(_ESCAPES)}, found "{escape}"')
    return _joined(tokens), escape


def _tokens(text: str) -> list[tuple[str, bool]]:
    """nginx' words, each with whether it was quoted."""
    tokens, end = [], 0
    while match := _TOKEN.match(text, end):
        end = match.end()
        quoted = match[1] if match[1] is not None else match[2]
        if quoted is not None:
            tokens.append((_QUOTED_ESCAPE.sub(r"\1", quoted), True))
        elif match[3] is not None:
            tokens.append((match[3], False))
    if text[end:].strip():
        raise ValueError(f'format: a quote is not closed at "{text[end:].strip()[:30]}"')
    return tokens


def _joined(tokens: list[tuple[str, bool]]) -> str:
    return "".join(token for token, _ in tokens)
