"""Rewrites header fields and request targets between the client and Dify. Everything else keeps its bytes."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from exporter.wsgi.responses import RefusedError

Fields = list[tuple[str, str]]

#: Fields that concern one connection only (RFC 9110 §7.6.1 and §11.7, RFC 9112 §7.1.2).
_HOP_BY_HOP = frozenset(
    """connection keep-alive proxy-authenticate proxy-authorization proxy-authentication-info proxy-connection te
    trailer transfer-encoding upgrade""".split()
)
#: Request fields that are not copied: gunicorn answers Expect, the translator sets the framing, `App` sets Host,
#: and X-Dify-Api-Key becomes Authorization.
_NOT_COPIED = frozenset({"expect", "content-length", "x-dify-api-key", "host"})

_SCHEME_AND_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_BEARER = "Bearer "


def origin_form(target: str) -> str:
    """The request target in origin form (RFC 9112 §3.2.1), its path and query unchanged. Raises RefusedError."""
    if "#" in target:  # a target has no fragment, and servers disagree on where its path ends
        raise RefusedError(400, "the request target has a fragment", close=True)
    if target[:1] == "/" or target == "*":
        return target
    path = _SCHEME_AND_AUTHORITY.sub("", target, count=1)
    return path if path[:1] == "/" else "/" + path


def end_to_end(fields: Iterable[tuple[str, str]]) -> Fields:
    """The fields without those that concern one connection only. Their order is kept."""
    fields = list(fields)
    named = {
        token.strip().lower()
        for name, value in fields
        if name.lower() == "connection"
        for token in value.split(",")
    }  # fmt: skip
    dropped = _HOP_BY_HOP | named
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def request_fields(environ: Mapping[str, Any]) -> Fields:
    """The fields of the request to Dify, without Host and without framing."""
    received = [(key[5:].replace("_", "-").title(), value) for key, value in environ.items() if key[:5] == "HTTP_"]
    fields = [(name, value) for name, value in end_to_end(received) if name.lower() not in _NOT_COPIED]
    if content_type := environ.get("CONTENT_TYPE"):
        fields.append(("Content-Type", content_type))
    key = environ.get("HTTP_X_DIFY_API_KEY")
    if key and "HTTP_AUTHORIZATION" not in environ:
        fields.append(("Authorization", _BEARER + key))
    return _with_forwarded(fields, environ)


def api_key(environ: Mapping[str, Any]) -> str:
    """The API key of the request, "" if there is none."""
    authorization = str(environ.get("HTTP_AUTHORIZATION", ""))
    if authorization[:7].lower() == _BEARER.lower():
        return authorization[7:].strip()
    return "" if authorization else str(environ.get("HTTP_X_DIFY_API_KEY", ""))


def host_of(environ: Mapping[str, Any]) -> str:
    """The requested host. A target in absolute form takes precedence over the Host field (RFC 9112 §3.2.2).

    Raises RefusedError if a request other than HTTP/1.0 has no host.
    """
    absolute = _SCHEME_AND_AUTHORITY.match(environ["RAW_URI"])
    host = absolute[1].rpartition("@")[2] if absolute else str(environ.get("HTTP_HOST", ""))
    if not host and environ["SERVER_PROTOCOL"] != "HTTP/1.0":
        raise RefusedError(400, "the request has no Host", close=True)
    return host


def _with_forwarded(fields: Fields, environ: Mapping[str, Any]) -> Fields:
    """Append the client's address to X-Forwarded-For; add X-Forwarded-Proto and X-Forwarded-Host if missing."""
    peer = str(environ.get("REMOTE_ADDR", ""))
    received = {name.lower(): value for name, value in fields}
    addresses = ", ".join(part for part in (received.get("x-forwarded-for", ""), peer) if part)
    forwarded = [(name, value) for name, value in fields if name.lower() != "x-forwarded-for"]
    if addresses:
        forwarded.append(("X-Forwarded-For", addresses))
    if "x-forwarded-proto" not in received:
        forwarded.append(("X-Forwarded-Proto", str(environ["wsgi.url_scheme"])))
    if "x-forwarded-host" not in received and (host := host_of(environ)):
        forwarded.append(("X-Forwarded-Host", host))
    return forwarded
