"""Read a window by blocks: decode JSON lines by type, and group them by quarter of an hour.

Readers of blocks are fast and strict. They leave a line that is not exactly as expected to the next reader, and in the
end to the reader of single lines.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, tzinfo
from io import BytesIO
from operator import itemgetter
from typing import Annotated, Any, NamedTuple, TypeVar

from msgspec import Meta, Struct, structs

from parsers.batch import Batch, Record
from parsers.lines import Outcome, by_line, whole_lines
from parsers.values.numbers import QUARTER
from parsers.values.times import iso, newest_known, oldest_known

#: A block with many lines of a kind has the first of them within so many bytes.
_SEARCHED = 1 << 18

_LAST = itemgetter(-1)

#: The number of lines from which reading as a block is faster.
MANY = 16
#: The number of bytes that are decoded at once: so few that the decoded lines stay in the second-level cache.
PART = 1 << 19

#: The shape of a time as Dify writes it in JSON and in text lines, with all digits equal; the end of its minute and the
#: begin of its seconds.
_TIME = b"0000-00-00T00:00:00.000Z"
_TEXT_TIME = b"0000-00-00 00:00:00.000"
DIGITS = bytes.maketrans(b"123456789", b"000000000")
_MINUTE = len("2026-11-23T08:53")
_SECONDS = len("2026-11-23T08:53:")


class BlockResult(NamedTuple):
    """What a reader of blocks returns.

    * `records`: the records of the lines that it read.
    * `times`: times of these lines, in nanoseconds since the epoch. The oldest and the newest are among them.
    * `lines`: the number of these lines.
    * `rest`: all other lines of the block.
    """

    records: Sequence[Record]
    times: Collection[int | None]
    lines: int
    rest: bytes


class TimedLine(Struct, frozen=True, gc=False):
    """The member that every decoded line must have."""

    ts: Annotated[str, Meta(min_length=len(_TIME), max_length=len(_TIME))]


L = TypeVar("L", bound=TimedLine)
T = TypeVar("T")


def parse_blocks(
    window: bytes,
    final: bool,
    readers: Sequence[Callable[[bytes], BlockResult]],
    read_line: Callable[[bytes], Outcome],
) -> Batch:
    """Make the batch of a window: each reader gets the lines that the readers before it left, `read_line` the rest."""
    consumed = len(window) if final else window.rfind(b"\n") + 1
    results, rest = list[BlockResult](), window[:consumed]
    for read in readers:
        results.append(result := read(rest))
        rest = result.rest
    others = by_line(rest, True, read_line)
    times = [at for result in results for at in result.times]
    return structs.replace(
        others,
        consumed=consumed,
        lines=others.lines + sum(result.lines for result in results),
        last_at=newest_known((others.last_at, *times)),
        first_at=oldest_known((others.first_at, *times)),
        records=(*(record for result in results for record in result.records), *others.records),
    )


def read_lines(
    block: bytes, sign: bytes, decode: Callable[[bytes], L], take: Callable[[Sequence[L], int], Sequence[L]]
) -> BlockResult:
    """Read those lines of a block that `decode` accepts and whose time exists. The result has no records.

    `take` gets the lines of one quarter of an hour, in their order, and the first nanosecond of the quarter. It returns
    the lines that it has read. Each of these lines contains the text `sign`.
    """
    times, lines, rest = list[str](), 0, list[bytes]()
    for raws in parts_of(block, sign):
        found, taken = _with_times(decoded(raws, decode)), list[L]()
        known = [line for line in found if line is not None]
        for quarter, ends, members in by_quarter(known):
            if quarter is not None:
                read = take(members, quarter)
                taken += read
                times += ends if len(read) == len(members) else [line.ts for line in read]
        lines += len(raws)
        if len(taken) < len(raws):
            ids = set(map(id, taken))
            rest += [raw for raw, line in zip(raws, found, strict=True) if id(line) not in ids]
    if not lines:
        return BlockResult((), (), 0, block)
    extremes = [min(times), max(times)] if times else []
    return BlockResult((), list(map(time_of, extremes)), lines - len(rest), b"".join(rest))


def parts_of(block: bytes, sign: bytes) -> Iterator[list[bytes]]:
    """Return all lines of a block with their newlines, about PART bytes at a time.

    Return nothing if the lines are few, or if the beginning of the block contains no JSON line or not the text `sign`.
    """
    if block.find(sign, 0, _SEARCHED) >= 0 and (block.startswith(b"{") or block.find(b"\n{", 0, _SEARCHED) >= 0):
        stream = BytesIO(block)
        lines = stream.readlines(PART)  # four times as fast as split
        if len(lines) < MANY:
            return
        while lines:
            yield lines
            lines = stream.readlines(PART)


def decoded(lines: Sequence[bytes], decode: Callable[[bytes], T]) -> list[T | None]:
    """Decode lines. The result is None for a line of another type."""
    found = list[T | None]()
    waiting = iter(lines)
    while len(found) < len(lines):
        try:
            found.extend(map(decode, waiting))
        except (ValueError, RecursionError):
            found.append(None)
    if min(lines) < b"{":  # a line with a blank before its JSON, or without JSON
        found = [line if raw.startswith(b"{") else None for raw, line in zip(lines, found, strict=True)]
    return found


def _with_times(lines: Sequence[L | None]) -> Sequence[L | None]:
    """Replace lines without a time as Dify writes it by None."""
    times = [_TIME.decode() if line is None else line.ts for line in lines]
    if _are_times(times):
        return lines
    return [line if _are_times([time]) else None for line, time in zip(lines, times, strict=True)]


def _are_times(texts: Sequence[str]) -> bool:
    """Return whether these texts, all of the same length, have the shape of times, with seconds up to 59."""
    joined = "".join(texts).encode("ascii", "replace")
    is_shape = joined.translate(DIGITS) == _TIME * len(texts)
    return is_shape and max(joined[_SECONDS :: len(_TIME)], default=0) <= ord("5")


def by_quarter(lines: Sequence[L]) -> Iterator[tuple[int | None, tuple[str, str], Sequence[L]]]:
    """Group lines by quarter of an hour.

    Each item has four parts: the first nanosecond of the quarter since the epoch (None for times that do not exist,
    such as in a 13th month), the oldest and the newest time in it as they are written, and its lines.
    """
    times, quarters = [line.ts for line in lines], _Quarters()
    if not times:
        return
    oldest, newest = min(times), max(times)
    if quarters[newest[:_MINUTE]] == quarters[oldest[:_MINUTE]]:
        yield quarters[newest[:_MINUTE]], (oldest, newest), lines
        return
    groups = defaultdict[int | None, list[L]](list)
    for line in lines:
        groups[quarters[line.ts[:_MINUTE]]].append(line)
    for quarter, members in groups.items():
        times = [line.ts for line in members]
        yield quarter, (min(times), max(times)), members


class _Quarters(dict[str, int | None]):
    """The first nanosecond of the quarter of an hour that a minute lies in; None for a minute that does not exist."""

    def __missing__(self, minute: str) -> int | None:
        at = iso(f"{minute}:00Z".encode(), UTC)
        self[minute] = quarter = None if at is None else at - at % QUARTER
        return quarter


def times_of_texts(times: list[bytes], local: tzinfo) -> list[int]:
    """Return times of text lines, sorted: the oldest, the newest, and some of the others.

    The texts have milliseconds after a dot. The result is empty if there is no text, or if any of them is not as
    Dify writes it or names no real time (a 13th month): the reader of single lines then counts the wrong times.
    """
    if not times or b"".join(times).translate(DIGITS) != _TEXT_TIME * len(times):
        return []
    found = [iso(time, local) for time in _ends_of_minutes(times)]
    known = [at for at in found if at is not None]
    return known if len(known) == len(found) else []


def _ends_of_minutes(times: list[bytes]) -> list[bytes]:
    """Return the oldest and newest time of each minute. Within one, texts sort like times in every time zone."""
    ends, end = list[bytes](), 0
    times.sort()
    while end < len(times):
        ends.append(times[end])
        end = bisect_left(times, times[end][:_SECONDS] + b":", end)  # a colon sorts behind every digit
        ends.append(times[end - 1])
    return ends


def time_of(text: str) -> int | None:
    """Parse a time as Dify writes it in JSON."""
    return iso(text.encode(), UTC)


def read_rows(
    block: bytes, pattern: re.Pattern[bytes], times_of: Callable[[list[bytes]], Collection[int | None]]
) -> tuple[Sequence[Any], BlockResult]:
    """Return the rows of those text lines of a block that a pattern finds, and a result without records.

    The first group of the pattern is the time; the last group is any other line. `times_of` returns nothing for texts
    that are no times, and then no line is read.
    """
    found, others = pattern.findall(block), list[bytes]()
    rows = found
    if any(map(_LAST, found)):
        rows, others = [row for row in found if not row[-1]], [row[-1] + b"\n" for row in found if row[-1]]
    if not (times := times_of([row[0] for row in rows])):
        return (), BlockResult((), (), 0, block)
    empty = whole_lines(block, True)[1] - len(found)
    return rows, BlockResult((), times, len(rows), b"".join(others) + b"\n" * empty)
