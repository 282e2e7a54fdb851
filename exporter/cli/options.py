"""Shared by several commands: --config, --since and --until, and how an error ends a command."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from pathlib import Path
from typing import NoReturn

import click

from exporter.config.settings import Config
from exporter.messages import printable, unknown
from exporter.replay.detect import Guess, guesses
from parsers.envelope import ENVELOPES
from parsers.parser import construction_fault, registered
from parsers.values.numbers import SECOND
from parsers.values.times import LATEST

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("exporter.toml"),
    show_default=True,
    envvar="DIFY_EXPORTER_CONFIG",
    show_envvar=True,
    help="Configuration file.",
)


def stop(*sentences: str) -> NoReturn:
    """End the command with exit code 2, for wrong usage, an invalid configuration or unreadable input."""
    for sentence in sentences:
        click.echo(f"dify-exporter: {printable(sentence)}", err=True)
    raise SystemExit(2)


def cannot_listen(key: str, address: str, error: OSError) -> NoReturn:
    """End the command because it cannot listen on the address that the configuration's `key` gives."""
    # asyncio repeats the address in `strerror`. The errors of name resolution have negative numbers.
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
    stop(f"{key}: cannot listen on {address}: {reason}; set a free port and an address of this machine")


@contextmanager
def stop_on(*errors: type[Exception]) -> Iterator[None]:
    """End the command with the sentence of such an error."""
    try:
        yield
    except errors as error:
        stop(str(error))


def load_or_stop(path: Path) -> Config:
    """Load the configuration. If it has problems, print them all and end the command."""
    from exporter.config.loader import ConfigError, load  # imports TLS and more, which `replay FILES` does not need

    try:
        return load(path)
    except ConfigError as error:
        stop(*error.problems)


def load_if_named(path: Path, is_needed: bool) -> Config:
    """Load the configuration if the command needs it or --config names it; else return the default one."""
    source = click.get_current_context().get_parameter_source("config_path")
    return load_or_stop(path) if is_needed or source is not click.core.ParameterSource.DEFAULT else Config()


def state_folder(config: Config, path: Path) -> Path:
    """The folder of the state. A relative one counts from the folder of the configuration file `path`."""
    return path.absolute().parent / config.exporter.state


def candidates_or_stop(
    extra_routes: tuple[str, ...], parser: str | None = None, format_: str | None = None, envelope: str | None = None
) -> tuple[Guess, ...]:
    """The parsers that can match FILES. If an option is wrong, end the command."""
    known = registered(parser) if parser is not None else {}
    if parser is not None and parser not in known:
        stop("--parser: " + unknown("parser", parser, registered()))
    if envelope is not None and envelope not in ("none", *ENVELOPES):
        stop("--envelope: " + unknown("envelope", envelope, ["none", *ENVELOPES]))
    if format_ is not None and parser is None:
        stop("--format describes a parser: name it with --parser")
    if format_ is not None and parser is not None and "format" not in known[parser].__struct_fields__:
        stop(f"--format: the parser {parser} has one format only, leave it out")
    try:
        found = tuple(guesses(parser, {"format": format_} if format_ else None, envelope, extra_routes))
    except (ValueError, TypeError) as error:
        stop(f"--parser {parser}: {error}")
    except Exception as error:
        stop(f"--parser {parser}: {construction_fault(error)}")
    if not found:
        stop(f"--parser {parser}: it needs options: write them into a [[source]] and replay it with --config")
    return found


#: The oldest time that an option accepts: a year after the beginning of Unix time, so that no time zone makes it
#: negative.
OLDEST = 365 * 86_400 * SECOND

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def limits(since: str | None, until: str | None, local: tzinfo) -> tuple[int | None, int | None]:
    """Both options in nanoseconds since the epoch. A time that names no time zone is in `local`. Raises ValueError."""
    found = _moment("--since", since, local), _moment("--until", until, local)
    check_order(*found)
    return found


def check_order(since: int | None, until: int | None) -> None:
    """Raises ValueError if no time lies between the two."""
    if since is not None and until is not None and since >= until:
        raise ValueError("--since must be before --until: this span of time is empty")


def _moment(option: str, text: str | None, local: tzinfo) -> int | None:
    if text is None:
        return None
    if ago := re.fullmatch(r"(\d{1,6})([smhdw])", text):
        at = time.time_ns() - int(ago[1]) * _UNITS[ago[2]] * SECOND
    else:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            expected = "expected a time such as 2026-11-23T08:00:00Z, or how long ago: 30m, 2h, 1w"
            raise ValueError(f'{option}: {expected}; found "{text}"') from None
        at = round((found if found.tzinfo else found.replace(tzinfo=local)).timestamp() * SECOND)
    if not OLDEST <= at <= LATEST:
        raise ValueError(f'{option}: expected a time in the years 1971 to 2260, found "{text}"')
    return at
