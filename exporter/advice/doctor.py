"""What `check` finds: in sentences, what each source is, what it yields, what it cannot, and the remedy."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from glob import glob, has_magic
from pathlib import Path

from msgspec import Struct

from exporter.config.proxy import unusable
from exporter.config.settings import Config, SourceConfig
from exporter.messages import redact
from exporter.replay.detect import Guess, detect, guesses, several_services
from exporter.replay.inputs import SAMPLE_BYTES, InputError, ending
from exporter.tail.globs import tailed
from exporter.tail.permissions import trouble, trouble_of_log
from exporter.tail.recognition import recognised
from exporter.tail.time_zones import AHEAD, ahead_of_the_clock, behind_the_clock
from parsers.batch import Batch, DroppedValue
from parsers.envelope import Envelope
from parsers.parser import Parser
from parsers.regex import Regex


class Finding(Struct, frozen=True):
    """`problem` is True where the operator should do something."""

    text: str
    problem: bool = False


#: What the records of a log are called by the people who read `check`.
_YIELDS = {
    "Request": "requests", "Usage": "token usages", "UsageMissing": "missing usages", "FirstToken": "first tokens",
    "Run": "runs", "NodeRun": "node runs", "Task": "Celery tasks", "Invocation": "model and tool calls",
    "Failure": "errors", "Opened": "begun runs", "Closed": "ended runs", "Active": "states of the proxy",
    "DroppedLines": "lines that the proxy dropped",
}  # fmt: skip


#: What to do about values of a `regex` source that are not understood, by field.
_REMEDIES = {
    "time": 'name its form: time_format = "epoch", or one of strptime such as "%d/%b/%Y:%H:%M:%S %z"',
    "duration": "let the group hold the number alone; duration_unit names its unit",
    "first_byte": "let the group hold the number alone; duration_unit names its unit",
    "first_token": "let the group hold the number alone; duration_unit names its unit",
    "bytes": "let the group hold the digits alone",
    "tokens": "let the group hold the digits alone",
    "price": "let the group hold the amount alone, without the currency's sign",
    "status_code": "let the group hold the three digits alone",
}


def examine(source: SourceConfig, told: list[Batch]) -> Iterator[Finding]:
    """Everything there is to say about a source; what a sample of each file gave is added to `told`."""
    found, log, looked_at, followed = Batch(), b"", set[object](), tailed(source.paths, source.log_patterns)
    for path in source.paths:
        files = sorted(followed & {*glob(path)})
        if not files:
            yield Finding(_nothing_at(path), problem=True)
        for file in files:
            if _identity(file) in looked_at:
                continue
            looked_at.add(_identity(file))
            try:
                read = sample(file)
            except InputError as error:
                yield Finding(str(error), problem=True)
                continue
            if not read:
                yield Finding(f"{file}: is empty")
                continue
            batch = source.parser.parse(read, final=True)
            told.append(batch)
            found, log = Batch(records=found.records + batch.records), log or read
            yield from _file(file, source.parser, read, batch)
            yield from _recognition(source.parser, batch)
            yield from _event_times(source.parser, file, read, batch)
            if (sentence := several_services(source.parser, read)) is not None:
                yield Finding(f"{file}: {sentence}")
    for sentence in source.parser.advice_on(log, found):
        yield Finding(f"absent: {sentence}")


def overlaps(sources: Iterable[SourceConfig]) -> Iterator[Finding]:
    """Files that more than one source reads."""
    readers: dict[object, tuple[str, list[str]]] = {}
    for source in sources:
        for file in sorted(tailed(source.paths, source.log_patterns)):
            _, names = readers.setdefault(_identity(file), (file, []))
            names += [source.name] if source.name not in names else []
    for file, names in readers.values():
        if len(names) > 1:
            yield Finding(f"{file} is read by {' and '.join(names)}: each counts its lines; sum within one source")


def _identity(file: str) -> object:
    """What a file is under every name it has."""
    try:
        found = Path(file).stat()
    except OSError:
        return file
    return found.st_dev, found.st_ino


def examine_proxy(config: Config, folder: Path) -> Iterator[Finding]:
    """Everything there is to say about `[proxy]`; relative paths count from `folder`."""
    settings = config.proxy.under(folder)
    yield Finding(f"passes {settings.listen} on to {settings.upstream}, writes {settings.log}")
    for sentence in unusable(settings):
        yield Finding(sentence, problem=True)
    if not any(fnmatch(settings.log, path) for source in config.sources for path in source.paths):
        yield Finding(f"no [[source]] reads {settings.log}: its requests and tokens are not counted here", problem=True)


def _nothing_at(path: str) -> str:
    """Why a path matches nothing: nobody may look, or there is nothing yet."""
    parts = Path(path).parts
    first = next((number for number, part in enumerate(parts) if has_magic(part)), len(parts))
    told = trouble(Path(*parts[: first + 1]))
    if told and "may not" in told:
        return told
    return (
        f"{path}: no such file yet; serve waits for it. A Dify container keeps its logs inside unless /app/logs is a "
        "mounted volume, one for the api and another for the worker: `volumes: [./volumes/app/logs/api:/app/logs]`"
    )


def sample(file: str) -> bytes:
    """The end of a log, whole lines. Raises InputError."""
    if (told := trouble_of_log(Path(file))) is not None:
        raise InputError(told)
    return ending(file)


def _file(file: str, parser: Parser, sample: bytes, batch: Batch) -> Iterator[Finding]:
    unparsed = sum(batch.unparsed.values())
    where = " at its end" if len(sample) > SAMPLE_BYTES // 2 else ""
    yield Finding(
        f"{file}: {batch.lines:,} lines{where}: {batch.observed:,} observed, {batch.ignored:,} ignored, "
        f"{unparsed:,} unparsed; yields {_yields(batch)}"
    )
    yield from _dropped(parser, batch)
    for reason, line in batch.examples.items():
        known = detect(line, guesses()) if batch.observed else None
        looks = f"; it looks like {known[0]}" if known else ""
        yield Finding(f"unparsed ({reason}), for example: {redact(line)}{looks}", problem=unparsed * 20 > batch.lines)
        if remedy := parser.remedy(line):
            yield Finding(remedy, problem=unparsed * 20 > batch.lines)
    if (better := _better(sample, batch)) is not None:
        yield Finding(f"{'another parser says more' if batch.observed else 'no line fits the parser'}; {better}", True)


def _recognition(parser: Parser, batch: Batch) -> Iterator[Finding]:
    """Where lines are ignored because they begin no record; a log without any record is said elsewhere."""
    if batch.observed and parser.ignores_continuations() and not recognised(batch.lines, batch.ignored):
        yield Finding(
            f"{batch.ignored:,} of {batch.lines:,} lines are ignored, because they begin no record that this parser "
            "knows: see docs/runbooks/DifyExporterIgnoringLines.md",
            problem=True,
        )


def _event_times(parser: Parser, file: str, sample: bytes, batch: Batch) -> Iterator[Finding]:
    """Event times that lie ahead of the clock, or behind the moment at which the file was written."""
    if batch.last_at is None:
        return
    try:
        written = Path(file).stat().st_mtime
    except OSError:  # it is gone since
        return
    now = time.time()
    if batch.last_at / 1_000_000_000 - now > AHEAD:
        yield Finding(ahead_of_the_clock(parser, sample, batch.last_at, written, now), problem=True)
    elif told := behind_the_clock(parser, sample, batch.last_at, written):
        yield Finding(told)


def _better(sample: bytes, batch: Batch) -> str | None:
    """The parser that a log seems to be written for, where the configured one says little or nothing."""
    found: tuple[Guess, Batch] | None = detect(sample, guesses())
    if found is not None and (not batch.observed or _said(found[1]) > 2 * _said(batch)):
        return f"this looks like {found[0]}"
    return None if batch.observed else "nor any other; `dify-exporter explain` shows where a line breaks"


def _said(batch: Batch) -> int:
    return sum(getattr(record, "count", 1) for record in batch.records if not isinstance(record, DroppedValue))


def _dropped(parser: Parser, batch: Batch) -> Iterator[Finding]:
    """Values of counted lines that were not understood, by field: a problem where more than one line in 20 has one."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for record in batch.records:
        if isinstance(record, DroppedValue):
            counts[record.field] += record.count
            examples.setdefault(record.field, record.example)
    inner = parser.parser if isinstance(parser, Envelope) else parser
    remedies = _REMEDIES if isinstance(inner, Regex) else {}
    for field, count in counts.items():
        yield Finding(
            f"{field} not understood {count:,} time{'s' * (count != 1)} and left out, for example: {examples[field]}; "
            f"{remedies.get(field, 'see docs/troubleshooting.md')}",
            problem=count * 20 > batch.observed,
        )


def _yields(batch: Batch) -> str:
    """What the records are, and how many; dropped values and the halves of joins repeat what other records say."""
    kinds: Counter[str] = Counter()
    for record in batch.records:
        if kind := _YIELDS.get(type(record).__name__):
            kinds[kind] += getattr(record, "count", 1)
    return ", ".join(f"{kind} ({count:,})" for kind, count in kinds.items()) or "nothing"
