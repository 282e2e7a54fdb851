"""What Python's own `re` gets wrong in a version that we support."""

import re
from pathlib import Path

_SOURCES = [path for package in ("parsers", "exporter") for path in Path(package).rglob("*.py")]
_POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{\d*,?\d*\})\+|\(\?>")


def test_no_group_repeats_possessively() -> None:
    """Python 3.11.2, which Debian 12 ships, may match nothing there (python/cpython#106052)."""
    assert len(_SOURCES) > 200
    assert [str(path) for path in _SOURCES if _POSSESSIVE_GROUP.search(path.read_text())] == []


def test_the_rule_knows_what_it_forbids() -> None:
    assert all(_POSSESSIVE_GROUP.search(pattern) for pattern in ("(?:a|b)*+", "(ab)++", "(a)?+", "(a){2,}+", "(?>a)"))
    assert not any(_POSSESSIVE_GROUP.search(pattern) for pattern in ("[^a]*+", "(?:a|b)*", "a++", "(a)+"))
