"""Patterns: what Python's own `re` gets wrong in a version that we support, and lazy ones."""

import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from parsers.values.patterns import lazy

_SOURCES = [path for package in ("parsers", "exporter") for path in Path(package).rglob("*.py")]
_POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{\d*,?\d*\})\+|\(\?>")


def test_no_group_repeats_possessively() -> None:
    """Python 3.11.2, which Debian 12 ships, may match nothing there (python/cpython#106052)."""
    assert len(_SOURCES) > 200
    assert [str(path) for path in _SOURCES if _POSSESSIVE_GROUP.search(path.read_text())] == []


def test_the_rule_knows_what_it_forbids() -> None:
    assert all(_POSSESSIVE_GROUP.search(pattern) for pattern in ("(?:a|b)*+", "(ab)++", "(a)?+", "(a){2,}+", "(?>a)"))
    assert not any(_POSSESSIVE_GROUP.search(pattern) for pattern in ("[^a]*+", "(?:a|b)*", "a++", "(a)+"))


def test_a_lazy_pattern_is_compiled_by_its_first_use() -> None:
    pattern = lazy(rb"(a+)", re.IGNORECASE)
    assert "_compiled" not in vars(pattern)
    assert [pattern.sub(b"b", b"xAa"), pattern.findall(b"aA b a"), pattern.groups] == [b"xb", [b"aA", b"a"], 1]
    assert pattern.match(b"aab")
    assert not pattern.fullmatch(b"aab")


@pytest.mark.parametrize("module", sorted({path.as_posix() for path in _SOURCES if "lazy(" in path.read_text()}))
def test_every_lazy_pattern_can_be_compiled(module: str) -> None:
    found = vars(import_module(module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")))
    for pattern in _lazy_patterns(found.values()):
        assert pattern.groups >= 0


def _lazy_patterns(values: Iterable[Any]) -> Iterator[re.Pattern[Any]]:
    """All lazy patterns in these values, also in tuples and dictionaries."""
    for value in values:
        if type(value).__name__ == "_LazyPattern":
            yield value
        elif isinstance(value, tuple | list):
            yield from _lazy_patterns(value)
        elif isinstance(value, dict):
            yield from _lazy_patterns(value.values())
