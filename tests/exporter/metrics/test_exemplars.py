"""Exemplars: one line per second and source, its trace id and nothing else of it, in the bucket that it moved."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families

from exporter import catalogue as c
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.metrics.exemplars import Exemplars
from exporter.metrics.exposition import OPEN_METRICS, PROTOBUF, TEXT, ScrapeOptions, Texts, render
from exporter.status.failures import FailureBuffer, ObservedLedger
from exporter.tail.position import Position, Window
from parsers.batch import Batch
from parsers.dify import Dify
from parsers.envelope import Docker
from parsers.parser import Parser
from tests.exporter.metrics.metrics_proto import families

ROOT = Path(__file__).parents[3]
TRACE = "{:032x}".format
NOW = 1_800_000_000.0


class Reader:
    """A source that posts lines through the observer of `serve`."""

    def __init__(self, parser: Parser, limits: Limits | None = None) -> None:
        self.now, self.parser = NOW, parser
        self.ledger = Ledger(limits or Limits(), lambda: self.now)
        self.exemplars = Exemplars(limits or Limits(), {}, lambda: self.now)
        self.port = ObservedLedger(self.ledger, FailureBuffer(lambda: self.now), self.exemplars, parser)

    def post(self, data: bytes) -> None:
        offset = next((position.offset for position in self.ledger.positions("s").values()), 0)
        window = Window(source="s", file="f", position=Position("/log", 1, 1, 1, offset), data=data)
        self.port.post(window, self.parser.parse(data))

    def render(self, content_type: str, texts: Texts | None = None) -> bytes:
        return render(
            self.ledger.snapshot(self.now),
            {},
            ScrapeOptions(content_type),
            texts=texts,
            exemplars=self.exemplars.by_metric(),
        )


def access(trace_id: str, milliseconds: float = 1500.0, status: int = 200) -> bytes:
    return (
        f"2026-11-23 08:53:08.123 INFO [Dummy-1] [ext_request_logging.py:73] {trace_id} - "
        f"POST /v1/chat-messages {status} {milliseconds} \n"
    ).encode()


def of_open_metrics(text: str) -> dict[str, tuple[str, float, float]]:
    """The exemplar of each sample, by the sample's name and `le`."""
    return {
        f"{sample.name} {sample.labels.get('le', '')}".strip(): (
            sample.exemplar.labels["trace_id"],
            sample.exemplar.value,
            float(sample.exemplar.timestamp),
        )
        for family in open_metrics_families(text)
        for sample in family.samples
        if sample.exemplar
    }


def test_the_bucket_of_a_duration_has_the_trace_id_and_the_time_of_its_line() -> None:
    reader = Reader(Dify())
    reader.post(access(TRACE(1), 20.0) + access(TRACE(2)))
    at = 1_795_423_988.123
    expected = (TRACE(2), 1.5, at)
    assert of_open_metrics(reader.render(OPEN_METRICS).decode()) == {
        "dify_handler_duration_seconds_bucket 2.0": expected
    }
    [histogram] = [
        family.metric[0].histogram
        for family in families(reader.render(PROTOBUF))
        if family.name == c.HANDLER_DURATION.name
    ]
    [bucket] = [bucket for bucket in histogram.bucket if bucket.HasField("exemplar")]
    assert (bucket.upper_bound, bucket.cumulative_count) == (2.0, 2)
    for exemplar in (bucket.exemplar, *histogram.exemplars):
        assert [(pair.name, pair.value) for pair in exemplar.label] == [("trace_id", TRACE(2))]
        found = exemplar.timestamp
        assert (exemplar.value, found.seconds, found.nanos) == (1.5, 1_795_423_988, 123_000_000)
    assert len(histogram.exemplars) == 1
    assert TRACE(2).encode() not in reader.render(TEXT)


