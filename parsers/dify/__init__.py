"""Parse the logs of Dify's api and worker: text lines of all versions, JSON lines, and lines of our proxy, in any mix.

A record consists of its first line. A line that begins no record (of a traceback, a body, a print) is ignored, so no
record has to wait for the lines behind it.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

from parsers import batch as b
from parsers import gunicorn
from parsers.access.routes import table
from parsers.advice import Advice, record_types
from parsers.blocks import BlockResult, parse_blocks
from parsers.dify import advice, error_body, failures, receiver, structured, text
from parsers.dify.events import EVENTS
from parsers.dify.message import MessageReader
from parsers.dify.receiver import RECEIVED
from parsers.dify.records import RecordReader
from parsers.dify.requests import DifyAccessReader
from parsers.lines import Outcome
from parsers.parser import Parser
from parsers.values.http import FAILURES
from parsers.values.times import zone


class Dify(Parser, frozen=True):
    """Parses Dify's logs.

    `timezone` is the zone of text lines (LOG_TZ); JSON lines have their own. `routes` are templates of paths, in
    addition to Dify's own.
    """

    services: ClassVar[tuple[str, ...]] = ("api", "api_websocket", "worker", "worker_beat", "beat")

    timezone: str = "UTC"
    routes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _ = self._zone, self._block_readers

    @cached_property
    def _zone(self) -> Any:
        return zone(self.timezone)

    @cached_property
    def _reader(self) -> MessageReader:
        return MessageReader(table(self.routes))

    @cached_property
    def _block_readers(self) -> tuple[Callable[[bytes], BlockResult], ...]:
        access, records = DifyAccessReader(table(self.routes), self.timezone), RecordReader(self._reader, self._zone)
        events = EVENTS.read, RECEIVED.read, self._reader.proxy.read
        return *events, access.json, access.text, records.json, records.text

    def parse(self, window: bytes, final: bool = False) -> b.Batch:
        return parse_blocks(window, final, self._block_readers, self._line)

    def _line(self, line: bytes) -> Outcome:
        if line.startswith(b"{"):
            return structured.read(line, self._reader)
        return text.read(line, self._zone, self._reader)

    def matched_length(self, line: bytes) -> int:
        return structured.matched_length(line) if line.startswith(b"{") else text.matched_length(line)

    def ignores_continuations(self) -> bool:
        return True

    def error_kinds(self, sample: b.Batch) -> frozenset[str]:
        """Proxy and receiver write no error records: their lines only contain causes of failed requests and runs."""
        types = record_types(sample.records)
        if b.ReceivedItems in types:
            return receiver.KINDS
        is_of_proxy = b.Active in types and types <= _PROXY_RECORDS
        return error_body.KINDS if is_of_proxy else failures.KINDS | gunicorn.KINDS

    def failure_reasons(self, sample: b.Batch) -> frozenset[str]:
        """Access lines have a status and, by their trace id, later errors. The proxy reads the responses as well."""
        types = record_types(sample.records)
        if b.ReceivedItems in types:
            return frozenset()
        if b.Active in types:
            return frozenset(b.FAILURE_REASONS)
        return FAILURES | {"stream_error", "run_failed"} if b.Accepted in types else FAILURES

    def advice(self, sample: b.Batch, log: bytes = b"") -> tuple[Advice, ...]:
        return advice.on(log, sample.records)


#: The types of records in the lines of our proxy.
_PROXY_RECORDS = {
    b.Active, b.DroppedLines, b.DroppedValue, b.Failure, b.Request, b.Usage, b.UsageMissing, b.FirstToken,
}  # fmt: skip
