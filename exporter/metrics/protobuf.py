"""Prints a snapshot as PrometheusProto: delimited `io.prometheus.client.MetricFamily` messages, encoded by hand.

The messages and the numbers of their fields are those of metrics.proto in github.com/prometheus/client_model. Only this
format has native histograms; it also contains their classic buckets. The protobuf library would take several times as
long, so only the tests use it: they decode this output.
"""

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from math import inf
from struct import pack
from typing import TYPE_CHECKING

from exporter import catalogue as c
from exporter.ledger.exponential import SCHEMA, ZERO_INDEX
from exporter.ledger.histogram import Histogram, layout
from exporter.ledger.series import Labels
from exporter.ledger.snapshot import Snapshot
from exporter.metrics.exemplars import BySeries, Exemplar
from exporter.metrics.gauges import Gauges, of_process, selected
from exporter.metrics.varints import columns, differences, size, varint
from parsers.values.numbers import SECOND

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

#: MetricType, and the field of Metric that holds a value of this type.
_TYPES = {"counter": (0, 3), "gauge": (1, 2), "unknown": (3, 5), "histogram": (4, 7)}

#: Durations below this number of seconds are zero. It is the threshold that Prometheus' client libraries use.
_ZERO_THRESHOLD = 2.0**-128

#: So many empty buckets in a row are left out.
_LONG_RUN = 15


class _Parts(dict[Labels, tuple[bytes, bytes]]):
    """What is constant of each series of one metric: the bytes before and behind its value.

    In a histogram, they are the labels and the time at which the series began. `histograms` has each histogram as it
    was encoded last. Most do not change from scrape to scrape.
    """

    def __init__(self, metric: c.Metric) -> None:
        super().__init__()
        self.metric = metric
        self.histograms: dict[Labels, tuple[Histogram, bytes]] = {}

    def add(self, labels: Labels, created: float | None) -> tuple[bytes, bytes]:
        """Encode the labels of a series and the time at which it began, in seconds since the epoch."""
        kind, before = self.metric.kind, _pairs(sorted(zip(self.metric.labels, labels, strict=True)))
        behind = b"" if created is None else _timestamp(b"\x7a" if kind == "histogram" else b"\x1a", created)
        if kind != "histogram":
            before = _metric(before, kind, b"\x09" + bytes(8) + behind)[: -8 - len(behind)]
        self[labels] = before, behind
        return before, behind


class Cache(dict[c.Metric, _Parts]):
    """The encoded labels of all series. It is bounded because the series are."""

    def __missing__(self, metric: c.Metric) -> _Parts:
        self[metric] = _Parts(metric)
        return self[metric]


def render(
    snapshot: Snapshot,
    gauges: Gauges,
    process: Iterable["Collector"],
    cache: Cache,
    names: Container[str],
    exemplars: Mapping[c.Metric, BySeries],
) -> bytes:
    """Encode all series as `exposition.render`. `names` is the same as in `selected`."""
    families = []
    for metric in selected(snapshot, gauges, names):
        created, parts, examples = snapshot.created.get(metric, {}), cache[metric], exemplars.get(metric, {})
        if metric in snapshot.histograms:
            series = _histograms(snapshot.histograms[metric], snapshot.bounds[metric], created, parts, examples)
        else:
            series = _numbers(snapshot.counters.get(metric) or gauges[metric], created, parts, examples)
        families.append(_family(metric.name, metric.help, metric.kind, series))
    for family in of_process(process, names):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        samples = (sample for sample in family.samples if sample.name == name)
        numbers = ((_pairs(sorted(sample.labels.items())), sample.value) for sample in samples)
        series = (_metric(labels, family.type, b"\x09" + pack("<d", value)) for labels, value in numbers)
        families.append(_family(name, family.documentation, family.type, series))
    return b"".join(families)


def _family(name: str, help: str, kind: str, metrics: Iterable[bytes]) -> bytes:
    """A MetricFamily with its length before it."""
    head = _text(b"\x0a", name) + _text(b"\x12", help) + b"\x18" + varint(_TYPES[kind][0])
    body = b"".join((head, *metrics))
    return varint(len(body)) + body


def _metric(labels: bytes, kind: str, value: bytes) -> bytes:
    field = bytes((_TYPES[kind][1] << 3 | 2,))
    length = varint(len(value))
    return b"".join((b"\x22", varint(len(labels) + 1 + len(length) + len(value)), labels, field, length, value))


def _numbers(
    values: Mapping[Labels, int | float | Decimal], created: Mapping[Labels, float], parts: _Parts, exemplars: BySeries
) -> Iterator[bytes]:
    """The metrics of a counter or gauge. Only counters have exemplars."""
    for labels, value in values.items():
        if labels in exemplars:
            pairs = _pairs(sorted(zip(parts.metric.labels, labels, strict=True)))
            fields = _exemplar(b"\x12", exemplars[labels][0]) + _timestamp(b"\x1a", created[labels])
            yield _metric(pairs, "counter", b"\x09" + pack("<d", value) + fields)
            continue
        before, behind = parts.get(labels) or parts.add(labels, created.get(labels))
        yield before + pack("<d", value) + behind


