"""Read the lines of our proxy, and sum them up by the labels of their records: requests, tokens, prices, durations."""

from collections.abc import Sequence
from functools import cache, partial
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from parsers.access.routes import INVALID, STATIC, RouteInformation, Routes
from parsers.batch import UNKNOWN, Active, DroppedLines, Failure, Record, Request, UsageMissing
from parsers.blocks import TimedLine, time_of
from parsers.dify.error_body import CAUSE_BY_CODE, CAUSES, CONCURRENCY_LIMIT, KINDS
from parsers.dify.events import EventReader
from parsers.dify.labels import app_id_of
from parsers.dify.proxy import ProxyAttributes, ProxyHeartbeat, UsageEntry
from parsers.dify.sums import FIRST_TOKEN, DurationSums
from parsers.dify.telemetry import CountRule
from parsers.dify.tokens import TokenCounts
from parsers.dify.usages import UsageSums
from parsers.values.http import failure_of, method_of, status_code_of
from parsers.values.numbers import SECOND

#: A text that each line contains.
EVENT = b'"dify.proxy.'

#: Missing usage is looked for in the whole request.
_USAGE = CountRule(has_usage=True)

#: The attributes that decide the labels of a request.
_LABELS = attrgetter("method", "route", "status_code", "outcome", "error_kind", "error_code")


class _Requests(NamedTuple):
    """Requests with equal labels: method, route, status code and failure; the cause of their failure.

    The columns have one entry per request: two durations in seconds, and a size in bytes. They do not keep the lines,
    because memory that is used again at once is still in the processor's cache.
    """

    labels: tuple[str, str, str, str]
    cause: str
    needs_usage: bool
    durations: list[float | None]
    first_bytes: list[float | None]
    response_sizes: list[int | None]


class ProxySums:
    """Sums of lines by the labels of their records, in the order of the lines.

    With `strict` the lines come from a block, so their types are known.
    """

    def __init__(self, routes: Routes, strict: bool) -> None:
        self._routes, self._strict = routes, strict
        self._lost_lines = 0
        #: The newest time of each worker, as text in a block, and its requests.
        self._workers: dict[str, tuple[Any, int]] = {}
        #: Requests by the attributes of their lines. Those of many routes or methods have one label, so one entry.
        self._requests: dict[tuple[Any, ...], _Requests] = {}
        self._by_labels: dict[tuple[Any, ...], _Requests] = {}
        self._first_tokens, self._usages = DurationSums(), UsageSums(strict)
        self._missing: list[Record] = []

    def add_lines(self, lines: Sequence[Any], quarter: int) -> None:
        """Add lines of one quarter of an hour. `quarter` is its first nanosecond since the epoch."""
        for line in lines:
            self._add_worker(line.attributes, line.ts)
        self._add([line.attributes for line in lines], quarter)

    def add(self, kind: type[ProxyAttributes], events: Sequence[ProxyAttributes], at: int | None) -> None:
        """Add the event of a single line. `at` is its time in nanoseconds since the epoch."""
        del kind
        self._add_worker(events[0], at)
        self._add(events, at)

    def _add_worker(self, event: ProxyAttributes, time: Any) -> None:
        if event.worker and event.active_requests is not None:
            worker = event.worker[:64]
            if worker not in self._workers or time >= self._workers[worker][0]:
                self._workers[worker] = time, event.active_requests

    def _add(self, events: Sequence[ProxyAttributes], at: int | None) -> None:
        self._lost_lines += sum([event.dropped_lines for event in events if event.dropped_lines])
        first_tokens, calls = list[tuple[Any, float]](), list[tuple[Any, UsageEntry]]()
        for event in events:
            if type(event) is ProxyHeartbeat:
                continue
            labels, usage = _LABELS(event), event.usage
            if (requests := self._requests.get(labels)) is None:
                begun = self._begin(event)
                requests = self._requests[labels] = self._by_labels.setdefault(begun[:3], begun)
            requests.durations.append(event.duration)
            requests.first_bytes.append(event.time_to_first_byte)
            requests.response_sizes.append(event.response_size)
            if event.time_to_first_token is not None:
                first_tokens.append(((event.app_id, usage[0].model if usage else None), event.time_to_first_token))
            for entry in usage:
                calls.append(((event.app_id, entry.provider, entry.model, entry.currency, None), entry))
            is_complete = self._strict and bool(usage) and all(map(_is_regular, usage))
            if requests.needs_usage and not is_complete and (reason := _missing_reason(usage)):
                self._missing.append(UsageMissing(app_id_of(event.app_id), reason))
        if first_tokens:
            keys, seconds = zip(*first_tokens, strict=True)
            self._first_tokens.add(FIRST_TOKEN, keys, seconds)
        if calls:
            labels, entries = zip(*calls, strict=True)
            self._usages.add(labels, entries, at, _USAGE)

    def _begin(self, event: ProxyAttributes) -> _Requests:
        route, status = _route(event.route, self._routes), event.status_code
        status_code = status_code_of(b"" if status is None else b"%d" % status)
        method, cause = method_of(event.method.encode()), _cause(event)
        is_answered = status_code.startswith("2") and event.outcome in ("", "ok")
        needs_usage = is_answered and method == "POST" and _reports_usage(self._routes.information(route))
        return _Requests(
            (method, route, status_code, _failure(event, status_code, cause)), cause, needs_usage, [], [], []
        )

    def records(self) -> list[Record]:
        found: list[Record] = []
        for worker, (time, requests) in self._workers.items():
            found.append(Active(worker, requests, time_of(time) if isinstance(time, str) else time))
        found += [DroppedLines(self._lost_lines)] if self._lost_lines else []
        for each in self._by_labels.values():
            found.append(_request(each))
            if each.cause in KINDS:
                found.append(Failure(each.cause, len(each.durations)))
        return [*found, *self._usages.records(), *self._missing, *self._first_tokens.records()]


