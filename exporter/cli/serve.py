"""`dify-exporter serve`"""

import logging
import signal
import threading
import time
from pathlib import Path

import click

from exporter.checkpoint import Checkpoint, LockedError
from exporter.cli.options import config_option, load_or_stop, stop
from exporter.service import Service
from exporter.settings import Config

_PATIENCE = 60.0
_LOG_FORMAT = "ts=%(asctime)s level=%(levelname)s logger=%(name)s msg=%(message)r"


@click.command()
@config_option
def serve(config_path: Path) -> None:
    """Tail the configured logs and serve /metrics.

    \b
    Examples:
      dify-exporter serve
      dify-exporter serve --config /etc/dify-exporter/exporter.toml
    """
    config = load_or_stop(config_path)
    if not config.sources:
        stop(f"{config_path}: no [[source]] table, expected at least one; see exporter.toml for examples")
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    service = Service(config)
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
    while not stopping.wait(0.2 if not service.ready() else None):
        pass
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
