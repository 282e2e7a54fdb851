"""What a parser returns: a Batch of small immutable records. This module is the contract for third-party parsers.

A parser never names a metric: the ledger decides which record changes which series.

Units and conventions of all records:

* Durations are whole nanoseconds (int).
* Points in time are nanoseconds since the Unix epoch (int), or None where the line has no time that is understood.
* Sizes are bytes (int).
* Money is a Decimal in units of the currency (`Decimal("0.0012")`), finite and not negative.
  Integers and Decimals make sums exact and independent of their order.
* A label is text. It is UNKNOWN where the line does not hold the value, and OTHER where the value is outside the closed
  set of the label.
* A record with a `count` above 1 sums up many lines whose labels are equal. Its tuples of durations hold one entry per
  line whose duration is known, in any order.
* Text that a client, a user or a provider wrote (a path, a prompt, an error message) never becomes a label.

The exporter checks each batch of another package's parser by these types before it counts any of it. It refuses a batch
that violates them as a whole. Records carry a tag (their class name), so that msgspec can check them.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

#: A count, a size in bytes or a duration in nanoseconds.
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
#: A point in time, in nanoseconds since the Unix epoch.
Moment = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

#: The label of a value that the line does not hold.
UNKNOWN = "unknown"
#: The label of a value outside a closed set.
OTHER = "other"

#: Model calls with more input tokens than this may have another price per token. No price list has a lower limit.
LONG_PROMPT = 32_000

#: Why a line is unparsed, the keys of `Batch.unparsed`: it has another format; its JSON is broken; the line of the
#: container or log shipper around it is broken; it is too long; the pattern of the regex parser took too much time;
#: the file ended without a newline.
UNPARSED_REASONS = ("format", "json", "envelope", "too_long", "timeout", "unterminated")

#: Allowed values of `DroppedValue.field`.
DROPPED_FIELDS = ("time", "duration", "first_byte", "first_token", "bytes", "tokens", "price", "status_code")

#: Allowed values of `Request.failure`, besides "".
FAILURE_REASONS = (
    "server_error",  # status 500 to 599, except 504
    "timeout",  # status 504, or the upstream of the proxy did not answer in time
    "rate_limited",  # status 429, or an app's limit of concurrent requests
    "client_closed",  # status 499: the client closed the connection
    "provider_error",  # the model provider or a plugin failed
    "quota_exceeded",  # the quota of the model provider is used up
    "not_initialized",  # the model provider has no valid credentials in Dify
    "stream_error",  # the streamed response broke off or ended with an error
    "run_failed",  # the response has status 200 and reports a failed run
)

#: Allowed values of `Failure.kind`.
ERROR_KINDS = (
    "upstream_timeout",  # an upstream server did not answer in time
    "upstream_refused",  # no upstream server accepted the connection
    "upstream_reset",  # the upstream server closed the connection too early
    "upstream_unresolved",  # the name of the upstream server could not be resolved
    "request_too_large",  # nginx refused the body of a request
    "provider_error",  # any other error of the model provider or a plugin
    "provider_unauthorized",  # the model provider refused the credentials
    "provider_unavailable",  # the model provider is overloaded or not reachable
    "not_initialized",  # see FAILURE_REASONS
    "quota_exceeded",  # see FAILURE_REASONS
    "rate_limited",  # the model provider refused a request because of its rate limit
    "model_not_supported",  # Dify does not know or allow the model
    "node_failed",  # a workflow node failed
    "run_failed",  # a whole run failed
    "task_failed",  # a Celery task failed
    "worker_timeout",  # gunicorn killed a worker that took too long
    "unhandled_exception",  # the program did not handle an exception
    "other",  # an error record of no other kind
)

#: Allowed values of `Run.kind` and `Opened.kind`: the modes of Dify's apps.
RUN_KINDS = ("workflow", "advanced-chat", "chat", "completion", "agent-chat", UNKNOWN)


class Request(Struct, frozen=True, gc=False, tag=True):
    """`count` finished HTTP requests with equal labels; 0 where the line only times a request that another line counts.

    * `method`: an HTTP method (`parsers.values.http.method_of`).
    * `route`: a template of Dify's route table, `static`, `invalid`, OTHER or UNKNOWN (`parsers.access.routes`).
    * `status_code`: "100" to "599", OTHER or UNKNOWN (`parsers.values.http.status_code_of`).
    * `failure`: one of FAILURE_REASONS, or "" for a request that did not fail.
    * `response_bytes`: the sum of the response sizes in bytes; None where no line holds a size.
    * `durations`: times from the first byte of a request to the last byte of its response, in nanoseconds.
    * `first_bytes`: times from the request to the first byte of the response, in nanoseconds.
    * `handler_durations`: times that Dify's request handler ran, in nanoseconds. For a stream this ends before the
      response does, so these times have a metric of their own.
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
    """Tokens and money of `count` model calls with equal labels, all in the quarter of an hour that `at` lies in.

    In every time zone a day begins with a full quarter of an hour, and so does the validity of a price. Calls of one
    quarter therefore belong to the same day and have the same price.

    The price of a call can depend on the length of its prompt. So if the log reports no price, a record with a `count`
    above 1 sums only usages of at most LONG_PROMPT input tokens (total tokens if only the total is known).

    * `app_id`: the UUID of a Dify app, or UNKNOWN.
    * `provider`, `model`: names as Dify writes them, at most 128 characters, or UNKNOWN.
    * `input_tokens`, `output_tokens`: sums of tokens; None where they are not known.
    * `unsplit_tokens`: tokens that are known only as input and output together; None if there are none.
    * `cost`: the sum of the prices that the log reports, in `currency`; None where it reports no price.
    * `currency`: an ISO 4217 code, OTHER or UNKNOWN (`parsers.values.currencies.currency_of`).
    * `is_call`: each usage is that of one model call. Otherwise it may be the sum of several, as that of an agent is.
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
    is_call: bool = False


class UsageMissing(Struct, frozen=True, gc=False, tag=True):
    """`count` model calls that must report their usage but did not.

    `reason` is `absent` (no token count), `zero` (all counts are 0) or `inconsistent` (a value is not a count, or the
    total is not the sum of its parts).
    """

    app_id: str
    reason: str
    count: Count = 1


class FirstToken(Struct, frozen=True, gc=False, tag=True):
    """The times from `count` requests to the first token of their answers.

    `duration` is the time of a single request (`count` 1), `durations` holds the times of many; both in nanoseconds.
    """

    app_id: str
    model: str
    duration: Count | None = None
    count: Count = 1
    durations: tuple[Count, ...] = ()


class Run(Struct, frozen=True, gc=False, tag=True):
    """`count` finished runs of apps.

    * `kind`: one of RUN_KINDS.
    * `status`: a status of Dify such as `succeeded`, `failed`, `stopped`, `partial-succeeded`; OTHER or UNKNOWN.
    * `duration`: the duration of a single run, `durations`: those of many; both in nanoseconds.
    """

    kind: str
    app_id: str
    status: str
    duration: Count | None = None
    count: Count = 1
    durations: tuple[Count, ...] = ()


class NodeRun(Struct, frozen=True, gc=False, tag=True):
    """`count` finished workflow nodes.

    * `node_type`: a node type of Dify such as `llm`, `code`, `http-request`; OTHER or UNKNOWN.
    * `status`, `duration`, `durations`: see `Run`.
    """

    node_type: str
    status: str
    duration: Count | None = None
    count: Count = 1
    durations: tuple[Count, ...] = ()


class Task(Struct, frozen=True, gc=False, tag=True):
    """`count` finished Celery tasks.

    * `task`: the full name of the task function, or OTHER.
    * `status`: `succeeded`, `failed`, `retried`, `ignored` or `rejected`.
    * `duration`, `durations`: see `Run`.
    """

    task: str
    status: str
    duration: Count | None = None
    count: Count = 1
    durations: tuple[Count, ...] = ()


class TaskReceived(Struct, frozen=True, gc=False, tag=True):
    """A worker has received `count` Celery tasks. A `Task` record follows when a task ends.

    `task` is the same as in `Task`. A task that is retried is received once more for each retry.
    """

    task: str
    count: Count = 1


class Invocation(Struct, frozen=True, gc=False, tag=True):
    """`count` finished calls of the plugin daemon.

    * `operation`: a name from the plugin daemon's own metrics such as `invoke_llm`, or OTHER.
    * `status_code`: the HTTP status code of the call, see `Request`.
    * `duration`: the duration of a single call, `durations`: those of many; both in nanoseconds.
    """

    operation: str
    status_code: str
    duration: Count | None = None
    count: Count = 1
    durations: tuple[Count, ...] = ()


class Failure(Struct, frozen=True, gc=False, tag=True):
    """`count` error records of a log that are not the end of a request (`Request.failure` reports those).

    Lines of the proxy also give one for the cause of a failed request or run. `kind` is one of ERROR_KINDS.
    """

    kind: str
    count: Count = 1


class Active(Struct, frozen=True, gc=False, tag=True):
    """How many requests the proxy worker named `worker` was serving at time `at`."""

    worker: str
    requests: Count
    at: Moment | None


class DroppedLines(Struct, frozen=True, gc=False, tag=True):
    """The number of log lines that a proxy worker failed to write since its previous line."""

    lines: Count


class DroppedValue(Struct, frozen=True, gc=False, tag=True):
    """`count` values that the parser could not understand and left out; their lines are counted all the same.

    `parsers.dropped` creates these records. `field` is one of DROPPED_FIELDS. `example` is one of the values, with its
    letters masked, so that it never shows the text of a client.
    """

    field: str
    count: Count = 1
    example: Annotated[str, Meta(max_length=40)] = ""


class Opened(Struct, frozen=True, gc=False, tag=True):
    """A worker started a run under this trace id, at time `at`. A `Closed` record with the same trace id ends the run.

    `kind` is one of RUN_KINDS.
    """

    trace_id: str
    kind: str
    app_id: str
    at: Moment | None


class Closed(Struct, frozen=True, gc=False, tag=True):
    """The run under this trace id has ended, at time `at`. Without an `Opened` record its kind and app are UNKNOWN.

    `status` is `finished` or `failed`, as the line of the end reports it. A `TraceError` with the same trace id may
    change it for the worse. `duration` is in nanoseconds.
    """

    trace_id: str
    status: str
    duration: Count | None
    at: Moment | None


#: What has failed, by an error record: a node, a call of a plugin (a model), or the whole run.
ErrorLevel = Literal["node", "plugin", "run"]
TraceId = Annotated[str, Meta(max_length=64)]


class TraceError(Struct, frozen=True, gc=False, tag=True):
    """An error record at time `at`. It decides the outcome of the run or request with the same trace id."""

    trace_id: TraceId
    level: ErrorLevel
    at: Moment


class Accepted(Struct, frozen=True, gc=False, tag=True):
    """Requests to one route that were answered with status 200 and can still fail.

    * `failure`: the one of FAILURE_REASONS that an error record with the same trace id makes of a request.
      `stream_error` needs an error of the level plugin or run that is not older than the access line; `run_failed`
      needs a failed run.
    * `trace_ids`, `times`: one line of text per request, separated by newlines. A time is ISO 8601. They stay text
      because nearly none of them is ever read.
    * `timezone`: the IANA name of the time zone of those `times` that have none of their own.
    """

    route: str
    failure: str
    trace_ids: str
    times: str
    timezone: str = "UTC"


SpanId = Annotated[str, Meta(max_length=64)]


class SpanApp(Struct, frozen=True, gc=False, tag=True):
    """The app of a span, which further spans below it have too.

    * `span`: the id of the span, with that of its trace.
    * `app_id`: the UUID of its app; UNKNOWN if only its `parent` knows it.
    """

    span: SpanId
    app_id: str
    parent: SpanId = ""
    at: Moment | None = None


class OfSpan(Struct, frozen=True, gc=False, tag=True):
    """A record whose app is that of the span `parent`. A `SpanApp` record names it, before or after this one.

    `at` is the time of the line, or the begin of its quarter of an hour.
    """

    parent: SpanId
    record: Usage | FirstToken | UsageMissing
    at: Moment | None = None

    @staticmethod
    def inner(record: "Record") -> "Record":
        """Return the record itself, also of one whose app is that of a span."""
        return record.record if isinstance(record, OfSpan) else record


#: Allowed values of `ReceivedItems.dialect`. `none` is an item of no dialect, such as the span of an SQL statement.
TRACING_DIALECTS = ("otel", "phoenix", "langfuse", "native", "none")
#: Allowed values of `ReceivedItems.outcome`: the line was written, the item was known, it holds no fact, or its values
#: could not be used.
TRACING_OUTCOMES = ("written", "duplicate", "ignored", "rejected")


class ReceivedItems(Struct, frozen=True, gc=False, tag=True):
    """How many items (spans and events) the receiver got, by dialect and outcome."""

    dialect: str
    outcome: str
    count: Count


#: Any record.
Record = (
    Request
    | Usage
    | UsageMissing
    | FirstToken
    | Run
    | NodeRun
    | Task
    | TaskReceived
    | Invocation
    | Failure
    | Active
    | DroppedLines
    | DroppedValue
    | Opened
    | Closed
    | TraceError
    | Accepted
    | SpanApp
    | OfSpan
    | ReceivedItems
)


class Batch(Struct, frozen=True, gc=False):
    """The result of parsing the first `consumed` bytes of a window.

    * `consumed`: bytes from the beginning of the window. The next window begins behind them.
    * `lines`: physical lines in these bytes. Each one is observed, ignored or unparsed.
    * `ignored`: lines that are understood and hold nothing to count, such as a traceback.
    * `unparsed`: the number of lines that are not understood, by reason (UNPARSED_REASONS).
    * `examples`: one raw line per reason of `unparsed`, at most 200 bytes.
    * `last_at`: the newest event time; None where no line has a time.
    * `first_at`: the oldest event time; None also for a parser that does not know it.
    * `records`: what the lines report, in any order.
    * `skip`: names of streams (see `parsers.envelope.pieces`) that have a record which begins before `consumed` and
      continues behind it. That record is counted or dropped already, so the next parse passes over the rest of it.
    """

    consumed: Count = 0
    lines: Count = 0
    ignored: Count = 0
    unparsed: Mapping[str, Count] = {}
    examples: Mapping[str, bytes] = {}
    last_at: Moment | None = None
    records: tuple[Record, ...] = ()
    skip: tuple[str, ...] = ()
    first_at: Moment | None = None

    @property
    def observed(self) -> int:
        """The number of lines that are neither ignored nor unparsed."""
        return self.lines - self.ignored - sum(self.unparsed.values())
