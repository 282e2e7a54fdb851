"""Read OTLP/HTTP trace requests (opentelemetry-proto, docs/specification.md) in protobuf and JSON."""

from parsers.tracing import json_spans, native, openinference, wire
from parsers.tracing.reading import Ignored, Item, Reading, reading_of
from parsers.tracing.span import Span

#: The scopes of the libraries that ENABLE_OTEL instruments. None of their spans is Dify's own.
_NOISE = ("opentelemetry.instrumentation.", "dify.exception.logging")


def read_otlp(body: bytes, *, is_json: bool, native: bool) -> Reading:
    """Read an ExportTraceServiceRequest in protobuf or JSON. Without `native` the spans of ENABLE_OTEL are ignored.

    Raises UnreadableBody and TooManyItems.
    """
    scopes = list(json_spans.scopes(body) if is_json else wire.Message(body).scopes())
    noise = sum(scope.size for scope in scopes if scope.name.startswith(_NOISE))
    own = [scope for scope in scopes if not scope.name.startswith(_NOISE)]
    return reading_of((_item(span, native) for scope in own for span in scope.spans), noise)


def _item(span: Span, is_native_on: bool) -> Item:
    if native.is_of_dialect(span):
        return native.item(span) if is_native_on else Ignored(native.DIALECT)
    if "langfuse.observation.type" in span.attributes:  # of a later Langfuse client; Dify does not use it yet
        return Ignored("langfuse")
    return openinference.item(span) if openinference.is_of_dialect(span) else Ignored("none")
