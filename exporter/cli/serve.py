"""`dify-exporter serve`"""

import signal
import threading
import time
from pathlib import Path

import click

from exporter import logs, signals
from exporter.checkpoint import Checkpoint, LockedError
from exporter.cli.options import config_option, load_or_stop, stop
from exporter.service import Service
from exporter.settings import Config

_PATIENCE = 60.0


@click.command()
@config_option
@click.option(
    "--log-format", type=click.Choice(["logfmt", "json"]), default="logfmt", show_default=True, show_envvar=True,
    help="Form of the lines on standard error.",
)  # fmt: skip
def serve(config_path: Path, log_format: logs.Form) -> None:
    """Tail the configured logs and serve /metrics.

    SIGHUP, or POST /-/reload from this machine, reads the configuration again without resetting a counter.

    \b
    Examples:
      dify-exporter serve
      dify-exporter serve --config /etc/dify-exporter/exporter.toml --log-format json
      DIFY_EXPORTER_CONFIG=/etc/dify-exporter/exporter.toml dify-exporter serve
    """
    stopping, signalled = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        stopping.set()
        signalled.set()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, lambda *_: signalled.set())
    signals.release()
    config = load_or_stop(config_path)
    if not config.sources:
        stop(f"{config_path}: no [[source]] table, expected at least one; see exporter.toml for examples")
    logs.begin(log_format)
    service = Service(config, config_path)
    try:
        service.listen()
    except OSError as error:
        stop(f"{config_path}: [exporter] listen: cannot listen on {config.exporter.listen}: {error.strerror}")
    try:
        checkpoint = _checkpoint(config, config_path, service, stopping)
        if not stopping.is_set():
            service.start(checkpoint)
    except OSError as error:
        stop(f"{config_path}: [exporter] state: cannot be used at {error.filename}: {error.strerror}")
    while not stopping.is_set():
        if signalled.wait(0.2 if not service.ready() else None) and not stopping.is_set():
            signalled.clear()
            service.reload()
    service.stop()


def _checkpoint(config: Config, config_path: Path, service: Service, stopping: threading.Event) -> Checkpoint | None:
    """Waits for an exporter that is about to leave, as in a rolling update, and no longer. Raises OSError."""
    deadline = time.monotonic() + _PATIENCE
    while config.exporter.state and not stopping.is_set():
        try:
            return Checkpoint(config_path.absolute().parent / config.exporter.state)
        except LockedError as error:
            if time.monotonic() > deadline:
                stop(f"{config_path}: [exporter] {error}")
            service.waiting_for = str(error)
            stopping.wait(0.5)
    return None
