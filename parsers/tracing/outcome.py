"""The statuses of nodes and runs in a span, and the kind of their failure. The error text itself is dropped."""

from collections.abc import Mapping

from parsers.batch import UNKNOWN
from parsers.dify.error_body import KINDS, cause_of_text
from parsers.dify.labels import status_of as _status_of

_FAILED = frozenset({"failed", "exception", "error"})

#: `dify.span.status` of the rewrite of Dify's tracing.
_BY_SPAN_STATUS: Mapping[object, str] = {
    "ok": "succeeded",
    "error": "failed",
    "handled_error": "exception",
    "cancelled": "stopped",
}


def status_of(*values: object) -> str:
    """Return the label of the first status that is known: a status of Dify, `other` or `unknown`."""
    return next((status for value in values if (status := _status_of(value)) != UNKNOWN), UNKNOWN)


def status_of_span(value: object) -> str | None:
    """Return the status that an attribute `dify.span.status` reports, None if it reports none."""
    return _BY_SPAN_STATUS.get(value) if isinstance(value, str) else None


def kind_of_failure(status: str, text: object, default: str) -> str | None:
    """Return one of ERROR_KINDS for a failed node or run: the cause that its error text names, else `default`."""
    if status not in _FAILED:
        return None
    cause = cause_of_text(text)
    return cause if cause in KINDS else default
