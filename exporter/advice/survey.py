"""What `init` finds on a machine: logs that Dify's programs write, each with the table that reads it."""

import json
import re
from collections.abc import Iterator, Mapping
from glob import glob
from pathlib import Path
from typing import Any

from msgspec import Struct

from exporter.advice.found import Found, LeftOut
from exporter.advice.nginx_logs import logs
from exporter.replay.detect import detect, guesses
from exporter.replay.inputs import InputError, ending

#: Where Dify's own files say that they log (docker/docker-compose.yaml: LOG_FILE, the volumes).
_USUAL = (
    ("nginx", "var/log/nginx/access.log", "nginx"),
    ("nginx-error", "var/log/nginx/error.log", "nginx"),
    ("api", "app/logs/server.log", "dify"),
    ("api", "opt/dify/docker/volumes/app/logs/server.log", "dify"),
    ("api", "opt/dify/docker/volumes/app/logs/api/server.log", "dify"),
    ("worker", "opt/dify/docker/volumes/app/logs/worker/server.log", "dify"),
)
_CONTAINERS = "var/lib/docker/containers/*/config.v2.json"
#: By what a container's service or image is called.
_SERVICES = {
    "nginx": "nginx",
    "plugin_daemon": "plugin-daemon",
    "plugin-daemon": "plugin-daemon",
    "worker": "dify",
    "api": "dify",
}


def survey(root: Path) -> tuple[list[Found], list[LeftOut]]:
    """Looks below `root`: the logs, each once, and those that nginx' configuration names and nobody can tail. What may
    not be read is passed over.
    """
    of_nginx, left_out = logs(root)
    found: dict[str, Found] = {}
    names: set[str] = set()
    passed_over = {log.path for log in left_out}
    for each in (*of_nginx, *_usual(root), *_of_docker(root)):
        if each.path in found or (each.path in passed_over and each not in of_nginx):
            continue
        name, number = each.name, 2
        while name in names:
            name, number = f"{each.name}-{number}", number + 1
        names.add(name)
        found[each.path] = Found(name, each.path, each.options, each.origin)
    return list(found.values()), left_out


def _usual(root: Path) -> Iterator[Found]:
    for name, path, parser in _USUAL:
        if (root / path).is_file():
            usual = {"parser": parser, **({"format": "error"} if name == "nginx-error" else {})}
            yield Found(name, str(root / path), _told(str(root / path)) or usual, "where this log usually is")


def _of_docker(root: Path) -> Iterator[Found]:
    """Dify's containers, and nginx' beside them: its image is not Dify's, its compose project is."""
    containers = list(filter(None, map(_container, sorted(glob(str(root / _CONTAINERS))))))
    projects = {each.project for each in containers if "dify" in each.image} - {""}
    for each in containers:
        called = f"{each.service} {each.name} {each.image}"
        parser = next((parser for word, parser in _SERVICES.items() if word in called), "")
        if not parser or not ("dify" in called or each.project in projects):
            continue
        options = next(filter(None, map(_told, glob(each.path))), {"parser": parser, "envelope": "docker"})
        name = re.sub(r"[^a-z0-9-]+", "-", (each.service or each.name).lower())
        yield Found(name, each.path, options, f"container {each.name}; a container made anew has another folder")


class _Container(Struct, frozen=True):
    """`service` and `project` are Docker Compose's, "" without it; `path` is where it logs."""

    name: str
    image: str
    service: str
    project: str
    path: str


def _container(description: str) -> _Container | None:
    """What Docker wrote of a container; None where it cannot be understood."""
    try:
        told = json.loads(_read(description))
        labels = told["Config"].get("Labels") or {}
        service, project = (str(labels.get(f"com.docker.compose.{each}", "")) for each in ("service", "project"))
        path = str(Path(description).parent / "*-json.log")
        return _Container(str(told["Name"]).lstrip("/"), str(told["Config"]["Image"]), service, project, path)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _told(path: str) -> Mapping[str, Any]:
    """The table for what stands in a log; {} where it is empty, unreadable or nobody's."""
    try:
        sample = ending(path)
    except InputError:
        return {}
    found = detect(sample, guesses()) if sample else None
    if found is None:
        return {}
    guess = found[0]
    envelope = {} if guess.envelope == "none" else {"envelope": guess.envelope}
    return {"parser": guess.name, **guess.options, **envelope}


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
