"""Prints a snapshot as PrometheusProto: delimited `io.prometheus.client.MetricFamily` messages, encoded by hand.

The messages and the numbers of their fields are those of metrics.proto in github.com/prometheus/client_model. Only this
format carries native histograms; their classic buckets stand beside them. The protobuf library takes several times as
long. The tests decode this output with it.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import accumulate
from struct import pack
from typing import TYPE_CHECKING

from exporter import catalogue as c
from exporter.ledger.exponential import SCHEMA, ZERO_INDEX
from exporter.ledger.histogram import Histogram, layout
from exporter.ledger.ledger import Snapshot
from exporter.ledger.series import Labels
from exporter.metrics.families import Gauges, of_process, selected
from parsers.values.numbers import SECOND

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

#: MetricType, and the field of Metric that holds a value of this type.
_TYPES = {"counter": (0, 3), "gauge": (1, 2), "unknown": (3, 5), "histogram": (4, 7)}

#: Durations below this number of seconds are zero. It is the threshold that Prometheus' client libraries use.
_ZERO_THRESHOLD = 2.0**-128

#: A longer row of empty buckets begins a new span; a shorter one is written as zeros, which takes fewer bytes.
_MAX_GAP = 2

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


_varint = _Encoded()


class LabelBytes(dict[Labels, bytes]):
    """The labels of one metric as fields of its Metric message, encoded once."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, labels: Labels) -> bytes:
        self[labels] = encoded = _pairs(sorted(zip(self._names, labels, strict=True)))
        return encoded


class Cache(dict[c.Metric, LabelBytes]):
    """The encoded labels of all series. It is bounded because the series are."""

    def __missing__(self, metric: c.Metric) -> LabelBytes:
        self[metric] = LabelBytes(metric.labels)
        return self[metric]


def render(
    snapshot: Snapshot,
    gauges: Gauges,
    *,
    process: Iterable["Collector"] = (),
    cache: Cache | None = None,
    names: Container[str] = (),
) -> bytes:
    """Encode all series, followed by those of the `process` collectors. `names` is the same as in `selected`.

    `cache` is kept by the caller between calls.
    """
    cache = Cache() if cache is None else cache
    families = []
    for metric in selected(snapshot, gauges, names):
        created, labels = snapshot.created.get(metric, {}), cache[metric]
        if metric in snapshot.histograms:
            series = _histograms(snapshot.histograms[metric], snapshot.bounds[metric], created, labels)
        else:
            series = _numbers(snapshot.counters.get(metric) or gauges[metric], metric.kind, created, labels)
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
    values: Mapping[Labels, int | float | Decimal], kind: str, created: Mapping[Labels, float], texts: LabelBytes
) -> Iterator[bytes]:
    """The metrics of a counter or gauge. A counter has the time at which its series began."""
    for labels, value in values.items():
        began = _timestamp(b"\x1a", created[labels]) if labels in created else b""
        yield _metric(texts[labels], kind, b"\x09" + pack("<d", value) + began)


def _histograms(
    values: Mapping[Labels, Histogram], bounds: tuple[float, ...], created: Mapping[Labels, float], texts: LabelBytes
) -> Iterator[bytes]:
    cells = layout(bounds)
    tails = [b"\x11" + pack("<d", bound) for bound in bounds]
    for labels, histogram in values.items():
        *buckets, count = accumulate(cells.classic(histogram))
        parts = [b"\x08", _varint[count], b"\x11", pack("<d", histogram.total / SECOND)]
        for bucket, tail in zip(buckets, tails, strict=True):
            number = _varint[bucket]
            parts += b"\x1a", _varint[10 + len(number)], b"\x08", number, tail
        parts += _native(sorted(cells.exponential(histogram).items()))
        parts.append(_timestamp(b"\x7a", created[labels]))
        yield _metric(texts[labels], "histogram", b"".join(parts))


_NATIVE = b"\x28" + _varint[2 * SCHEMA] + b"\x31" + pack("<d", _ZERO_THRESHOLD)


def _native(buckets: list[tuple[int, int]]) -> Iterator[bytes]:
    """The fields of a native histogram: schema, zero bucket, spans, and differences from bucket to bucket."""
    yield _NATIVE
    if buckets[0][0] == 0:
        yield b"\x38" + _varint[buckets.pop(0)[1]]
    deltas, before, following, length = list[bytes](), 0, -ZERO_INDEX, 0
    offset = 0
    for number, count in buckets:
        gap = number - following
        if length and 0 <= gap <= _MAX_GAP:
            for _ in range(gap):
                deltas.append(_varint[_zigzag(-before)])
                before = 0
            length += gap + 1
        else:
            if length:
                yield _span(offset, length)
            offset, length = gap, 1
        deltas.append(_varint[_zigzag(count - before)])
        before, following = count, number + 1
    if length:
        yield _span(offset, length)
        packed = b"".join(deltas)
        yield b"\x6a" + _varint[len(packed)] + packed


def _span(offset: int, length: int) -> bytes:
    body = b"\x08" + _varint[_zigzag(offset)] + b"\x10" + _varint[length]
    return b"\x62" + _varint[len(body)] + body


def _zigzag(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1


def _timestamp(tag: bytes, at: float) -> bytes:
    """A google.protobuf.Timestamp as a field, from seconds since the epoch."""
    seconds, nanoseconds = divmod(round(at * SECOND), SECOND)
    body = b"\x08" + _varint[seconds] + b"\x10" + _varint[nanoseconds]
    return tag + _varint[len(body)] + body


def _pairs(labels: Iterable[tuple[str, str]]) -> bytes:
    """Label pairs as fields of a Metric."""
    bodies = (_text(b"\x0a", name) + _text(b"\x12", value) for name, value in labels)
    return b"".join(b"\x0a" + _varint[len(body)] + body for body in bodies)


def _text(tag: bytes, text: str) -> bytes:
    body = text.encode()
    return tag + _varint[len(body)] + body
