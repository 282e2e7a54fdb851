"""`dify-exporter check`"""

from pathlib import Path

import click

from exporter.cli.options import config_option, load_or_stop
from exporter.detect import called
from exporter.doctor import examine, examine_proxy
from exporter.proxy.settings import Proxy


@click.command()
@config_option
def check(config_path: Path) -> None:
    """Examine the configuration and each source: what it yields, what it cannot, and what to do.

    \b
    Examples:
      dify-exporter check
      dify-exporter check --config /etc/dify-exporter/exporter.toml
    """
    config = load_or_stop(config_path)
    click.echo(f"{config_path}: the configuration is valid")
    problems = 0
    for source in config.sources:
        click.echo(f"\n{source.name} ({called(source.parser)})")
        for finding in examine(source):
            problems += finding.problem
            click.echo(f"  {'problem: ' if finding.problem else ''}{finding.text}")
    if config.proxy != Proxy():
        click.echo("\nproxy")
        for finding in examine_proxy(config, config_path.absolute().parent):
            problems += finding.problem
            click.echo(f"  {'problem: ' if finding.problem else ''}{finding.text}")
    if problems:
        click.echo(f"\n{problems} problem{'s' * (problems != 1)} found")
        raise SystemExit(1)
