"""`dify-exporter`: one module a command."""

from importlib import import_module

import click

from exporter import __version__

_COMMANDS = ("serve", "replay", "check", "explain", "proxy")


class _Commands(click.Group):
    """Loads a command when it is called: `serve` stays small beside production, `replay` starts at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"exporter.cli.{cmd_name}"), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dify-exporter", message="%(prog)s %(version)s")
def main() -> None:
    """Turns the logs of a Dify deployment into Prometheus metrics.

    Exit codes: 0 good, 1 found problems, 2 wrong use, configuration or unreadable input.
    """
