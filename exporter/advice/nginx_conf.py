"""Reads an nginx configuration as nginx does (src/core/ngx_conf_file.c): words, quotes, comments, blocks, includes."""

import re
from collections.abc import Iterator
from glob import glob
from pathlib import Path

from msgspec import Struct

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
