"""Dify's api and worker: text of every era, JSON lines, and our own proxy's lines, mixed as they come.

A record is its head line. A line that begins no record (a traceback, a body, a print) is ignored, so nothing
waits for what may follow.
"""

import re
from functools import cached_property
from typing import Any, ClassVar

from msgspec import structs

from parsers import gunicorn
from parsers.access.routes import table
from parsers.batch import (
    FAILURE_REASONS,
    Accepted,
    Active,
    Batch,
    Closed,
    DroppedLines,
    DroppedValue,
    Failure,
    FirstToken,
    Opened,
    Request,
    Run,
    Task,
    Usage,
    UsageMissing,
)
from parsers.dify import error_body, failures, structured, text
from parsers.dify.events import EVENTS
from parsers.dify.message import Reader
from parsers.dify.requests import Requests
from parsers.lines import Outcome, by_line
from parsers.parser import Parser
from parsers.values.http import FAILURES
from parsers.values.times import zone


class Dify(Parser, frozen=True):
    """`timezone` is that of text lines (LOG_TZ); JSON lines carry their own."""

    services: ClassVar[tuple[str, ...]] = ("api", "api_websocket", "worker", "worker_beat", "beat")

    timezone: str = "UTC"
    routes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _ = self._zone, self._reader, self._requests

    @cached_property
    def _zone(self) -> Any:
        return zone(self.timezone)

    @cached_property
    def _reader(self) -> Reader:
        return Reader(table(self.routes))

    @cached_property
    def _requests(self) -> Requests:
        return Requests(table(self.routes), self.timezone)

    def parse(self, window: bytes, final: bool = False) -> Batch:
        consumed = len(window) if final else window.rfind(b"\n") + 1
        taken, rest = [], window[:consumed]
        for read in (EVENTS.read, self._requests.json, self._requests.text):
            taken.append(found := read(rest))
            rest = found.rest
        others = by_line(rest, True, self._line)
        times = (others.last_at, *(found.newest for found in taken))
        return structs.replace(
            others,
            consumed=consumed,
            lines=others.lines + sum(found.lines for found in taken),
            last_at=max((at for at in times if at is not None), default=None),
            records=(*(record for found in taken for record in found.records), *others.records),
        )

    def _line(self, line: bytes) -> Outcome:
        if line.startswith(b"{"):
            return structured.read(line, self._reader)
        return text.read(line, self._zone, self._reader)

    def matched_length(self, line: bytes) -> int:
        return structured.matched_length(line) if line.startswith(b"{") else text.matched_length(line)

    def ignores_continuations(self) -> bool:
        return True

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        """The proxy writes no error records, only the cause of a failed request or run into its line."""
        found = {type(record) for record in sample.records}
        of_proxy = Active in found and found <= _OF_PROXY
        return error_body.KINDS if of_proxy else failures.KINDS | gunicorn.KINDS

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        """Access lines know the status and, by their trace id, later errors; the proxy has seen the answer too."""
        kinds = {type(record) for record in sample.records}
        if Active in kinds:
            return frozenset(FAILURE_REASONS)
        return FAILURES | {"stream_error", "run_failed"} if Accepted in kinds else FAILURES

    def advice(self, sample: Batch) -> tuple[str, ...]:
        told = {type(record) for record in sample.records}
        return tuple(sentence for kinds, sentence in _ADVICE if told.isdisjoint(kinds))

    def advice_on(self, log: bytes, sample: Batch) -> tuple[str, ...]:
        is_of_beat = all(isinstance(record, Failure) for record in sample.records) and _BEAT.search(log)
        return (_BEAT_ADVICE,) if is_of_beat else self.advice(sample)


#: A record of Celery's scheduler (celery/beat.py): in text, in JSON, and before worker_hijack_root_logger=False.
_BEAT = re.compile(
    rb'\[beat\.py:\d+\]|caller\\?": ?\\?"beat\.py:|: [A-Z]+/[^\]\n]{1,64}\] (?:beat: |Scheduler: Sending due task )'
)
_BEAT_ADVICE = "everything but errors: this is the log of Celery beat, which only sends tasks to the worker"

#: Kinds of records that our proxy's lines give.
_OF_PROXY = {Active, DroppedLines, DroppedValue, Failure, Request, Usage, UsageMissing, FirstToken}

_ADVICE = (
    (
        {Request},
        "no requests: set ENABLE_REQUEST_LOGGING=true in the api's environment (since Dify 1.11; a worker has none)",
    ),
    (
        {Usage, UsageMissing},
        "no tokens, no cost: community Dify logs none; the enterprise telemetry does with LOG_OUTPUT_FORMAT=json in "
        "the worker's environment, and so does our proxy",
    ),
    (
        {Run, Opened, Closed, Task},
        "no runs and no Celery tasks: those are in the worker's log, streaming workflows since Dify 1.13",
    ),
)
