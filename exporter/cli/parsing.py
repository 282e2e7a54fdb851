"""Shared by the commands that read logs once: the options that choose the processes that parse, and the progress."""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import click

from exporter.cli.options import stop_on
from exporter.messages import printable
from exporter.process.limits import keep_freed_memory
from exporter.replay import workers
from exporter.replay.errors import WorkersError
from exporter.replay.jobs import Job
from exporter.replay.remote import is_remote
from parsers.batch import Batch

processes_option = click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=lambda: min(8, len(os.sched_getaffinity(0))),
    show_default="one per processor",
    help="Number of processes that parse large files, or several packed ones.",
)
cluster_option = click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Parse on the Dask cluster of this scheduler, such as tcp://scheduler:8786, instead of this machine.",
)


@contextmanager
def workers_or_stop(processes: int, cluster: str | None, files: Iterable[str]) -> Iterator[workers.Workers]:
    """The processes that parse the files: of a cluster, or of this machine. If they fail, end without a result."""
    if cluster:
        from exporter.replay.cluster import connected  # slow, and only needed here
    started = connected(cluster) if cluster else workers.local(processes, any(map(is_remote, files)))
    with stop_on(WorkersError), started as found:
        yield found


def tune_memory() -> None:
    # Records are many and have no cycles. By default the garbage collector would traverse them 40 times per window.
    gc.set_threshold(100_000)
    keep_freed_memory()


def say(sentence: str) -> None:
    """Print a message on standard error, above the progress bar if there is one."""
    click.echo(printable(sentence), file=sys.stderr)  # rich's replacement of sys.stderr, which err=True would bypass


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