def _request(requests: _Requests) -> Request:
    sizes = [size for size in requests.response_sizes if size is not None]
    durations, first_bytes = (
        tuple([round(time * SECOND) for time in times if time is not None])
        for times in (requests.durations, requests.first_bytes)
    )
    size = sum(sizes) if sizes else None
    return Request(*requests.labels, len(requests.durations), size, durations, first_bytes)


def _reports_usage(kind: RouteInformation) -> bool:
    """Return whether responses of a route report their usage: those of apps that are called with an API key.

    Other responses that call a model, such as transcripts of speech, never report it, and neither does the web app.
    """
    return kind.area == "service_api" and kind.model == "yes" and kind.streaming != "no"


def _route(route: str, routes: Routes) -> str:
    """Return a route label. The proxy writes templates; any other text is looked up as a path."""
    if not route:
        return UNKNOWN
    is_known = routes.information(route).area != "other" or route in (STATIC, INVALID, UNKNOWN)
    return route if is_known else routes.of_path(route.encode())


def _missing_reason(usage: Sequence[UsageEntry]) -> str:
    """Return why the usage of a whole request (one entry per model) is missing or wrong; "" if it is complete."""
    needed = [entry for entry in usage if not _is_empty_total(entry)]
    if usage and not needed:
        return ""
    reasons = {entry.token_counts.missing for entry in needed}
    if "inconsistent" in reasons:
        return "inconsistent"
    return "absent" if not reasons else "" if "" in reasons else "zero" if "zero" in reasons else "absent"


def _is_regular(entry: UsageEntry) -> bool:
    """Return whether the usage of an entry, whose types are known, is complete in the usual form."""
    return bool(entry.input_tokens and entry.output_tokens) and entry.total_tokens is None


def _is_empty_total(entry: UsageEntry) -> bool:
    """Return whether an entry is the total of a workflow that used no tokens, so that it has no usage to report."""
    return entry.model is None and entry.token_counts == TokenCounts(total=0)


_FAILURE_BY_OUTCOME = {
    "client_closed": "client_closed",
    "run_failed": "run_failed",
    "stream_error": "stream_error",
    "upstream_timeout": "timeout",
}

#: Any other cause is a `provider_error`.
_FAILURE_BY_CAUSE = {
    CONCURRENCY_LIMIT: "rate_limited",
    "quota_exceeded": "quota_exceeded",
    "not_initialized": "not_initialized",
}


def _cause(attributes: ProxyAttributes) -> str:
    """Return one of CAUSES, "" if the cause is not known. Lines of earlier versions have only the error code."""
    if attributes.error_kind in CAUSES:
        return attributes.error_kind
    return CAUSE_BY_CODE.get(attributes.error_code or "", "")


def _failure(attributes: ProxyAttributes, status_code: str, cause: str) -> str:
    """Return the failure reason: by the outcome that the proxy saw, the cause of a refusal, or the status code."""
    if reason := _FAILURE_BY_OUTCOME.get(attributes.outcome):
        return reason
    if cause and status_code.startswith("4") and status_code != "429":
        return _FAILURE_BY_CAUSE.get(cause, "provider_error")
    is_broken = attributes.outcome in ("upstream_reset", "upstream_refused")
    return failure_of(status_code) or ("stream_error" if is_broken else "")


class _ProxyLine(TimedLine, frozen=True, gc=False):
    service: Literal["dify-exporter-proxy"]
    message: str


@cache
def reader(routes: Routes) -> EventReader:
    """Return the reader of the proxy's lines. Each table of routes has one, because its decoders are slow to make."""
    return EventReader((ProxyAttributes, ProxyHeartbeat), _ProxyLine, EVENT, partial(ProxySums, routes))
