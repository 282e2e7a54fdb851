"""Parse the file of an OpenTelemetry Collector (exporter `file`, `format: json`): one OTLP message per line.

The spans are read as our receiver reads them (`parsers.tracing`). Unlike the receiver, a parser remembers nothing
between lines. A fact that comes twice in one line counts once; if it comes again in a later line, it counts again. So a
batch that Dify sent twice, and each attempt of a retried native node, counts twice as a node.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from parsers.advice import Advice
from parsers.batch import Batch, ReceivedItems, Record, Usage
from parsers.dify.receiver import KINDS, RECEIVED
from parsers.lines import Outcome, by_line
from parsers.parser import Parser
from parsers.tracing import Fact, Reading, TooManyItems, UnreadableBody, read_otlp
from parsers.values import json as lenient_json
from parsers.values.times import iso

#: What begins the lines of a collector's file: traces, and what holds nothing of Dify's runs.
_TRACES = b'{"resourceSpans"'
_OTHERS = (b'{"resourceMetrics"', b'{"resourceLogs"', b'{"resourceProfiles"', b"{}")

_BINARY = "this is no text: set `format: json` and no `compression` in the collector's file exporter"
_NATIVE = (
    "the spans of ENABLE_OTEL are not read: set native = true for this source, and OTEL_SAMPLING_RATE=1.0 in Dify "
    "(its default sends a tenth)"
)
_NO_TOKENS = "no tokens: switch on tracing for each app in Dify, and let the collector receive it (docs/receiver.md)"


class _Line(Struct, frozen=True, gc=False):
    ts: str
    attributes: msgspec.Raw


_decode = msgspec.json.Decoder(_Line).decode


class Otlp(Parser, frozen=True):
    """Parses the traces in a collector's file. With `native` also the spans of ENABLE_OTEL."""

    native: bool = False

    guesses: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"native": True})

    def parse(self, window: bytes, final: bool = False) -> Batch:
        return by_line(window, final, self._line)

    def _line(self, line: bytes) -> Outcome:
        if line.startswith(_OTHERS):
            return None
        if not line.startswith(_TRACES):
            return "format"
        try:
            reading = read_otlp(line, is_json=True, native=self.native)
        except TooManyItems:
            return "too_long"
        except UnreadableBody:
            return "json"
        return _records(reading)

    def matched_length(self, line: bytes) -> int:
        return lenient_json.matched_length(line) if line.startswith(_TRACES) else 0

    def remedy(self, line: bytes) -> str:
        is_text = b"\0" not in line and line.isascii()
        return "" if is_text or line.startswith(_TRACES) else _BINARY

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        return KINDS

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        return frozenset()

    def advice(self, sample: Batch, log: bytes = b"") -> tuple[Advice, ...]:
        items = [record for record in sample.records if isinstance(record, ReceivedItems)]
        has_native = any(item.dialect == "native" for item in items) and not self.native
        has_tokens = any(isinstance(record, Usage) for record in sample.records) or self.native
        if has_native:
            return (Advice(_NATIVE),)
        return () if has_tokens else (Advice(_NO_TOKENS, frozenset({Usage})),)


def _records(reading: Reading) -> tuple[list[Record], int | None]:
    """Return the records of one message, and its newest time."""
    found, newest, outcomes = list[Record](), None, Counter[tuple[str, str]]()
    known: set[str] = set()
    for fact in reading.facts:
        written = next((each for each in _parts(fact) if each.key not in known), None)
        outcomes[fact.dialect, "duplicate" if written is None else "written"] += 1
        if written is None:
            continue
        known.update(each.key for each in _parts(written))
        line = _decode(written.line)
        at = iso(line.ts.encode(), UTC)
        found += RECEIVED.records(line.attributes, at) or ()
        newest = at if newest is None else max(newest, at or 0)
    for outcome, counts in (("ignored", reading.ignored), ("rejected", reading.rejected)):
        outcomes.update({(dialect, outcome): count for dialect, count in counts.items()})
    found += [ReceivedItems(*labels, count) for labels, count in outcomes.items()]
    return found, newest


def _parts(fact: Fact) -> Iterator[Fact]:
    """Return the fact, and what is written instead of it if it is known."""
    yield fact
    if fact.rest is not None:
        yield fact.rest