def _histograms(
    values: Mapping[Labels, Histogram],
    bounds: tuple[float, ...],
    created: Mapping[Labels, float],
    parts: _Parts,
    exemplars: BySeries,
) -> Iterator[bytes]:
    cells = layout(bounds)
    for labels, histogram in values.items():
        printed, encoded = parts.histograms.get(labels, (None, b""))
        examples = exemplars.get(labels)
        if printed is not histogram or examples:
            before, behind = parts.get(labels) or parts.add(labels, created[labels])
            *buckets, count = cells.cumulative(histogram)
            classic = _classic(buckets, count, bounds)
            if examples:
                classic = b"".join(_with_exemplars(classic, len(bounds), count, examples))
            native = _native(histogram.zeros, *cells.exponential(histogram), count)
            head = b"\x08" + varint(count) + b"\x11" + pack("<d", histogram.total / SECOND)
            encoded = _metric(before, "histogram", b"".join((head, classic, native, behind)))
            if not examples:
                parts.histograms[labels] = histogram, encoded
        yield encoded


def _classic(buckets: Sequence[int], count: int, bounds: tuple[float, ...]) -> bytes:
    """The classic buckets: their cumulative counts, which are at most `count`, and their bounds."""
    length = size(count)
    encoded, step = bytearray(_empty_buckets(bounds, length)), _BUCKET + length
    for place, column in enumerate(columns(buckets, length), 3):
        encoded[place::step] = column
    return bytes(encoded)


#: The length of a Bucket with its tag, without that of its cumulative count.
_BUCKET = 12


@lru_cache(maxsize=64)
def _empty_buckets(bounds: tuple[float, ...], length: int) -> bytes:
    """Buckets with room for cumulative counts of `length` bytes."""
    head = b"\x1a" + varint(_BUCKET + length - 2) + b"\x08"
    return b"".join(head + bytes(length) + b"\x11" + pack("<d", bound) for bound in bounds)


def _with_exemplars(buckets: bytes, bounds: int, count: int, exemplars: Mapping[int, Exemplar]) -> Iterator[bytes]:
    """The classic buckets of so many bounds with their exemplars, and the exemplars of the native histogram.

    The bucket above all bounds is written only if it has an exemplar.
    """
    step = len(buckets) // max(1, bounds)
    bodies = {number: buckets[number * step + 2 : (number + 1) * step] for number in range(bounds)}
    if bounds in exemplars:
        bodies[bounds] = b"\x08" + varint(count) + b"\x11" + pack("<d", inf)
    for number, body in bodies.items():
        whole = body + _exemplar(b"\x1a", exemplars[number]) if number in exemplars else body
        yield b"\x1a" + varint(len(whole)) + whole
    for exemplar in exemplars.values():
        yield _exemplar(b"\x82\x01", exemplar)


def _exemplar(tag: bytes, exemplar: Exemplar) -> bytes:
    pairs = _pairs([("trace_id", exemplar.trace_id)])
    body = pairs + b"\x11" + pack("<d", exemplar.value) + _timestamp(b"\x1a", exemplar.at)
    return tag + varint(len(body)) + body


_NATIVE = b"\x28" + varint(2 * SCHEMA) + b"\x31" + pack("<d", _ZERO_THRESHOLD) + b"\x38"


def _native(zeros: int, first: int, counts: list[int], count: int) -> bytes:
    """The fields of a native histogram: schema, zero bucket, spans, and differences from bucket to bucket.

    `first` is the exponential bucket of the first of the `counts`, `count` the number of all durations. Of many empty
    buckets in a row only the first is written: the differences to the ones behind it are zeros and can be left out.
    """
    head = _NATIVE + varint(zeros)
    if not counts:
        return head
    packed, spans = differences(counts, count), b""
    offset, length = first + ZERO_INDEX, len(packed) // len(counts)
    no_difference = b"\x80" * (length - 1) + b"\0"
    if no_difference * _LONG_RUN in packed:
        begin, kept = 0, b""
        for run in re.finditer(b"(?:%b){%d,}" % (re.escape(no_difference), _LONG_RUN), packed):
            if not counts[run.start() // length]:
                spans += _span(offset, (run.start() - begin) // length)
                kept += packed[begin : run.start()]
                offset, begin = (run.end() - run.start()) // length, run.end()
        packed, rest = kept + packed[begin:], (len(packed) - begin) // length
    else:
        rest = len(counts)
    return b"".join((head, spans, _span(offset, rest), b"\x6a", varint(len(packed)), packed))


def _span(offset: int, length: int) -> bytes:
    body = b"\x08" + varint(2 * offset if offset >= 0 else -2 * offset - 1) + b"\x10" + varint(length)
    return b"\x62" + varint(len(body)) + body


def _timestamp(tag: bytes, at: float) -> bytes:
    """A google.protobuf.Timestamp as a field, from seconds since the epoch."""
    seconds, microseconds = divmod(round(at * 1_000_000), 1_000_000)  # a float has no more digits
    body = b"\x08" + varint(seconds) + b"\x10" + varint(1000 * microseconds)
    return tag + varint(len(body)) + body


def _pairs(labels: Iterable[tuple[str, str]]) -> bytes:
    bodies = (_text(b"\x0a", name) + _text(b"\x12", value) for name, value in labels)
    return b"".join(b"\x0a" + varint(len(body)) + body for body in bodies)


def _text(tag: bytes, text: str) -> bytes:
    body = text.encode()
    return tag + varint(len(body)) + body
