"""Finds the logs of Dify on a machine for `init`, each with the options of its `[[source]]`."""

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from glob import escape, glob
from pathlib import Path
from typing import Any

from msgspec import Struct

from exporter.advice.found import FoundLog, UnusableLog
from exporter.advice.nginx_logs import logs
from exporter.replay.detect import detect, guesses
from exporter.replay.errors import InputError
from exporter.replay.inputs import last_lines
from exporter.tail.permissions import file_problem

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
_CONTAINERS = "var/lib/docker/containers/*/config.v2.json"
#: Parsers by a part of the name of a container, its service or its image.
_SERVICES = {
    "nginx": "nginx",
    "plugin_daemon": "plugin-daemon",
    "plugin-daemon": "plugin-daemon",
    "worker": "dify",
    "api": "dify",
}


def survey(root: Path, named: Iterable[FoundLog] = ()) -> tuple[list[FoundLog], list[UnusableLog]]:
    """Search below `root`. Returns the usable logs, each once, and the logs that cannot be tailed.

    `named` are logs that are known already.
    """
    of_nginx, unusable = logs(root)
    unusable += _forbidden(root)
    found: dict[str, FoundLog] = {}
    names: set[str] = set()
    unusable_paths = {log.path for log in unusable}
    for each in (*named, *of_nginx, *_usual(root), *_of_docker(root)):
        if each.path in found or (each.path in unusable_paths and each not in of_nginx):
            continue
        name, number = each.name, 2
        while name in names:
            name, number = f"{each.name}-{number}", number + 1
        names.add(name)
        found[each.path] = FoundLog(name, each.path, each.options, each.origin)
    return list(found.values()), unusable


def _usual(root: Path) -> Iterator[FoundLog]:
    for name, pattern, usual in _USUAL:
        for path in filter(os.path.isfile, sorted(glob(f"{escape(str(root))}/{pattern}"))):
            yield FoundLog(name, path, _detected_options(path) or usual, "where this log usually is")


def _forbidden(root: Path) -> Iterator[UnusableLog]:
    """The usual paths that this user may not look at, or that are no files."""
    for _, path, _ in _USUAL:
        problem = None if os.path.isfile(root / path) else file_problem(root / path)
        if problem and not problem.endswith(os.strerror(errno.ENOENT)):
            yield UnusableLog(f"/{path}", "where this log usually is", problem, str(root / path))


def _of_docker(root: Path) -> Iterator[FoundLog]:
    """The containers of Dify, and the nginx container, which belongs to the same compose project."""
    containers = list(filter(None, map(_container, sorted(glob(str(root / _CONTAINERS))))))
    projects = {each.project for each in containers if "dify" in each.image} - {""}
    for each in containers:
        called = f"{each.service} {each.name} {each.image}"
        parser = next((parser for word, parser in _SERVICES.items() if word in called), "")
        if not parser or not ("dify" in called or each.project in projects):
            continue
        options = next(filter(None, map(_detected_options, glob(each.path))), {"parser": parser, "envelope": "docker"})
        name = re.sub(r"[^a-z0-9-]+", "-", (each.service or each.name).lower())
        yield FoundLog(
            name, each.path, options, f"container {each.name}; its folder changes when the container is recreated"
        )


class _Container(Struct, frozen=True):
    """`service` and `project` come from Docker Compose, "" without it. `path` is a glob for its log."""

    name: str
    image: str
    service: str
    project: str
    path: str


def _container(description: str) -> _Container | None:
    """Read the config.v2.json of a container; None if it is not understood."""
    try:
        config = json.loads(Path(description).read_text("utf-8", "replace"))
        labels = config["Config"].get("Labels") or {}
        service, project = (str(labels.get(f"com.docker.compose.{each}", "")) for each in ("service", "project"))
        path = str(Path(description).parent / "*-json.log")
        return _Container(str(config["Name"]).lstrip("/"), str(config["Config"]["Image"]), service, project, path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _detected_options(path: str) -> Mapping[str, Any]:
    """The options of the parser that fits a log; {} if the log is empty or unreadable, or if no parser fits."""
    try:
        sample = last_lines(path)
    except InputError:
        return {}
    found = detect(sample, guesses()) if sample else None
    return {} if found is None else found[0].keys
