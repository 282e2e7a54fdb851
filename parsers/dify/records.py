"""Read the records of a block at once, in text and in JSON: their heads by a few calls, their messages by caller.

Frequent messages of one caller are searched together. Any other record that may count is read alone, in the order of
the lines, because several runs can share a trace id. A line that is not exactly as expected is left to the reader of
single lines. A test checks that both ways give the same result.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from operator import itemgetter
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from parsers import blocks
from parsers.batch import Invocation, Record, Task, TaskReceived
from parsers.blocks import BlockResult, TimedLine, read_lines, read_rows, times_of_texts
from parsers.dify import proxy, receiver, runs
from parsers.dify.message import (
    HTTPX_CALLER,
    RUN_CALLER,
    TASK_CALLERS,
    MessageReader,
    RecordHead,
    httpx_calls,
    task_name,
)
from parsers.plugin_daemon import SERVICE as PLUGIN_DAEMON
from parsers.values.numbers import SECOND, many_nanoseconds
from parsers.values.patterns import lazy
from parsers.values.times import Minutes

#: A text that each of these lines contains.
_SIGN, _JSON_SIGN = b".py:", b'"caller"'
#: The time, the level and the thread if the level is not INFO, the caller, the trace id and the message; the last group
#: is any other line.
_LINE = (
    rb"(.{10} .{6}[0-5][0-9]\.[0-9]{3}) (?:INFO ++\[[^\]\n]*+\]"
    rb"|(DEBUG|WARNING|WARN|ERROR|CRITICAL) ++\[([^\]\n]*+)\]) "
    rb"\[([^\]:\n]++):[0-9]++\] ([0-9a-f]{8,32}+)? - (.*)$|^(.+)$"
)
_LINES = lazy(rb"^" + _LINE, re.MULTILINE)
#: The same for a block with colors: a line with an escape sequence is another line.
_COLORED = lazy(rb"^(?!.*\x1b)" + _LINE, re.MULTILINE)


class _Line(TimedLine, frozen=True, gc=False):
    severity: str
    caller: str
    message: str
    service: str = ""
    trace_id: Annotated[str, Meta(max_length=64)] = ""
    stack_trace: str = ""
    attributes: None = None


_decode = msgspec.json.Decoder(_Line).decode

#: Lines of these programs have another reader.
_FOREIGN = frozenset({PLUGIN_DAEMON, proxy.SERVICE, receiver.SERVICE})

#: Matches every message. The groups capture the name of a task and the seconds that it took; the second group is empty
#: for a task that the worker has only received.
_TASKS = lazy(
    rb"^Task ([\w.]{1,512}+)\[[^\]\s]{1,256}+\] (?:received|succeeded in ([0-9]{1,6}+(?:\.[0-9]++)?)s:.*)$|^.*$",
    re.MULTILINE,
)


class _Columns(NamedTuple):
    """The records of lines. A level is empty for INFO.

    `origin` takes the number of a record, and returns its trace id and its time; `more` its stack trace and its thread.
    """

    levels: Sequence[bytes]
    callers: Sequence[bytes]
    messages: Sequence[bytes]
    origin: Callable[[int], tuple[str, int | None]]
    more: Callable[[int], tuple[bytes, bytes]]

    def head(self, number: int) -> RecordHead:
        level, caller, message = self.levels[number], self.callers[number], self.messages[number]
        trace_id, at = self.origin(number)
        return RecordHead(level, caller, trace_id, message, at, *self.more(number))


#: Records, each with the number of its first message, and the numbers of the messages that must be read alone.
_Found = tuple[Sequence[tuple[int, Record]], Sequence[int]]


class RecordReader:
    """Reads the records of a block. It keeps the reader of single records and no other state."""

    def __init__(self, reader: MessageReader, local: tzinfo) -> None:
        self._reader, self._local = reader, local

    def text(self, block: bytes) -> BlockResult:
        """Read the records in text of a block of whole lines."""
        if _SIGN not in block or block.count(b"\n") < blocks.MANY:
            return BlockResult((), (), 0, block)
        pattern = _COLORED if b"\x1b" in block else _LINES
        rows, result = read_rows(block, pattern, lambda times: times_of_texts(times, self._local))
        if not rows:
            return result
        _, levels, _, callers, _, messages, _ = zip(*rows, strict=True)
        if b"\r\n" in block:
            messages = tuple([message.removesuffix(b"\r") for message in messages])

        minutes = Minutes(self._local)

        def origin(number: int) -> tuple[str, int | None]:
            row = rows[number]
            return row[4].decode(), minutes.at(row[0])

        columns = _Columns(levels, callers, messages, origin, lambda number: (b"", rows[number][2]))
        records = self._records(columns)
        return result._replace(records=records)

    def json(self, block: bytes) -> BlockResult:
        """Read the records in JSON of a block of whole lines."""
        records, minutes = list[Record](), Minutes(UTC)

        def take(lines: Sequence[_Line], _: int) -> Sequence[_Line]:
            text = "\n".join([line.message for line in lines])
            if "telemetry." in text or not _FOREIGN.isdisjoint({line.service for line in lines}):
                lines = [
                    line for line in lines if line.service not in _FOREIGN and not line.message.startswith("telemetry.")
                ]
                text = "\n".join([line.message for line in lines])
            messages = text.encode().split(b"\n")
            if len(messages) > len(lines):
                messages = [line.message.encode() for line in lines]
            levels = [b"" if line.severity == "INFO" else line.severity.encode() for line in lines]
            files = {caller: caller.partition(":")[0].encode() for caller in {line.caller for line in lines}}
            callers = [files[line.caller] for line in lines]

            def origin(number: int) -> tuple[str, int | None]:
                line = lines[number]
                return line.trace_id, minutes.at(line.ts.encode())

            columns = _Columns(
                levels, callers, messages, origin, lambda number: (lines[number].stack_trace.encode(), b"")
            )
            records.extend(self._records(columns))
            return lines

        return read_lines(block, _JSON_SIGN, _decode, take)._replace(records=records)

    def _records(self, columns: _Columns) -> Sequence[Record]:
        alone = [number for number, level in enumerate(columns.levels) if level]
        numbers, odd_levels = defaultdict[bytes, list[int]](list), set(alone)
        for number, caller in enumerate(columns.callers):
            if number not in odd_levels:
                numbers[caller].append(number)
        found = list[tuple[int, Sequence[Record]]]()
        for caller, members in numbers.items():
            if (read := _READERS.get(caller)) is not None:
                records, odd = read(members, columns)
                found += [(number, (record,)) for number, record in records]
                alone += odd
            elif self._reader.reads(caller):
                alone += members
        found += [(number, self._reader.records(columns.head(number))) for number in alone]
        found.sort(key=itemgetter(0))
        return [record for _, records in found for record in records]


def _tasks(numbers: Sequence[int], columns: _Columns) -> _Found:
    """Read the messages of Celery. The end of a task that executes a run also ends the run."""
    matches = _TASKS.findall(b"\n".join([columns.messages[number] for number in numbers]))
    if len(matches) > len(numbers):  # a newline inside a message
        return (), numbers
    received, ended = defaultdict[bytes, list[int]](list), defaultdict[bytes, list[int]](list)
    timed, texts = list[int](), list[bytes]()
    for number, (name, seconds) in zip(numbers, matches, strict=True):
        if seconds:
            ended[name].append(number)
            timed.append(number)
            texts.append(seconds)
        else:
            received[name].append(number)
    alone, durations = received.pop(b"", ()), dict(zip(timed, many_nanoseconds(texts, SECOND), strict=True))
    records = list[tuple[int, Record]]()
    for name, members in received.items():
        records.append((members[0], TaskReceived(task_name(name.decode()), len(members))))
    for name, members in ended.items():
        task, found = name.decode(), tuple([durations[number] for number in members])
        one, many = (found[0], ()) if len(found) == 1 else (None, found)
        records.append((members[0], Task(task_name(task), "succeeded", one, len(found), many)))
        if task.endswith(runs.RUN_TASK):
            for number, duration in zip(members, found, strict=True):
                trace_id, at = columns.origin(number)
                records += [(number, run) for run in runs.closed(trace_id, task, "succeeded", duration, at)]
    return records, alone


def _runs(numbers: Sequence[int], columns: _Columns) -> _Found:
    """Read the messages of the task that executes runs."""
    found = [(number, *columns.origin(number), columns.messages[number]) for number in numbers]
    return [(number, run) for number, trace_id, at, message in found for run in runs.opened(trace_id, message, at)], ()


def _calls(numbers: Sequence[int], columns: _Columns) -> _Found:
    """Read the messages of httpx. Few of them differ, and their records depend on nothing else."""
    calls = Counter[tuple[str, str]]()
    for message, count in Counter([columns.messages[number] for number in numbers]).items():
        for call in httpx_calls(message):
            calls[call.operation, call.status_code] += count
    return [(numbers[0], Invocation(*labels, None, count)) for labels, count in calls.items()], ()


#: The readers of messages by the files that log them.
_READERS: Mapping[bytes, Callable[[Sequence[int], _Columns], _Found]] = {
    **dict.fromkeys(TASK_CALLERS, _tasks),
    HTTPX_CALLER: _calls,
    RUN_CALLER: _runs,
}
