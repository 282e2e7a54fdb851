"""Recognises the names that rotators give to generations of a log.

A name only says where to look; inode and content decide.

A rotator puts a number or a date behind the log's name (`test.log.1`, `test.log-20261129.gz`) or before its ending
(`test.1.log`, `test-2026-11-29T08-00-00.000.log.gz`). The option `log_patterns` adds other names.
"""

import fnmatch
import glob
import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from parsers.values.patterns import lazy

_DATE = "|".join((
    r"\d{8}(?:\d\d)?",  # logrotate dateext, daily and hourly
    r"\d{8}-\d{10}",  # logrotate dateformat -%Y%m%d-%s
    r"\d{8}-\d{6}",  # kubelet
    r"\d{4}-\d\d-\d\d(?:[T_-]\d\d(?:[-.:]?\d\d){0,2}(?:\.\d{3})?)?",  # Python's TimedRotatingFileHandler, lumberjack
    r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}-(?:size|time)(?:_\d{1,5})?",  # timberjack, so OTel's collector
    r"\d\d-\d\d-\d{4}",  # log4j2's examples, %d{MM-dd-yyyy}
))  # fmt: skip

#: A date may be followed by the number of the file within that day (log4j2, logback).
_DATED = rf"[.-](?:{_DATE})(?:[.-]\d{{1,5}})?"

#: logrotate, savelog(8), Python's RotatingFileHandler, Docker; before the ending also log4j2. With `create`, logrotate
#: renames a log to `.backup` if the writer has created it again in between (logrotate.c, createOutputFile).
_BEHIND = rf"(?:\.\d{{1,5}}|{_DATED}|-\d{{10}}\.backup)"
_BEFORE = rf"(?:[.-]\d{{1,5}}|{_DATED})"

_BEHIND_NAME = lazy(_BEHIND + r"(?:\.gz)?")
_BEFORE_ENDING = lazy(_BEFORE)
_ROTATED = lazy(rf"(.+?){_BEHIND}(?:\.gz)?", re.DOTALL)
_UNDATED = lazy(r"(.+)\.\d{1,5}(?:\.gz)?", re.DOTALL)
_NUMBER = lazy(r"(?<!\d)[.-](\d{1,5})(?:\.\D[^.]*)?(?:\.gz)?$")


def rotated_names(log: str, names: Sequence[str]) -> list[str]:
    stem, ending = os.path.splitext(log)
    return [name for name in _beginning_with(stem, names) if _is_rotated(name[len(stem) :], ending)]


def matching_names(pattern: str, log: str, names: Sequence[str]) -> list[str]:
    """Return the sorted names that match a log pattern (without its folder) for a log, also with `.gz` behind them."""
    wanted = expanded(pattern, log)
    begins = re.split(r"[*?\[]", wanted, maxsplit=1)[0]
    plain, packed = (re.compile(fnmatch.translate(each)) for each in (wanted, wanted + ".gz"))
    return [name for name in _beginning_with(begins, names) if plain.match(name) or packed.match(name)]


def expanded(pattern: str, log: str) -> str:
    """Return the glob of a log pattern for a log: `%s` is its name, `{stem}` and `{ext}` are the parts of the name."""
    stem, ending = map(glob.escape, os.path.splitext(log))
    parts = {"%s": stem + ending, "{stem}": stem, "{ext}": ending}
    return re.sub(r"%s|\{stem\}|\{ext\}", lambda found: parts[found[0]], pattern)


def originals(path: str, log_patterns: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the logs whose rotated generation `path` may be, judging by its name.

    A number or date before the ending is not considered: `worker-1.log` is as often a separate log.
    """
    folder, name = os.path.split(path)
    for form in (_ROTATED, _UNDATED):
        if match := form.fullmatch(name):
            yield os.path.join(folder, match[1])
    for pattern in log_patterns:
        below, named = os.path.split(pattern)
        match = re.fullmatch(_reverse(named) + r"(?:\.gz)?", name)
        if match and (not below or folder.endswith(os.sep + below)):
            yield os.path.join(folder.removesuffix(below), "".join(match.groups()))


def number_of(name: str) -> int:
    """Return the number in a rotated name, 0 if there is none. The highest number is the oldest file."""
    number = _NUMBER.search(name)
    return int(number[1]) if number else 0


def is_numbered_before_ending(log: str, name: str) -> bool:
    """Return whether the name may belong to a separate log, such as `worker-1.log` beside `worker.log`."""
    return bool(os.path.splitext(log)[1]) and not name.startswith(log) and bool(number_of(name))


def _is_rotated(rest: str, ending: str) -> bool:
    """Return whether the name is rotated. `rest` is the part after the log's name without its ending."""
    if rest.startswith(ending) and _BEHIND_NAME.fullmatch(rest, len(ending)):
        return True
    before = rest.removesuffix(".gz").removesuffix(ending)
    return bool(ending) and len(before) < len(rest) and bool(_BEFORE_ENDING.fullmatch(before))


def _beginning_with(begins: str, names: Sequence[str]) -> Iterator[str]:
    for index in range(bisect_left(names, begins), len(names)):
        if not names[index].startswith(begins):
            return
        yield names[index]


def _reverse(pattern: str) -> str:
    """Return a regular expression whose groups together are the log's name."""
    found, groups = "", {"%s": "(.+)", "{stem}": "(.+)", "{ext}": r"(\.[^.]+|)"}
    for part in re.split(r"(%s|\{stem\}|\{ext\})", pattern):
        # fnmatch adds an anchor at the end, which must not be inside a larger expression.
        found += groups.get(part) or re.sub(r"\\[Zz]$", "", fnmatch.translate(part)).replace(".*", ".*?")
    return found
