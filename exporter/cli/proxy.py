"""`dify-exporter proxy`"""

import importlib.util
import os
import socket
import sys
import tempfile
from pathlib import Path

import click
import msgspec

from exporter.cli.options import config_option, load_or_stop, stop
from exporter.config.address import address
from exporter.config.proxy import unusable

_NEEDED = ("gevent", "gunicorn", "h11")


@click.command(short_help="Stand in front of Dify and log what its own logs lack.")
@config_option
def proxy(config_path: Path) -> None:
    """Run the WSGI proxy in front of Dify; it writes a log that `serve` can tail.

    \b
    Examples:
      dify-exporter proxy
      dify-exporter proxy --config /etc/dify-exporter/exporter.toml
    """
    config = load_or_stop(config_path)
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        stop("the proxy needs gunicorn, gevent and h11: install dify-exporter[proxy]")
    settings = config.proxy.under(config_path.absolute().parent)
    if findings := [f"{config_path}: [proxy] {finding}" for finding in unusable(settings)]:
        stop(*findings)
    Path(settings.log).parent.mkdir(parents=True, exist_ok=True)
    host, port = address(settings.listen)
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        stop(f"{config_path}: [proxy] listen: cannot listen on {settings.listen}: {error.strerror or error}")
    # A file without a name: the settings may be longer than an argument, and are nobody else's business.
    with tempfile.TemporaryFile() as handed:
        handed.write(msgspec.json.encode({"settings": settings, "routes": config.routes.extra}))
        handed.seek(0)
        os.set_inheritable(handed.fileno(), True)
        os.execv(sys.executable, [sys.executable, "-P", "-m", "exporter.proxy", str(handed.fileno())])
