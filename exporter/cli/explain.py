"""`dify-exporter explain`"""

import os
import re
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click
import msgspec

from exporter.cli.options import config_option, load_if_named, stop
from exporter.config.settings import Config
from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshot import Snapshot
from exporter.messages import counted, printable, redact
from exporter.replay.detect import Guess, detect, guesses, nearest, parser_name
from exporter.replay.errors import parse_or_refuse
from exporter.tail.encoding import UTF_8_BOM
from parsers.batch import Batch, DroppedValue, OfSpan
from parsers.parser import checked_call
from parsers.values.numbers import SECOND

_DURATIONS = {"durations", "first_bytes", "handler_durations", "duration"}

#: How many characters before the mismatch are shown.
_CONTEXT = 100

#: Identifies lines of the plugin daemon: in JSON, in JSON inside of Docker's JSON, and in text.
_OF_DAEMON = re.compile(rb'service\\?" ?: ?\\?"dify-plugin-daemon\\?"|^\S{1,40} [A-Z]{1,8} dify-plugin-daemon ')


@click.command(short_help="Show how one line is parsed and counted.")
@config_option
@click.argument("line", required=False)
def explain(config_path: Path, line: str | None) -> None:
    """Show how one line is parsed and counted: its parser, its fields, and the series that it increases.

    The line is LINE or standard input. The parsers of the configuration are tried first, if there is one, and then all
    built-in parsers.

    \b
    Examples:
      tail -n 1 /var/log/nginx/access.log | dify-exporter explain
    """
    config = load_if_named(config_path, os.path.exists(config_path))
    text = _read_line(line)
    configured = _daemon_sorted(text, (Guess(s.parser, s.name, source=s.name) for s in config.sources))
    built_in = _daemon_sorted(text, guesses(routes=config.routes.extra))
    found = detect(text, iter(configured)) or detect(text, iter(built_in))
    if found is None:
        _report_mismatch(text, [*configured, *guesses()])
    _report_match(*found, config)


def _daemon_sorted(text: bytes, candidates: Iterable[Guess]) -> list[Guess]:
    """Sort the candidates so that the plugin daemon's parser comes first for a line of the daemon, and else last.

    Dify and the daemon write JSON lines with the same keys, so each of the two parsers accepts the lines of the other.
    """
    of_daemon = _OF_DAEMON.search(text) is not None
    return sorted(candidates, key=lambda guess: parser_name(guess.parser).startswith("plugin-daemon") is not of_daemon)


def _read_line(line: str | None) -> bytes:
    if line is None and (sys.stdin is None or sys.stdin.isatty()):
        line = ""
    data = sys.stdin.buffer.read() if line is None else line.encode("utf-8", "surrogateescape")
    text = data.removeprefix(UTF_8_BOM).rstrip(b"\r\n")
    if not text:
        stop("no line to explain: give it as an argument or on standard input")
    return text


def _report_mismatch(text: bytes, candidates: list[Guess]) -> NoReturn:
    click.echo("no parser reads this line")
    guess, column = nearest(text, iter(candidates))
    if column:
        begin = max(0, column - _CONTEXT)
        click.echo(f"nearest: {guess}; the line stops matching at column {column + 1}:")
        click.echo(f"  {redact(text[begin:])}\n  {' ' * (column - begin)}^")
        for remedy in filter(None, checked_call(guess.parser, "remedy", text)):
            click.echo(printable(remedy))
    else:
        click.echo(
            "its beginning matches no known format; in a log of Dify, such a line continues the record before it"
        )
    for each in candidates:
        faults = parse_or_refuse(each.parser, text)[1], checked_call(each.parser, "matched_length", text)[1]
        for fault in filter(None, faults if each.envelope == "none" else ()):
            click.echo(f"{each}: {fault}")
    raise SystemExit(1)


def _report_match(guess: Guess, batch: Batch, config: Config) -> None:
    click.echo(f"read by {guess}")
    if batch.last_at is not None:
        click.echo(f"event time {_time(batch.last_at)}")
    dropped = [record for record in batch.records if isinstance(record, DroppedValue)]
    for value in dropped:
        click.echo(f"{value.field} not understood and left out: {printable(value.example)}")
    for record in batch.records:
        if isinstance(record, DroppedValue):
            continue
        inner = OfSpan.inner(record)
        click.echo(f"\n{type(inner).__name__}")
        if isinstance(record, OfSpan):
            click.echo(f"  app_id = that of span {record.parent}, which another line names")
        for field, value in msgspec.structs.asdict(inner).items():
            if value not in (None, (), "") and not (field == "app_id" and inner is not record):
                click.echo(f"  {field} = {_shown(field, value)}")
    if len(dropped) == len(batch.records):
        click.echo("\nthis line contains nothing that is counted")
    ledger = Ledger(config.limits, time.time, config.buckets, config.prices, is_stored=False)
    ledger.enter("explained", batch)
    click.echo("\nincreases")
    for series, amount in _increases(ledger.snapshot(None)):
        click.echo(f"  {series} by {amount}")


def _shown(field: str, value: object) -> str:
    if field == "at" and isinstance(value, int):
        return _time(value)
    if field in _DURATIONS:
        values = value if isinstance(value, tuple) else (value,)
        return ", ".join(f"{v / SECOND:g} s" for v in values)
    return str(value)


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / SECOND, UTC).isoformat(timespec="milliseconds")


def _increases(snapshot: Snapshot) -> list[tuple[str, str]]:
    increases = []
    for metric, values in snapshot.counters.items():
        increases += [(_series(metric.name, metric.labels, labels), str(n)) for labels, n in values.items() if n]
    for metric, histograms in snapshot.histograms.items():
        for labels, histogram in histograms.items():
            text = f"{counted(histogram.count, 'observation')}, sum {histogram.total / SECOND:g} s"
            increases.append((_series(metric.name, metric.labels, labels), text))
    return increases


def _series(name: str, names: tuple[str, ...], labels: tuple[str, ...]) -> str:
    inner = ",".join(f'{key}="{value}"' for key, value in zip(names, labels, strict=True) if key != "source")
    return f"{name}{{{inner}}}" if inner else name
