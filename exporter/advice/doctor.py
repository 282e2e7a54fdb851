"""What `check` finds in the sources, in sentences: what each source provides, what is missing, and what to do."""

import errno
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from glob import glob, has_magic
from pathlib import Path

from msgspec import Struct

from exporter.messages import counted, redact
from exporter.replay.detect import Guess, detect, guesses, parser_name, record_count, several_services
from exporter.replay.errors import InputError, parse_or_refuse
from exporter.replay.inputs import SAMPLE_BYTES, last_lines
from exporter.tail.globs import tailed
from exporter.tail.permissions import file_problem, log_problem
from exporter.tail.recognition import recognised
from exporter.tail.source_config import SourceConfig
from exporter.tail.time_zones import AHEAD, ahead_of_the_clock, behind_the_clock
from parsers.advice import Advice, merged, record_types
from parsers.batch import Batch, DroppedValue, OfSpan, Record, Request
from parsers.envelope import inner_of
from parsers.parser import Parser, advice_of, checked_call
from parsers.regex import Regex
from parsers.values.numbers import SECOND

#: A source is misread if fewer than one of so many of its lines is observed. Ignored lines do not count.
_MISREAD_LINES = 20


class Finding(Struct, frozen=True):
    """`problem` is True if the operator should do something."""

    text: str
    problem: bool = False


class Examined(Struct):
    """What was read of a source: the batch of each file, and the last lines of the first one."""

    batches: list[Batch] = []
    log: bytes = b""

    def records(self) -> tuple[Record, ...]:
        return tuple(record for batch in self.batches for record in batch.records)

    def is_misread(self, parser: Parser) -> bool:
        """Whether there are lines, but nearly none that the parser can use."""
        lines, observed, ignored = (
            sum(getattr(batch, what) for batch in self.batches) for what in ("lines", "observed", "ignored")
        )
        if _is_without_events(parser, lines, ignored):
            return False
        is_read = observed * _MISREAD_LINES >= lines - ignored and _begins_records(parser, lines, ignored)
        return lines > 0 and not (observed and is_read)


#: The names of record types in the output of `check`. Other types repeat what these report.
_RECORD_NAMES = {
    "Request": "requests", "Usage": "token usages", "UsageMissing": "missing usages", "FirstToken": "first tokens",
    "Run": "runs", "NodeRun": "node runs", "Task": "Celery tasks", "TaskReceived": "received Celery tasks",
    "Invocation": "model and tool calls", "Failure": "errors",
    "Opened": "begun runs", "Closed": "ended runs", "Active": "states of the proxy",
    "DroppedLines": "lines that the proxy dropped", "ReceivedItems": "items that the receiver got",
}  # fmt: skip


#: What to do about values of a `regex` source that were not understood, by field.
_REMEDIES = {
    "time": 'set its format: time_format = "epoch", or one of strptime such as "%d/%b/%Y:%H:%M:%S %z"',
    **dict.fromkeys(
        ("duration", "first_byte", "first_token"), "let the group hold the number alone; duration_unit names its unit"
    ),
    **dict.fromkeys(("bytes", "tokens"), "let the group hold the digits alone"),
    "price": "let the group hold the amount alone, without the currency's sign",
    "status_code": "let the group hold the three digits alone",
}


_UNKNOWN_FORMAT = (
    "no other parser fits either; `dify-exporter explain` shows where a line stops matching, and docs/other-logs.md "
    "has the formats of gateways"
)


def examine(source: SourceConfig, read_files: Examined) -> Iterator[Finding]:
    """All findings about a source, except what its log lacks (see `absent`). What is read is added to `read_files`."""
    examined, tailed_files = set[object](), tailed(source)
    for path in source.paths:
        files = sorted(tailed_files & {*glob(path)})
        if not files:
            yield Finding(_why_missing(path), problem=True)
        for file in files:
            if _identity(file) in examined:
                continue
            examined.add(_identity(file))
            try:
                read = read_end(file)
            except InputError as error:
                yield Finding(str(error), problem=True)
                continue
            if not read.strip():
                yield Finding(f"{file}: {'has only blank lines' if read else 'is empty'}")
                continue
            batch, fault = parse_or_refuse(source.parser, read)
            if fault:
                yield Finding(f"{file}: {fault}", problem=True)
            read_files.batches.append(batch)
            read_files.log = read_files.log or read
            yield from _file(file, source.parser, read, batch)
            yield from _event_times(source.parser, file, read, batch)
            if (sentence := several_services(source.parser, read)) is not None:
                yield Finding(f"{file}: {sentence}")


def absent(sources: Iterable[SourceConfig], read_files: Mapping[str, Examined]) -> Iterator[Finding]:
    """What no source contains, and which sources could. A source without an observed line gets no advice.

    `read_files` is by the name of the source.
    """
    advice, known = list[tuple[str, Advice]](), set[type]()
    for source in sources:
        found = read_files[source.name]
        records = found.records()
        known |= record_types(records)
        if any(batch.observed for batch in found.batches):
            given = advice_of(source.parser, Batch(records=records), found.log)
            advice += [(source.name, each) for each in given]
    for sentence, names in merged(advice, known):
        yield Finding(f"{', '.join(names)}: {sentence}")


def overlaps(sources: Iterable[SourceConfig]) -> Iterator[Finding]:
    """The files that more than one source reads."""
    readers: dict[object, tuple[str, list[str]]] = {}
    for source in sources:
        for file in sorted(tailed(source)):
            _, names = readers.setdefault(_identity(file), (file, []))
            names += [source.name] if source.name not in names else []
    for file, names in readers.values():
        if len(names) > 1:
            yield Finding(
                f"{file} is read by {' and '.join(names)}: each of them counts its lines, so do not sum over them"
            )


