"""`dify-exporter init`"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from exporter.advice.nginx_logs import FoundLog
from exporter.advice.survey import NAMED, survey
from exporter.cli.options import config_option, stop
from exporter.config.loader import ConfigError, load
from exporter.messages import counted, printable
from exporter.replay.detect import toml

_HEAD = """\
# dify-exporter's configuration; every key is described in docs/configuration.md.
# `dify-exporter check` reports what each log provides, what is missing, and which alerts can fire.

[exporter]
listen = "127.0.0.1:9877"          # "0.0.0.0:9877" for all addresses; then set a web_config with passwords
state = ".dify-exporter/state"     # this folder keeps the counters over a restart
# web_config = "web.toml"          # TLS, passwords: docs/configuration.md
# start_at = "beginning"           # also counts the lines that are already in the logs
"""

_NOTHING = """\

# No log of Dify was found. This is the usual path of the nginx access log; `serve` waits until the file exists.
# Dify's containers keep their logs inside until volumes are mounted: see deploy/dify-logs.compose.yaml.
[[source]]
name = "nginx"
paths = ["/var/log/nginx/access.log"]
parser = "nginx"
format = "dify"                    # for latency: "dify-timed" with deploy/nginx/dify-timed.conf
"""

_TOKENS = """\

# Dify's community edition logs no tokens and no cost. Let Dify send its traces to `dify-exporter receive`, which writes
# this log (docs/receiver.md), or put `dify-exporter proxy` in front of Dify's api (docs/proxy.md).
# [receive]
# listen = "127.0.0.1:4318"
# log = "logs/receive.log"
# log_max_bytes = 100000000
#
# [[source]]
# name = "receive"
# paths = ["logs/receive.log"]
# parser = "dify"
"""


@click.command(short_help="Find the logs on this machine and write a configuration.")
@config_option
@click.argument("files", nargs=-1)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path("/"), show_default=True,
    help="Folder to search: / or the mount point of the files of another machine.",
)  # fmt: skip
def init(config_path: Path, files: tuple[str, ...], force: bool, root: Path) -> None:
    """Find the logs on this machine and write a commented configuration for them and for FILES.

    The command examines nginx's configuration with its log_format, the usual log paths of Dify, and the folders of
    Docker's json-file log driver. It detects the formats of FILES as `replay` does.

    \b
    Examples:
      dify-exporter init
      dify-exporter init logs/access.log logs/api/server.log
      dify-exporter init --config /etc/dify-exporter/exporter.toml --force
      dify-exporter init --root /host
    """
    if os.path.exists(config_path) and not force:
        stop(f"{config_path} exists: replace it with --force, or name another file with --config")
    found, unusable = survey(root.absolute(), files)
    text = _HEAD + "".join(map(_table, found)) + ("" if found else _NOTHING) + _TOKENS
    try:
        with TemporaryDirectory(dir=config_path.parent, prefix=".dify-exporter-") as folder:
            temporary = Path(folder, config_path.name)
            temporary.write_text(text, "utf-8")
            load(temporary)
            temporary.replace(config_path)
    except OSError as error:
        stop(f"{config_path}: cannot be written: {error.strerror}")
    except ConfigError as error:
        stop(*error.problems)
    for each in found:
        click.echo(printable(f"{each.name}: {each.path} ({each.origin})"))
    for log in unusable:
        click.echo(printable(f"left out: {log.what} ({log.where}): {log.why}"))
    if found:
        sources = counted(len(found), "source")
        click.echo(f"{config_path} is written with {sources}; `dify-exporter check` reports what they provide")
    else:
        click.echo(f"no log of Dify was found: {config_path} is written with an example source; set its path")
    click.echo("tokens and cost of Dify's community edition: see docs/receiver.md; the file has its tables as comments")
    if any(log.where == NAMED for log in unusable):
        raise SystemExit(2)


def _table(found: FoundLog) -> str:
    keys = {"name": found.name, "paths": [found.path], **found.options}
    return f"\n# {found.origin}\n[[source]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in keys.items())
