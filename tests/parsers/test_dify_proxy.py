"""The proxy's log line: the parser reads what the encoder writes."""

import gzip
import json
from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from parsers import blocks as block
from parsers.batch import (
    ERROR_KINDS,
    LONG_PROMPT,
    Active,
    DroppedLines,
    Failure,
    FirstToken,
    Request,
    Usage,
    UsageMissing,
)  # fmt: skip
from parsers.dify import Dify
from parsers.dify.error_body import CAUSES, CONCURRENCY_LIMIT
from parsers.dify.proxy import SERVICE, ProxyAttributes, ProxyHeartbeat, ProxyLine, UsageEntry, encode
from tests.golden import ROOT
from tests.parsers.laws import summed
from tests.parsers.test_dify_events import marred

APP = "770e8400-1f2d-4c3b-9a4e-0123456789ab"
AT = 1_795_424_011_404_000_000

ENTRY = UsageEntry("openai", "gpt-4.1", 12, 34, None, "0.0012890", "USD")
REQUEST = ProxyAttributes(
    worker="w1",
    active_requests=3,
    dropped_lines=0,
    method="POST",
    route="/v1/chat-messages",
    status_code=200,
    duration=1.204113,
    time_to_first_byte=0.012,
    time_to_first_token=0.31,
    request_size=93,
    response_size=18234,
    outcome="ok",
    streaming=True,
    app_id=APP,
    usage=(ENTRY,),
)


def read(attributes: ProxyAttributes) -> list[Any]:
    text = encode(
        ProxyLine(ts="2026-11-23T08:53:31.404Z", message="POST /v1/chat-messages 200 1204.113", attributes=attributes)
    )
    batch = Dify().parse(text)
    assert (batch.lines, batch.observed, batch.last_at) == (1, 1, AT)
    return list(batch.records)


def changed(**changes: object) -> ProxyAttributes:
    return msgspec.structs.replace(REQUEST, **changes)


def test_the_encoded_line() -> None:
    line = ProxyLine(
        ts="2026-11-23T08:53:31.404Z",
        severity="INFO",
        service="dify-exporter-proxy",
        caller="proxy",
        message="POST /v1/chat-messages 200 1204.113",
        trace_id="0" * 32,
        attributes=REQUEST,
    )
    written = {
        "ts": "2026-11-23T08:53:31.404Z",
        "severity": "INFO",
        "service": "dify-exporter-proxy",
        "caller": "proxy",
        "message": "POST /v1/chat-messages 200 1204.113",
        "trace_id": "0" * 32,
        "attributes": {
            "dify.event.name": "dify.proxy.request",
            "http.request.method": "POST",
            "http.route": "/v1/chat-messages",
            "http.response.status_code": 200,
            "http.server.request.duration": 1.204113,
            "dify.proxy.time_to_first_byte": 0.012,
            "gen_ai.server.time_to_first_token": 0.31,
            "http.request.body.size": 93,
            "http.response.body.size": 18234,
            "dify.proxy.outcome": "ok",
            "dify.streaming": True,
            "dify.app_id": APP,
            "dify.proxy.usage": [
                {
                    "gen_ai.provider.name": "openai",
                    "gen_ai.request.model": "gpt-4.1",
                    "gen_ai.usage.input_tokens": 12,
                    "gen_ai.usage.output_tokens": 34,
                    "dify.total_price": "0.0012890",
                    "dify.currency": "USD",
                }
            ],
            "dify.proxy.worker": "w1",
            "dify.proxy.active_requests": 3,
            "dify.proxy.dropped_lines": 0,
        },
    }
    assert encode(line) == json.dumps(written, separators=(",", ":")).encode() + b"\n"


def test_a_request_gives_its_records() -> None:
    assert read(REQUEST) == [
        Active("w1", 3, AT),
        Request("POST", "/v1/chat-messages", "200", "", 1, 18234, (1_204_113_000,), (12_000_000,)),
        Usage(APP, "openai", "gpt-4.1", 12, 34, None, Decimal("0.001289"), "USD", AT),
        FirstToken(APP, "gpt-4.1", 310_000_000),
    ]


