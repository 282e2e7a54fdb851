"""What `check` finds: in sentences, what each source is, what it yields, what it cannot, and the remedy."""

import grp
import os
import pwd
import stat
from collections import Counter
from collections.abc import Iterator
from glob import glob
from pathlib import Path

from msgspec import Struct

from exporter.detect import detect, guesses
from exporter.inputs import InputError, ending
from exporter.redact import redact
from exporter.settings import Source
from parsers.batch import Batch, Record


class Finding(Struct, frozen=True):
    """`problem` is True where the operator should do something."""

    text: str
    problem: bool = False


#: What the records of a log are called by the people who read `check`.
_YIELDS = {
    "Request": "requests", "Usage": "token usages", "UsageMissing": "missing usages", "FirstToken": "first tokens",
    "Run": "runs", "NodeRun": "node runs", "Task": "Celery tasks", "Invocation": "model and tool calls",
    "Failure": "errors", "Opened": "begun runs", "Closed": "ended runs",
}  # fmt: skip


def examine(source: Source) -> Iterator[Finding]:
    """Everything there is to say about a source."""
    for path in source.paths:
        files = sorted(glob(path))
        if not files:
            yield _nothing_at(path)
        for file in files:
            yield from _file(file, source)
    for sentence in source.parser.advice():
        yield Finding(f"absent: {sentence}")


def _nothing_at(path: str) -> Finding:
    folder = Path(path).parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.X_OK | os.R_OK):
        return Finding(f"{path}: {_remedy(folder)}", problem=True)
    return Finding(
        f"{path}: no such file yet; serve waits for it (a Dify container keeps its logs inside unless /app/logs "
        "is a mounted volume)",
        problem=True,
    )


def _file(file: str, source: Source) -> Iterator[Finding]:
    try:
        kind = os.stat(file).st_mode
    except OSError as error:
        yield Finding(f"{file}: {error.strerror}", problem=True)
        return
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
        yield Finding(f"{file}: is {what}, expected a log file", problem=True)
        return
    if not os.access(file, os.R_OK):
        yield Finding(f"{file}: {_remedy(Path(file))}", problem=True)
        return
    try:
        sample = ending(file)
    except InputError as error:
        yield Finding(str(error), problem=True)
        return
    if not sample:
        yield Finding(f"{file}: is empty")
        return
    yield from _sample(file, sample, source)


def _sample(file: str, sample: bytes, source: Source) -> Iterator[Finding]:
    batch = source.parser.parse(sample, final=True)
    unparsed = sum(batch.unparsed.values())
    yield Finding(
        f"{file}: {batch.lines:,} lines at its end: {batch.observed:,} observed, {batch.ignored:,} ignored, "
        f"{unparsed:,} unparsed; yields {_yields(batch)}"
    )
    for reason, line in batch.examples.items():
        yield Finding(f"unparsed ({reason}), for example: {redact(line)}", problem=unparsed * 20 > batch.lines)
    if not batch.observed and (found := detect(sample, guesses())):
        yield Finding(f"no line fits the parser; this looks like {found[0]}", problem=True)
    elif not batch.observed:
        yield Finding("no line fits the parser, nor any other; see `dify-exporter explain`", problem=True)


def _yields(batch: Batch) -> str:
    kinds: Counter[str] = Counter()
    for record in batch.records:
        kinds[_YIELDS.get(type(record).__name__, "states of the proxy")] += _weight(record)
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()) or "nothing"


def _weight(record: Record) -> int:
    return int(getattr(record, "count", 1))


def _remedy(path: Path) -> str:
    """Who may not read what, and the two usual cures."""
    facts = path.stat()
    user = pwd.getpwuid(os.geteuid()).pw_name
    group = grp.getgrgid(facts.st_gid).gr_name
    owner = f"{pwd.getpwuid(facts.st_uid).pw_name}:{group} {stat.filemode(facts.st_mode)}"
    rights = "rx" if path.is_dir() else "r"
    return (
        f"user {user} may not read {path} ({owner}); run `usermod -aG {group} {user}` if the group may read it, "
        f"or `setfacl -m u:{user}:{rights} {path}`"
    )
