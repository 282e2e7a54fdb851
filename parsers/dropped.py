"""Count the values that a parser could not understand, by field, with an example."""

import re
from collections.abc import Sequence

from parsers.batch import DroppedValue, Record

#: The length of an example in characters.
_EXAMPLE_LENGTH = 40

#: Words that occur in times and numbers. Any other run of letters could be the text of a user.
_WORDS = frozenset(
    """Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec January February March April June July August September October
    November December Mon Tue Wed Thu Fri Sat Sun UTC GMT AM PM am pm T Z W e E s ms us ns m h NaN Infinity""".split()
)
_LETTERS = re.compile(r"(?:[^\W\d_]|[^\x20-\x7e])+")

#: How nginx, Apache and JSON write that a value is not known.
NOT_KNOWN = frozenset({"", "-", "[-]", "null"})

#: An integer with more bits is not written out, because Python refuses to print very long integers.
_PRINTED_BITS = 128


def dropped(field: str, value: object, parsed: object) -> tuple[DroppedValue, ...]:
    """Return a record for `value` if the parser did not understand it (`parsed` is None).

    Return nothing where the line has no value (None) or states that the value is not known. `value` is text, bytes or
    a value from JSON; `field` is one of DROPPED_FIELDS.
    """
    return () if parsed is not None or value is None else dropped_values(field, (value,))


def dropped_values(field: str, values: Sequence[object]) -> tuple[DroppedValue, ...]:
    """Return one record for all `values` of a field that were not understood."""
    texts = [text for value in values if (text := _text(value)).strip() not in NOT_KNOWN]
    return (DroppedValue(field, len(texts), _masked(texts[0])),) if texts else ()


def with_dropped_time(records: Sequence[Record], text: object, at: int | None) -> Sequence[Record]:
    """Return the records of a line, and one more if the time `text` of the line was not understood (`at` is None)."""
    return records if at is not None else (*records, *dropped("time", text, at))


def _text(value: object) -> str:
    """Return the beginning of a value as text. Of a JSON object or list only the brackets are shown."""
    if isinstance(value, bytes):
        return value[:_EXAMPLE_LENGTH].decode("utf-8", "replace")
    if isinstance(value, dict | list | tuple):
        return "{}" if isinstance(value, dict) else "[]"
    if isinstance(value, int) and value.bit_length() > _PRINTED_BITS:
        return f"1e{value.bit_length() * 3 // 10}"
    return str(value)[:_EXAMPLE_LENGTH]


def _masked(text: str) -> str:
    """Replace runs of letters and unprintable or non-ASCII characters by x, except the words of times and numbers."""
    return _LETTERS.sub(lambda run: run[0] if run[0] in _WORDS else "x" * len(run[0]), text)
