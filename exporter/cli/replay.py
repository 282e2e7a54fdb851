"""`dify-exporter replay`"""

import gc
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import click

from exporter import catalogue as c
from exporter.cli.options import candidates_or_stop, config_option, load_if_named, stop
from exporter.cli.parsing import cluster_option, processes_option, workers_or_stop
from exporter.config.settings import Config
from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshot import Snapshot
from exporter.messages import printable, redact
from exporter.metrics.exposition import render
from exporter.metrics.gauges import computed_gauges
from exporter.process.freed_memory import keep_freed_memory
from exporter.process.signals import exit_code
from exporter.replay.errors import InputError
from exporter.replay.event_times import shown
from exporter.replay.jobs import Job, jobs_of, run
from exporter.replay.named import named_files
from exporter.replay.notes import Notes
from exporter.replay.span import ALWAYS, Span
from parsers.batch import Batch
from parsers.values.numbers import SECOND
from parsers.values.times import LATEST

#: The width of tables that are written into a file or a pipe.
_WIDTH = 140

#: The oldest time that an option accepts: a year after the beginning of Unix time, so that no time zone makes it
#: negative.
OLDEST = 365 * 86_400 * SECOND


class Moment(click.ParamType[int]):
    """A point in time, in nanoseconds since the epoch. A time without a zone is in UTC."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return moment(value, UTC)
        except ValueError as error:
            self.fail(str(error))


def moment(value: str, local: tzinfo) -> int:
    """A point in time, in nanoseconds since the epoch. `local` is the time zone of a time without one.

    Raises ValueError.
    """
    if ago := re.fullmatch(r"(\d{1,6})([smhdw])", value):
        seconds = int(ago[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[ago[2]]
        at = time.time_ns() - seconds * SECOND
    else:
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(
                f'expected a time such as 2026-11-23T08:00:00Z, or how long ago: 30m, 2h, 1w; found "{value}"'
            ) from None
        at = round((found if found.tzinfo else found.replace(tzinfo=local)).timestamp() * SECOND)
    if not OLDEST <= at <= LATEST:
        raise ValueError(f'expected a time in the years 1971 to 2260, found "{value}"')
    return at


@click.command(short_help="Read logs once and show what they contain.")
@config_option
@click.argument("files", nargs=-1)
@click.option("--parser", "parser_name", help="Parser of FILES; detected by default.")
@click.option("--format", "format_", help="Format of the parser: a name, or nginx's log_format itself.")
@click.option("--envelope", help="none, docker, cri, compose, syslog or json; detected by default.")
@click.option(
    "--since", type=Moment(), help="Count only events from this time on; 2h means two hours ago, 1w a week ago."
)
@click.option("--until", type=Moment(), help="Count only events before this time.")
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
    span = _span_or_stop(options["since"], options["until"])
    config = load_if_named(config_path, not files)
    ledger = Ledger(config.limits, time.time, config.buckets, config.prices, config.budgets, is_stored=False)
    notes, code = Notes(say, len(files or config.sources)), 0
    tune_memory()
    with workers_or_stop(options["processes"], options["cluster"], files) as workers:
        jobs = _jobs(files, described, config, notes)  # opens addresses, so it comes after the fork
        try:
            with progress(jobs) as advance:
                for step in run(jobs, ledger, config.limits.line_length, span, notes, workers):
                    advance(step.batch)
                    notes.add(step)
        except KeyboardInterrupt as error:
            code = exit_code(error)
    if not notes.has_read:
        stop(*(notes.skipped if notes.inputs == 1 else ["no input could be read"]))
    snapshot = ledger.snapshot(None)
    _say_notes(snapshot, notes, span, output)
    if code:
        say("interrupted: the result covers only what was read until then")
    _print(snapshot, config, notes, output)
    if notes.skipped and notes.inputs > 1:
        say(f"{len(notes.skipped)} skipped: the sentences above the result say why")
    raise SystemExit(code or 2 * bool(notes.skipped))


def _span_or_stop(since: int | None, until: int | None) -> Span:
    if since is not None and until is not None and since >= until:
        stop("--since must be before --until: this span of time is empty")
    return Span(since, until)


def _jobs(
    files: tuple[str, ...], described: tuple[str | None, str | None, str | None], config: Config, notes: Notes
) -> list[Job]:
    """The named files and addresses, else those of the configured sources.

    What matches nothing, and a source without a usable file, is skipped.
    """
    if files:
        candidates = candidates_or_stop(*described, config.routes.extra)
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


def tune_memory() -> None:
    # Records are many and have no cycles. By default the garbage collector would traverse them 40 times per window.
    gc.set_threshold(100_000)
    keep_freed_memory()


def say(sentence: str) -> None:
    """Print a message on standard error, above the progress bar if there is one."""
    click.echo(printable(sentence), file=sys.stderr)  # rich's replacement of sys.stderr, which err=True would bypass


def _say_notes(snapshot: Snapshot, notes: Notes, span: Span, output: str) -> None:
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
        if span != ALWAYS and not any(count for (name, _), count in lines.items() if name == source):
            say(f"{source}: no event lies in the time of {_options(span)}; in the log: {times}")
        elif output == "metrics":
            say(f"{source}: {times}")


def _options(span: Span) -> str:
    options = {"--since": span.since, "--until": span.until}
    return " and ".join(name for name, at in options.items() if at is not None)


@contextmanager
def progress(jobs: list[Job]) -> Iterator[Callable[[Batch], None]]:
    """On a terminal, show a progress bar with bytes and lines per second."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    sizes = [os.path.getsize(job.file) for job in jobs if os.path.isfile(job.file)]
    columns = (
        TextColumn("{task.fields[rate]}"), BarColumn(), TaskProgressColumn(), DownloadColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    lines, begun = 0, time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=sum(sizes) or None, rate="")

        def advance(batch: Batch) -> None:
            nonlocal lines
            lines += batch.lines
            rate = lines / max(time.monotonic() - begun, 1e-3)
            progress.update(task, advance=batch.consumed, rate=f"{lines:,} lines, {rate:,.0f}/s")

        yield advance


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
    click.echo(f"label sets: {cardinality(snapshot)}")
