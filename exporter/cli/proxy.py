"""The command `dify-exporter proxy`."""

import importlib.util
import os
import socket
import sys
import tempfile
from pathlib import Path

import click
import msgspec

from exporter.cli.options import config_option, load_or_stop, stop
from exporter.config.address import parse_address
from exporter.config.proxy import unusable_settings

_REQUIRED_PACKAGES = ("gevent", "gunicorn", "h11")


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
    if any(importlib.util.find_spec(name) is None for name in _REQUIRED_PACKAGES):
        stop("the proxy needs gunicorn, gevent and h11: install dify-exporter[proxy]")
    settings = config.proxy.with_absolute_paths(config_path.absolute().parent)
    if findings := [f"{config_path}: [proxy] {finding}" for finding in unusable_settings(settings)]:
        stop(*findings)
    Path(settings.log).parent.mkdir(parents=True, exist_ok=True)
    host, port = parse_address(settings.listen)
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        stop(f"{config_path}: [proxy] listen: cannot listen on {settings.listen}: {error.strerror or error}")
    # The settings are passed in an unnamed file: they may exceed the length limit of an argument, and other users of
    # the machine can read arguments.
    with tempfile.TemporaryFile() as file:
        file.write(msgspec.json.encode({"settings": settings, "routes": config.routes.extra}))
        file.seek(0)
        os.set_inheritable(file.fileno(), True)
        os.execv(sys.executable, [sys.executable, "-P", "-m", "exporter.proxy", str(file.fileno())])
