"""`dify-exporter`: one module a command."""

import click

from exporter import __version__
from exporter.cli.check import check
from exporter.cli.explain import explain
from exporter.cli.replay import replay
from exporter.cli.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dify-exporter", message="%(prog)s %(version)s")
def main() -> None:
    """Turns the logs of a Dify deployment into Prometheus metrics.

    Exit codes: 0 good, 1 found problems, 2 wrong use, configuration or unreadable input.
    """


for command in (serve, replay, check, explain):
    main.add_command(command)
