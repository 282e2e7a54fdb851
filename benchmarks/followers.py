"""Programs that follow a log until they are ended: `serve` behind a backlog, and its peers where they are on the PATH.

The configuration of a peer reads the log's path, a folder for its data and the port of its metrics from the variables
LOG, FOLDER and PORT. It counts the lines of the log in a counter that is called `lines`.
"""

import re
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen

from msgspec import Struct

from benchmarks.measure import Cost, run
from benchmarks.options import OPTIONS

EXPORTER = str(Path(sys.executable).with_name("dify-exporter"))
_CONFIGURATIONS = Path(__file__).parent
_COUNTED = re.compile(
    rb'^(?:dify_exporter_lines_total\{outcome="[a-z]+",source="log"\}|\w*lines(?:_total)?(?:\{.*\})?) ([0-9.e+]+)',
    re.MULTILINE,
)


class Follower(Struct, frozen=True):
    """`command` names its {config}; `config` is a file of this folder with the name of the {corpus}."""

    command: tuple[str, ...]
    config: str


#: How each program is started. `serve` writes its own configuration.
FOLLOWERS: Mapping[str, Follower] = {
    "serve": Follower((EXPORTER, "serve", "--config", "{config}"), ""),
    "fluent-bit": Follower(("fluent-bit", "-c", "{config}"), "fluent-bit/{corpus}.yaml"),
    "fluent-bit, routes": Follower(("fluent-bit", "-c", "{config}"), "fluent-bit/{corpus}-routes.yaml"),
    "otelcol": Follower(("otelcol", "--config", "{config}"), "otelcol/{corpus}.yaml"),
}


def is_installed(name: str) -> bool:
    """Whether the program of a follower is on the PATH."""
    return shutil.which(FOLLOWERS[name].command[0]) is not None


def read(name: str, corpus: str, log: Path, lines: int) -> Cost:
    """Start the program beside a log of so many lines, and end it when it has counted all of them."""
    follower, port = FOLLOWERS[name], _free_port()
    with TemporaryDirectory() as folder:
        config = _CONFIGURATIONS / follower.config.format(corpus=corpus) if follower.config else Path(folder) / "c.toml"
        if not follower.config:
            config.write_text(_configuration(corpus, log, port))
        environment = {"LOG": str(log.absolute()), "FOLDER": folder, "PORT": str(port)}
        command = [argument.format(config=config) for argument in follower.command]
        return run(command, environment, lambda: _counted(port) >= lines)


def _configuration(corpus: str, log: Path, port: int) -> str:
    parser, options = OPTIONS[corpus]
    keys = "".join(f"{key} = '{value}'\n" for key, value in options.items())
    return (
        f'[exporter]\nlisten = "127.0.0.1:{port}"\nstart_at = "beginning"\n'
        f'[[source]]\nname = "log"\nparser = "{parser}"\npaths = ["{log.absolute()}"]\n{keys}'
    )


def _counted(port: int) -> float:
    """The lines that the program has counted so far; -1 before it answers."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return sum(float(lines) for lines in _COUNTED.findall(answer.read()))
    except (URLError, ConnectionError):
        return -1


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
