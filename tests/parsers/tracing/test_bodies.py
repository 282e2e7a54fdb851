"""Any bytes give a reading or one of two errors; our decoder agrees with the library; no text gets into a line."""

import base64
import contextlib
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as LibrarySpan

from parsers.tracing import Reading, TooManyItems, UnreadableBody, json_limits, known_by, read_langfuse, read_otlp, wire
from parsers.tracing.reading import MAX_DEPTH, MAX_ITEMS
from parsers.tracing.span import ATTRIBUTES
from tests.parsers.tracing.events import langfuse
from tests.parsers.tracing.spans import (
    CANARY,
    NATIVE,
    OTEL,
    PHOENIX,
    SpanWriter,
    key_value,
    native,
    otel,
    request_of,
    requests_of,
    stories,
)
from tests.real_dify.trace_requests import requests as real_requests

STORY = stories(11, 12)
PROTOBUF = [
    *requests_of(otel(STORY), OTEL, 4),
    *requests_of(otel(STORY, is_phoenix=True), PHOENIX, 4),
    *requests_of(native(STORY), NATIVE, 4),
]
LANGFUSE = langfuse(STORY)


def as_json(body: bytes) -> bytes:
    """The same request in OTLP's JSON: ids in hexadecimal, enums as numbers."""
    message = MessageToDict(ExportTraceServiceRequest.FromString(body), use_integers_for_enums=True)
    return json.dumps(_with_hexadecimal_ids(message)).encode()


def _with_hexadecimal_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_hexadecimal_ids(each) for each in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        name: base64.b64decode(each).hex() if name in ids else _with_hexadecimal_ids(each)
        for name, each in value.items()
    }


def read(body: bytes, is_json: bool = False) -> Reading:
    return read_otlp(body, is_json=is_json, native=True)


@pytest.mark.parametrize("body", PROTOBUF[::9])
def test_json_and_protobuf_give_the_same_facts(body: bytes) -> None:
    assert read(as_json(body), is_json=True) == read(body)
    assert read(body).facts or read(body).ignored


def test_json_and_protobuf_of_a_real_dify_give_the_same_facts() -> None:
    for request in [*real_requests("native")[2:9], *real_requests("phoenix")[::20]]:
        assert read(as_json(request.body), is_json=True) == read(request.body)


def test_integers_may_be_numbers_or_text() -> None:
    body = as_json(PROTOBUF[0])
    found = json.loads(body)
    for span in found["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        span["endTimeUnixNano"] = int(span["endTimeUnixNano"])
        span["startTimeUnixNano"] = int(span["startTimeUnixNano"])
    assert read(json.dumps(found).encode(), is_json=True).facts[:1] == read(PROTOBUF[0]).facts[:1]


VALUES = st.one_of(
    st.text(max_size=20), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.just({"a": 1})
)


@settings(max_examples=2 * settings.default.max_examples)
@given(
    attributes=st.dictionaries(st.sampled_from(sorted(ATTRIBUTES)) | st.text(max_size=5), VALUES, max_size=6),
    name=st.text(max_size=10),
    start=st.integers(0, 2**64 - 1),
    message=st.text(max_size=10),
    code=st.integers(0, 2),
)
def test_our_decoder_agrees_with_the_library(
    attributes: dict[str, Any], name: str, start: int, message: str, code: int
) -> None:
    span = SpanWriter(3).span(b"t" * 16, b"p" * 8, name, attributes)
    span.start_time_unix_nano, span.status.code, span.status.message = start, code, message  # type: ignore[assignment]
    (scope,) = wire.Message(request_of([span], "scope")).scopes()
    (found,) = scope.spans
    assert (found.name, found.start, found.end) == (span.name, span.start_time_unix_nano, span.end_time_unix_nano)
    assert (found.trace_id, found.span_id, found.parent_id) == (
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
    )
    assert (found.is_error, found.message, found.scope) == (span.status.code == 2, span.status.message, "scope")
    assert found.attributes == {key: value for key, value in attributes.items() if key in ATTRIBUTES}


def mutated(bodies: list[bytes]) -> st.SearchStrategy[bytes]:
    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        body = bytearray(draw(st.sampled_from(bodies)))
        for _ in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, len(body)))
            kind = draw(st.integers(0, 3))
            if kind == 0:
                del body[at : at + draw(st.integers(1, 50))]
            elif kind == 1:
                body[at:at] = draw(st.binary(max_size=20))
            elif kind == 2:
                body[at : at + 1] = bytes([draw(st.integers(0, 255))])
            else:
                del body[at:]
        return bytes(body)

    return changed() | st.binary(max_size=200)


def check_lines(reading: Reading) -> None:
    for fact in reading.facts:
        for part in (fact, *([fact.rest] if fact.rest else [])):
            assert part.line.isascii()
            assert part.line.endswith(b"\n")
            assert part.line.count(b"\n") == 1
            json.loads(part.line)
            assert part.key in known_by(part.line).keys


