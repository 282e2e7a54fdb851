"""`dify-exporter serve`"""

import time
from pathlib import Path

import click

from exporter.cli.options import cannot_listen, config_option, load_or_stop, state_folder, stop
from exporter.config.settings import NO_SOURCE, Config
from exporter.persistence.checkpoint import Checkpoint, LockedError
from exporter.process import logs, signals
from exporter.process.limits import keep_freed_memory
from exporter.service import Service

#: Seconds to wait for another exporter that still uses the state.
_LOCK_TIMEOUT = 60.0


@click.command()
@config_option
@click.option(
    "--log-format", type=click.Choice(["logfmt", "json"]), default="logfmt", show_default=True, show_envvar=True,
    help="Format of the exporter's own log on standard error.",
)  # fmt: skip
def serve(config_path: Path, log_format: logs.Form) -> None:
    """Tail the configured logs and serve /metrics.

    SIGHUP, or POST /-/reload from this machine, reloads the configuration without resetting a counter.

    \b
    Examples:
      dify-exporter serve
      dify-exporter serve --config /etc/dify-exporter/exporter.toml --log-format json
      DIFY_EXPORTER_CONFIG=/etc/dify-exporter/exporter.toml dify-exporter serve
    """
    config = load_or_stop(config_path)
    if not config.sources:
        stop(f"{config_path}: {NO_SOURCE}")
    logs.begin(log_format)
    keep_freed_memory()
    service = Service(config, config_path)
    try:
        service.listen()
    except OSError as error:
        cannot_listen(f"{config_path}: [exporter] listen", config.exporter.listen, error)
    try:
        _restore(config, config_path, service)
        service.start()
        while True:
            if signals.wait_for_reload(within=None if service.ready() else 0.2):
                service.reload()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        stop(f"{config_path}: serve cannot go on: {where}{error.strerror or error}")
    except signals.EndedError:  # a signal
        service.stop()


def _restore(config: Config, config_path: Path, service: Service) -> None:
    """Open and read the state. If another exporter still uses it, as in a rolling update, wait for it."""
    deadline, folder = time.monotonic() + _LOCK_TIMEOUT, state_folder(config, config_path)
    while True:
        try:
            service.restore(Checkpoint(folder) if config.exporter.state else None)
            return
        except LockedError as error:
            if time.monotonic() > deadline:
                stop(f"{config_path}: [exporter] {error}")
            service.waiting_for = str(error)
        except OSError as error:
            stop(f"{config_path}: [exporter] state: cannot be used at {error.filename or folder}: {error.strerror}")
        signals.wait_for_reload(within=0.5)
