"""ERROR records by closed kind, and Dify's error codes (api/libs/external_api.py, controllers/*/error.py)."""

import re

from parsers.batch import Failure

#: Tried in order, at the beginning of the message or on words that only Dify's code writes.
_KINDS = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (rb"Exception on ", "unhandled_exception"),
        (rb"Node \S{1,128} failed with ABORT strategy|error while executing [\w -]{1,64} node", "node_failed"),
        (rb"Task \S{1,1024} (?:raised unexpected|INTERNAL ERROR)|Task handler raised", "task_failed"),
        (rb"consume document failed|Hard time limit |\w{1,64}_task failed|Error in pipeline task", "task_failed"),
        (rb"(?:Stream r|R)equest to Plugin Daemon Service failed", "upstream_refused"),
        (rb"Unknown Error (?:when|in) |internal server error", "unhandled_exception"),
        (rb"(?:.{0,200}?\b)?(?:provider_quota_exceeded|QuotaExceededError)\b", "quota_exceeded"),
        (
            rb"(?:.{0,200}?\b)?(?:provider_not_initialize|ProviderTokenNotInitError|ProviderNotInitializeError)\b",
            "not_initialized",
        ),
        (rb"(?:.{0,200}?\b)?(?:model_currently_not_support|ModelCurrentlyNotSupportError)\b", "model_not_supported"),
        (rb"(?:.{0,200}?\b)?(?:rate_limit_error|too_many_requests|InvokeRateLimitError)\b", "rate_limited"),
        (rb"(?:.{0,200}?\b)?(?:completion_request_error|Invoke\w{0,32}Error)\b", "provider_error"),
    )
)

#: What `failure_of_record` may give.
KINDS = frozenset({kind for _, kind in _KINDS} | {"other"})


def failure_of_record(message: bytes) -> Failure:
    """The failure that an ERROR record tells."""
    return Failure(next((kind for pattern, kind in _KINDS if pattern.match(message)), "other"))
