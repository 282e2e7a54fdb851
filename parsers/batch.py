"""What a parser gives back: a Batch of small immutable records.

A parser never names a metric; which record moves which series is the ledger's business.
Durations are whole nanoseconds and money is Decimal, so that sums know no order. Times are nanoseconds since
the epoch. A label that the line does not tell is UNKNOWN, one outside a closed set is OTHER. Records are tagged,
so that a batch can be checked as a whole.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

#: Checked by whoever enters a batch: a parser of somebody else may give anything.
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Moment = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

UNKNOWN = "unknown"
OTHER = "other"

UNPARSED_REASONS = ("format", "json", "envelope", "too_long", "timeout", "unterminated")

#: The `field` of a DroppedValue.
DROPPED_FIELDS = ("time", "duration", "first_byte", "first_token", "bytes", "tokens", "price", "status_code")

FAILURE_REASONS = (
    "server_error",
    "timeout",
    "rate_limited",
    "client_closed",
    "provider_error",
    "quota_exceeded",
    "not_initialized",
    "stream_error",
    "run_failed",
)

ERROR_KINDS = (
    "upstream_timeout",
    "upstream_refused",
    "upstream_reset",
    "upstream_unresolved",
    "request_too_large",
    "provider_error",
    "provider_unauthorized",
    "provider_unavailable",
    "not_initialized",
    "quota_exceeded",
    "rate_limited",
    "model_not_supported",
    "node_failed",
    "run_failed",
    "task_failed",
    "worker_timeout",
    "unhandled_exception",
    "other",
)

RUN_KINDS = ("workflow", "advanced-chat", "chat", "completion", "agent-chat", UNKNOWN)


class Request(Struct, frozen=True, gc=False, tag=True):
    """`count` finished HTTP requests with equal labels, each time in the tuple of its kind, in any order.

    `response_bytes` is their sum, None where no line told one. `failure` is one of FAILURE_REASONS or "".
    """

    method: str
    route: str
    status_code: str
    failure: str = ""
    count: Count = 1
    response_bytes: Count | None = None
    durations: tuple[Count, ...] = ()
    first_bytes: tuple[Count, ...] = ()
    handler_durations: tuple[Count, ...] = ()


class Usage(Struct, frozen=True, gc=False, tag=True):
    """Tokens and money of `count` model calls with equal labels, in the same quarter of an hour as `at`:
    in every time zone a day begins with one, and so does a price.

    None is not known; `unsplit_tokens` where only a total is known.
    """

    app_id: str = UNKNOWN
    provider: str = UNKNOWN
    model: str = UNKNOWN
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    unsplit_tokens: Count | None = None
    cost: Decimal | None = None
    currency: str = UNKNOWN
    at: Moment | None = None
    count: Count = 1


class UsageMissing(Struct, frozen=True, gc=False, tag=True):
    """Usage had to be there and was not: `reason` is absent, zero or inconsistent."""

    app_id: str
    reason: str


class FirstToken(Struct, frozen=True, gc=False, tag=True):
    """Time from the request to the first token: `duration` is that of one of `count`, `durations` those of many, in
    any order.
    """

    app_id: str
    model: str
    duration: Count | None = None
    count: Count = 1
    durations: tuple[Count, ...] = ()


class Run(Struct, frozen=True, gc=False, tag=True):
    """`count` finished app runs; `kind` is one of RUN_KINDS, `duration` and `durations` are as a FirstToken's."""

    kind: str
    app_id: str
    status: str
    duration: Count | None = None
    count: Count = 1
    durations: tuple[Count, ...] = ()


class NodeRun(Struct, frozen=True, gc=False, tag=True):
    """`count` finished workflow nodes; `duration` and `durations` are as a FirstToken's."""

    node_type: str
    status: str
    duration: Count | None = None
    count: Count = 1
    durations: tuple[Count, ...] = ()