def check_outcome(attempt: Callable[[], Reading]) -> None:
    """Assert that the attempt gives lines, or one of the two errors, which quotes nothing."""
    error = ""
    try:
        check_lines(attempt())
    except (UnreadableBody, TooManyItems) as caught:
        error = str(caught)
    assert CANARY not in error


@settings(max_examples=4 * settings.default.max_examples)
@given(body=mutated(PROTOBUF))
def test_any_bytes_as_protobuf(body: bytes) -> None:
    check_outcome(lambda: read(body))


@settings(max_examples=3 * settings.default.max_examples)
@given(body=mutated([as_json(body) for body in PROTOBUF[::5]]))
def test_any_bytes_as_json(body: bytes) -> None:
    check_outcome(lambda: read(body, is_json=True))


@settings(max_examples=3 * settings.default.max_examples)
@given(body=mutated(LANGFUSE))
def test_any_bytes_as_langfuse(body: bytes) -> None:
    check_outcome(lambda: read_langfuse(body))


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(CANARY) | st.just("-1") | st.just("12"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("total_price"), inner, max_size=1),
    max_leaves=3,
)
#: The names of models and providers are labels, so they are in the line.
NAMES = frozenset({"gen_ai.request.model", "gen_ai.provider.name", "llm.provider", "llm.model_name"})
NAMES_IN_JSON = frozenset({"model_provider", "model_name", "ls_provider", "ls_model_name", "model"})


@settings(max_examples=4 * settings.default.max_examples)
@given(data=st.data())
def test_no_text_of_any_attribute_is_in_a_line(data: st.DataObject) -> None:
    request = ExportTraceServiceRequest.FromString(data.draw(st.sampled_from(PROTOBUF)))
    for span in request.resource_spans[0].scope_spans[0].spans:
        _replace_texts(data, span)
    reading = read(request.SerializeToString())
    check_lines(reading)
    log = b"".join(part.line for fact in reading.facts for part in (fact, fact.rest) if part is not None)
    assert CANARY.encode() not in log


def _replace_texts(data: st.DataObject, span: LibrarySpan) -> None:
    """Replace one attribute, or one member of a JSON text, by a canary or another value."""
    pair = data.draw(st.sampled_from([each for each in span.attributes if each.key not in NAMES]))
    text = pair.value.string_value
    if not text.startswith("{"):
        pair.value.string_value = CANARY
        return
    members = json.loads(text)
    for name in data.draw(st.lists(st.sampled_from(sorted(members)), max_size=3)) if members else ():
        if name not in NAMES_IN_JSON:
            members[name] = data.draw(JSON_VALUES)
    pair.value.string_value = json.dumps(members)


@settings(max_examples=3 * settings.default.max_examples)
@given(data=st.data())
def test_no_text_of_any_langfuse_event_is_in_a_line(data: st.DataObject) -> None:
    (event,) = json.loads(data.draw(st.sampled_from(LANGFUSE)))["batch"]
    body = event["body"]
    for members in (event, body, body.get("metadata", {}), body.get("usage") or {}):
        for name in data.draw(st.lists(st.sampled_from(sorted(members)), max_size=2)) if members else ():
            if name not in NAMES_IN_JSON:
                members[name] = data.draw(JSON_VALUES)
    try:
        reading = read_langfuse(json.dumps({"batch": [event]}).encode())
    except UnreadableBody:
        return
    check_lines(reading)
    assert CANARY.encode() not in b"".join(fact.line for fact in reading.facts)


def test_more_than_ten_thousand_items_are_refused() -> None:
    spans = [LibrarySpan(name="x")] * (MAX_ITEMS + 1)
    body = request_of(spans, "opentelemetry.instrumentation.redis")
    with pytest.raises(TooManyItems):
        read(body)
    with pytest.raises(TooManyItems):
        read(as_json(body), is_json=True)
    with pytest.raises(TooManyItems):
        read_langfuse(json.dumps({"batch": [{}] * (MAX_ITEMS + 1)}).encode())
    assert read(request_of(spans[:-1], "opentelemetry.instrumentation.redis")).ignored == {"none": MAX_ITEMS}


def nested(depth: int) -> bytes:
    value = AnyValue(string_value="x")
    for _ in range(depth):
        value = AnyValue(array_value=ArrayValue(values=[value]))
    span = SpanWriter(1).span(b"x" * 16, b"", "n", {"openinference.span.kind": "CHAIN"})
    span.attributes.append(key_value("deep", "x"))
    span.attributes[-1].value.CopyFrom(value)
    return request_of([span], "scope")


