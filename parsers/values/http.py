"""Closed sets of HTTP labels: methods, status codes, and the failure reason of a status code."""

from parsers.batch import OTHER, UNKNOWN

#: The methods of RFC 9110 §9 and RFC 5789. A client can send any other word, which becomes `other`.
METHODS = {m.encode(): m for m in "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split()}

_STATUS_CODES = {str(code).encode(): str(code) for code in range(100, 600)}

_FAILURES = {
    **{str(code): "server_error" for code in range(500, 600)},
    "504": "timeout",
    "429": "rate_limited",
    "499": "client_closed",
}

#: The reasons that `failure_of` may return.
FAILURES = frozenset(_FAILURES.values())


def method_of(text: bytes) -> str:
    """Return the label of a method. Dify and nginx write `-` or nothing where there is no request: `unknown`."""
    return METHODS.get(text) or (UNKNOWN if text in (b"", b"-") else OTHER)


def status_code_of(text: bytes) -> str:
    """Return the label of a status code: 100 to 599, `other` outside them, `unknown` for `-` and an empty text."""
    return _STATUS_CODES.get(text) or (UNKNOWN if text in (b"", b"-") else OTHER)


def status_class_of(status_code: str) -> str:
    """Return the class of a status code label, such as `5xx`; `other` and `unknown` as they are."""
    return f"{status_code[0]}xx" if status_code.isdigit() else status_code


def failure_of(status_code: str) -> str:
    """Return the failure reason (of FAILURES) of a status code label, "" for none."""
    return _FAILURES.get(status_code, "")