def test_a_duration_above_all_bounds_and_the_newest_of_a_bucket() -> None:
    reader, texts = Reader(Dify()), Texts()
    for number, milliseconds in enumerate((400_000.0, 500_000.0, 3.0)):
        reader.post(access(TRACE(number), milliseconds))
        reader.render(OPEN_METRICS, texts), reader.render(PROTOBUF, texts)
        reader.now += 2
    found = of_open_metrics(reader.render(OPEN_METRICS, texts).decode())
    assert {name: trace_id for name, (trace_id, _, _) in found.items()} == {
        "dify_handler_duration_seconds_bucket +Inf": TRACE(1),
        "dify_handler_duration_seconds_bucket 0.01": TRACE(2),
    }
    [family] = [each for each in families(reader.render(PROTOBUF, texts)) if each.name == c.HANDLER_DURATION.name]
    [first, *_, last] = family.metric[0].histogram.bucket
    assert (last.upper_bound, last.cumulative_count) == (float("inf"), 3)
    assert (first.exemplar.label[0].value, last.exemplar.label[0].value) == (TRACE(2), TRACE(1))


def test_a_failure_is_found_among_other_lines() -> None:
    reader = Reader(Dify())
    reader.post(access(TRACE(1)) * 50 + access(TRACE(2), status=502) + access(TRACE(3)) * 50)
    found = of_open_metrics(reader.render(OPEN_METRICS).decode())
    assert found["dify_failed_requests_total"][0] == TRACE(2)
    [family] = [each for each in families(reader.render(PROTOBUF)) if each.name == c.FAILED_REQUESTS.name]
    [counter] = [metric.counter for metric in family.metric if metric.counter.HasField("exemplar")]
    assert (counter.value, counter.exemplar.label[0].value, counter.created_timestamp.seconds) == (1, TRACE(2), NOW)


@pytest.mark.parametrize("sample", ["dify-api-text.log", "dify-api-json.log", "dify-proxy.log", "docker-api.log"])
def test_each_log_with_trace_ids_gives_exemplars(sample: str) -> None:
    reader = Reader(Docker(parser=Dify()) if sample.startswith("docker") else Dify())
    lines = (ROOT / "samples" / sample).read_bytes().splitlines(keepends=True)
    for line in lines:
        reader.post(line)
        reader.now += 2
    found = reader.exemplars.by_metric()
    log = b"".join(lines).decode()
    traces = {each.trace_id for series in found.values() for buckets in series.values() for each in buckets.values()}
    assert traces
    assert all(trace in log for trace in traces)
    assert found.keys() & {c.HANDLER_DURATION, c.REQUEST_DURATION}
    assert of_open_metrics(reader.render(OPEN_METRICS).decode())


def test_at_most_one_line_per_second_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(Dify())
    parse: Callable[..., Batch] = Dify.parse
    parsed: list[bytes] = []

    def counting(self: Dify, window: bytes, final: bool = False) -> Batch:
        parsed.append(window) if final else None
        return parse(self, window, final)

    monkeypatch.setattr(Dify, "parse", counting)
    for number in range(100):
        reader.post(access(TRACE(number)) * 20)
        reader.now += 0.1
    assert 5 <= len(parsed) <= 10


def test_a_clock_that_is_set_back_stops_no_exemplars() -> None:
    reader = Reader(Dify())
    for number in range(2):
        reader.post(access(TRACE(number)))
        reader.now -= 3600
    assert TRACE(1) in reader.render(OPEN_METRICS).decode()


def test_the_store_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.metrics.exemplars._MAX_EXEMPLARS", 10)
    reader = Reader(Dify())
    for number in range(40):
        reader.post(access(TRACE(number), 1.5**number))
        reader.now += 2
    found = reader.exemplars.by_metric()[c.HANDLER_DURATION]
    assert sum(map(len, found.values())) <= 10
    assert TRACE(39) in {each.trace_id for buckets in found.values() for each in buckets.values()}


def test_a_line_without_trace_id_gives_none() -> None:
    reader = Reader(Dify())
    reader.post(access(""))
    assert reader.exemplars.by_metric() == {}
