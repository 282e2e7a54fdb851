"""`dify-exporter init`"""

import os
from pathlib import Path

import click

from exporter.advice.found import FoundLog
from exporter.advice.survey import survey
from exporter.cli.options import config_option, stop
from exporter.config.loader import ConfigError, load
from exporter.messages import printable

_HEAD = """\
# dify-exporter's configuration; every key is described in docs/configuration.md.
# `dify-exporter check` says what each log yields, what it cannot, and which alerts can fire.

[exporter]
listen = "127.0.0.1:9877"          # "0.0.0.0:9877" for all, and then name a web_config with passwords
state = ".dify-exporter/state"     # counters survive a restart in this folder
# web_config = "web.toml"          # TLS, passwords: docs/configuration.md
# start_at = "beginning"           # reads what is already in the logs, too
"""

_NOTHING = """\

# No log of Dify's was found here. This is where nginx usually writes; serve waits for the file.
# A Dify container keeps its logs inside unless /app/logs is a mounted volume.
[[source]]
name = "nginx"
paths = ["/var/log/nginx/access.log"]
parser = "nginx"
format = "dify"                    # "dify-timed" with deploy/nginx/dify-timed.conf, for latency
"""


@click.command(short_help="Write a configuration for the logs that are here.")
@config_option
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path("/"), show_default=True,
    help="Where to look: / or the folder under which another machine's files are mounted.",
)  # fmt: skip
def init(config_path: Path, force: bool, root: Path) -> None:
    """Look at what is there and write a commented configuration that reads it.

    Looks at nginx's configuration and its log_format, at the paths where Dify usually logs, and at Docker's
    json-file folders.

    \b
    Examples:
      dify-exporter init
      dify-exporter init --config /etc/dify-exporter/exporter.toml --force
      dify-exporter init --root /host
    """
    if config_path.exists() and not force:
        stop(f"{config_path} exists: replace it with --force, or name another file with --config")
    found, left_out = survey(root.absolute())
    text = _HEAD + "".join(map(_table, found)) + ("" if found else _NOTHING)
    temporary = config_path.with_name(config_path.name + ".new")
    try:
        temporary.write_text(text, "utf-8")
        load(temporary)
        temporary.replace(config_path)
    except OSError as error:
        stop(f"{error.filename}: cannot be written: {error.strerror}")
    except ConfigError as error:
        os.unlink(temporary)
        stop(*error.problems)
    for each in found:
        click.echo(printable(f"{each.name}: {each.path} ({each.origin})"))
    for log in left_out:
        click.echo(printable(f"left out: {log.what} ({log.where}): {log.why}"))
    if found:
        sources = f"{len(found)} source{'s' * (len(found) != 1)}"
        click.echo(f"{config_path} is written with {sources}; `dify-exporter check` says what they yield")
    else:
        click.echo(f"{config_path} is written with one source as an example: no log of Dify's was found, put paths in")


def _table(found: FoundLog) -> str:
    keys = {"name": found.name, "paths": [found.path], **found.options}
    lines = [f"{key} = {_toml(value)}" for key, value in keys.items()]
    return f"\n# {found.origin}\n[[source]]\n" + "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    text = str(value)
    if "\n" in text and "'''" not in text and "\r" not in text:
        return f"'''\n{text}\n'''"
    if "'" not in text and text.isprintable():
        return f"'{text}'" if '"' in text or "\\" in text else f'"{text}"'
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
