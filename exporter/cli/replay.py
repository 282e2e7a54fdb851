"""`dify-exporter replay`"""

import json
import sys
import time
from datetime import UTC
from pathlib import Path
from typing import Any

import click

from exporter import catalogue as c
from exporter.cli.options import candidates_or_stop, config_option, limits, load_if_named, stop, stop_on
from exporter.cli.parsing import cluster_option, processes_option, progress, say, tune_memory, workers_or_stop
from exporter.config.settings import Config
from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshot import Snapshot
from exporter.messages import redact
from exporter.metrics.exposition import render
from exporter.metrics.gauges import computed_gauges
from exporter.process.signals import exit_code
from exporter.replay.errors import InputError
from exporter.replay.event_times import ALWAYS, Span, shown
from exporter.replay.jobs import Job, jobs_of, run
from exporter.replay.named import named_files
from exporter.replay.notes import Notes

#: The width of tables that are written into a file or a pipe.
_WIDTH = 140


@click.command(short_help="Read logs once and show what they contain.")
@config_option
@click.argument("files", nargs=-1)
@click.option("--parser", "parser_name", help="Parser of FILES; detected by default.")
@click.option("--format", "format_", help="Format of the parser: a name, or nginx's log_format itself.")
@click.option("--envelope", help="none, docker, cri, compose, syslog or json; detected by default.")
@click.option(
    "--since", metavar="TIME", help="Count only events from this time on; 2h means two hours ago, 1w a week ago."
)
@click.option("--until", metavar="TIME", help="Count only events before this time.")
@processes_option
@cluster_option
@click.option(
    "--output", type=click.Choice(["table", "metrics", "json"]), default="table", show_default=True,
    help="Tables, the text that `serve` would return at /metrics, or JSON.",
)  # fmt: skip
def replay(config_path: Path, files: tuple[str, ...], output: str, **options: Any) -> None:
    """Read logs once, from the beginning to the end, and show what they contain.

    Without FILES, the sources of the configuration are read. FILES need no configuration. They can be packed (gzip,
    Zstandard), and addresses such as s3://bucket/logs/*.gz; `-` is standard input. An input that cannot be read or that
    is not recognised is skipped; the exit code is then 2.

    \b
    Examples:
      docker compose logs --no-color api | dify-exporter replay -
      dify-exporter replay /var/log/nginx/access.log*
      dify-exporter replay --since 2h --output json
    """
    described = options["parser_name"], options["format_"], options["envelope"]
    if not files and any(described):
        stop("--parser, --format and --envelope describe FILES, and no FILE is named")
    with stop_on(ValueError):
        span = Span(*limits(options["since"], options["until"], UTC))
    config = load_if_named(config_path, not files)
    ledger = Ledger(config.limits, time.time, config.buckets, config.prices, config.budgets, is_stored=False)
    notes, code = Notes(say, len(files or config.sources)), 0
    tune_memory()
    with workers_or_stop(options["processes"], options["cluster"], files) as workers:
        jobs = _jobs(files, described, config, notes)  # opens addresses, so it comes after the fork
        try:
            with progress(jobs) as advance:
                for source, batch, counted in run(jobs, ledger, config.limits.line_length, span, notes, workers):
                    advance(batch)
                    notes.add(source, batch, counted)
        except KeyboardInterrupt as error:
            code = exit_code(error)
    if not notes.has_read:
        stop(*(notes.skipped if notes.inputs == 1 else ["no input could be read"]))
    snapshot = ledger.snapshot(None)
    _say_notes(snapshot, notes, span, output, is_interrupted=bool(code))
    _print(snapshot, config, notes, output)
    if notes.skipped and notes.inputs > 1:
        say(f"{len(notes.skipped)} skipped: the sentences above the result say why")
    raise SystemExit(code or 2 * bool(notes.skipped))


def _jobs(
    files: tuple[str, ...], described: tuple[str | None, str | None, str | None], config: Config, notes: Notes
) -> list[Job]:
    """The named files and addresses, else those of the configured sources.

    What matches nothing, and a source without a usable file, is skipped.
    """
    if files:
        candidates = candidates_or_stop(config.routes.extra, *described)
        found = named_files(files, say, notes.failed)
        notes.inputs = len(found) + len(notes.skipped)
        return [Job(file, candidates=candidates) for file in found]
    jobs: list[Job] = []
    for source in config.sources:
        try:
            jobs += jobs_of([source])
        except InputError as error:
            notes.failed(error)
    return jobs


def _say_notes(snapshot: Snapshot, notes: Notes, span: Span, output: str, *, is_interrupted: bool) -> None:
    """Print what the logs lack, the values that were not understood, and which times they hold.

    The times are only printed if no line of a source counts, or if the output does not contain them.
    """
    for sentence in notes.absent():
        say(sentence)
    for sentence in notes.skipped if notes.inputs == 1 else ():
        say(f"dify-exporter: {sentence}")
    for (source, field), count in snapshot.counters[c.DROPPED_VALUES].items():
        chosen = "; such a line is treated as the line before it" if span != ALWAYS and field == "time" else ""
        say(
            f"{source}: {field} not understood and left out, {count:,} times{chosen}; `dify-exporter explain` shows why"
        )
    lines = snapshot.counters[c.LINES]
    for source, times in notes.times.items():
        if lines.get((source, "unparsed")) and not any(lines.get((source, each)) for each in ("observed", "ignored")):
            say(f"{source}: no line fits the parser; `dify-exporter replay FILE` without other options detects it")
        if span != ALWAYS and not any(count for (name, _), count in lines.items() if name == source):
            options = {"--since": span.since, "--until": span.until}
            named = " and ".join(name for name, at in options.items() if at is not None)
            say(f"{source}: no event lies in the time of {named}; in the log: {times}")
        elif output == "metrics":
            say(f"{source}: {times}")
    if is_interrupted:
        say("interrupted: the result covers only what was read until then")


def _print(snapshot: Snapshot, config: Config, notes: Notes, output: str) -> None:
    if output == "metrics":
        # The exposition format is always UTF-8, in any locale.
        sys.stdout.buffer.write(render(snapshot.in_order, computed_gauges(snapshot, config, time.time())))
        return
    from rich.console import Console

    from exporter.replay.report import cardinality, show, summarise

    summary = summarise(snapshot)
    for source, times in notes.times.items():
        if times.first is not None and times.last is not None:
            summary[source]["times"] = {"first": shown(times.first), "last": shown(times.last)}
    if output == "json":
        click.echo(json.dumps(summary, indent=2))
        return
    show(summary, Console(width=None if sys.stdout.isatty() else _WIDTH))
    for (source, reason), line in notes.examples.items():
        click.echo(f"{source}: unparsed ({reason}), for example: {redact(line)}")
    click.echo(f"label sets per metric: {cardinality(snapshot)}")
