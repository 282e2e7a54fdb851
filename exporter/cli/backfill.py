"""`dify-exporter backfill`"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import click

from exporter.backfill.blocks import BlocksError, DayBlocks
from exporter.backfill.openmetrics import END, Write
from exporter.backfill.run import backfill as write_samples
from exporter.catalogue import METRICS
from exporter.cli.options import candidates_or_stop, config_option, load_or_stop, stop
from exporter.cli.parsing import cluster_option, processes_option, workers_or_stop
from exporter.cli.replay import progress, say, tune_memory
from exporter.config.settings import Config, SourceConfig
from exporter.replay.errors import InputError
from exporter.replay.jobs import Job
from exporter.replay.named import named_files
from exporter.tail.globs import tailed

_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_OWN_LABELS = frozenset({"le"}.union(*(metric.labels for metric in METRICS)))


def _different(_: click.Context, __: click.Parameter, labels: tuple[str, ...]) -> tuple[str, ...]:
    names = [label.partition("=")[0] for label in labels]
    for label, name in zip(labels, names, strict=True):
        if name in _OWN_LABELS or names.count(name) > 1:
            why = "the metrics have a label of this name" if name in _OWN_LABELS else "its name is given twice"
            stop(f'--label: found "{label}", but {why}: choose another name')
    return labels


@click.command(short_help="Write the metrics of the past, for Prometheus.")
@config_option
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--step", type=click.IntRange(1, 86_400), default=60, show_default=True, help="Seconds between two samples."
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    callback=_different,
    help="NAME=VALUE of a label of all samples, such as job=dify.",
)
@click.option("--output", help="Write OpenMetrics into this file; - is standard output.")
@click.option("--blocks", type=click.Path(path_type=Path, file_okay=False), help="Let promtool write blocks there.")
@processes_option
@cluster_option
@click.pass_context
def backfill(
    context: click.Context,
    config_path: Path,
    files: tuple[str, ...],
    step: int,
    labels: tuple[str, ...],
    output: str | None,
    blocks: Path | None,
    processes: int,
    cluster: str | None,
) -> None:
    """Write the metrics that `serve` would have shown, with their times, from logs of the past.

    FILES and addresses are read like those of `replay`. A file that a configured source tails belongs to that source.

    \b
    Examples:
      dify-exporter backfill /archive/access.log.*.gz --blocks /var/lib/prometheus/data --label job=dify-exporter
      dify-exporter backfill access.log* --step 300 --output past.om
    """
    if (output is None) == (blocks is None):
        stop("expected one of --output FILE and --blocks FOLDER")
    added = dict(_label(text) for text in labels)
    named = context.get_parameter_source("config_path") is not click.core.ParameterSource.DEFAULT
    config = load_or_stop(config_path) if named or config_path.exists() else Config()
    promtool = shutil.which("promtool")
    if blocks is not None and promtool is None:
        stop("--blocks: promtool is not installed; use --output, and `promtool tsdb create-blocks-from openmetrics`")
    tune_memory()
    with workers_or_stop(processes, cluster, files) as workers:
        try:
            jobs = _jobs(named_files(files, say), config)
            with _target(output, blocks, promtool) as write, progress(jobs) as advance:
                write_samples(jobs, config, (step, added), write, say, advance, workers)
        except InputError as error:
            stop(str(error))
        except OSError as error:
            if error.filename is None:
                raise
            stop(f"{str(error.filename).removesuffix('.tmp')}: cannot be written: {error.strerror}")


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not _LABEL.fullmatch(name):
        stop(f'--label: expected a name and a value such as job=dify-exporter, found "{text}"')
    return name, value


def _jobs(files: list[str], config: Config) -> list[Job]:
    """A file belongs to the source that tails it, or tails a log beside it of which the file is a rotated one."""
    candidates = candidates_or_stop(None, None, None, config.routes.extra)
    return [Job(file, _source_of(file, config), candidates) for file in files]


def _source_of(file: str, config: Config) -> SourceConfig | None:
    path = os.path.abspath(file)
    for source in config.sources:
        for log in (*tailed(source.paths, source.log_patterns), *source.paths):
            stem, ending = os.path.splitext(log)
            if (
                path == log
                or path.startswith((f"{log}.", f"{log}-"))
                or re.fullmatch(rf"{re.escape(stem)}[.-][\d.-]+{re.escape(ending)}(\.gz)?", path)
            ):
                return source
    return None


@contextmanager
def _target(output: str | None, blocks: Path | None, promtool: str | None) -> Iterator[Write]:
    """Where the samples go. What is not finished is removed. Raises OSError."""
    if output == "-":
        yield lambda text, _: sys.stdout.write(text)
        sys.stdout.write(END)
    elif output is not None:
        temporary = Path(f"{output}.tmp")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                yield lambda text, _: file.write(text)
                file.write(END)
            temporary.replace(output)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
    elif blocks is not None and promtool is not None:
        blocks.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(prefix=".backfill-", dir=blocks))
        try:
            days = DayBlocks(promtool, folder)
            yield days.write
            made = days.finish()
            for block in made:
                block.replace(blocks / block.name)
            say(f"{blocks}: {len(made)} blocks written")
        except BlocksError as error:
            stop(f"promtool has failed: {error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