def test_a_heartbeat_reports_the_requests_of_a_worker() -> None:
    assert read(ProxyHeartbeat(worker="w2", active_requests=7, dropped_lines=5)) == [
        Active("w2", 7, AT),
        DroppedLines(5),
    ]


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({}, ""),
        ({"outcome": "client_closed", "status_code": 499}, "client_closed"),
        ({"outcome": "stream_error", "error_code": "completion_request_error"}, "stream_error"),
        ({"outcome": "run_failed"}, "run_failed"),
        ({"outcome": "upstream_timeout", "status_code": 504}, "timeout"),
        ({"outcome": "upstream_refused", "status_code": 502}, "server_error"),
        ({"outcome": "upstream_reset"}, "stream_error"),
        ({"status_code": 400, "error_code": "completion_request_error"}, "provider_error"),
        ({"status_code": 400, "error_code": "provider_quota_exceeded"}, "quota_exceeded"),
        ({"status_code": 400, "error_code": "provider_not_initialize"}, "not_initialized"),
        ({"status_code": 400, "error_code": "invalid_param"}, ""),
        ({"status_code": 400, "error_code": "invalid_param", "error_kind": "provider_error"}, "provider_error"),
        ({"status_code": 400, "error_code": "invalid_param", "error_kind": "provider_unavailable"}, "provider_error"),
        ({"status_code": 400, "error_code": "invalid_param", "error_kind": "provider_unauthorized"}, "provider_error"),
        ({"status_code": 400, "error_code": "invalid_param", "error_kind": "model_not_supported"}, "provider_error"),
        ({"status_code": 400, "error_code": "invalid_param", "error_kind": "rate_limited"}, "provider_error"),
        (
            {"status_code": 400, "error_code": "completion_request_error", "error_kind": "rate_limited"},
            "provider_error",
        ),
        ({"status_code": 400, "error_code": "invalid_param", "error_kind": CONCURRENCY_LIMIT}, "rate_limited"),
        ({"status_code": 400, "error_code": "invalid_param", "error_kind": "not_initialized"}, "not_initialized"),
        ({"status_code": 400, "error_code": "invalid_param", "error_kind": "CANARY"}, ""),
        ({"status_code": 429, "error_code": "too_many_requests"}, "rate_limited"),
        ({"status_code": 429, "error_code": "rate_limit_error"}, "rate_limited"),
        ({"outcome": "run_failed", "error_kind": "rate_limited"}, "run_failed"),
        ({"error_kind": "rate_limited"}, ""),  # a node failed, and the run succeeded partially
        ({"status_code": 429}, "rate_limited"),
        ({"status_code": 500}, "server_error"),
    ],
)
def test_a_request_fails_for_one_reason(changes: dict[str, object], failure: str) -> None:
    assert [r.failure for r in read(changed(**changes)) if isinstance(r, Request)] == [failure]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, None),
        ({"error_kind": "rate_limited"}, "rate_limited"),
        ({"outcome": "stream_error", "error_code": "invalid_param", "error_kind": "provider_unavailable"}, "provider_unavailable"),
        ({"outcome": "run_failed", "error_kind": "quota_exceeded"}, "quota_exceeded"),
        ({"status_code": 400, "error_code": "invalid_param", "error_kind": "provider_error"}, "provider_error"),
        ({"status_code": 400, "error_kind": CONCURRENCY_LIMIT}, None),  # Dify's own limit; no provider failed
        ({"status_code": 429, "error_code": "too_many_requests"}, None),
        # Lines of earlier versions only have the code.
        ({"outcome": "stream_error", "error_code": "completion_request_error"}, "provider_error"),
        ({"outcome": "stream_error", "error_code": "provider_quota_exceeded"}, "quota_exceeded"),
        ({"status_code": 400, "error_code": "provider_not_initialize"}, "not_initialized"),
        ({"status_code": 400, "error_code": "model_currently_not_support"}, "model_not_supported"),
        ({"status_code": 429, "error_code": "rate_limit_error"}, "rate_limited"),
        ({"outcome": "stream_error", "error_code": "invalid_param"}, None),
        ({"status_code": 401, "error_code": "unauthorized"}, None),
        ({"outcome": "stream_error", "error_kind": "CANARY"}, None),
        ({"outcome": "stream_error", "error_kind": "upstream_refused"}, None),  # not a kind that the proxy reports
    ],
)  # fmt: skip
def test_the_cause_of_a_failure_counts_once(changes: dict[str, object], kind: str | None) -> None:
    assert [r for r in read(changed(**changes)) if isinstance(r, Failure)] == ([Failure(kind)] if kind else [])
    assert CAUSES - {CONCURRENCY_LIMIT} <= set(ERROR_KINDS)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"usage": ()}, ["absent"]),
        ({"usage": (), "route": "/v1/info"}, []),
        ({"usage": (), "route": "/api/chat-messages"}, []),
        ({"usage": (), "status_code": 400}, []),
        ({"usage": (), "outcome": "upstream_reset"}, []),
        ({"usage": (), "outcome": "stream_error"}, []),
        ({"usage": (UsageEntry(input_tokens=0, output_tokens=0),)}, ["zero"]),
        ({"usage": (UsageEntry(input_tokens=-5, output_tokens=2),)}, ["inconsistent"]),
        ({"usage": (UsageEntry(total_tokens=5),)}, []),
        # A run without a model: the total of the workflow is 0.
        ({"usage": (UsageEntry(total_tokens=0),), "route": "/v1/workflows/run"}, []),
        ({"usage": (UsageEntry(total_tokens=0),), "route": "/v1/workflows/{workflow_id}/run"}, []),
        ({"usage": (UsageEntry(total_tokens=0),)}, []),
        ({"usage": (UsageEntry(model="m"), UsageEntry(total_tokens=0)), "route": "/v1/workflows/run"}, ["absent"]),
        ({"usage": (UsageEntry(model="m", total_tokens=0),), "route": "/v1/workflows/run"}, ["zero"]),
        ({"usage": (UsageEntry(total_tokens=-1),), "route": "/v1/workflows/run"}, ["inconsistent"]),
        *(({"usage": (), "method": method}, []) for method in ("OPTIONS", "HEAD", "GET", "FOO")),
        *(({"usage": (), "status_code": status}, []) for status in (302, 400, 401, 404, 429)),
        ({"usage": (), "route": "/v1/audio-to-text"}, []),  # its response never has usage
        ({"usage": (), "route": "/v1/conversations/{c_id}/name"}, []),
        ({"usage": (UsageEntry(input_tokens=5, output_tokens=5, total_tokens=30),)}, ["inconsistent"]),
        ({"usage": (UsageEntry(input_tokens=5, output_tokens=5, total_tokens=10),)}, []),
        ({"usage": (UsageEntry(input_tokens=5, output_tokens=5, total_tokens=9),)}, ["inconsistent"]),
        ({"usage": (UsageEntry(input_tokens=0), ENTRY)}, []),
        ({"usage": (UsageEntry(input_tokens=0), UsageEntry())}, ["zero"]),
        ({"usage": (UsageEntry(input_tokens=-1), ENTRY)}, ["inconsistent"]),
        ({"usage": (UsageEntry(input_tokens=-1),), "route": "/api/chat-messages"}, []),
        ({"usage": (UsageEntry(input_tokens=0),), "status_code": 500}, []),
        ({"usage": (UsageEntry(price="0.1"),)}, ["absent"]),
    ],
)
def test_missing_usage_is_reported(changes: dict[str, object], missing: list[str]) -> None:
    assert [r.reason for r in read(changed(**changes)) if isinstance(r, UsageMissing)] == missing


