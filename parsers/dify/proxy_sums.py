"""Sum up the lines of our proxy by the labels of their records: requests, tokens, prices, times to the first token."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, NamedTuple

from parsers.access.routes import INVALID, STATIC, RouteInformation, Routes
from parsers.batch import LONG_PROMPT, UNKNOWN, DroppedLines, Failure, FirstToken, Record, Request, Usage, UsageMissing
from parsers.dify.error_body import CAUSE_BY_CODE, CAUSES, CONCURRENCY_LIMIT, KINDS
from parsers.dify.labels import app_id_of, name_of
from parsers.dify.proxy import REQUEST_EVENT, ProxyAttributes, UsageEntry
from parsers.dify.spending import CallColumns, costs_of
from parsers.dify.sums import UsageSums, add_calls, is_diverse, summed_usages, usages_of
from parsers.dify.tokens import TokenCounts
from parsers.dropped import dropped, dropped_values
from parsers.values.currencies import currency_of
from parsers.values.http import failure_of, method_of, status_code_of
from parsers.values.numbers import SECOND, money

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
    """Sums of lines whose numbers are checked, by the labels of their records, in the order of the lines.

    With `strict` the types of all usages are known too, so that regular ones are summed up in columns.
    """

    def __init__(self, routes: Routes, strict: bool) -> None:
        self._routes, self._strict = routes, strict
        self._lost_lines = 0
        #: Requests by the attributes of their lines. Those of many routes or methods have one label, so one entry.
        self._requests: dict[tuple[Any, ...], _Requests] = {}
        self._by_labels: dict[tuple[Any, ...], _Requests] = {}
        self._first_tokens: defaultdict[tuple[str | None, str | None], list[float]] = defaultdict(list)
        #: Entries with their apps, by time and which of their amounts are known.
        self._usages: defaultdict[tuple[int | None, bool, bool], list[tuple[str | None, UsageEntry]]]
        self._usages = defaultdict(list)
        self._records: list[Record] = []

    def add(self, lines: Sequence[ProxyAttributes], at: int | None) -> None:
        """Add lines. `at` is their time in nanoseconds since the epoch, or the begin of its quarter of an hour."""
        self._lost_lines += sum([line.dropped_lines for line in lines if line.dropped_lines])
        for line in lines:
            if line.event != REQUEST_EVENT:
                continue
            labels, usage = _LABELS(line), line.usage
            if (requests := self._requests.get(labels)) is None:
                begun = self._begin(line)
                requests = self._requests[labels] = self._by_labels.setdefault(begun[:3], begun)
            requests.durations.append(line.duration)
            requests.first_bytes.append(line.time_to_first_byte)
            requests.response_sizes.append(line.response_size)
            if line.time_to_first_token is not None:
                self._first_tokens[line.app_id, usage[0].model if usage else None].append(line.time_to_first_token)
            is_complete = self._add_usage(line, at) if usage else False
            if requests.needs_usage and not is_complete and (reason := _missing_reason(usage)):
                self._records.append(UsageMissing(app_id_of(line.app_id), reason))

    def _begin(self, line: ProxyAttributes) -> _Requests:
        route, status = _route(line.route, self._routes), line.status_code
        status_code = status_code_of(b"" if status is None else b"%d" % status)
        method, cause = method_of(line.method.encode()), _cause(line)
        is_answered = status_code.startswith("2") and line.outcome in ("", "ok")
        needs_usage = is_answered and method == "POST" and _reports_usage(self._routes.information(route))
        return _Requests(
            (method, route, status_code, _failure(line, status_code, cause)), cause, needs_usage, [], [], []
        )

    def _add_usage(self, line: ProxyAttributes, at: int | None) -> bool:
        """Add the usage of a request. Return whether all of its entries are regular, so that none is missing.

        Regular amounts are two counts without a total, or only a total. A long prompt without a price is added alone.
        """
        is_complete = True
        for entry in line.usage:
            is_split, price = entry.total_tokens is None, entry.total_price
            prompt = entry.input_tokens if is_split else entry.total_tokens
            has_tokens = prompt and (entry.output_tokens if is_split else _has_total(entry))
            if self._strict and has_tokens and (price is not None or prompt <= LONG_PROMPT):
                self._usages[at, is_split, price is not None].append((line.app_id, entry))
            else:
                is_complete = False
                self._records += _usage(entry, app_id_of(line.app_id), at)
        return is_complete

    def records(self) -> list[Record]:
        found: list[Record] = [DroppedLines(self._lost_lines)] if self._lost_lines else []
        for requests in self._by_labels.values():
            found.append(_request(requests))
            if requests.cause in KINDS:
                found.append(Failure(requests.cause, len(requests.durations)))
        for (at, is_split, has_price), usages in self._usages.items():
            found += _usages(usages, at, is_split, has_price)
        found += self._records
        for (app_id, model), times in self._first_tokens.items():
            found.append(_first_token(app_id_of(app_id), name_of(model), _nanoseconds(times)))
        return found


def _has_total(entry: UsageEntry) -> bool:
    return entry.input_tokens is None and entry.output_tokens is None


def _nanoseconds(times: Iterable[float | None]) -> tuple[int, ...]:
    return tuple([round(time * SECOND) for time in times if time is not None])


def _request(requests: _Requests) -> Request:
    sizes = [size for size in requests.response_sizes if size is not None]
    return Request(
        *requests.labels,
        len(requests.durations),
        response_bytes=sum(sizes) if sizes else None,
        durations=_nanoseconds(requests.durations),
        first_bytes=_nanoseconds(requests.first_bytes),
    )


def _first_token(app_id: str, model: str, times: tuple[int, ...]) -> FirstToken:
    if len(times) == 1:
        return FirstToken(app_id, model, times[0])
    return FirstToken(app_id, model, None, len(times), times)


def _usages(
    usages: Sequence[tuple[str | None, UsageEntry]], at: int | None, is_split: bool, has_price: bool
) -> Iterator[Record]:
    """Return the sums of regular entries, given with their apps. An entry whose price is none is read alone."""
    costs = costs_of([entry.total_price for _, entry in usages]) if has_price else [None] * len(usages)
    if costs is None:
        regular = list[tuple[str | None, UsageEntry]]()
        for app_id, entry in usages:
            if money(entry.total_price) is None:
                yield from _usage(entry, app_id_of(app_id), at)
            else:
                regular.append((app_id, entry))
        yield from _usages(regular, at, is_split, has_price) if regular else ()
        return
    if is_split:
        inputs, outputs = [entry.input_tokens for _, entry in usages], [entry.output_tokens for _, entry in usages]
    else:
        inputs, outputs = [entry.total_tokens for _, entry in usages], [0] * len(usages)
    keys = [(app_id, entry.provider, entry.model, entry.currency, None) for app_id, entry in usages]
    calls = CallColumns(costs, inputs, outputs, is_split)
    if is_diverse(keys):
        yield from usages_of(keys, calls, repeat(1), at)
        return
    sums: UsageSums = {}
    add_calls(sums, keys, calls)
    yield from summed_usages(sums, is_split, at)


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


def _usage(entry: UsageEntry, app_id: str, at: int | None) -> Iterable[Record]:
    cost = money(entry.total_price)
    yield from dropped("price", entry.total_price, cost)
    yield from dropped_values("tokens", entry.token_counts.invalid)
    tokens = entry.token_counts.split
    if any(tokens) or cost:
        model = name_of(entry.provider), name_of(entry.model)
        yield Usage(app_id, *model, *tokens, cost, currency_of(entry.currency), at)


def _missing_reason(usage: Sequence[UsageEntry]) -> str:
    """Return why the usage of a whole request (one entry per model) is missing or wrong; "" if it is complete."""
    needed = [entry for entry in usage if not _is_empty_total(entry)]
    if usage and not needed:
        return ""
    reasons = {entry.token_counts.missing for entry in needed}
    if "inconsistent" in reasons:
        return "inconsistent"
    return "absent" if not reasons else "" if "" in reasons else "zero" if "zero" in reasons else "absent"


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