class Task(Struct, frozen=True, gc=False, tag=True):
    """A finished Celery task."""

    task: str
    status: str
    duration: Count | None = None


class Invocation(Struct, frozen=True, gc=False, tag=True):
    """`count` finished calls of the plugin daemon, named as its own metrics name them (`invoke_llm`).

    `duration` is that of one, `durations` those of many, in any order.
    """

    operation: str
    status_code: str
    duration: Count | None = None
    count: Count = 1
    durations: tuple[Count, ...] = ()


class Failure(Struct, frozen=True, gc=False, tag=True):
    """`count` error records that are no request's end, or causes of failed requests and runs that our proxy saw; `kind`
    is one of ERROR_KINDS.
    """

    kind: str
    count: Count = 1


class Active(Struct, frozen=True, gc=False, tag=True):
    """A proxy worker said how many requests it holds at time `at`."""

    worker: str
    requests: Count
    at: Moment | None


class DroppedLines(Struct, frozen=True, gc=False, tag=True):
    """A proxy worker could not write so many lines since the line before."""

    lines: Count


class DroppedValue(Struct, frozen=True, gc=False, tag=True):
    """`count` values of counted lines could not be understood and were left out, as `parsers.dropped` makes it.

    `field` is one of DROPPED_FIELDS. `example` is one of the values with its letters masked: it holds no text of a
    client.
    """

    field: str
    count: Count = 1
    example: Annotated[str, Meta(max_length=40)] = ""


class Opened(Struct, frozen=True, gc=False, tag=True):
    """First half of a join: a worker began a run under this trace id."""

    trace_id: str
    kind: str
    app_id: str
    at: Moment | None


class Closed(Struct, frozen=True, gc=False, tag=True):
    """Second half: the run under this trace id has ended. Without a first half its app is unknown.

    `status` is what the end itself says, `finished` or `failed`; a TraceError may make it worse.
    """

    trace_id: str
    status: str
    duration: Count | None
    at: Moment | None


#: What an error record says has failed: a node, a call of a plugin (a model), or the whole run.
ErrorLevel = Literal["node", "plugin", "run"]
TraceId = Annotated[str, Meta(max_length=64)]


class TraceError(Struct, frozen=True, gc=False, tag=True):
    """An error record at time `at` under this trace id: it decides the outcome of the run or request of the id."""

    trace_id: TraceId
    level: ErrorLevel
    at: Moment


class Accepted(Struct, frozen=True, gc=False, tag=True):
    """Requests to one route that were answered with status 200 and can still fail.

    `failure` is the one of FAILURE_REASONS that an error record under the same trace id makes of a request:
    `stream_error` needs an error of a plugin or run that is not older than the access line, `run_failed` needs a failed
    run. `trace_ids` and `times` hold one line per request; a time is ISO 8601, in `timezone` where it names no other.
    They are texts, because nearly none of them is ever looked at.
    """

    route: str
    failure: str
    trace_ids: str
    times: str
    timezone: str = "UTC"


Record = (
    Request
    | Usage
    | UsageMissing
    | FirstToken
    | Run
    | NodeRun
    | Task
    | Invocation
    | Failure
    | Active
    | DroppedLines
    | DroppedValue
    | Opened
    | Closed
    | TraceError
    | Accepted
)


class Batch(Struct, frozen=True, gc=False):
    """The first `consumed` bytes of a window: `lines` physical lines, each observed, ignored or unparsed.

    `unparsed` counts by reason (UNPARSED_REASONS), `examples` holds one raw line a reason, `last_at` is the
    newest event time.
    """

    consumed: Count = 0
    lines: Count = 0
    ignored: Count = 0
    unparsed: Mapping[str, Count] = {}
    examples: Mapping[str, bytes] = {}
    last_at: Moment | None = None
    records: tuple[Record, ...] = ()

    @property
    def observed(self) -> int:
        return self.lines - self.ignored - sum(self.unparsed.values())
