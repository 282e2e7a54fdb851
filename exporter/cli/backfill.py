"""`dify-exporter backfill`"""

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import click
from msgspec import structs

from exporter.backfill.adopt import AdoptError, Adoption, Owner, Owners
from exporter.backfill.openmetrics import END, BlocksError, DayBlocks, Write
from exporter.backfill.run import Options
from exporter.backfill.run import backfill as write_samples
from exporter.catalogue import METRICS
from exporter.cli.options import candidates_or_stop, config_option, load_if_named, state_folder, stop, stop_on
from exporter.cli.parsing import cluster_option, processes_option, progress, say, tune_memory, workers_or_stop
from exporter.config.settings import Config
from exporter.persistence.checkpoint import Checkpoint, LockedError
from exporter.process.signals import BLOCKED
from exporter.replay.errors import InputError
from exporter.replay.jobs import Job
from exporter.replay.named import named_files
from exporter.replay.workers import Workers
from parsers.batch import Batch

#: Ends the samples, and returns the function that makes them visible.
_Finish = Callable[[], Callable[[], object]]

#: The destination of the samples: the function that writes them, and the one that finishes. Samples that were not
#: finished are removed. Raises OSError, BlocksError.
_Target = AbstractContextManager[tuple[Write, _Finish]]

_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_OWN_LABELS = frozenset({"le"}.union(*(metric.labels for metric in METRICS)))


def _labels(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not _LABEL.fullmatch(name):
            stop(f'--label: expected a name and a value such as job=dify-exporter, found "{text}"')
        if name in _OWN_LABELS or name in found:
            why = "the metrics have a label of this name" if name in _OWN_LABELS else "its name is given twice"
            stop(f'--label: found "{text}", but {why}: choose another name')
        found[name] = value
    return found


@click.command(short_help="Write the metrics of the past, for Prometheus.")
@config_option
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--step", type=click.IntRange(1, 86_400), default=60, show_default=True, help="Seconds between two samples."
)
@click.option(
    "--label", "labels", multiple=True, callback=_labels, help="NAME=VALUE of a label of all samples, such as job=dify."
)
@click.option("--output", help="Write OpenMetrics into this file; - is standard output.")
@click.option("--blocks", type=click.Path(path_type=Path, file_okay=False), help="Let promtool write blocks there.")
@processes_option
@cluster_option
@click.option("--adopt", is_flag=True, help="Also write the state, so that `serve` goes on without a reset.")
def backfill(config_path: Path, files: tuple[str, ...], adopt: bool, **options: Any) -> None:
    """Write the metrics that `serve` would have shown, with their times, from logs of the past.

    FILES and addresses are read like those of `replay`. A file that a configured source tails belongs to that source.

    \b
    Examples:
      dify-exporter backfill /archive/access.log.*.gz --blocks /var/lib/prometheus/data --label job=dify-exporter
      dify-exporter backfill access.log* --step 300 --output past.om
      dify-exporter backfill /var/log/nginx/access.log* --blocks data --label job=dify-exporter --adopt
    """
    target = _target_or_stop(options["output"], options["blocks"])
    config = load_if_named(config_path, adopt or os.path.exists(config_path))
    written = Options(options["step"], options["labels"], adopt)
    tune_memory()
    with workers_or_stop(options["processes"], options["cluster"], files) as workers, _sentences():
        names, known = named_files(files, say), Owners(config.sources)
        owners = {file: owner for file in names if (owner := _owner(file, known, adopt)) is not None}
        candidates = candidates_or_stop(config.routes.extra)
        jobs = [Job(file, owners[file].source if file in owners else None, candidates) for file in names]
        if not adopt:
            _write(jobs, config, written, target, workers)
            return
        with _adoption(owners, known, config, config_path) as adoption:
            jobs = [structs.replace(job, may_grow=adoption.may_grow(job.file)) for job in jobs]
            _write(jobs, config, written, target, workers, adoption)
    say(f"{state_folder(config, config_path)}: the state is written: start `serve`, which goes on from here")