def test_tokens_of_a_total_beyond_its_parts_are_unsplit() -> None:
    entry = UsageEntry("openai", "gpt-4.1", 12, 34, 60)
    used = next(record for record in read(changed(usage=(entry,))) if isinstance(record, Usage))
    assert (used.input_tokens, used.output_tokens, used.unsplit_tokens) == (12, 34, 14)


def test_labels_come_from_closed_sets() -> None:
    labels = dict.fromkeys(("app_id", "error_code", "error_kind", "outcome"), "CANARY")
    found = read(changed(method="CANARY", route="/CANARY", status_code=1000, **labels))
    assert "CANARY" not in repr(found)


@pytest.mark.parametrize(
    ("text", "currency"),
    [("USD", "USD"), ("RMB", "RMB"), (None, "unknown"), ("", "unknown"), ("CANARY", "unknown"), ("US", "unknown"),
     ("U5D", "unknown"), ("USD ", "unknown"), ("USD\n", "unknown"), ("ÄÖÜ", "unknown"), ("XYZ", "other")],
)  # fmt: skip
def test_currencies(text: str | None, currency: str) -> None:
    entry = UsageEntry("openai", "gpt-4.1", 12, 34, None, "0.001", text)
    used = next(record for record in read(changed(usage=(entry,))) if isinstance(record, Usage))
    assert used.currency == currency


