"""Read the records of a block at once, in text and in JSON: their heads by a few calls, their messages by caller.

Frequent messages of one caller are searched together. Any other record that may count is read alone, in the order of
the lines, because several runs can share a trace id. A line that is not exactly as expected is left to the reader of
single lines. A test checks that both ways give the same result.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from operator import itemgetter
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from parsers import blocks
from parsers.batch import Invocation, Record, Task, TaskReceived
from parsers.blocks import BlockResult, TimedLine, newest_of, newest_of_texts, read_lines
from parsers.dify import proxy, receiver
from parsers.dify.message import HTTPX, HTTPX_CALLER, TASK_CALLERS, MessageReader, RecordHead, task_name
from parsers.dify.runs import RUN_TASK
from parsers.lines import whole_lines
from parsers.plugin_daemon import SERVICE as PLUGIN_DAEMON
from parsers.plugin_daemon.operations import operation_of
from parsers.values.http import status_code_of
from parsers.values.numbers import SECOND, many_nanoseconds
from parsers.values.times import iso

#: A text that each of these lines contains.
_SIGN, _JSON_SIGN = b".py:", b'"caller"'
#: The time, the level if it is not INFO, the caller, the trace id and the message; the last group is any other line.
_LINES = re.compile(
    rb"^(.{10} .{6}[0-5][0-9]\.[0-9]{3}) (?:INFO|(DEBUG|WARNING|WARN|ERROR|CRITICAL)) ++\[[^\]\n]*+\] "
    rb"\[([^\]:\n]++):[0-9]++\] ([0-9a-f]{8,32}+)? - (.*)$|^(.+)$",
    re.MULTILINE,
)


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

#: The name of a task, and the seconds that it took, or none if the worker has received it. The end of a task that
#: executes a run also ends the run, so it is read alone.
_TASKS = re.compile(
    rb"^Task ([\w.]{1,512})(?:(?<!"
    + RUN_TASK.encode()
    + rb")\[[^\]\s]{1,256}\] succeeded in ([0-9]{1,6}+(?:\.[0-9]++)?)s:.*$|\[[^\]\s]{1,256}\] received$)|^.*$",
    re.MULTILINE,
)
_CALLS = re.compile(rb"^" + HTTPX + rb"$|^.*$", re.MULTILINE)


#: What a reader of messages, one per line, returns: records, each with the number of its first message, and the numbers
#: of the messages that must be read alone.
_Found = tuple[Sequence[tuple[int, Record]], Sequence[int]]


class RecordReader:
    """Reads the records of a block. It keeps the reader of single records and no other state."""

    def __init__(self, reader: MessageReader, local: tzinfo) -> None:
        self._reader, self._local = reader, local

    def text(self, block: bytes) -> BlockResult:
        """Read the records in text of a block of whole lines."""
        if _SIGN not in block or block.count(b"\n") < blocks.MANY:
            return BlockResult((), None, 0, block)
        colored = b""
        if b"\x1b" in block:
            lines = [line + b"\n" for line in block.removesuffix(b"\n").split(b"\n")]
            colored = b"".join([line for line in lines if b"\x1b" in line])
            block = b"".join([line for line in lines if b"\x1b" not in line])
        found = _LINES.findall(block)
        rows = [row for row in found if not row[-1]]
        newest = newest_of_texts([row[0] for row in rows], self._local)
        if newest is None:
            return BlockResult((), None, 0, block + colored)
        _, levels, callers, _, messages, _ = zip(*rows, strict=True)
        if b"\r\n" in block:
            messages = tuple([message.removesuffix(b"\r") for message in messages])

        def head(number: int) -> RecordHead:
            time, level, caller, trace_id, *_ = rows[number]
            return RecordHead(level, caller, trace_id.decode(), messages[number], iso(time, self._local))

        others = b"".join([row[-1] + b"\n" for row in found if row[-1]])
        rest = others + b"\n" * (whole_lines(block, True)[1] - len(found)) + colored
        return BlockResult(self._records(levels, callers, messages, head), newest, len(rows), rest)

    def json(self, block: bytes) -> BlockResult:
        """Read the records in JSON of a block of whole lines."""
        records = list[Record]()

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
            callers = [line.caller.partition(":")[0].encode() for line in lines]
            records.extend(self._records(levels, callers, messages, lambda number: _head(lines[number])))
            return lines

        return read_lines(block, _JSON_SIGN, _decode, take)._replace(records=records)

    def _records(
        self,
        levels: Sequence[bytes],
        callers: Sequence[bytes],
        messages: Sequence[bytes],
        head: Callable[[int], RecordHead],
    ) -> Sequence[Record]:
        """Return the records of lines, given in columns. A level is empty for INFO. `head` gives the head of a line."""
        alone = [number for number, level in enumerate(levels) if level]
        numbers, odd_levels = defaultdict[bytes, list[int]](list), set(alone)
        for number, caller in enumerate(callers):
            if number not in odd_levels:
                numbers[caller].append(number)
        found = list[tuple[int, Sequence[Record]]]()
        for caller, members in numbers.items():
            if (read := _READERS.get(caller)) is not None:
                text = b"\n".join([messages[number] for number in members])
                has_one_line_each = text.count(b"\n") == len(members) - 1
                records, odd = read(text) if has_one_line_each else ((), range(len(members)))
                found += [(members[position], (record,)) for position, record in records]
                alone += [members[position] for position in odd]
            elif self._reader.reads(caller):
                alone += members
        found += [(number, self._reader.records(head(number))) for number in alone]
        found.sort(key=itemgetter(0))
        return [record for _, records in found for record in records]


def _head(line: _Line) -> RecordHead:
    return RecordHead(
        line.severity.encode(),
        line.caller.partition(":")[0].encode(),
        line.trace_id,
        line.message.encode(),
        newest_of((line.ts,)),
        line.stack_trace.encode(),
    )


def _tasks(text: bytes) -> _Found:
    """Read the messages of Celery."""
    matches = _TASKS.findall(text)
    #: For each name the number of its first message, and the seconds of all.
    received, ended = dict[bytes, list[Any]](), dict[bytes, list[Any]]()
    for number, (name, seconds) in enumerate(matches):
        table = ended if seconds else received
        if name in table:
            table[name].append(seconds)
        else:
            table[name] = [number, seconds]
    is_odd = received.pop(b"", None) is not None
    alone = [number for number, (name, _) in enumerate(matches) if not name] if is_odd else ()
    records = list[tuple[int, Record]]()
    for name, (number, *texts) in received.items():
        records.append((number, TaskReceived(task_name(name.decode()), len(texts))))
    for name, (number, *texts) in ended.items():
        durations = tuple(many_nanoseconds(texts, SECOND))
        records.append((number, Task(task_name(name.decode()), "succeeded", None, len(texts), durations)))
    return records, alone


def _calls(text: bytes) -> _Found:
    """Read the messages of httpx."""
    calls = Counter[tuple[str, str]]()
    for (path, status), count in Counter(_CALLS.findall(text)).items():
        if (operation := operation_of(path)) is not None:
            calls[operation, status_code_of(status)] += count
    return [(0, Invocation(*labels, None, count)) for labels, count in calls.items()], ()


#: The readers of messages by the files that log them.
_READERS: Mapping[bytes, Callable[[bytes], _Found]] = {**dict.fromkeys(TASK_CALLERS, _tasks), HTTPX_CALLER: _calls}
