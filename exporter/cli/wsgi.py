"""`dify-exporter proxy` and `dify-exporter receive`: each replaces this process by one that gevent has patched."""

import importlib.util
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import click
import msgspec

from exporter.cli.options import cannot_listen, config_option, load_or_stop, stop
from exporter.config.address import parse_address
from exporter.config.wsgi import WsgiConfig
from exporter.process.signals import BLOCKED


@click.command(short_help="Run the proxy in front of Dify; it logs what Dify's own logs do not contain.")
@config_option
def proxy(config_path: Path) -> None:
    """Run the WSGI proxy in front of Dify; it writes a log that `serve` can tail.

    \b
    Examples:
      dify-exporter proxy
      dify-exporter proxy --config /etc/dify-exporter/exporter.toml
    """
    config = load_or_stop(config_path)
    _require("the proxy", "proxy", "gunicorn", "gevent", "h11")
    _execute("proxy", config_path, config.proxy, config.routes.extra)


@click.command(short_help="Run the receiver of Dify's own tracing; it logs tokens, cost and runs.")
@config_option
def receive(config_path: Path) -> None:
    """Run the receiver of the traces that Dify sends; it writes a log that `serve` can tail.

    \b
    Examples:
      dify-exporter receive
      dify-exporter receive --config /etc/dify-exporter/exporter.toml
    """
    config = load_or_stop(config_path)
    _require("the receiver", "receive", "gunicorn", "gevent")
    _execute("receive", config_path, config.receive)


def _require(what: str, extra: str, *packages: str) -> None:
    if any(importlib.util.find_spec(package) is None for package in packages):
        *others, last = packages
        stop(f"{what} needs {', '.join(others)} and {last}: install dify-exporter[{extra}]")


def _execute(table: str, config_path: Path, settings: WsgiConfig, *further: object) -> NoReturn:
    """Run the server in `exporter.TABLE` with its `Startup`, or end the command if it cannot run."""
    where = f"{config_path}: [{table}]"
    settings = settings.with_absolute_paths(config_path.absolute().parent)
    if findings := [f"{where} {problem}" for problem in settings.problems()]:
        stop(*findings)
    try:
        Path(settings.log).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stop(f"{where} log: cannot be written at {settings.log}: {error.strerror}")
    host, port = parse_address(settings.listen)
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        cannot_listen(f"{where} listen", settings.listen, error)
    # The settings are passed in an unnamed file: they may exceed the length limit of an argument, and other users of
    # the machine can read arguments.
    with tempfile.TemporaryFile() as file:
        file.write(msgspec.json.encode((settings, *further)))
        file.seek(0)
        os.set_inheritable(file.fileno(), True)
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)  # until its slow imports are done: see wsgi/__main__.py
        os.execv(sys.executable, [sys.executable, "-P", "-m", "exporter.wsgi", table, str(file.fileno())])
