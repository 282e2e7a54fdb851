"""The command `dify-exporter proxy`."""

from pathlib import Path

import click

from exporter.cli.options import config_option, load_or_stop
from exporter.cli.wsgi import execute, require

_REQUIRED_PACKAGES = {"gunicorn": "gunicorn", "gevent": "gevent", "h11": "h11"}


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
    require("the proxy", "proxy", _REQUIRED_PACKAGES)
    execute("proxy", config.proxy, config_path, routes=config.routes.extra)
