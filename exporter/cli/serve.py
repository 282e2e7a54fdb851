"""`dify-exporter serve`"""

import logging
import signal
import threading
from pathlib import Path

import click

from exporter.cli.options import config_option, load_or_stop, stop

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
    from exporter.service import Service

    config = load_or_stop(config_path)
    if not config.sources:
        stop(f"{config_path}: no [[source]] table, expected at least one; see exporter.toml for examples")
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    service = Service(config)
    try:
        service.start()
    except OSError as error:
        stop(f"{config_path}: [exporter] listen: cannot listen on {config.exporter.listen}: {error.strerror}")
    stopping.wait()
    service.stop()
