"""`dify-exporter report`"""

import re
import shutil
import sys
import time
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import click
from msgspec import structs

from exporter.cli.options import (
    OLDEST,
    candidates_or_stop,
    check_order,
    config_option,
    limits,
    load_if_named,
    state_folder,
    stop,
    stop_on,
)
from exporter.cli.parsing import cluster_option, processes_option, progress, say, tune_memory, workers_or_stop
from exporter.config.settings import Config
from exporter.ledger.calendar import midnight
from exporter.ledger.money import currency as checked_currency
from exporter.messages import unknown
from exporter.replay.errors import InputError
from exporter.replay.event_times import EventTimes
from exporter.replay.jobs import Job, Listener, Opened
from exporter.replay.named import named_files
from exporter.report import build, gather
from exporter.report.figures import Options
from exporter.report.query import GROUPS, Query
from parsers.batch import Batch
from parsers.values.times import zone


@click.command(short_help="Show what was counted, by time and label.")
@config_option
@click.argument("files", nargs=-1)
@click.option(
    "--since", metavar="TIME", help="Only what happened from this time on, such as 2026-11-09; 7d means seven days ago."
)
@click.option("--until", metavar="TIME", help="Only what happened before this time.")
@click.option("--month", metavar="MONTH", help="One month, such as 2026-11, instead of --since and --until.")
@click.option(
    "--by", type=click.Choice(["total", "month", "week", "day", "hour"]), default="total", show_default=True,
    help="Length of time per row.",
)  # fmt: skip
@click.option("--group", default="source", show_default=True, help=f"Labels of the rows: {', '.join(GROUPS)}.")
@click.option("--timezone", help="Time zone of days; the one of [history] by default.")
@click.option("--compare", is_flag=True, help="Add the figures of the span before, of the same length.")
@click.option("--what-if", "models", multiple=True, help="Add what the tokens would have cost with this model.")
@click.option("--currency", default="", help="Exchange all costs into this currency.")
@click.option(
    "--output", type=click.Choice(["table", "csv", "json", "markdown", "html"]), default="table", show_default=True,
    help="Format of the report.",
)  # fmt: skip
@processes_option
@cluster_option
def report(config_path: Path, files: tuple[str, ...], **options: Any) -> None:
    """Show what was counted, by time and label: requests, failures, runs, tokens and cost.

    Without FILES, the report is made from the history by day that `serve` keeps. FILES are logs, packed or not, and
    addresses such as s3://bucket/logs/*.gz; `-` is standard input. They need no configuration.

    \b
    Examples:
      dify-exporter report --month 2026-11 --by day --group app,model
      dify-exporter report --since 7d --compare --output html > week.html
      dify-exporter report /var/log/nginx/access.log* --by hour
    """
    config = load_if_named(config_path, not files)
    with stop_on(ValueError):
        query = _query(config, options)
        settings = Options(
            compare=options["compare"],
            prices=build.prices_of(options["models"], config),
            currency=options["currency"] and checked_currency("--currency: expected", options["currency"]),
            exchange=config.exchange,
            apps=config.apps,
        )
    if files:
        gathered, known = _from_files(files, query, config, options)
    else:
        query, gathered, known = _from_history(query, config, config_path)
    data = build.build(query, gathered, settings, time.time_ns())
    if not data["rows"]:
        say(f"nothing was counted in the span of this report; {known}")
    _print(data, options["output"])


def _query(config: Config, options: dict[str, Any]) -> Query:
    """Raises ValueError for an option that is wrong."""
    try:
        local = zone(options["timezone"] or config.history.timezone)
    except ValueError as error:
        raise ValueError(f"--timezone: {error}") from None
    group = tuple(dict.fromkeys(name.strip() for name in options["group"].split(",") if name.strip()))
    for name in group:
        if name not in GROUPS:
            raise ValueError("--group: " + unknown("label", name, GROUPS))
    since, until = _limits(options, local)
    if options["compare"] and since is None:
        raise ValueError("--compare needs the beginning of the span: add --month or --since")
    if options["compare"] and until is None:
        until = time.time_ns()
        check_order(since, until)
    query = Query(local, options["by"], group, since, until)
    if options["compare"] and not _has_before(query):
        raise ValueError("--compare: the span before would begin before the year 1971: choose a shorter span")
    return query


def _has_before(query: Query) -> bool:
    try:
        return (query.before().since or 0) >= OLDEST
    except (ValueError, OverflowError):  # before the year 1
        return False


def _limits(options: dict[str, Any], local: tzinfo) -> tuple[int | None, int | None]:
    """The limits of --since and --until, or of --month. Raises ValueError."""
    text = options["month"]
    if text is None:
        return limits(options["since"], options["until"], local)
    if options["since"] or options["until"]:
        raise ValueError("--month cannot be combined with --since or --until: leave them out")
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text) or not "1971" <= text < "2261":
        raise ValueError(f'--month: expected a month such as 2026-11, found "{text}"')
    first = datetime.fromisoformat(f"{text}-01").date()
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return midnight(first, local), midnight(following, local)


def _from_history(query: Query, config: Config, config_path: Path) -> tuple[Query, gather.Gathered, str]:
    """The history consists of whole days, so the span is rounded to whole days. The text says which days there are."""
    if query.by == "hour":
        stop("--by hour: the history has whole days only; name the log FILES to see hours")
    if not config.exporter.state or not config.history.days:
        stop(f"{config_path}: there is no history without [exporter] state and [history] days; name log FILES instead")
    folder = state_folder(config, config_path)
    try:
        gathered = gather.from_history(folder)
    except OSError as error:
        stop(f"{error.filename}: the history cannot be read: {error.strerror}")
    if not gathered.books:
        for sentence in gathered.sentences:
            say(sentence)
        stop(f"{folder}: there is no history yet: `dify-exporter serve` keeps it; or name log FILES")
    known = f"the history has the days from {gathered.books[0].day} to {gathered.books[-1].day}"
    return query.whole_days(), gathered, known


def _from_files(
    files: tuple[str, ...], query: Query, config: Config, options: dict[str, Any]
) -> tuple[gather.Gathered, str]:
    """What was gathered, and a text about the times of the logs."""
    tune_memory()
    wanted = structs.replace(query, since=query.before().since) if options["compare"] else query
    candidates = candidates_or_stop(config.routes.extra)
    notes = _Notes(say)
    with workers_or_stop(options["processes"], options["cluster"], files) as workers, stop_on(InputError):
        jobs = [Job(file, candidates=candidates) for file in named_files(files, notes.damaged)]
        with progress(jobs) as advance:

            def took(batch: Batch) -> None:
                advance(batch)
                notes.times.add(batch)

            gathered = gather.from_logs(jobs, wanted, config, notes, workers, took)
    return structs.replace(gathered, sentences=tuple(notes.sentences)), f"in the logs: {notes.times}"


class _Notes(Listener):
    """Keeps the sentences that the report repeats (copies and damaged files), and the event times of all logs."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(say)
        self.sentences: list[str] = []
        self.times = EventTimes()

    def opened(self, log: Opened) -> None:
        self.times.begin(log.parser, log.sample)

    def damaged(self, sentence: str) -> None:
        self.sentences.append(sentence)
        self.say(sentence)


def _print(data: build.Report, output: str) -> None:
    from exporter.report import page, text

    if output == "table":
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        shown = text.show(data, width).encode()
    elif output == "html":
        shown = page.page(data)
    else:
        shown = {"json": text.as_json, "csv": text.as_csv, "markdown": text.as_markdown}[output](data).encode()
    sys.stdout.buffer.write(shown)
