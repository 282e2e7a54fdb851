"""`dify-exporter explain`"""

import re
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click
import msgspec

from exporter.cli.options import config_option, load_or_stop, stop
from exporter.config.settings import Config
from exporter.ledger.ledger import Ledger, Snapshot
from exporter.messages import printable, redact
from exporter.replay.detect import Guess, detect, guesses, nearest, parser_name
from exporter.tail.encoding import UTF_8_BOM
from parsers.batch import Batch, DroppedValue
from parsers.values.numbers import SECOND

_BEFORE_THE_BREAK = 100

#: In JSON, in JSON within Docker's, and in text.
_OF_DAEMON = re.compile(rb'service\\?" ?: ?\\?"dify-plugin-daemon\\?"|^\S{1,40} [A-Z]{1,8} dify-plugin-daemon ')


@click.command(short_help="Show what becomes of one line.")
@config_option
@click.argument("line", required=False)
@click.pass_context
def explain(context: click.Context, config_path: Path, line: str | None) -> None:
    """Show what becomes of one line: which parser takes it, its fields, and the series it moves.

    The line is LINE or standard input; the parsers are those of the configuration, if there is one, and all
    built-in ones.

    \b
    Examples:
      tail -n 1 /var/log/nginx/access.log | dify-exporter explain
    """
    named = context.get_parameter_source("config_path") is not click.core.ParameterSource.DEFAULT
    config = load_or_stop(config_path) if named or config_path.exists() else Config()
    text = _given(line)
    configured = _own_first(text, (Guess(s.parser, s.name, source=s.name) for s in config.sources))
    found = detect(text, iter(configured)) or detect(text, iter(_own_first(text, guesses(routes=config.routes.extra))))
    if found is None:
        _nobody(text, [*configured, *guesses()])
    _taken(*found, config)


def _own_first(text: bytes, candidates: Iterable[Guess]) -> list[Guess]:
    """Dify and its plugin daemon write JSON lines with the same keys, and each parser takes those of the other. For a
    line of the daemon its own parser comes first, for any other line it comes last.
    """
    of_daemon = _OF_DAEMON.search(text) is not None
    return sorted(candidates, key=lambda guess: parser_name(guess.parser).startswith("plugin-daemon") is not of_daemon)


def _given(line: str | None) -> bytes:
    if line is None and (sys.stdin is None or sys.stdin.isatty()):
        line = ""
    given = sys.stdin.buffer.read() if line is None else line.encode("utf-8", "surrogateescape")
    text = given.removeprefix(UTF_8_BOM).rstrip(b"\r\n")
    if not text:
        stop("no line to explain: give it as an argument or on standard input")
    return text


def _nobody(text: bytes, candidates: list[Guess]) -> NoReturn:
    click.echo("no parser takes this line")
    guess, column = nearest(text, iter(candidates))
    if column:
        begin = max(0, column - _BEFORE_THE_BREAK)
        click.echo(f"nearest: {guess}; it broke at column {column + 1}:")
        click.echo(f"  {redact(text[begin:])}\n  {' ' * (column - begin)}^")
        if remedy := guess.parser.remedy(text):
            click.echo(remedy)
    else:
        click.echo("it begins like no format that we know; inside a log of Dify it belongs to the record before it")
    raise SystemExit(1)


def _taken(guess: Guess, batch: Batch, config: Config) -> None:
    click.echo(f"taken by {guess}")
    if batch.last_at is not None:
        click.echo(f"event time {_time(batch.last_at)}")
    unread = [record for record in batch.records if isinstance(record, DroppedValue)]
    for value in unread:
        click.echo(f"{value.field} not understood and left out: {printable(value.example)}")
    for record in batch.records:
        if isinstance(record, DroppedValue):
            continue
        click.echo(f"\n{type(record).__name__}")
        for field, value in msgspec.structs.asdict(record).items():
            if value not in (None, (), ""):
                click.echo(f"  {field} = {_shown(field, value)}")
    if len(unread) == len(batch.records):
        click.echo("\nit says nothing that is counted")
    ledger = Ledger(config.limits, time.time, config.buckets, config.prices)
    ledger.enter("explained", batch)
    click.echo("\nmoves")
    for series, amount in _moves(ledger.snapshot(None)):
        click.echo(f"  {series} by {amount}")


def _shown(field: str, value: object) -> str:
    if field == "at" and isinstance(value, int):
        return _time(value)
    if field in _DURATIONS:
        values = value if isinstance(value, tuple) else (value,)
        return ", ".join(f"{v / SECOND:g} s" for v in values)
    return str(value)


_DURATIONS = {"durations", "first_bytes", "handler_durations", "duration"}


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / SECOND, UTC).isoformat(timespec="milliseconds")


def _moves(snapshot: Snapshot) -> list[tuple[str, str]]:
    moves = []
    for metric, values in snapshot.counters.items():
        moves += [(_series(metric.name, metric.labels, labels), str(n)) for labels, n in values.items() if n]
    for metric, histograms in snapshot.histograms.items():
        for labels, (*counts, total) in histograms.items():
            text = f"{sum(counts)} observation{'s' * (sum(counts) != 1)}, sum {total / SECOND:g} s"
            moves.append((_series(metric.name, metric.labels, labels), text))
    return moves


def _series(name: str, names: tuple[str, ...], labels: tuple[str, ...]) -> str:
    """Without `source`, which is whose log it is."""
    inner = ",".join(f'{key}="{value}"' for key, value in zip(names, labels, strict=True) if key != "source")
    return f"{name}{{{inner}}}" if inner else name
