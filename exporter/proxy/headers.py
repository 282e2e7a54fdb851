"""Header fields on their way through, and the request target, byte for byte."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from exporter.proxy.errors import RefusedError

Fields = list[tuple[str, str]]

#: RFC 9110 §7.6.1 and what its §11.7 and RFC 9112 §7.1.2 say of one connection only.
_HOP_BY_HOP = frozenset(
    """connection keep-alive proxy-authenticate proxy-authorization proxy-authentication-info proxy-connection te
    trailer transfer-encoding upgrade""".split()
)
#: Answered or used by us: the 100 is gunicorn's, the length is part of the framing, the key becomes Authorization.
_OURS = frozenset({"expect", "content-length", "x-dify-api-key", "host"})

_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_BEARER = "Bearer "


def target_of(raw: str) -> str:
    """The target in origin form (RFC 9112 §3.2.1), otherwise as the client wrote it. Raises RefusedError."""
    if "#" in raw:  # a fragment is no part of a target; who reads on there and who stops do not agree
        raise RefusedError("400 Bad Request", "bad_request", "the request target has a fragment", close=True)
    if raw[:1] == "/" or raw == "*":
        return raw
    path = _ORIGIN.sub("", raw, count=1)
    return path if path[:1] == "/" else "/" + path


def end_to_end(fields: Iterable[tuple[str, str]]) -> Fields:
    """The fields that are not about one connection, in their order."""
    fields = list(fields)
    named = {
        token.strip().lower()
        for name, value in fields
        if name.lower() == "connection"
        for token in value.split(",")
    }  # fmt: skip
    dropped = _HOP_BY_HOP | named
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def towards_dify(environ: Mapping[str, Any]) -> Fields:
    """The request's fields for Dify, without its Host and its framing."""
    received = [(key[5:].replace("_", "-").title(), value) for key, value in environ.items() if key[:5] == "HTTP_"]
    fields = [(name, value) for name, value in end_to_end(received) if name.lower() not in _OURS]
    if content_type := environ.get("CONTENT_TYPE"):
        fields.append(("Content-Type", content_type))
    key = environ.get("HTTP_X_DIFY_API_KEY")
    if key and "HTTP_AUTHORIZATION" not in environ:
        fields.append(("Authorization", _BEARER + key))
    return _forwarded(fields, environ)


def api_key(environ: Mapping[str, Any]) -> str:
    """The API key that the request carries, "" where there is none."""
    authorization = str(environ.get("HTTP_AUTHORIZATION", ""))
    if authorization[:7].lower() == _BEARER.lower():
        return authorization[7:].strip()
    return "" if authorization else str(environ.get("HTTP_X_DIFY_API_KEY", ""))


def host_of(environ: Mapping[str, Any]) -> str:
    """The host that the client asked: a target in absolute form counts before the field (RFC 9112 §3.2.2).

    Raises RefusedError where HTTP/1.1 asks for one and there is none.
    """
    absolute = _ORIGIN.match(environ["RAW_URI"])
    host = absolute[1].rpartition("@")[2] if absolute else str(environ.get("HTTP_HOST", ""))
    if not host and environ["SERVER_PROTOCOL"] != "HTTP/1.0":
        raise RefusedError("400 Bad Request", "bad_request", "the request has no Host", close=True)
    return host


def _forwarded(fields: Fields, environ: Mapping[str, Any]) -> Fields:
    """X-Forwarded-For grows by the client's address; the others are what the first proxy said."""
    peer = str(environ.get("REMOTE_ADDR", ""))
    told = {name.lower(): value for name, value in fields}
    chain = ", ".join(part for part in (told.get("x-forwarded-for", ""), peer) if part)
    kept = [(name, value) for name, value in fields if name.lower() != "x-forwarded-for"]
    if chain:
        kept.append(("X-Forwarded-For", chain))
    if "x-forwarded-proto" not in told:
        kept.append(("X-Forwarded-Proto", str(environ["wsgi.url_scheme"])))
    if "x-forwarded-host" not in told and (host := host_of(environ)):
        kept.append(("X-Forwarded-Host", host))
    return kept