def test_lines_of_an_earlier_version() -> None:
    """The lines are those of tests/cases/41-streamed-error-codes."""
    log = (ROOT / "tests/cases/41-streamed-error-codes/proxy.log").read_bytes()
    found = Dify().parse(log).records
    requests = Counter((r.route, r.status_code, r.failure) for r in found if isinstance(r, Request))
    assert requests == {
        ("/v1/chat-messages", "200", ""): 2, ("/v1/chat-messages", "200", "stream_error"): 2,
        ("/v1/chat-messages", "400", "not_initialized"): 1,
        ("/v1/workflows/run", "200", "run_failed"): 1, ("/v1/workflows/run", "200", ""): 1,
    }  # fmt: skip
    assert Counter(r.kind for r in found if isinstance(r, Failure)) == {
        "provider_error": 1, "quota_exceeded": 1, "not_initialized": 1,
    }  # fmt: skip
    used = [r for r in found if isinstance(r, Usage)]
    assert [sum(getattr(r, f"{name}_tokens") or 0 for r in used) for name in ("input", "output", "unsplit")] == [
        6,
        8,
        17,
    ]
    assert sum(r.cost or 0 for r in used) == Decimal("0.002")
    assert not any(isinstance(r, UsageMissing) for r in found)


class TestLinesOfARealDify:
    """A log of an earlier version, which wrote no causes. The client that sent the requests recorded what to expect."""

    LINES = gzip.decompress((ROOT / "tests/real_dify/text/proxy.log.gz").read_bytes())
    EXPECTED = json.loads((ROOT / "tests/real_dify/expected.json").read_text())

    def found(self, kind: type) -> list[Any]:
        batch = Dify().parse(self.LINES)
        assert batch.lines == batch.observed
        return [record for record in batch.records if isinstance(record, kind)]

    def test_tokens(self) -> None:
        tokens: Counter[tuple[str, str]] = Counter()
        for used in self.found(Usage):
            split = {"input": used.input_tokens, "output": used.output_tokens, "unsplit": used.unsplit_tokens}
            for name, count in split.items():
                tokens[used.app_id, name] += count or 0
        for app_id, expected in self.EXPECTED["phases"]["text"]["proxy_tokens_by_app"].items():
            if "total" in expected:
                assert sum(count for key, count in tokens.items() if key[0] == app_id) == expected["total"]
            else:
                assert (tokens[app_id, "input"], tokens[app_id, "output"]) == (expected["input"], expected["output"])

    def test_runs_without_a_model_miss_no_usage(self) -> None:
        """The one that remains is a stopped chat whose model had begun to answer."""
        missing = [(self.EXPECTED["apps"][record.app_id], record.reason) for record in self.found(UsageMissing)]
        assert missing == [("chat", "zero")]


@pytest.mark.parametrize("bad", [-1, True, "x", None, [], 1e300, 10**400])
def test_only_a_bad_number_is_dropped(bad: object) -> None:
    found = read(
        changed(duration=bad, time_to_first_byte=bad, time_to_first_token=bad, response_size=bad, active_requests=bad)
    )
    assert Request("POST", "/v1/chat-messages", "200") in found


@pytest.mark.parametrize("bad", [5, None, True, [], {"a": 1}])
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("http.request.method", {"method": "unknown"}),
        ("http.route", {"route": "unknown"}),
        ("dify.proxy.outcome", {}),
        ("dify.streaming", {}),
        ("dify.error.code", {}),
        ("dify.app_id", {}),
        ("dify.proxy.usage", {}),
    ],
)
def test_only_a_bad_text_is_dropped(name: str, changes: dict[str, Any], bad: object) -> None:
    text = encode(ProxyLine(ts="2026-11-23T08:53:31.404Z", message="", attributes=REQUEST))
    line = json.loads(text)
    line["attributes"][name] = bad
    batch = Dify().parse(json.dumps(line).encode() + b"\n")
    request = next(record for record in batch.records if isinstance(record, Request))
    expected = next(record for record in read(REQUEST) if isinstance(record, Request))
    assert request == msgspec.structs.replace(expected, **changes)


def test_a_model_with_a_bad_name_keeps_its_tokens() -> None:
    line = json.loads(encode(ProxyLine(ts="2026-11-23T08:53:31.404Z", message="", attributes=REQUEST)))
    line["attributes"]["dify.proxy.usage"] = [
        line["attributes"]["dify.proxy.usage"][0] | {"gen_ai.request.model": 5},
        "x",
    ]
    batch = Dify().parse(json.dumps(line).encode() + b"\n")
    used = [record for record in batch.records if isinstance(record, Usage)]
    assert [(each.model, each.input_tokens, each.output_tokens) for each in used] == [("unknown", 12, 34)]


