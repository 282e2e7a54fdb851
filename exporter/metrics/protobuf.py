"""Prints a snapshot as PrometheusProto: delimited `io.prometheus.client.MetricFamily` messages, encoded by hand.

The messages and the numbers of their fields are those of metrics.proto in github.com/prometheus/client_model. Only this
format carries native histograms; their classic buckets stand beside them. The protobuf library takes several times as
long. The tests decode this output with it.
"""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from decimal import Decimal
from math import inf
from operator import add, sub
from struct import pack
from typing import TYPE_CHECKING

from exporter import catalogue as c
from exporter.ledger.exponential import SCHEMA, ZERO_INDEX
from exporter.ledger.histogram import Histogram, layout
from exporter.ledger.series import Labels
from exporter.ledger.snapshot import Snapshot
from exporter.metrics.exemplars import NONE, BySeries, Exemplar
from exporter.metrics.families import Gauges, of_process, selected
from parsers.values.numbers import SECOND

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

#: MetricType, and the field of Metric that holds a value of this type.
_TYPES = {"counter": (0, 3), "gauge": (1, 2), "unknown": (3, 5), "histogram": (4, 7)}

#: Durations below this number of seconds are zero. It is the threshold that Prometheus' client libraries use.
_ZERO_THRESHOLD = 2.0**-128

#: The differences between so many empty buckets that they end a span. Fewer are written as zeros.
_LONG_GAP = bytes(15)

#: How many numbers are remembered in their encoded form.
_REMEMBERED = 1 << 14


class _Encoded(dict[int, bytes]):
    """A bounded cache of numbers as varints."""

    def __missing__(self, number: int) -> bytes:
        encoded, rest = bytearray(), number
        while rest > 0x7F:
            encoded.append(rest & 0x7F | 0x80)
            rest >>= 7
        encoded.append(rest)
        result = bytes(encoded)
        if len(self) < _REMEMBERED:
            self[number] = result
        return result


class _Signed(dict[int, bytes]):
    """A bounded cache of signed numbers as varints of their zigzag form."""

    def __missing__(self, number: int) -> bytes:
        result = _varint[2 * number if number >= 0 else -2 * number - 1]
        if len(self) < _REMEMBERED:
            self[number] = result
        return result


_varint = _Encoded()
_signed = _Signed()


class _Buckets(dict[int, bytes]):
    """A bounded cache of the beginning of a Bucket with a cumulative count. Its bound follows."""

    def __missing__(self, count: int) -> bytes:
        number = _varint[count]
        result = b"\x1a" + _varint[10 + len(number)] + b"\x08" + number
        if len(self) < _REMEMBERED:
            self[count] = result
        return result


_bucket = _Buckets()


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
    *,
    process: Iterable["Collector"] = (),
    cache: Cache | None = None,
    names: Container[str] = (),
    exemplars: Mapping[c.Metric, BySeries] = NONE,
) -> bytes:
    """Encode all series, followed by those of the `process` collectors. `names` is the same as in `selected`.

    `cache` is kept by the caller between calls.
    """
    cache = Cache() if cache is None else cache
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
    head = _text(b"\x0a", name) + _text(b"\x12", help) + b"\x18" + _varint[_TYPES[kind][0]]
    body = b"".join((head, *metrics))
    return _varint[len(body)] + body


def _metric(labels: bytes, kind: str, value: bytes) -> bytes:
    """A Metric as a field of its family."""
    field = bytes((_TYPES[kind][1] << 3 | 2,))
    size = _varint[len(value)]
    return b"".join((b"\x22", _varint[len(labels) + 1 + len(size) + len(value)], labels, field, size, value))


