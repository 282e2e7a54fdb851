"""`dify-exporter explain`"""

import sys
import time
from pathlib import Path
from typing import NoReturn

import click
import msgspec

from exporter.cli.options import config_option, load_or_stop, stop
from exporter.detect import Guess, detect, guesses, nearest
from exporter.ledger import Ledger, Snapshot
from exporter.redact import redact
from exporter.settings import Config
from parsers.batch import Batch

_NANOSECONDS = 1_000_000_000


@click.command()
@config_option
@click.argument("line", required=False)
def explain(config_path: Path, line: str | None) -> None:
    """Show what becomes of one line: which parser takes it, its fields, and the series it moves.

    The line is LINE or standard input; the parsers are those of the configuration, if there is one, and all
    built-in ones.

    \b
    Examples:
      tail -n 1 /var/log/nginx/access.log | dify-exporter explain
    """
    config = load_or_stop(config_path) if config_path.exists() else Config()
    given = line.encode("utf-8", "surrogateescape") if line is not None else sys.stdin.buffer.read()
    text = given.rstrip(b"\r\n")
    if not text:
        stop("no line to explain: give it as an argument or on standard input")
    configured = [Guess(s.parser, f"{s.name} (configured)", {}, "none") for s in config.sources]
    found = detect(text, iter(configured)) or detect(text, guesses(routes=config.routes.extra))
    if found is None:
        _nobody(text, [*configured, *guesses()])
    _taken(found[0], found[1], config)


def _nobody(text: bytes, candidates: list[Guess]) -> NoReturn:
    guess, column = nearest(text, iter(candidates))
    click.echo("no parser takes this line")
    click.echo(f"nearest: {guess}; it broke at column {column + 1}:")
    shown = redact(text)
    click.echo(f"  {shown}")
    if column < len(shown):
        click.echo("  " + " " * column + "^")
    raise SystemExit(1)


def _taken(guess: Guess, batch: Batch, config: Config) -> None:
    click.echo(f"taken by {guess}")
    for record in batch.records:
        click.echo(f"\n{type(record).__name__}")
        for field, value in msgspec.structs.asdict(record).items():
            if value not in (None, (), ""):
                click.echo(f"  {field} = {_shown(field, value)}")
    ledger = Ledger(config.limits, time.time, config.buckets, config.prices)
    ledger.enter("explained", batch)
    click.echo("\nmoves")
    for series, amount in _moves(ledger.snapshot(None)):
        click.echo(f"  {series} by {amount}")


def _shown(field: str, value: object) -> str:
    if field in _TIMES:
        values = value if isinstance(value, tuple) else (value,)
        return ", ".join(f"{v / _NANOSECONDS:g} s" for v in values)
    return str(value)


_TIMES = {"durations", "first_bytes", "handler_durations", "duration"}


def _moves(snapshot: Snapshot) -> list[tuple[str, str]]:
    moves = []
    for metric, values in snapshot.counters.items():
        moves += [(_series(metric.name, metric.labels, labels), str(n)) for labels, n in values.items() if n]
    for metric, histograms in snapshot.histograms.items():
        for labels, (*counts, total) in histograms.items():
            text = f"{sum(counts)} observation{'s' * (sum(counts) != 1)}, sum {total / _NANOSECONDS:g} s"
            moves.append((_series(metric.name, metric.labels, labels), text))
    return moves


def _series(name: str, names: tuple[str, ...], labels: tuple[str, ...]) -> str:
    pairs = zip(names[1:], labels[1:], strict=True) if names[:1] == ("source",) else zip(names, labels, strict=True)
    inner = ",".join(f'{key}="{value}"' for key, value in pairs)
    return f"{name}{{{inner}}}"
