"""What `check` finds about the tables of the proxy and the receiver, in sentences."""

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from exporter.advice.doctor import Finding
from exporter.config.address import is_loopback, parse_address
from exporter.config.settings import Config
from exporter.config.wsgi import WsgiConfig


def examine_proxy(config: Config, folder: Path) -> Iterator[Finding]:
    """All findings about `[proxy]`. Relative paths are relative to `folder`."""
    settings = config.proxy.with_absolute_paths(folder)
    yield Finding(f"listens on {settings.listen}, forwards to {settings.upstream}, and writes {settings.log}")
    yield from _wsgi_problems(settings, "requests and tokens", config)


def examine_receiver(config: Config, folder: Path) -> Iterator[Finding]:
    """All findings about `[receive]`. Relative paths are relative to `folder`."""
    settings = config.receive.with_absolute_paths(folder)
    yield Finding(f"listens on {settings.listen}, and writes {settings.log}")
    yield from _wsgi_problems(settings, "tokens and runs", config)
    if not settings.token_file and not is_loopback(parse_address(settings.listen)[0]):
        yield Finding(
            f"everybody who reaches {settings.listen} may send: set a token_file, or let only Dify's network reach it"
        )
    if settings.native:
        yield Finding(
            "native: Dify sends a tenth of its traces unless its api and worker have OTEL_SAMPLING_RATE=1.0; "
            "tokens come from workflows and chatflows only"
        )


def _wsgi_problems(settings: WsgiConfig, what: str, config: Config) -> Iterator[Finding]:
    for sentence in settings.problems():
        yield Finding(sentence, problem=True)
    if not any(fnmatch(settings.log, path) for source in config.sources for path in source.paths):
        yield Finding(f"no [[source]] reads {settings.log}: its {what} are not counted here", problem=True)