@pytest.mark.parametrize(
    "attributes", [{"dify.event.name": 5, "dify.proxy.worker": "w"}, ['"dify.proxy.'], '"dify.proxy.']
)
def test_attributes_without_an_event_name_are_unparsed(attributes: object) -> None:
    line = json.loads(encode(ProxyLine(ts="2026-11-23T08:53:31.404Z", message="", attributes=REQUEST)))
    line["attributes"] = attributes
    assert Dify().parse(json.dumps(line).encode() + b"\n").unparsed == {"json": 1}


TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
OPTIONAL = st.none() | TEXT
COUNT = st.none() | st.integers(0, 10**12)
SECONDS = st.none() | st.integers(0, 10**7) | st.floats(0, 1e6, allow_nan=False)
ENTRIES = st.builds(UsageEntry, OPTIONAL, OPTIONAL, COUNT, COUNT, COUNT, OPTIONAL, OPTIONAL)
ATTRIBUTES = st.builds(
    ProxyAttributes,
    **dict.fromkeys(("method", "route", "outcome", "worker"), TEXT),
    **dict.fromkeys(("duration", "time_to_first_byte", "time_to_first_token"), SECONDS),
    **dict.fromkeys(("status_code", "request_size", "response_size", "active_requests", "dropped_lines"), COUNT),
    **dict.fromkeys(("error_code", "app_id"), OPTIONAL),
    streaming=st.none() | st.booleans(),
    usage=st.lists(ENTRIES, max_size=3).map(tuple),
)
LINE = st.builds(
    ProxyLine,
    **dict.fromkeys(("ts", "message", "trace_id", "severity", "service", "caller"), TEXT),
    attributes=ATTRIBUTES,
)


@given(LINE)
def test_the_parser_reads_what_the_encoder_writes(line: ProxyLine) -> None:
    text = encode(line)
    assert text.isascii()
    assert text.count(b"\n") == 1
    assert text.endswith(b"\n")
    assert msgspec.json.decode(text, type=ProxyLine) == line


def test_a_line_without_a_worker_still_counts_its_request() -> None:
    assert [type(record) for record in read(changed(worker="", active_requests=3))] == [Request, Usage, FirstToken]
    assert [type(record) for record in read(changed(active_requests=None))] == [Request, Usage, FirstToken]


#: Other values of members and attributes.
ODD: dict[str, list[Any]] = {
    "dify.event.name": ["dify.proxy.heartbeat", "dify.proxy.other", "telemetry", None],
    "http.request.method": ["GET", "get", "", 5, "\ud800"],
    "http.route": ["/v1/info", "/v1/workflows/run", "/v1/messages/1/feedbacks", "other", "", None],
    "http.response.status_code": [400, 429, 499, 504, 99, 200.0, "200", -1, None, 10**13, 10**400],
    "http.server.request.duration": [0, 2, -1, "1.5", None, True, 1e300, 0.0000000015],
    "dify.proxy.time_to_first_byte": [0, "1.5", None, []],
    "gen_ai.server.time_to_first_token": [0, 1, "x", None],
    "http.request.body.size": [None, -1, "x"],
    "http.response.body.size": [0, None, -1, 7.0, 7.5, "7"],
    "dify.proxy.outcome": ["client_closed", "stream_error", "upstream_timeout", "upstream_reset", "run_failed", "", 5],
    "dify.streaming": [False, None, "x"],
    "dify.error.code": ["completion_request_error", "too_many_requests", "x", None, 5],
    "dify.error.kind": ["rate_limited", CONCURRENCY_LIMIT, "x", None],
    "dify.app_id": [None, "no uuid", "01234567-89ab-cdef-0123-456789abcdef", 5],
    "dify.proxy.worker": ["w2", "", None, "w" * 70],
    "dify.proxy.active_requests": [0, 7, -1, None, "3"],
    "dify.proxy.dropped_lines": [0, 7, -1, None, "3"],
}  # fmt: skip
ODD_USAGES: dict[str, list[Any]] = {
    "gen_ai.provider.name": [None, "", 5],
    "gen_ai.request.model": [None, "gpt-4.1-mini", {}],
    "gen_ai.usage.input_tokens": [None, 0, -1, 5.0, "5", 10**13],
    "gen_ai.usage.output_tokens": [None, 0, True],
    "gen_ai.usage.total_tokens": [None, 0, 46, 60, 5, 10**12],
    "dify.total_price": [None, "0", "-1", "NaN", 0.5, 5, True, "1E-15", "0.1234567890123", "x"],
    "dify.currency": [None, "EUR", "", "CANARY", 5],
    "dify.cost.currency": [None, "JPY"],
    "dify.usage": [None, {"total_price": "3", "currency": "JPY"}],
    "dify.usage.total_price": [None, "4"],
    "dify.usage.currency": [None, "INR"],
}  # fmt: skip
ODD_LINES: dict[str, list[Any]] = {
    "ts": ["2026-11-23T08:59:59.999Z", "2026-11-23T09:00:00.000Z", "2026-13-23T08:53:00.142Z", "", 5],
    "service": ["dify-exporter-receive", "dify-plugin-daemon", "api", None],
    "message": ["telemetry.span_detail", "", None],
    "severity": ["ERROR", 5],
    "attributes": [None, {}, [], "x", '"dify.proxy.'],
    "more": [[[]], 10**400, "\ud800"],
}


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    """Return lines that differ in a few values only, so that some of them can be summed up."""
    line = json.loads(encode(ProxyLine(ts="2026-11-23T08:53:31.404Z", service=SERVICE, message="", attributes=REQUEST)))

    @st.composite
    def changed(draw: st.DrawFn, values: dict[str, list[Any]], most: int = 1) -> dict[str, Any]:
        names = draw(st.lists(st.sampled_from(sorted(values)), max_size=most))
        return {name: draw(st.sampled_from(values[name])) for name in names}

    kinds = []
    for _ in range(draw(st.integers(1, 4))):
        usage = [
            line["attributes"]["dify.proxy.usage"][0] | draw(changed(ODD_USAGES, 2))
            for _ in range(draw(st.integers(0, 2)))
        ]
        attributes = line["attributes"] | {"dify.proxy.usage": usage} | draw(changed(ODD, 2))
        kinds.append(line | {"attributes": attributes} | (draw(changed(ODD_LINES)) if draw(st.booleans()) else {}))
    lines = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=12))
    return b"".join([draw(marred(json.dumps(each, separators=(",", ":")).encode())) for each in lines])


