"""Finds the logs that an nginx configuration names: those that can be tailed, and why the others cannot.

The configuration is read as nginx does (src/core/ngx_conf_file.c): words, quotes, comments, blocks, includes.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from glob import escape, glob
from pathlib import Path
from typing import Any

from msgspec import Struct

from parsers.nginx import Nginx

#: White space or a comment, a quoted word, the end of a directive, or an unquoted word.
_TOKEN = re.compile(
    r"\s+|#[^\n]*"
    r'|"((?:[^"\\]|\\.)*)"'
    r"|'((?:[^'\\]|\\.)*)'"
    r"|([;{}])"
    r"|((?:\$\{\w+\}|\\.|[^\s;{}\"'#\\])(?:\$\{\w+\}|\\.|[^\s;{}\\])*)",
    re.DOTALL,
)
_ESCAPED = re.compile(r"""\\(["'\\trn])""")
_CHARACTERS = {"t": "\t", "r": "\r", "n": "\n"}

#: The largest number of files of one configuration.
_MAX_FILES = 1000


class Directive(Struct, frozen=True):
    """A directive. `words` are without quotes, `source` is its text, and `file` and `line` are its place."""

    words: tuple[str, ...]
    source: str
    file: str
    line: int

    @property
    def name(self) -> str:
        return self.words[0]


def directives(root: Path, main: Path) -> Iterator[Directive]:
    """All directives of a configuration and its included files, in their order. Blocks are not distinguished.

    A relative include is relative to the folder of the main file, an absolute one to `root`. Unreadable files are
    skipped.
    """
    waiting, seen = [main], set[Path]()
    while waiting and len(seen) < _MAX_FILES:
        file = waiting.pop(0)
        if file in seen:
            continue
        seen.add(file)
        included = list[Path]()
        for directive in _parse(_read(file), str(file)):
            if directive.name == "include" and len(directive.words) > 1:
                pattern = directive.words[1]
                where = root / pattern.lstrip("/") if pattern.startswith("/") else main.parent / pattern
                included += map(Path, sorted(glob(str(where))))
            else:
                yield directive
        waiting = included + waiting


def _parse(text: str, file: str) -> Iterator[Directive]:
    words, begin, end, line, counted = list[str](), 0, 0, 1, 0
    while match := _TOKEN.match(text, end):
        end = match.end()
        double, single, sign, plain = match.groups()
        if sign:
            if words:
                line += text.count("\n", counted, begin)
                counted = begin
                yield Directive(tuple(words), text[begin:end], file, line)
            words = []
            continue
        word = next((each for each in (double, single, plain) if each is not None), None)
        if word is not None:
            if not words:
                begin = match.start()
            words.append(_ESCAPED.sub(lambda match: _CHARACTERS.get(match[1], match[1]), word))


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


#: Main files, each with the prefixes for relative log paths (`nginx -V`). Debian and the image come first.
_MAIN = {
    "etc/nginx/nginx.conf": ("usr/share/nginx", "etc/nginx", "usr/local/nginx"),
    "usr/local/nginx/conf/nginx.conf": ("usr/local/nginx",),
    "usr/local/openresty/nginx/conf/nginx.conf": ("usr/local/openresty/nginx",),
    "www/server/nginx/conf/nginx.conf": ("www/server/nginx",),  # BaoTa
}
#: Files that are read even if no main file includes them.
_OTHERS = ("etc/nginx/conf.d/*.conf", "etc/nginx/sites-enabled/*")

#: The log files if nothing is configured (in the builds of Debian and of the image).
_DEFAULTS = ("var/log/nginx/access.log", "var/log/nginx/error.log")

_VARIABLE = re.compile(r"\$(?:\{\w+\}|\w+)")
_STDERR, _OFF = "stderr", "off"
_CONTAINER = (
    "nginx writes it to the output of its process: tail the log of its container instead "
    '(envelope = "docker" or "cri"), or name a file'
)


class FoundLog(Struct, frozen=True):
    """A log that can be tailed.

    `path` and `options` are the keys of its `[[source]]`, and `origin` says where it was found.
    """

    name: str
    path: str
    options: Mapping[str, Any]
    origin: str


class UnusableLog(Struct, frozen=True):
    """A log that cannot be tailed. `what` is the directive that names it, `where` the place of the directive.

    `why` is the reason. `path` is "" if the log is not a file.
    """

    what: str
    where: str
    why: str
    path: str = ""


class _Log(Struct, frozen=True):
    """An access_log or error_log directive that names a file. `condition` is its `if=` parameter."""

    directive: Directive
    path: str
    format: str
    condition: str


def logs(root: Path) -> Iterator[FoundLog | UnusableLog]:
    found, formats, named = dict[str, FoundLog](), dict[str, str](), list[_Log]()
    for prefixes, directive in _directives(root):
        if directive.name == "log_format" and len(directive.words) > 2:
            formats[directive.words[1]] = directive.source
        elif directive.name in ("access_log", "error_log") and len(directive.words) > 1:
            named.append(_log(root, prefixes, directive))
    plain = {each.path for each in named if not _unusable(each.directive) and not _VARIABLE.search(each.path)}
    plain |= {str(root / path) for path in _DEFAULTS if os.path.lexists(root / path)}
    for log in named:
        source = _source(log, formats, plain)
        if isinstance(source, FoundLog):
            known = found.setdefault(source.path, source)
            if known.options == source.options:
                yield source
                continue
            source = f"this file is already read with the log_format of {known.origin}"
        directive = log.directive
        yield UnusableLog(" ".join(directive.words), f"{directive.file}, line {directive.line}", source, log.path)


def _directives(root: Path) -> Iterator[tuple[tuple[str, ...], Directive]]:
    """All directives, each once, with the prefixes for relative log paths."""
    seen = set[tuple[str, int, str]]()
    mains = [(root / main, prefixes) for main, prefixes in _MAIN.items()]
    others = [Path(path) for pattern in _OTHERS for path in sorted(glob(str(root / pattern)))]
    for main, prefixes in (*mains, *((other, _MAIN["etc/nginx/nginx.conf"]) for other in others)):
        for directive in directives(root, main):
            key = directive.file, directive.line, directive.source
            if key not in seen:
                seen.add(key)
                yield prefixes, directive


def _unusable(directive: Directive) -> str:
    """Why the log cannot be tailed, "" if it can."""
    target, options = directive.words[1], directive.words[3:]
    if target == _OFF and directive.name == "access_log":
        return "nginx writes no access log there"
    if target.startswith("syslog:"):
        return "nginx sends it to syslog: name a file as well, nginx writes several logs at once"
    if target.startswith("memory:"):
        return "nginx keeps it in its memory: name a file"
    if target == "/dev/null":
        return "nginx discards it"
    if target == _STDERR or target.startswith(("/dev/", "/proc/")):
        return _CONTAINER
    if any(option == "gzip" or option.startswith("gzip=") for option in options):
        return "nginx packs this log, so it cannot be tailed: remove gzip from this access_log"
    return ""


def _log(root: Path, prefixes: tuple[str, ...], directive: Directive) -> _Log:
    _, target, *options = directive.words
    is_access = directive.name == "access_log"
    conditions = [option.removeprefix("if=") for option in options if option.startswith("if=")]
    path = str(root / target.lstrip("/")) if target.startswith("/") else _under_prefix(root, prefixes, target)
    return _Log(directive, path, (options or ["combined"])[0] if is_access else "error", "".join(conditions[:1]))


def _under_prefix(root: Path, prefixes: tuple[str, ...], target: str) -> str:
    """The path of a relative log: under the prefix where the file exists, or else its folder, or the first prefix."""
    paths = [os.path.normpath(root / prefix / target) for prefix in prefixes]
    there = [path for path in paths if os.path.lexists(path)]
    return (there or [path for path in paths if os.path.isdir(os.path.dirname(path))] or paths)[0]


def _source(log: _Log, formats: dict[str, str], plain: Iterable[str]) -> FoundLog | str:
    """The source for a log, or the reason why there is none."""
    if why := _unusable(log.directive):
        return why
    parts = _VARIABLE.split(log.path)
    path = re.sub(r"\*+", "*", "*".join(map(escape, parts)))
    if len(parts) > 1 and (others := sorted(other for other in plain if _matches(path, other))):
        return f'its name has a variable, and paths = ["{path}"] would read {others[0]} as well: name its files'
    if os.path.islink(log.path) and os.readlink(log.path).startswith(("/dev/", "/proc/")):
        return _CONTAINER
    where = log.directive.file
    if log.directive.name == "error_log":
        return FoundLog("nginx-error", path, {"parser": "nginx", "format": "error"}, where)
    format = formats.get(log.format, log.format)
    if format != "combined":
        if log.format not in formats:
            return f"no log_format {log.format} is in these files: copy it into `format` of a [[source]]"
        try:
            Nginx(format=format)
        except ValueError as error:
            return f"log_format {log.format} cannot be read: {error}"
    condition = f"; it contains only requests with {log.condition}" if log.condition else ""
    return FoundLog(
        "nginx", path, {"parser": "nginx", "format": format}, f"{where}: log_format {log.format}{condition}"
    )


def _matches(pattern: str, path: str) -> bool:
    parts, patterns = path.split(os.sep), pattern.split(os.sep)
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
