"""Values that a line holds and that its parser could not understand: they are counted, by field, with an example."""

import re
from collections.abc import Sequence

from parsers.batch import DroppedValue, Record

_LONGEST = 40

#: What times and numbers are written with; any other run of letters could be somebody's text.
_WORDS = frozenset(
    """Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec January February March April June July August September October
    November December Mon Tue Wed Thu Fri Sat Sun UTC GMT AM PM am pm T Z W e E s ms us ns m h NaN Infinity""".split()
)
_RUN = re.compile(r"[^\W\d_]+|[^\x20-\x7e]")

#: How logs write that a value is not known (nginx, Apache, JSON).
_NOT_KNOWN = frozenset({"", "-", "[-]", "null"})

#: Integers of more bits are not written out: Python refuses to print very long ones.
_PRINTED_BITS = 128


def dropped(field: str, given: object, understood: object) -> tuple[DroppedValue, ...]:
    """The value `given`, where the parser made nothing of it (`understood` is None); nothing where the line has no
    value or says that it is not known. `given` is text, bytes or a value from JSON.
    """
    return () if understood is not None or given is None else dropped_of(field, (given,))


def dropped_of(field: str, given: Sequence[object]) -> tuple[DroppedValue, ...]:
    """The same, of many values that were not understood."""
    texts = [text for value in given if (text := _text(value)).strip() not in _NOT_KNOWN]
    return (DroppedValue(field, len(texts), _masked(texts[0])),) if texts else ()


def with_time(records: Sequence[Record], written: object, at: int | None) -> Sequence[Record]:
    """The records of a line, and one more where the time that is written in it is not understood (`at` is None)."""
    return records if at is not None else (*records, *dropped("time", written, at))


def _text(value: object) -> str:
    """The beginning of a value as text; of an object or a list only what it is."""
    if isinstance(value, bytes):
        return value[:_LONGEST].decode("utf-8", "replace")
    if isinstance(value, dict | list | tuple):
        return "{}" if isinstance(value, dict) else "[]"
    if isinstance(value, int) and value.bit_length() > _PRINTED_BITS:
        return f"1e{value.bit_length() * 3 // 10}"
    return str(value)[:_LONGEST]


def _masked(text: str) -> str:
    """Letters outside the words of times and numbers become x, and so does what is not printable ASCII."""
    return _RUN.sub(lambda run: run[0] if run[0] in _WORDS else "x" * len(run[0]), text)
