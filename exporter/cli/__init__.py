"""The command line `dify-exporter`: one module per command."""

import gc
from importlib import import_module
from typing import Any

import click

from exporter import __version__
from exporter.process import signals

_COMMANDS = ("serve", "replay", "report", "backfill", "check", "explain", "init", "proxy", "receive")

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "auto_envvar_prefix": "DIFY_EXPORTER"}


class _Commands(click.Group):
    """Imports a command only when it is called, so that `serve` uses little memory and `replay` starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name != "serve":  # `serve` handles its signals itself
            signals.unblock()
        module = "wsgi" if cmd_name in ("proxy", "receive") else cmd_name
        command: click.Command = getattr(import_module(f"exporter.cli.{module}"), cmd_name)
        gc.freeze()
        gc.enable()
        return command

    def main(self, *args: Any, **named: Any) -> Any:
        from exporter.cli.limits import sentences

        with sentences():
            return super().main(*args, **named)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command. A signal, or a reader of its output that has exited, ends it with the exit code of shells."""
        from exporter.cli.limits import stop_without_reader

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            click.echo("dify-exporter: interrupted: there is no result", err=True)
            raise SystemExit(signals.exit_code(error)) from None
        except BrokenPipeError:
            stop_without_reader()


@click.group(cls=_Commands, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="dify-exporter", message="%(prog)s %(version)s")
def main() -> None:
    """Turn the logs of a Dify deployment into Prometheus metrics.

    \b
    Examples:
      dify-exporter init && dify-exporter check && dify-exporter serve
      docker compose logs --no-color api | dify-exporter replay -
      eval "$(_DIFY_EXPORTER_COMPLETE=bash_source dify-exporter)"    # completion: bash_source, zsh_source, fish_source

    Each option has an environment variable, such as DIFY_EXPORTER_CONFIG for --config and DIFY_EXPORTER_REPLAY_OUTPUT
    for `replay --output`.

    Exit codes: 0 success, 1 problems found, 2 wrong usage, invalid configuration or unreadable input; 129, 130,
    141 and 143: ended by SIGHUP, Ctrl-C, a reader that has exited, and SIGTERM.
    """