def _write(
    jobs: list[Job],
    config: Config,
    options: Options,
    target: _Target,
    workers: Workers,
    adoption: Adoption | None = None,
) -> None:
    """Raises InputError, WorkersError, AdoptError, BlocksError, OSError."""
    with target as (write, finish), progress(jobs) as advance:

        def entered(file: str, batch: Batch) -> None:
            advance(batch)
            if adoption is not None:
                adoption.read(file, batch)

        state = write_samples(jobs, config, options, write, say, entered, workers)
        publish = finish()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)  # no interrupt can come between the two
        try:
            if adoption is not None:
                adoption.store(state, options.step)
            publish()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        with stop_on(InputError, AdoptError):
            yield
    except BlocksError as error:
        stop(f"promtool has failed: {error}")
    except OSError as error:
        if error.filename is None:
            raise
        stop(f"{str(error.filename).removesuffix('.tmp')}: cannot be written: {error.strerror}")


def _owner(file: str, known: Owners, adopt: bool) -> Owner | None:
    """The owner of a file. To adopt a file, it must have one; then its name is enough. Raises AdoptError."""
    owner = known.of(file)
    if owner is not None or not adopt:
        return owner
    alike = known.named_like(file)
    sources = sorted({f'"{each.source.name}"' for each in alike})
    if len(sources) == 1:
        return alike[0]
    if sources:
        raise AdoptError(
            f"{file}: may belong to source {' or '.join(sources)}: name its folder in log_patterns of one of them"
        )
    raise AdoptError(
        f"{file}: belongs to no configured source, so `serve` cannot go on from it: name its log in paths, or its "
        "folder in log_patterns, or leave it out"
    )


@contextmanager
def _adoption(owners: Mapping[str, Owner], known: Owners, config: Config, config_path: Path) -> Iterator[Adoption]:
    """Locks the state. Raises AdoptError, OSError."""
    if not config.exporter.state:
        stop(f"{config_path}: --adopt needs a state, and [exporter] state is empty")
    try:
        checkpoint = Checkpoint(state_folder(config, config_path))
    except LockedError as error:
        stop(f"--adopt: {error}: stop it first")
    with closing(checkpoint), closing(Adoption(owners, known, checkpoint)) as adoption:
        adoption.restore(say)
        yield adoption


def _target_or_stop(output: str | None, blocks: Path | None) -> _Target:
    if (output is None) == (blocks is None):
        stop("expected one of --output FILE and --blocks FOLDER")
    if output is not None:
        return _standard_output() if output == "-" else _file(Path(output))
    assert blocks is not None
    promtool = shutil.which("promtool")
    if promtool is None:
        stop("--blocks: promtool is not installed; use --output, and `promtool tsdb create-blocks-from openmetrics`")
    return _blocks(blocks, promtool)


@contextmanager
def _standard_output() -> Iterator[tuple[Write, _Finish]]:
    def finish() -> Callable[[], object]:
        sys.stdout.write(END)
        sys.stdout.flush()
        return lambda: None

    yield lambda text, _: sys.stdout.write(text), finish


@contextmanager
def _file(path: Path) -> Iterator[tuple[Write, _Finish]]:
    temporary = Path(f"{path}.tmp")

    def finish() -> Callable[[], object]:
        file.write(END)
        file.flush()
        os.fsync(file.fileno())
        return lambda: temporary.replace(path)

    try:
        with temporary.open("w", encoding="utf-8") as file:
            yield lambda text, _: file.write(text), finish
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _blocks(target: Path, promtool: str) -> Iterator[tuple[Write, _Finish]]:
    target.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=".backfill-", dir=target))
    days = DayBlocks(promtool, folder)

    def finish() -> Callable[[], object]:
        made = days.finish()

        def publish() -> None:
            for block in made:
                block.replace(target / block.name)
            say(f"{target}: {len(made)} blocks written")

        return publish

    try:
        yield days.write, finish
    finally:
        shutil.rmtree(folder, ignore_errors=True)
