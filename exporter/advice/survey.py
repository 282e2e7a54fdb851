"""Finds the logs of Dify on a machine for `init`, each with the options of its `[[source]]`."""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from glob import escape, glob
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from exporter.advice.doctor import read_end
from exporter.advice.nginx_logs import FoundLog, UnusableLog, logs
from exporter.replay.detect import Guess, detect, guesses, several_services, unrecognised
from exporter.replay.errors import InputError
from exporter.replay.inputs import last_lines
from exporter.tail.permissions import file_problem

#: Where logs were found that are named to `init`.
NAMED = "named on the command line"
#: Dify's api and worker write files of the same name into folders of these names.
_FOLDERS = ("api", "worker", "worker_beat", "plugin_daemon")
#: The ending of a log's name, also of a rotated or packed log.
_ENDING = re.compile(r"(?:\.(?:log|txt|out|jsonl?|gz)\b.*|[-_]log|[-_.]\d{4}-?\d\d-?\d\d)+$")
#: Logs of many programs have these names.
_UNCLEAR = ("", "access", "error", "server", "log", "output", "stdout", "stderr", "messages", "syslog")

#: The usual log paths, also as globs: LOG_FILE of Dify's docker/docker-compose.yaml, the folders of
#: deploy/dify-logs.compose.yaml, and the sites of 1Panel in its versions 1 and 2.
_USUAL: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("nginx", "var/log/nginx/access.log", {"parser": "nginx"}),
    ("nginx-error", "var/log/nginx/error.log", {"parser": "nginx", "format": "error"}),
    ("api", "app/logs/server.log", {"parser": "dify"}),
    ("nginx", "opt/dify/docker/volumes/logs/nginx/access.log", {"parser": "nginx", "format": "dify-timed"}),
    ("api", "opt/dify/docker/volumes/logs/api/server.log", {"parser": "dify"}),
    ("worker", "opt/dify/docker/volumes/logs/worker/server.log", {"parser": "dify"}),
    ("nginx", "opt/1panel/www/sites/*/log/access.log", {"parser": "nginx"}),
    ("nginx", "opt/1panel/apps/openresty/openresty/www/sites/*/log/access.log", {"parser": "nginx"}),
)
_USUALLY = "where this log usually is"
_DESCRIPTION = "config.v2.json"
_CONTAINERS = f"var/lib/docker/containers/*/{_DESCRIPTION}"
#: Parsers by a part of the name of a container, its service or its image.
_SERVICES = {
    "nginx": "nginx",
    "plugin_daemon": "plugin-daemon",
    "plugin-daemon": "plugin-daemon",
    "worker": "dify",
    "api": "dify",
}


def survey(root: Path, files: Iterable[str]) -> tuple[list[FoundLog], list[UnusableLog]]:
    """Search in `files` and below `root`. Returns the usable logs, each once, and those that cannot be tailed."""
    of_nginx = [*logs(root)]
    logs_found = [*map(_named, files), *of_nginx, *_usual(root), *_of_docker(root)]
    unusable = [log for log in logs_found if isinstance(log, UnusableLog)]
    unusable_paths = {log.path for log in unusable if log.where != NAMED}
    found: dict[str, FoundLog] = {}
    names: set[str] = set()
    for each in logs_found:
        if isinstance(each, UnusableLog) or each.path in found:
            continue
        if each.path in unusable_paths and each not in of_nginx:
            continue
        name, number = each.name, 2
        while name in names:
            name, number = f"{each.name}-{number}", number + 1
        names.add(name)
        found[each.path] = structs.replace(each, name=name)
    return list(found.values()), unusable


