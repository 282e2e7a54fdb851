"""The command `dify-exporter receive`."""

from pathlib import Path

import click

from exporter.cli.options import config_option, load_or_stop
from exporter.cli.wsgi import execute, require

_REQUIRED_PACKAGES = {"gunicorn": "gunicorn", "gevent": "gevent"}


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
    require("the receiver", "receive", _REQUIRED_PACKAGES)
    execute("receive", config.receive, config_path)
