"""HTTP's closed label sets: methods, status codes, and the failure that a status tells by itself."""

from parsers.batch import OTHER, UNKNOWN

#: RFC 9110 §9 and RFC 5789; anything else comes from whoever controls the request.
METHODS = {m.encode(): m for m in "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split()}

_STATUS_CODES = {str(code).encode(): str(code) for code in range(100, 600)}

_FAILURES = {
    **{str(code): "server_error" for code in range(500, 600)},
    "504": "timeout",
    "429": "rate_limited",
    "499": "client_closed",
}

#: What `failure_of` may give.
FAILURES = frozenset(_FAILURES.values())


def method_of(text: bytes) -> str:
    """The method as a label; `-` and empty are unknown, as Dify and nginx write them without a request."""
    return METHODS.get(text) or (UNKNOWN if text in (b"", b"-") else OTHER)


def status_code_of(text: bytes) -> str:
    """The status code as a label: 100 to 599, `other` outside, `unknown` for `-` and empty."""
    return _STATUS_CODES.get(text) or (UNKNOWN if text in (b"", b"-") else OTHER)


def failure_of(status_code: str) -> str:
    """The failure reason that a status code tells by itself, "" for none."""
    return _FAILURES.get(status_code, "")
