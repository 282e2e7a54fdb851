"""Decodes PrometheusProto with the protobuf library. The fields are those of client_model's metrics.proto."""

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.internal.decoder import _DecodeVarint32

#: Each message with its fields: name, number, type, and whether it repeats.
_MESSAGES = {
    "LabelPair": "name 1 string, value 2 string",
    "Gauge": "value 1 double",
    "Untyped": "value 1 double",
    "Counter": "value 1 double, exemplar 2 Exemplar, created_timestamp 3 Timestamp",
    "Histogram": "sample_count 1 uint64, sample_sum 2 double, bucket 3 Bucket*, sample_count_float 4 double, "
    "schema 5 sint32, zero_threshold 6 double, zero_count 7 uint64, zero_count_float 8 double, "
    "negative_span 9 BucketSpan*, negative_delta 10 sint64*, negative_count 11 double*, "
    "positive_span 12 BucketSpan*, positive_delta 13 sint64*, positive_count 14 double*, "
    "created_timestamp 15 Timestamp, exemplars 16 Exemplar*",
    "Bucket": "cumulative_count 1 uint64, upper_bound 2 double, exemplar 3 Exemplar, cumulative_count_float 4 double",
    "BucketSpan": "offset 1 sint32, length 2 uint32",
    "Exemplar": "label 1 LabelPair*, value 2 double, timestamp 3 Timestamp",
    "Metric": "label 1 LabelPair*, gauge 2 Gauge, counter 3 Counter, untyped 5 Untyped, timestamp_ms 6 int64, "
    "histogram 7 Histogram",
    "MetricFamily": "name 1 string, help 2 string, type 3 MetricType, metric 4 Metric*, unit 5 string",
}
_TYPES = ("COUNTER", "GAUGE", "SUMMARY", "UNTYPED", "HISTOGRAM", "GAUGE_HISTOGRAM")
_PACKAGE = "io.prometheus.client"


def _family() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package=_PACKAGE, syntax="proto2")
    file.dependency.append(timestamp_pb2.DESCRIPTOR.name)
    kinds = file.enum_type.add(name="MetricType")
    for number, name in enumerate(_TYPES):
        kinds.value.add(name=name, number=number)
    field_type = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for words in (field.split() for field in fields.split(", ")):
            kind = words[2].rstrip("*")
            field = message.field.add(name=words[0], number=int(words[1]))
            field.label = field_type.LABEL_REPEATED if words[2].endswith("*") else field_type.LABEL_OPTIONAL
            if kind == "Timestamp":
                field.type, field.type_name = field_type.TYPE_MESSAGE, ".google.protobuf.Timestamp"
            elif kind == "MetricType":
                field.type, field.type_name = field_type.TYPE_ENUM, f".{_PACKAGE}.{kind}"
            elif kind in _MESSAGES:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = getattr(field_type, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.MetricFamily"))


MetricFamily = _family()


def families(body: bytes) -> Iterator[Any]:
    """The delimited families of a response. A field that metrics.proto does not have is an error."""
    at = 0
    while at < len(body):
        size, at = _DecodeVarint32(body, at)
        family = MetricFamily.FromString(body[at : at + size])
        known = family.SerializeToString()
        family.DiscardUnknownFields()
        assert family.SerializeToString() == known
        yield family
        at += size


def native_buckets(histogram: Any) -> dict[int, int]:
    """The counts of a native histogram by Prometheus' index, without empty buckets."""
    counts: dict[int, int] = {}
    index, count, deltas = 0, 0, iter(histogram.positive_delta)
    for span in histogram.positive_span:
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            assert count >= 0
            if count:
                counts[index] = count
            index += 1
    assert next(deltas, None) is None
    return counts
