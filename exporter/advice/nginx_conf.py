"""Reads nginx' configuration as nginx does (src/core/ngx_conf_file.c): words, quotes, comments, blocks, includes."""

import re
from collections.abc import Iterator
from glob import glob
from pathlib import Path

from msgspec import Struct

#: A comment, a quoted word, an unquoted word, and what ends a directive.
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

#: Files that one configuration may include, so that a circle ends.
_MOST_FILES = 1000


class Directive(Struct, frozen=True):
    """A directive with its words, without quotes; `source` is its text, and `file` the one it is in."""

    words: tuple[str, ...]
    source: str
    file: str
    line: int

    @property
    def name(self) -> str:
        return self.words[0]


def directives(root: Path, main: Path) -> Iterator[Directive]:
    """All directives of a configuration and of the files that it includes, in their order, whatever block they are in.

    A relative include counts from the folder of the main file, an absolute one from `root`. A file that cannot be read
    is passed over.
    """
    waiting, seen = [main], set[Path]()
    while waiting and len(seen) < _MOST_FILES:
        file = waiting.pop(0)
        if file in seen:
            continue
        seen.add(file)
        included = list[Path]()
        for directive in _of_text(_text(file), str(file)):
            if directive.name == "include" and len(directive.words) > 1:
                included += _included(root, main, directive.words[1])
            else:
                yield directive
        waiting = included + waiting


def _included(root: Path, main: Path, pattern: str) -> list[Path]:
    where = root / pattern.lstrip("/") if pattern.startswith("/") else main.parent / pattern
    return [Path(path) for path in sorted(glob(str(where)))]


def _of_text(text: str, file: str) -> Iterator[Directive]:
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
            words.append(_unescaped(word))


def _unescaped(word: str) -> str:
    return _ESCAPED.sub(lambda match: _CHARACTERS.get(match[1], match[1]), word)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""