def _named(file: str) -> FoundLog | UnusableLog:
    """The log with this path, detected as `replay` detects it."""
    path = os.path.abspath(file)
    try:
        sample = read_end(path)
    except InputError as error:
        return UnusableLog(file, NAMED, str(error).removeprefix(f"{path}: "), path)
    if (detected := detect(sample, guesses())) is None:
        why = unrecognised(sample) if sample.strip() else "is empty, so its format is not known"
        return UnusableLog(file, NAMED, why, path)
    guess, _ = detected
    services = several_services(guess.parser, sample)
    origin = f"{NAMED}; it {services}" if services else NAMED
    return FoundLog(_name(Path(path), guess), path, guess.keys, origin)


def _name(path: Path, guess: Guess) -> str:
    """The name of a source: that of Dify's service, of the container or of the file, or else of the parser."""
    name, folder = _ENDING.sub("", path.name), path.parent
    if folder.name in _FOLDERS or name.isdigit():  # Kubernetes: /var/log/pods/NAMESPACE_POD_UID/CONTAINER/0.log
        name = folder.name
    elif of_pod := re.fullmatch(r".*_(.+)-[0-9a-f]{64}", name):  # its link in /var/log/containers
        name = of_pod[1]
    elif name == f"{folder.name}-json":
        with suppress(OSError, ValueError):
            name = _container(folder / _DESCRIPTION).service
    if (name := _spelled(name)) not in _UNCLEAR:
        return name
    if guess.options.get("format") == "error":
        return "nginx-error"
    return "gateway" if guess.name == "regex" else guess.name


def _spelled(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _usual(root: Path) -> Iterator[FoundLog | UnusableLog]:
    """The logs at the usual paths, and those that this user may not look at, or that are no files."""
    for name, pattern, usual in _USUAL:
        for path in filter(os.path.isfile, sorted(glob(str(Path(escape(str(root)), pattern))))):
            yield FoundLog(name, path, _detected_options(path) or usual, _USUALLY)
        problem = None if os.path.isfile(root / pattern) else file_problem(root / pattern)
        if problem and not problem.endswith(os.strerror(errno.ENOENT)):
            yield UnusableLog(f"/{pattern}", _USUALLY, problem, str(root / pattern))


def _of_docker(root: Path) -> Iterator[FoundLog]:
    """The containers of Dify, and the nginx container, which belongs to the same compose project."""
    containers: dict[Path, _Container] = {}
    for description in map(Path, sorted(glob(str(root / _CONTAINERS)))):
        with suppress(OSError, ValueError):  # a container that is not understood is left out
            containers[description.parent] = _container(description)
    projects = {each.config.of_compose("project") for each in containers.values() if "dify" in each.config.image} - {""}
    for folder, each in containers.items():
        name = each.name.lstrip("/")
        called, path = f"{each.service} {name} {each.config.image}", str(folder / "*-json.log")
        parser = next((parser for word, parser in _SERVICES.items() if word in called), "")
        if not parser or not ("dify" in called or each.config.of_compose("project") in projects):
            continue
        options = next(filter(None, map(_detected_options, glob(path))), {"parser": parser, "envelope": "docker"})
        origin = f"container {name}; its folder changes when the container is recreated"
        yield FoundLog(_spelled(each.service), path, options, origin)


class _Settings(Struct, rename="pascal"):
    image: str
    labels: dict[str, str] | None = None

    def of_compose(self, name: str) -> str:
        """A label of Docker Compose, "" without it."""
        return (self.labels or {}).get(f"com.docker.compose.{name}", "")


class _Container(Struct, rename="pascal"):
    """What is needed of the config.v2.json of a container."""

    name: str
    config: _Settings

    @property
    def service(self) -> str:
        """Its service, or its own name without Docker Compose."""
        return self.config.of_compose("service") or self.name


def _container(description: Path) -> _Container:
    """Raises OSError or ValueError."""
    return msgspec.json.decode(description.read_bytes(), type=_Container)


def _detected_options(path: str) -> Mapping[str, Any]:
    """The options of the parser that fits a log; {} if the log is empty or unreadable, or if no parser fits."""
    try:
        sample = last_lines(path)
    except InputError:
        return {}
    found = detect(sample, guesses()) if sample else None
    return {} if found is None else found[0].keys
