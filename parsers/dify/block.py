"""Whole lines of JSON, each decoded by type, and what a reader of such a block gives.

A line that is not exactly as expected is left to the next reader, at last to the plain way.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Annotated, NamedTuple, TypeVar

from msgspec import Meta, Struct

from parsers.batch import Record
from parsers.values.numbers import SECOND
from parsers.values.times import iso, zone

#: Bytes in which the first line of a kind stands, where there are many.
_SOON = 1 << 18

#: Lines from which a block pays.
MANY = 16
#: Bytes of lines that are decoded at once: what they become dies in the processor's second cache.
PART = 1 << 19

#: A time as Dify writes it, its digits made equal; where its minute ends and its seconds begin.
_TIME = b"0000-00-00T00:00:00.000Z"
DIGITS = bytes.maketrans(b"123456789", b"000000000")
_MINUTE = len("2026-11-23T08:53")
_SECONDS = len("2026-11-23T08:53:")
_UTC = zone("UTC")


class Found(NamedTuple):
    """The records of the lines that were taken from a block, their newest time and number, and all other lines."""

    records: Sequence[Record]
    newest: int | None
    lines: int
    rest: bytes


class Line(Struct, frozen=True, gc=False):
    """What a line has at least."""

    ts: Annotated[str, Meta(min_length=len(_TIME), max_length=len(_TIME))]


L = TypeVar("L", bound=Line)


def parts_of(block: bytes, sign: bytes) -> Iterator[list[bytes]]:
    """All lines with their ends, some at a time; none where they are few, or do not soon hold JSON and the sign of what
    is looked for.
    """
    if block.find(sign, 0, _SOON) >= 0 and (block.startswith(b"{") or block.find(b"\n{", 0, _SOON) >= 0):
        stream = BytesIO(block)
        lines = stream.readlines(PART)  # a quarter of what split costs
        if len(lines) < MANY:
            return
        while lines:
            yield lines
            lines = stream.readlines(PART)


def decoded(lines: Sequence[bytes], decode: Callable[[bytes], L]) -> list[L | None]:
    """What each line holds; None in place of one of another type, or without a time as Dify writes it."""
    found = list[L | None]()
    waiting = iter(lines)
    while len(found) < len(lines):
        try:
            found.extend(map(decode, waiting))
        except (ValueError, RecursionError):
            found.append(None)
    if min(lines) < b"{":  # a space before it, or no JSON
        found = [line if raw.startswith(b"{") else None for raw, line in zip(lines, found, strict=True)]
    times = [_TIME.decode() if line is None else line.ts for line in found]
    if _are_times(times):
        return found
    return [line if _are_times([time]) else None for line, time in zip(found, times, strict=True)]


def _are_times(texts: Sequence[str]) -> bool:
    """Whether these texts of one length have the shape of times and no second beyond 59."""
    joined = "".join(texts).encode("ascii", "replace")
    is_shape = joined.translate(DIGITS) == _TIME * len(texts)
    return is_shape and max(joined[_SECONDS :: len(_TIME)], default=0) <= ord("5")


def by_quarter(lines: Sequence[L]) -> Iterator[tuple[int | None, str, Sequence[L]]]:
    """Quarters of an hour, as their first nanosecond; the newest time in each, as written; its lines.

    The quarter is None for times that there are not.
    """
    times, quarters = [line.ts for line in lines], _Quarters()
    if not times:
        return
    newest = max(times)
    if quarters[newest[:_MINUTE]] == quarters[min(times)[:_MINUTE]]:
        yield quarters[newest[:_MINUTE]], newest, lines
        return
    groups = defaultdict[int | None, list[L]](list)
    for line in lines:
        groups[quarters[line.ts[:_MINUTE]]].append(line)
    for quarter, members in groups.items():
        yield quarter, max([line.ts for line in members]), members


class _Quarters(dict[str, int | None]):
    """The quarter of an hour that a minute lies in, as its first nanosecond; None where there is no such minute."""

    def __missing__(self, minute: str) -> int | None:
        known = iso(f"{minute}:00Z".encode(), _UTC)
        self[minute] = quarter = None if known is None else known - known % (900 * SECOND)
        return quarter


def newest_of(times: Sequence[str]) -> int | None:
    """The newest of times as Dify writes them, in nanoseconds since the epoch."""
    return iso(max(times).encode(), _UTC) if times else None
