"""The file of an OpenTelemetry Collector: one message per line, read as our receiver reads it."""

import json

import pytest

from exporter.replay.detect import detect, guesses
from parsers.batch import ReceivedItems, Usage
from parsers.otlp import Otlp
from tests.parsers.tracing.events import langfuse
from tests.parsers.tracing.spans import (
    CANARY,
    NATIVE,
    OTEL,
    PHOENIX,
    native,
    otel,
    requests_of,
    stories,
    usages,
    workflows,
)
from tests.parsers.tracing.test_bodies import as_json, nested

STORY = stories(5, 30)


def log_of(bodies: list[bytes]) -> bytes:
    return b"".join(as_json(body) + b"\n" for body in bodies)


def counted_tokens(log: bytes, is_native: bool = False) -> int:
    records = Otlp(native=is_native).parse(log).records
    inner = [getattr(record, "record", record) for record in records]
    return sum((each.input_tokens or 0) + (each.output_tokens or 0) for each in inner if isinstance(each, Usage))


def test_the_tokens_of_a_file_are_those_of_the_receiver() -> None:
    wanted = sum(sum(tokens) for _, _, tokens in usages(STORY))
    for is_phoenix, resource in ((False, OTEL), (True, PHOENIX)):
        for size in (1, 64):
            assert counted_tokens(log_of(requests_of(otel(STORY, 1, is_phoenix), resource, size))) == wanted


def test_spans_of_enable_otel_are_read_where_native_is_set() -> None:
    log = log_of(requests_of(native(STORY), NATIVE, 64))
    assert counted_tokens(log) == 0
    assert counted_tokens(log, True) == sum(sum(tokens) for _, _, tokens in usages(workflows(STORY)))
    assert "native = true" in " ".join(each.sentence for each in Otlp().advice(Otlp().parse(log)))
    assert Otlp(native=True).advice(Otlp(native=True).parse(log)) == ()


def test_a_fact_that_comes_twice_in_a_line_counts_once() -> None:
    (body,) = requests_of(otel(STORY) + otel(STORY, 2), OTEL, 10_000)
    assert counted_tokens(log_of([body])) == sum(sum(tokens) for _, _, tokens in usages(STORY))
    items = {
        (each.dialect, each.outcome): each.count
        for each in Otlp().parse(log_of([body])).records
        if isinstance(each, ReceivedItems)
    }
    assert items["otel", "duplicate"] > 0


def test_metrics_and_logs_are_ignored() -> None:
    batch = Otlp().parse(b'{"resourceMetrics":[]}\n{"resourceLogs":[]}\n\n{}\n')
    assert (batch.lines, batch.ignored, batch.unparsed) == (4, 4, {})


def test_a_binary_file_has_a_remedy() -> None:
    line = b"\x00\x00\x01\x04(\xb5/\xfd"
    assert Otlp().parse(line + b"\n").unparsed == {"format": 1}
    assert "format: json" in Otlp().remedy(line)
    assert Otlp().remedy(b"GET / 200") == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"resourceSpans":5}', "json"),
        (b'{"resourceSpans":[', "json"),
        (as_json(nested(30)).replace(b'{"resourceSpans": ', b'{"resourceSpans":'), "too_long"),
        (langfuse(STORY)[0], "format"),
    ],
)
def test_lines_that_cannot_be_read(line: bytes, reason: str) -> None:
    assert Otlp().parse(line.replace(b'": ', b'":') + b"\n").unparsed == {reason: 1}


def test_a_file_is_detected_with_its_option() -> None:
    for make, resource, options in ((otel, OTEL, {}), (native, NATIVE, {"native": True})):
        found = detect(log_of(requests_of(make(STORY), resource, 64)), guesses())
        assert found is not None
        assert (found[0].name, found[0].options) == ("otlp", options)
    assert str(found[0]) == 'parser = "otlp", native = true'


def test_no_text_gets_out() -> None:
    batch = Otlp().parse(log_of(requests_of(otel(STORY), OTEL, 8)))
    assert CANARY not in repr(batch)
    assert json.dumps(str(batch.records)).count("CANARY") == 0
