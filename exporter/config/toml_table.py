"""Converts a TOML table to its struct and reports every problem as one sentence.

msgspec stops at the first problem of a struct, so each key is converted separately first.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from exporter.messages import printable, unknown

T = TypeVar("T", bound=Struct)

Table = Mapping[str, Any]

#: A file name cannot hold a NUL; os functions raise ValueError for one.
FileName = Annotated[str, Meta(pattern=r"\A[^\0]*\Z")]

#: At most one day.
Seconds = Annotated[float, Meta(gt=0, le=86400)]

#: Names of types in our messages, by their names in msgspec and Python.
_NAMES = {
    "str": "a string", "int": "an integer", "float": "a number", "bool": "true or false", "date": "a date",
    "array": "an array", "list": "an array", "object": "a table", "dict": "a table",
}  # fmt: skip
#: The beginnings of msgspec's messages, and what replaces each of them.
_BEGINNINGS = {
    "Expected ": "expected ",
    "Object missing required field ": "expected the key ",
    "Object contains unknown field ": "unexpected key ",
    "Invalid RFC3339 encoded date": "expected a date such as 2026-11-30",
}
_TYPE = re.compile(r"`([\w| ]+)`( matching regex .*)?")


class Problems:
    def __init__(self, file: str, sentences: list[str] | None = None) -> None:
        """`sentences` are the problems of the files that were read before."""
        self._file = file
        self.sentences: list[str] = [] if sentences is None else sentences

    def add(self, table: str, text: str) -> None:
        """Add a problem. `table` is written as in the file (`[limits]`), or is "" for the file as a whole."""
        self.sentences.append(printable(f"{self._file}: {table + ': ' if table else ''}{text}"))


def known_tables(
    document: Table, problems: Problems, tables: Sequence[str], arrays: Sequence[str] = ()
) -> dict[str, Any]:
    """The tables, and the arrays of tables, that a file may have. Everything else in it becomes a problem."""
    good: dict[str, Any] = {}
    for name, value in document.items():
        if name in tables and not isinstance(value, dict):
            problems.add("", f"{name}: expected one table [{name}], found {toml_type(value)}")
        elif name in arrays and not (isinstance(value, list) and all(isinstance(table, dict) for table in value)):
            problems.add("", f"{name}: expected tables [[{name}]], found {toml_type(value)}")
        elif name in tables or name in arrays:
            good[name] = value
        elif isinstance(value, dict | list):
            problems.add("", unknown("table", name, [*tables, *arrays]))
        else:
            example = f"[{tables[0]}]" if tables else f"[[{arrays[0]}]]"
            problems.add("", f'key "{name}" is above all tables, expected it inside a table such as {example}')
    return good


def convert(table: Table, struct: type[T], where: str, problems: Problems, hidden: Table | None = None) -> T | None:
    """Convert a table to its struct. Returns None if it has problems, after adding them.

    `hidden` holds fields that the program sets; they are not keys of the table.
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
            good[key] = value
        except msgspec.ValidationError as error:
            place, found_value = _inside(key, value, error)
            # The error of a struct in an array already names the value.
            sentence = error.__cause__ or _mismatch(error, fields[key].type, found_value)
            problems.add(where, f"{place}: {sentence}")
    required = {key: _example(field.type) for key, field in fields.items() if field.required}
    for key in (key for key in required if key not in table):
        problems.add(where, f"{key} is missing")
    examples = {key: example for key, example in required.items() if example is not None}
    if {*good, *examples} >= set(required):
        for sentence in _struct_problems({**examples, **good}, examples, {*required, *(hidden or {})}, struct):
            problems.add(where, sentence)
    return msgspec.convert(good, struct) if len(problems.sentences) == found else None


def _struct_problems(table: Table, examples: Table, always: set[str], struct: type[Struct]) -> list[str]:
    """All sentences that `__post_init__` of the struct raises. It raises one at a time, so the key that causes it is
    removed, or replaced by its example, and the rest is tried again.
    """
    sentences: list[str] = []
    left = dict(table)
    while (sentence := _struct_problem(left, struct)) and sentence not in sentences:
        sentences.append(sentence)
        rests = [{k: v for k, v in left.items() if k != key} for key in left if key not in always]
        rests += [{**left, key: example} for key, example in examples.items()]
        left = next((rest for rest in rests if _struct_problem(rest, struct) != sentence), left)
    return sentences


def _example(wanted: object) -> object:
    """A valid value for a required key, taken from its type. None if the type has no example."""
    if get_origin(wanted) is Literal:
        return get_args(wanted)[0]
    declared = (meta.examples for meta in getattr(wanted, "__metadata__", ()) if isinstance(meta, msgspec.Meta))
    return next((examples[0] for examples in declared if examples), None)


def _struct_problem(table: Table, struct: type[Struct]) -> str:
    try:
        msgspec.convert(table, struct)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def toml_type(value: object) -> str:
    """The TOML name of the value's type, with its article."""
    return _NAMES.get(type(value).__name__, "a time")


def _mismatch(error: msgspec.ValidationError, wanted: object, found: object) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$[0]`" into a sentence about the value `found`.

    msgspec does not list the values of a Literal, so they are taken from the type `wanted`.
    """
    if get_origin(wanted) is Literal:
        return f"expected one of {', '.join(map(repr, get_args(wanted)))}, found {shown(found)}"
    expected, _, place = str(error).partition(" - at ")
    for theirs, ours in _BEGINNINGS.items():
        expected = expected.replace(theirs, ours)
    expected = _TYPE.sub(_named, expected.partition(", got ")[0])
    inside = " inside" if "[...]" in place else ""
    hint = "; write it in quotes" if isinstance(found, date | time) and "a string" in expected else ""
    return f"{expected}{inside}, found {shown(found)}{hint}"


def _inside(key: str, value: Any, error: msgspec.ValidationError) -> tuple[str, object]:
    """Find the value inside the value of a key that has the problem. Returns its place in words, and the value.

    msgspec writes the place as "… - at `$[0].to`". In a table with arbitrary keys it does not name the key, so then the
    whole table is returned.
    """
    place = key
    for number, name in re.findall(r"\[(\d+)\]|\.([\w-]+)", str(error).partition(" - at `$")[2]):
        place += f" {int(number) + 1}" if number else f": {name}"
        value = value[int(number) if number else name]
    return place, value


def _named(found: re.Match[str]) -> str:
    """The name of a type or of several. The only type with a pattern is `FileName`."""
    names = [_NAMES.get(name, name) for name in found[1].split(" | ")]
    return "a file's name without NUL" if found[2] else " or ".join(names)


def shown(value: object) -> str:
    """The value as a message shows it, not too long."""
    if isinstance(value, bool):
        return str(value).lower()
    text = value.isoformat() if isinstance(value, date | time) else repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
