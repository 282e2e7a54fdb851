"""The start of the proxy and of the receiver: each replaces this process by one that gevent has patched from its
beginning.
"""

import importlib.util
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import msgspec

from exporter.cli.options import cannot_listen, stop
from exporter.config.address import parse_address
from exporter.config.wsgi import WsgiConfig
from exporter.process.signals import BLOCKED


def require(what: str, extra: str, packages: dict[str, str]) -> None:
    """End the command if a package is missing. `packages` maps the names of modules to names of packages."""
    if any(importlib.util.find_spec(module) is None for module in packages):
        *others, last = packages.values()
        stop(f"{what} needs {', '.join(others)} and {last}: install dify-exporter[{extra}]")


def execute(table: str, settings: WsgiConfig, config_path: Path, **startup: object) -> NoReturn:
    """Run the module `exporter.TABLE` with the settings of the table and `startup`, or end the command if it cannot."""
    where = f"{config_path}: [{table}]"
    settings = settings.with_absolute_paths(config_path.absolute().parent)
    if findings := [f"{where} {problem}" for problem in settings.problems()]:
        stop(*findings)
    try:
        Path(settings.log).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stop(f"{where} log: cannot be written at {settings.log}: {error.strerror}")
    host, port = parse_address(settings.listen)
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        cannot_listen(f"{where} listen", settings.listen, error)
    # The settings are passed in an unnamed file: they may exceed the length limit of an argument, and other users of
    # the machine can read arguments.
    with tempfile.TemporaryFile() as file:
        file.write(msgspec.json.encode({"settings": settings, **startup}))
        file.seek(0)
        os.set_inheritable(file.fileno(), True)
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)  # until its slow imports are done: see read_startup
        os.execv(sys.executable, [sys.executable, "-P", "-m", f"exporter.{table}", str(file.fileno())])
