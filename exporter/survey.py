"""What `init` finds on a machine: logs that Dify's programs write, each with the table that reads it."""

import json
import re
from collections.abc import Iterator, Mapping
from glob import glob
from pathlib import Path
from typing import Any

from msgspec import Struct

from exporter.detect import detect, guesses
from exporter.inputs import InputError, ending
from parsers.nginx import Nginx

_NGINX_CONFIGURATIONS = (
    "etc/nginx/nginx.conf", "etc/nginx/conf.d/*.conf", "etc/nginx/sites-enabled/*", "usr/local/nginx/conf/nginx.conf",
)  # fmt: skip
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
_LOG_FORMAT = re.compile(r"\blog_format\s+(\w+)\s(?:[^;'\"]|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")*;")
_ACCESS_LOG = re.compile(r"^\s*access_log\s+([^\s;]+)(?:\s+(\w+))?", re.MULTILINE)
#: By what a container's service or image is called.
_SERVICES = {
    "nginx": "nginx",
    "plugin_daemon": "plugin-daemon",
    "plugin-daemon": "plugin-daemon",
    "worker": "dify",
    "api": "dify",
}


class Found(Struct, frozen=True):
    """`path` as a `[[source]]` would name it, `options` the table's other keys, `origin` a few words on why."""

    name: str
    path: str
    options: Mapping[str, Any]
    origin: str


def survey(root: Path) -> list[Found]:
    """Looks below `root`, each log once; what may not be read is passed over."""
    found: dict[str, Found] = {}
    names: set[str] = set()
    for each in (*_of_nginx(root), *_usual(root), *_of_docker(root)):
        if each.path in found:
            continue
        name, number = each.name, 2
        while name in names:
            name, number = f"{each.name}-{number}", number + 1
        names.add(name)
        found[each.path] = Found(name, each.path, each.options, each.origin)
    return list(found.values())


def _of_nginx(root: Path) -> Iterator[Found]:
    texts = {path: _read(path) for pattern in _NGINX_CONFIGURATIONS for path in sorted(glob(str(root / pattern)))}
    directives = {match[1]: match[0] for text in texts.values() for match in _LOG_FORMAT.finditer(text)}
    for configuration, text in texts.items():
        for match in _ACCESS_LOG.finditer(text):
            path, format_name = match[1], match[2] or "combined"
            if not path.startswith("/") or path.startswith(("/dev/", "/proc/")) or "$" in path:
                continue
            directive = directives.get(format_name, format_name)
            if directive == "combined" or _usable(directive):
                options = {"parser": "nginx", "format": directive}
                yield Found("nginx", str(root / path[1:]), options, f"{configuration}: log_format {format_name}")


def _usable(directive: str) -> bool:
    try:
        Nginx(format=directive)
    except ValueError:
        return False
    return True


def _usual(root: Path) -> Iterator[Found]:
    for name, path, parser in _USUAL:
        if (root / path).is_file():
            usual = {"parser": parser, **({"format": "error"} if name == "nginx-error" else {})}
            yield Found(name, str(root / path), _told(str(root / path)) or usual, "where this log usually is")


def _of_docker(root: Path) -> Iterator[Found]:
    for description in sorted(glob(str(root / _CONTAINERS))):
        try:
            told = json.loads(_read(description))
            image, labels = str(told["Config"]["Image"]), told["Config"].get("Labels") or {}
            container = str(told["Name"]).lstrip("/")
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        called = f"{labels.get('com.docker.compose.service', '')} {container} {image}"
        parser = next((parser for word, parser in _SERVICES.items() if word in called), "")
        if "dify" not in called or not parser:
            continue
        path = str(Path(description).parent / "*-json.log")
        options = next(filter(None, map(_told, glob(path))), {"parser": parser, "envelope": "docker"})
        name = re.sub(r"[^a-z0-9-]+", "-", str(labels.get("com.docker.compose.service") or container).lower())
        yield Found(name, path, options, f"container {container}; a container made anew has another folder")


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
