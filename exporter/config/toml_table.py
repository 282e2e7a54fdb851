"""A TOML table into its struct, with every problem found, each as one sentence.

msgspec stops at the first problem of a struct, so each key is converted by itself first.
"""

import re
from collections.abc import Mapping
from datetime import date, time
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from exporter.messages import printable, unknown

T = TypeVar("T", bound=Struct)

Table = Mapping[str, Any]

#: No file has a NUL in its name, and to ask a system for one is a ValueError.
FileName = Annotated[str, Meta(pattern=r"\A[^\0]*\Z")]

#: What TOML, and people, call the types that msgspec and Python name.
_NAMES = {
    "str": "a string", "int": "an integer", "float": "a number", "bool": "true or false", "date": "a date",
    "array": "an array", "list": "an array", "object": "a table", "dict": "a table",
}  # fmt: skip
_TYPE = re.compile(r"`(\w+)`( matching regex .*)?")


class Problems:
    """Collects what is wrong with one file."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.sentences: list[str] = []

    def add(self, table: str, text: str) -> None:
        """`table` as written in the file (`[limits]`), "" for the file itself."""
        self.sentences.append(printable(f"{self._file}: {table + ': ' if table else ''}{text}"))


def convert(table: Table, struct: type[T], where: str, problems: Problems, hidden: Table | None = None) -> T | None:
    """The struct of a table, or None after its problems were added.

    `hidden` fields are given by us and are no keys of the table.
    """
    fields = {f.encode_name: f for f in msgspec.structs.fields(struct) if f.encode_name not in (hidden or {})}
    found = len(problems.sentences)
    good = dict(hidden or {})
    for key, value in table.items():
        if key not in fields:
            problems.add(where, unknown("key", key, fields))
            continue
        try:
            msgspec.convert(value, fields[key].type)
        except msgspec.ValidationError as error:
            problems.add(where, f"{key}: {_expectation(error, fields[key].type)}, found {_shown(value)}")
        else:
            good[key] = value
    required = {key: _example(field.type) for key, field in fields.items() if field.required}
    for key in required:
        if key not in table:
            problems.add(where, f"{key} is missing")
    examples = {key: example for key, example in required.items() if example is not None}
    if {*good, *examples} >= set(required):
        for sentence in _refusals({**examples, **good}, examples, {*required, *(hidden or {})}, struct):
            problems.add(where, sentence)
    return msgspec.convert(good, struct) if len(problems.sentences) == found else None


def _refusals(table: Table, examples: Table, always: set[str], struct: type[Struct]) -> list[str]:
    """What the struct itself says (`__post_init__`), which names one problem at a time: so the key that causes it is
    left out, or given its example, and the rest is tried again.
    """
    told: list[str] = []
    left = dict(table)
    while (sentence := _refusal(left, struct)) and sentence not in told:
        told.append(sentence)
        rests = [{k: v for k, v in left.items() if k != key} for key in left if key not in always]
        rests += [{**left, key: example} for key, example in examples.items()]
        left = next((rest for rest in rests if _refusal(rest, struct) != sentence), left)
    return told


def _example(wanted: object) -> object:
    """A value that a required key may have, as its type says; None where it says none."""
    if get_origin(wanted) is Literal:
        return get_args(wanted)[0]
    given = (meta.examples for meta in getattr(wanted, "__metadata__", ()) if isinstance(meta, msgspec.Meta))
    return next((examples[0] for examples in given if examples), None)


def _refusal(table: Table, struct: type[Struct]) -> str:
    try:
        msgspec.convert(table, struct)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def kind(value: object) -> str:
    """What TOML calls a value of that type."""
    return _NAMES.get(type(value).__name__, "a time")


def _expectation(error: msgspec.ValidationError, wanted: object) -> str:
    """msgspec's "Expected `int`, got `str` - at `$[0]`" as the middle of a sentence. Of a closed set of words, which
    are `wanted`, it names none.
    """
    if get_origin(wanted) is Literal:
        return f"expected one of {', '.join(map(repr, get_args(wanted)))}"
    expected, _, place = str(error).partition(" - at ")
    sentence = expected.partition(", got ")[0]
    sentence = _TYPE.sub(_named, sentence[:1].lower() + sentence[1:])
    return f"{sentence} inside" if place else sentence


def _named(found: re.Match[str]) -> str:
    """The only pattern is that of a file's name."""
    return "a file's name without NUL" if found[2] else _NAMES.get(found[1], found[1])


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = value.isoformat() if isinstance(value, date | time) else repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
