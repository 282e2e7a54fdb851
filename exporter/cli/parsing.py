"""Shared by the commands that read logs once: the options that choose the processes that parse."""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import click

from exporter.cli.options import stop
from exporter.replay import workers
from exporter.replay.errors import WorkersError
from exporter.replay.remote import is_remote

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
    try:
        with _cluster(cluster) if cluster else workers.local(processes, any(map(is_remote, files))) as found:
            yield found
    except WorkersError as error:
        stop(str(error))


def _cluster(scheduler: str) -> AbstractContextManager[workers.Workers]:
    from exporter.replay.cluster import connected  # slow, and only needed here

    return connected(scheduler)