def test_attributes_that_are_nested_too_deeply_are_refused() -> None:
    assert read(nested(MAX_DEPTH)) == read(as_json(nested(MAX_DEPTH)), is_json=True)
    for depth in (MAX_DEPTH + 1, 30):
        with pytest.raises(TooManyItems):
            read(nested(depth))
        with pytest.raises(TooManyItems):
            read(as_json(nested(depth)), is_json=True)


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\x05\x12",
        b"\x0b",
        b"\x0a",
        b"\xff" * 12,
        b"\x0a\x04\x12\x02\x12\x7f",
        b"\x09",
    ],
)
def test_lengths_that_lie_are_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableBody):
        read(body)


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[]", b'"x"', b'{"resourceSpans":5}', b"\xff", b"[" * 100_000, b'{"a":' * 100_000]
)
def test_json_of_another_kind_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableBody):
        read(body, is_json=True)
    with pytest.raises(UnreadableBody):
        read_langfuse(body)


def test_an_empty_request_is_read() -> None:
    """Dify's `verify` sends one."""
    assert read(b"") == read(b"{}", is_json=True) == Reading([], {}, {})


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twenty-fourth of the numbers of tokens and fields that are allowed.

    tracemalloc makes the reading eight times slower, so bodies are small here. tests/system/test_receive_hostile.py sends
    bodies of 60 MiB, and looks at the memory of the process.
    """
    monkeypatch.setattr(json_limits, "MAX_TOKENS", json_limits.MAX_TOKENS // 24)
    monkeypatch.setattr(wire, "MAX_FIELDS", wire.MAX_FIELDS // 24)


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x00" * 85_000,
        b"\x08\x01" * 85_000,
        request_of([SpanWriter(1).span(b"x" * 16, b"", "n", {"metadata": "x" * 2_000_000})], "scope"),
    ],
    ids=["empty messages", "unknown fields", "a long text"],
)
@pytest.mark.usefixtures("small_limits")
def test_a_hostile_body_takes_little_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(UnreadableBody, TooManyItems):
            read(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000 + 4 * len(body)


@pytest.mark.system
@pytest.mark.parametrize(
    "body",
    [
        b'{"resourceSpans":[' + b"{}," * 400_000 + b"{}]}",
        b'{"batch":[' + b'"",' * 400_000,
        b'{"batch":["' + b'\\"' * 2_000_000,
        b"[" * 1_200_000,
        b'{"a":NaN' + b",1234567" * 140_000,
    ],
    ids=["objects", "strings", "escapes", "lists", "broken"],
)
@pytest.mark.usefixtures("small_limits")
def test_a_hostile_json_body_takes_little_memory_and_time(body: bytes) -> None:
    begun = time.process_time()
    tracemalloc.start()
    try:
        for attempt in (read_langfuse, lambda body: read(body, is_json=True)):
            with pytest.raises((UnreadableBody, TooManyItems)):
                attempt(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(body)
    assert time.process_time() - begun < 4


@pytest.mark.system
@pytest.mark.parametrize(
    "piece",
    [b'\\"', b'"",', b"x", b"{},", b"[],", b",1", b"\\ud800"],
    ids=["\\", "strings", "text", "{", "[", "1", "half"],
)
@pytest.mark.parametrize("begin", [b'{"batch":["', b'{"batch":[', b'{"resourceSpans":[', b'{"a":NaN,"batch":["'])
def test_the_repair_of_a_body_takes_little_memory(begin: bytes, piece: bytes) -> None:
    """Every invalid body of this size is repaired before it is decoded."""
    body = begin + piece * ((json_limits.LONGEST_REPAIRED // 8 - len(begin)) // len(piece))
    tracemalloc.start()
    try:
        for attempt in (read_langfuse, lambda body: read(body, is_json=True)):
            with contextlib.suppress(UnreadableBody, TooManyItems):
                attempt(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 35 * len(body)


def test_a_value_that_is_no_number_is_told_as_one_that_is_no_count() -> None:
    metadata = {"node_type": "llm", "node_id": "n", "status": "succeeded", "total_price": CANARY, "app_id": CANARY}
    attributes = {
        "openinference.span.kind": "LLM", "metadata": json.dumps(metadata), "llm.token_count.prompt": CANARY,
        "llm.token_count.completion": 1.5,
    }  # fmt: skip
    body = request_of([SpanWriter(1).span(b"x" * 16, b"", "llm_x", attributes)], "scope", PHOENIX)
    (fact,) = read(body).facts
    attributes = json.loads(fact.line)["attributes"]
    assert attributes["gen_ai.usage.input_tokens"] == -1
    assert attributes["gen_ai.usage.output_tokens"] == 1.5
    assert attributes["dify.node.total_price"] == "-1"
    assert CANARY.encode() not in fact.line


def test_a_fact_without_a_time_is_rejected() -> None:
    span = otel(STORY)[0].span
    span.end_time_unix_nano = 0
    assert read(request_of([span], "scope", OTEL)).rejected == {"otel": 1}


@given(
    line=st.binary(max_size=100)
    | mutated([b'{"service":"dify-exporter-receive","attributes":{"dify.span.key":"node:x"}}'])
)
def test_any_line_has_keys_or_none(line: bytes) -> None:
    assert isinstance(known_by(line).keys, tuple)
