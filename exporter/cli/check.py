"""`dify-exporter check`"""

from pathlib import Path

import click

from exporter.audit import audit
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
    sections = [(f"{source.name} ({called(source.parser)})", examine(source)) for source in config.sources]
    for title, findings in (*sections, ("money", audit(config))):
        for number, finding in enumerate(findings):
            problems += finding.problem
            click.echo(f"\n{title}" if not number else "", nl=not number)
            click.echo(f"  {'problem: ' if finding.problem else ''}{finding.text}")
    if config.proxy != Proxy():
        click.echo("\nproxy")
        for finding in examine_proxy(config, config_path.absolute().parent):
            problems += finding.problem
            click.echo(f"  {'problem: ' if finding.problem else ''}{finding.text}")
    if problems:
        click.echo(f"\n{problems} problem{'s' * (problems != 1)} found")
        raise SystemExit(1)