def _numbers(
    values: Mapping[Labels, int | float | Decimal],
    created: Mapping[Labels, float],
    parts: _Parts,
    exemplars: BySeries,
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
    tails = [b"\x11" + pack("<d", bound) for bound in bounds]
    for labels, histogram in values.items():
        printed, encoded = parts.histograms.get(labels, (None, b""))
        examples = exemplars.get(labels)
        if printed is not histogram or examples:
            before, behind = parts.get(labels) or parts.add(labels, created[labels])
            *buckets, count = cells.cumulative(histogram)
            fields = [b"\x08", _varint[count], b"\x11", pack("<d", histogram.total / SECOND)]
            fields += map(add, map(_bucket.__getitem__, buckets), tails)
            if examples:
                fields[4:] = _with_exemplars(fields[4:], count, examples)
            fields += _native(histogram.zeros, *cells.exponential(histogram))
            fields.append(behind)
            encoded = _metric(before, "histogram", b"".join(fields))
            if not examples:
                parts.histograms[labels] = histogram, encoded
        yield encoded


def _with_exemplars(buckets: list[bytes], count: int, exemplars: Mapping[int, Exemplar]) -> Iterator[bytes]:
    """The classic buckets with their exemplars, and the exemplars of the native histogram.

    The bucket above all bounds is written only if it has an exemplar.
    """
    bodies = dict(enumerate(bucket[2:] for bucket in buckets))
    if len(buckets) in exemplars:
        bodies[len(buckets)] = b"\x08" + _varint[count] + b"\x11" + pack("<d", inf)
    for number, body in bodies.items():
        whole = body + _exemplar(b"\x1a", exemplars[number]) if number in exemplars else body
        yield b"\x1a" + _varint[len(whole)] + whole
    for exemplar in exemplars.values():
        yield _exemplar(b"\x82\x01", exemplar)


def _exemplar(tag: bytes, exemplar: Exemplar) -> bytes:
    pairs = _pairs([("trace_id", exemplar.trace_id)])
    body = pairs + b"\x11" + pack("<d", exemplar.value) + _timestamp(b"\x1a", exemplar.at)
    return tag + _varint[len(body)] + body


_NATIVE = b"\x28" + _varint[2 * SCHEMA] + b"\x31" + pack("<d", _ZERO_THRESHOLD) + b"\x38"


def _native(zeros: int, first: int, counts: list[int]) -> Iterator[bytes]:
    """The fields of a native histogram: schema, zero bucket, spans, and differences from bucket to bucket."""
    yield _NATIVE + _varint[zeros]
    offset, packed = first + ZERO_INDEX, _deltas(counts)
    if _LONG_GAP not in packed:  # equal counts have zeros too, but no other number has
        if counts:
            yield _span(offset, len(counts))
    else:
        begin, kept = 0, list[int]()
        for gap in re.finditer(b"\0{%d,}" % (len(_LONG_GAP) + 1), bytes(map(bool, counts))):
            yield _span(offset, gap.start() - begin)
            kept += counts[begin : gap.start()]
            offset, begin = gap.end() - gap.start(), gap.end()
        yield _span(offset, len(counts) - begin)
        packed = _deltas(kept + counts[begin:])
    yield b"\x6a" + _varint[len(packed)] + packed


def _deltas(counts: list[int]) -> bytes:
    return b"".join(map(_signed.__getitem__, map(sub, counts, [0, *counts])))


def _span(offset: int, length: int) -> bytes:
    body = b"\x08" + _signed[offset] + b"\x10" + _varint[length]
    return b"\x62" + _varint[len(body)] + body


def _timestamp(tag: bytes, at: float) -> bytes:
    """A google.protobuf.Timestamp as a field, from seconds since the epoch."""
    seconds, microseconds = divmod(round(at * 1_000_000), 1_000_000)  # a float has no more digits
    body = b"\x08" + _varint[seconds] + b"\x10" + _varint[1000 * microseconds]
    return tag + _varint[len(body)] + body


def _pairs(labels: Iterable[tuple[str, str]]) -> bytes:
    """Label pairs as fields of a Metric."""
    bodies = (_text(b"\x0a", name) + _text(b"\x12", value) for name, value in labels)
    return b"".join(b"\x0a" + _varint[len(body)] + body for body in bodies)


def _text(tag: bytes, text: str) -> bytes:
    body = text.encode()
    return tag + _varint[len(body)] + body