def _identity(file: str) -> object:
    """The same value for all names of a file."""
    try:
        found = Path(file).stat()
    except OSError:
        return file
    return found.st_dev, found.st_ino


def _why_missing(path: str) -> str:
    """Why a path matches no file: a folder may not be searched, or the file does not exist yet."""
    parts = Path(path).parts
    first = next((number for number, part in enumerate(parts) if has_magic(part)), len(parts))
    problem = file_problem(Path(*parts[: first + 1]))
    if problem and not problem.endswith(os.strerror(errno.ENOENT)):
        return problem
    if "\\" in path:
        return f"{path}: looks like a path of Windows; write it as Linux names the file, such as /mnt/c/dify/access.log"
    return (
        f"{path}: no such file yet; serve waits for it. Dify's containers keep their logs inside until volumes are "
        "mounted: deploy/dify-logs.compose.yaml mounts a folder of its own for each service"
    )


def read_end(file: str) -> bytes:
    """The last whole lines of a log. Raises InputError."""
    if (problem := log_problem(Path(file))) is not None:
        raise InputError(problem)
    return last_lines(file)


def _file(file: str, parser: Parser, sample: bytes, batch: Batch) -> Iterator[Finding]:
    unparsed = sum(batch.unparsed.values())
    where = " at its end" if len(sample) > SAMPLE_BYTES // 2 else ""
    yield Finding(
        f"{file}: {counted(batch.lines, 'line')}{where}: {batch.observed:,} observed, {batch.ignored:,} ignored, "
        f"{unparsed:,} unparsed; yields {_record_types(batch)}"
    )
    yield from _dropped(parser, batch)
    for reason, line in batch.examples.items():
        known = detect(line, guesses()) if batch.observed else None
        looks = f"; it looks like {known[0]}" if known else ""
        yield Finding(f"unparsed ({reason}), for example: {redact(line)}{looks}", problem=unparsed * 20 > batch.lines)
        for remedy in filter(None, checked_call(parser, "remedy", line)):
            yield Finding(remedy, problem=unparsed * 20 > batch.lines)
    found = detect(sample, guesses())
    if _is_without_events(parser, batch.lines, batch.ignored):
        yield Finding("the pattern matches every line without a group, so all are ignored: none is an event yet")
        return
    if not batch.observed:
        hint = f"this looks like {found[0]}" if found else _UNKNOWN_FORMAT
        yield Finding(f"no line fits the parser; {hint}", problem=True)
        return
    if found is not None and _is_better(parser, batch, *found):
        yield Finding(f"another parser finds more records; this looks like {found[0]}", problem=True)
    if not _begins_records(parser, batch.lines, batch.ignored):
        yield Finding(
            f"{batch.ignored:,} of {batch.lines:,} lines are ignored, because they begin no record that this parser "
            "knows: see docs/runbooks/DifyExporterIgnoringLines.md",
            problem=True,
        )


def _begins_records(parser: Parser, lines: int, ignored: int) -> bool:
    return not checked_call(parser, "ignores_continuations")[0] or recognised(lines, ignored)


def _is_without_events(parser: Parser, lines: int, ignored: int) -> bool:
    """Whether a pattern of a `regex` source expects all of these lines, and counts none of them."""
    return lines == ignored and isinstance(inner_of(parser), Regex)


def _event_times(parser: Parser, file: str, sample: bytes, batch: Batch) -> Iterator[Finding]:
    """A finding if event times are ahead of the clock, or too far behind the last write of the file."""
    if batch.last_at is None:
        return
    try:
        written = Path(file).stat().st_mtime
    except OSError:  # the file was removed
        return
    now = time.time()
    if batch.last_at / SECOND - now > AHEAD:
        yield Finding(ahead_of_the_clock(parser, sample, batch.last_at, written, now), problem=True)
    elif sentence := behind_the_clock(parser, sample, batch.last_at, written):
        yield Finding(sentence)


def _is_better(parser: Parser, batch: Batch, guess: Guess, guessed: Batch) -> bool:
    """Whether a guessed parser finds far more records than the configured one.

    If both read the same lines, they differ only in an option such as `native`, which selects among their records.
    """
    is_same = parser_name(guess.parser) == parser_name(parser) and guessed.unparsed == batch.unparsed
    return not is_same and record_count(guessed) > 2 * record_count(batch)


def _dropped(parser: Parser, batch: Batch) -> Iterator[Finding]:
    """Values that were not understood, by field. They are a problem if more than one line in 20 has one."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for record in batch.records:
        if isinstance(record, DroppedValue):
            counts[record.field] += record.count
            examples.setdefault(record.field, record.example)
    remedies = _REMEDIES if isinstance(inner_of(parser), Regex) else {}
    for field, count in counts.items():
        yield Finding(
            f"{field} not understood {counted(count, 'time')} and left out, for example: {examples[field]}; "
            f"{remedies.get(field, 'see docs/troubleshooting.md')}",
            problem=count * 20 > batch.observed,
        )


def _record_types(batch: Batch) -> str:
    """The types of the records and their numbers. Dropped values and the halves of joins repeat other records."""
    kinds: Counter[str] = Counter()
    for record in batch.records:
        inner = OfSpan.inner(record)
        if isinstance(inner, Request) and not inner.count and inner.durations:
            kinds["durations of requests"] += len(inner.durations)
        elif (kind := _RECORD_NAMES.get(type(inner).__name__)) and (count := getattr(inner, "count", 1)):
            kinds[kind] += count
    return ", ".join(f"{kind} ({count:,})" for kind, count in kinds.items()) or "nothing"