@settings(max_examples=4 * settings.default.max_examples)
@given(log=logs())
def test_a_block_is_the_sum_of_its_lines(log: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "MANY", 1)
        patch.setattr(block, "PART", 2000)  # a few lines
        found = Dify().parse(log, final=True)
        patch.setattr(block, "MANY", len(log) + 1)
        plain = Dify().parse(log, final=True)
    assert summed([found]) == summed([plain])
    assert found.examples == plain.examples


def test_every_attribute_is_tested_with_wrong_values() -> None:
    assert {each.encode_name for each in structs.fields(ProxyAttributes)} - {"dify.proxy.usage"} == ODD.keys() - {
        "dify.event.name"
    }
    assert {each.encode_name for each in structs.fields(UsageEntry)} == ODD_USAGES.keys()


def test_requests_with_equal_labels_are_one_record() -> None:
    """Otherwise the law above would also hold for a reader that leaves all lines to the reader of single lines."""
    text = encode(ProxyLine(ts="2026-11-23T08:53:31.404Z", service=SERVICE, message="", attributes=REQUEST))
    later = encode(
        ProxyLine(ts="2026-11-23T08:53:31.405Z", service=SERVICE, message="", attributes=changed(active_requests=5))
    )
    records = Dify().parse(text * 50 + later + text * 49).records
    assert [type(record) for record in records] == [Active, Request, Usage, FirstToken]
    assert records[0] == Active("w1", 5, AT + 10**6)
    assert [getattr(record, "count", 1) for record in records] == [1, 100, 100, 100]
    assert records[2].cost == Decimal("0.1289")


def test_long_prompts_without_a_price_are_not_summed_up() -> None:
    """A price list may charge more for long prompts, and a sum does not show how long they were."""
    prompts = (LONG_PROMPT, LONG_PROMPT + 1)
    requests = [changed(usage=(UsageEntry("openai", "gpt-4.1", prompt, 1),)) for prompt in prompts]
    lines = [
        ProxyLine(ts="2026-11-23T08:53:31.404Z", service=SERVICE, message="", attributes=each) for each in requests
    ]
    records = Dify().parse(b"".join(map(encode, lines * 20))).records
    usages = [(record.input_tokens, record.count) for record in records if isinstance(record, Usage)]
    assert sorted(usages) == [(LONG_PROMPT + 1, 1)] * 20 + [(20 * LONG_PROMPT, 20)]
