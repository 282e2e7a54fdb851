"""Advice for operators: what a log of Dify, of our proxy or of our receiver does not contain, and where to get it."""

import re
from collections.abc import Collection

from parsers import batch as b
from parsers.advice import Advice, record_types

_TOKENS = frozenset({b.Usage, b.UsageMissing})
_WORK = frozenset({b.Run, b.Opened, b.Closed, b.Task, b.TaskReceived})

#: A record of Celery's scheduler (celery/beat.py): in text, in JSON, and before worker_hijack_root_logger=False.
_BEAT = re.compile(
    rb'\[beat\.py:\d+\]|caller\\?": ?\\?"beat\.py:|: [A-Z]+/[^\]\n]{1,64}\] (?:beat: |Scheduler: Sending due task )'
)
#: A record of Celery's worker (celery/worker, celery/app/trace.py), in the same three forms.
_WORKER = re.compile(
    rb'(?:\[|caller\\?": ?\\?")(?:strategy|trace|mingle|pidbox|gossip)\.py:\d'
    rb"|: [A-Z]+/(?:MainProcess|ForkPoolWorker-\d+)\]"
)

_OF_BEAT = Advice("everything but errors: this is the log of Celery beat, which only sends tasks to the worker")

_OF_RECEIVER = Advice(
    "no tokens: nothing that was received has any; switch on tracing for each app in Dify, or set ENABLE_OTEL=true "
    "and OTEL_SAMPLING_RATE=1.0 there and [receive] native = true here",
    _TOKENS,
)

_IDLE_PROXY = Advice("no requests: none has reached the proxy; send /v1 to it, see docs/proxy.md")
_OF_PROXY = Advice("no tokens: no response through the proxy reported any; see docs/proxy.md", _TOKENS)

_NO_REQUESTS = Advice(
    "no requests: set ENABLE_REQUEST_LOGGING=true in the api's environment (since Dify 1.11; a worker has none)",
    frozenset({b.Request}),
)

_NO_TOKENS = Advice(
    "no tokens, no cost: community Dify logs none; dify-exporter receive gets them from Dify's tracing, our proxy from "
    "its responses, and the enterprise telemetry logs them with LOG_OUTPUT_FORMAT=json in the worker's environment",
    _TOKENS,
)

_NO_RUNS = Advice(
    "no runs and no Celery tasks: only a worker logs them, with LOG_LEVEL=INFO, and streaming workflows since Dify "
    "1.13",
    _WORK,
)


def on(log: bytes, records: Collection[b.Record]) -> tuple[Advice, ...]:
    """Return the advice on a log with these records. `log` is a part of its text; b"" if that is not known."""
    types = record_types(records)
    if types <= {b.Failure} and _BEAT.search(log):
        return (_OF_BEAT,)
    if any(isinstance(record, b.ReceivedItems) for record in records):  # a heartbeat has one of count 0
        return () if b.Usage in types else (_OF_RECEIVER,)
    if b.Active in types:
        if b.Request not in types:
            return (_IDLE_PROXY,)
        return () if types & _TOKENS else (_OF_PROXY,)
    found = () if types & _TOKENS else (_NO_TOKENS,)
    if types & _WORK or _WORKER.search(log):
        return found
    if b.Request in types:
        return (*found, _NO_RUNS)
    return (_NO_REQUESTS, *found, _NO_RUNS)
