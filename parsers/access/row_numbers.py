"""Parse the sizes and durations of many rows at once; return the texts that are not understood separately."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Annotated, cast

import msgspec

from parsers.values.numbers import MAX_COUNT, MILLISECOND, SECOND, many_nanoseconds, nanoseconds, token_count

#: Plain decimals that need no further check, separated by commas.
_DECIMALS = re.compile(rb"[0-9]{1,6}\.[0-9]{1,9}(?:,[0-9]{1,6}\.[0-9]{1,9})*")
_NUMBER = re.compile(rb"[0-9]{1,15}(?:\.[0-9]{1,9})?")
#: A list in which no value is known: `-`, `-, -`, `- : -`.
_NO_NUMBERS = re.compile(rb"[-,: ]*")

_decode_sizes = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]]).decode


def sum_of_sizes(texts: Sequence[bytes]) -> tuple[int | None, list[bytes]]:
    """Return the sum of the known sizes in bytes (None if none is known), and the texts that are not sizes."""
    try:
        known = _decode_sizes(b"[%b]" % b",".join(texts)) if b"".join(texts).isdigit() else None
    except msgspec.DecodeError:  # an empty text, a leading zero, or more bytes than a file can hold
        known = None
    if known is not None:
        return (sum(known) if known else None), []
    sizes = [token_count(int(text)) if text.isdigit() and len(text) < 19 else None for text in texts]
    known = [size for size in sizes if size is not None]
    return (sum(known) if known else None), [text for text, size in zip(texts, sizes, strict=True) if size is None]


def durations_of(texts: Sequence[bytes], unit: int) -> tuple[tuple[int, ...], list[bytes]]:
    """Return the known durations in nanoseconds, and the texts that are not durations.

    `unit` is the unit of the texts, in nanoseconds.
    """
    found = list(map(_seconds().get, texts)) if unit == SECOND else [None] * len(texts)
    if None not in found:
        return tuple(cast(list[int], found)), []
    if _DECIMALS.fullmatch(b",".join(texts)):
        return tuple(many_nanoseconds(texts, unit)), []
    times = [_last_number(text, unit) if time is None else time for text, time in zip(texts, found, strict=True)]
    dropped: list[bytes] = []
    if times.count(None) > texts.count(b"-"):
        unknown = [text for text, time in zip(texts, times, strict=True) if time is None]
        dropped = [text for text in unknown if not _NO_NUMBERS.fullmatch(text)]
    return tuple(time for time in times if time is not None), dropped


@cache
def _seconds() -> dict[bytes, int]:
    """Return all times below ten seconds with three decimals, in nanoseconds.

    Most times are in this table, and a look-up costs a tenth of a conversion.
    """
    thousandths = [b".%03d" % time for time in range(1000)]
    texts = (b"%d%b" % (seconds, text) for seconds in range(10) for text in thousandths)
    return dict(zip(texts, range(0, 10 * SECOND, MILLISECOND), strict=True))


def _last_number(text: bytes, unit: int) -> int | None:
    """Return a time, or the last time of a list (`-, 0.003`, ` : `): the one of the server that answered."""
    if not _NUMBER.fullmatch(text):
        numbers = [part for part in re.split(rb"[ ,:]+", text) if _NUMBER.fullmatch(part)]
        if not numbers:
            return None
        text = numbers[-1]
    return nanoseconds(text, unit)
