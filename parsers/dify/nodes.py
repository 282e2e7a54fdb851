"""Finished workflow nodes of a whole block at once: almost every line of an enterprise worker's telemetry.

The block is decoded by type in one call, and the nodes that differ only in their numbers are added up. A line that is
anything else, or not exactly as expected, is left to the plain way; a test holds that both give the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from operator import add, gt
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct, field, structs

from parsers.batch import NodeRun, Record, Usage
from parsers.dify import telemetry
from parsers.numbers import SECOND, money
from parsers.times import iso, zone

#: Lines from which a block pays, and bytes that are decoded in one go.
_MANY = 16
_PART = 1 << 16

_EVENTS = frozenset({"dify.node.execution", "dify.node.execution.draft"})
_UTC = zone("UTC")

#: A time with its digits made equal, where its seconds begin and its minute ends.
_TIME = b"0000-00-00T00:00:00.000Z"
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_SECONDS = len("2026-11-23T08:53:")
_MINUTE = len("2026-11-23T08:53")

_Count = Annotated[int, Meta(ge=0, le=10**12)] | None


class _Node(Struct, frozen=True, gc=False):
    """Labels, then numbers. `elsewhere` are the names under which other events and generations tell a price."""

    event: str = field(default="", name="dify.event.name")
    app_id: str | None = field(default=None, name="dify.app_id")
    node_type: str | None = field(default=None, name="dify.node.type")
    status: str | None = field(default=None, name="dify.node.status")
    provider: str | None = field(default=None, name="gen_ai.provider.name")
    model: str | None = field(default=None, name="gen_ai.request.model")
    currency: str | None = field(default=None, name="dify.node.currency")
    cost_currency: str | None = field(default=None, name="dify.cost.currency")
    prompt_currency: str | None = field(default=None, name="dify.prompt_generation.currency")
    elapsed: Annotated[float, Meta(ge=0, le=10_000_000)] | None = field(default=None, name="dify.node.elapsed_time")
    given: _Count = field(default=None, name="gen_ai.usage.input_tokens")
    produced: _Count = field(default=None, name="gen_ai.usage.output_tokens")
    total: _Count = field(default=None, name="gen_ai.usage.total_tokens")
    price: str | None = field(default=None, name="dify.node.total_price")
    elsewhere: Any = field(default=None, name="dify.usage")
    elsewhere_price: Any = field(default=None, name="dify.usage.total_price")
    elsewhere_currency: Any = field(default=None, name="dify.usage.currency")
    span_name: str = field(default="", name="dify.span.name")
    links: Any = field(default=None, name="dify.trace.links")
    repeats: Any = field(default=None, name="metrics_from_parent")


class _Line(Struct, frozen=True, gc=False):
    ts: str
    message: str
    attributes: _Node = _Node()


_decode_lines = msgspec.json.Decoder(_Line).decode_lines

_Row = tuple[Any, ...]


class _Quarters(dict[str, int | None]):
    """The quarter of an hour that a minute lies in, as its first nanosecond; None where there is no such minute."""

    def __missing__(self, minute: str) -> int | None:
        known = iso(f"{minute}:00Z".encode(), _UTC)
        self[minute] = quarter = None if known is None else known - known % (900 * SECOND)
        return quarter


class _Part(NamedTuple):
    """Where a part begins and ends, without its last newline; the numbers of its lines, their newest time."""

    begin: int
    end: int
    numbers: range
    newest: str


def read(block: bytes) -> tuple[list[Record], int | None, bytes]:
    """The records of the regular nodes among whole lines, their newest time, and all other lines."""
    if block.count(b"\n", 0, 1 << 20) < _MANY:
        return [], None, block
    groups, parts, rest = _grouped(block)
    records, odd = list[Record](), set[int]()
    for (quarter, message, told, *labels), rows in groups.items():
        numbers, *columns = zip(*rows, strict=True)
        merged = None
        if told and quarter is not None and message.startswith("telemetry.") and labels[0] in _EVENTS:
            merged = _merged(_Node(*labels, *rows[0][1:]), quarter, columns)
        if merged is None:
            odd.update(numbers)
        else:
            records += merged
    times = [""]
    for part in parts:
        if odd.isdisjoint(part.numbers):
            times.append(part.newest)
            continue
        text = block[part.begin : part.end]
        for number, raw, line in zip(part.numbers, text.split(b"\n"), _decode_lines(text), strict=True):
            if number in odd:
                rest.append(raw)
            else:
                times.append(line.ts)
    return records, iso(max(times).encode(), _UTC), b"".join([line + b"\n" for line in rest])


def _grouped(block: bytes) -> tuple[dict[_Row, list[_Row]], list[_Part], list[bytes]]:
    """The lines that can be decoded, as rows by what they have in common; where they stand; and the other lines."""
    groups, quarters = defaultdict[_Row, list[_Row]](list), _Quarters()
    parts, rest = list[_Part](), list[bytes]()
    count = 0
    for begin, end, lines in _decoded_parts(block, rest):
        for number, line in enumerate(lines, count):
            node = line.attributes
            # A price or a currency that may be told under other names than a node's own; a copy of another node.
            told = (
                node.price is not None
                or (node.elsewhere is None and node.elsewhere_price is None and node.elsewhere_currency is None)
            ) and not (node.repeats or node.links or " attempt " in node.span_name)
            key = (
                quarters[line.ts[:_MINUTE]], line.message, told, node.event, node.app_id, node.node_type, node.status,
                node.provider, node.model, node.currency, node.cost_currency, node.prompt_currency,
            )  # fmt: skip
            groups[key].append((number, node.elapsed, node.given, node.produced, node.total, node.price))
        parts.append(_Part(begin, end, range(count, count + len(lines)), max([line.ts for line in lines])))
        count += len(lines)
    return groups, parts, rest


def _decoded_parts(block: bytes, rest: list[bytes]) -> Iterator[tuple[int, int, list[_Line]]]:
    """Where parts begin and end, without their last newline, and their lines; what cannot be decoded goes to `rest`."""
    begin = 0
    while begin < len(block):
        end = block.find(b"\n", begin + _PART)
        end = end if end >= 0 else len(block) - block.endswith(b"\n")
        part = block[begin:end]
        if lines := _decoded(part):
            yield begin, end, lines
        else:  # a line that is irregular costs itself
            for line in part.split(b"\n"):
                if lines := _decoded(line):
                    yield begin, begin + len(line), lines
                else:
                    rest.append(line)
                begin += len(line) + 1
        begin = end + 1


def _decoded(part: bytes) -> list[_Line]:
    """All lines of a part, or none."""
    if not part.startswith(b"{"):
        return []
    try:
        decoded = _decode_lines(part)
        times = "".join([line.ts for line in decoded]).encode()
    except (ValueError, RecursionError):
        return []
    count = part.count(b"\n") + 1
    regular = len(decoded) == count and times.translate(_DIGITS) == _TIME * count
    return decoded if regular and max(times[_SECONDS :: len(_TIME)]) <= ord("5") else []


def _merged(first: _Node, quarter: int, columns: Sequence[Sequence[Any]]) -> list[Record] | None:
    """The records of the first node, for all of them; None where more than numbers may differ."""
    elapsed, *amounts = columns
    usage = _usage(*amounts) if _is_told_here(first) else None
    if usage is None:
        return None
    merged: list[Record] = []
    for record in telemetry.records_of(msgspec.to_builtins(first), quarter):
        if isinstance(record, NodeRun):
            durations = tuple([round(seconds * SECOND) for seconds in elapsed if seconds is not None])
            merged.append(NodeRun(record.node_type, record.status, None, len(elapsed), durations))
        elif isinstance(record, Usage):
            merged.append(structs.replace(record, count=len(elapsed), **usage))
        else:
            merged += [record] * len(elapsed)
    return merged


def _is_told_here(node: _Node) -> bool:
    """Whether its currency, if it has a price, is told where nodes tell it."""
    return node.prompt_currency is None and (node.price is None or bool(node.currency or node.cost_currency))


def _usage(
    given: Sequence[Any], produced: Sequence[Any], totals: Sequence[Any], prices: Sequence[Any]
) -> dict[str, Any] | None:
    """The sums of tokens and price; nothing where no node tells any, None where a sum would not be what each says."""
    unpriced = prices.count(None)
    if given.count(None) == len(given):
        return {} if unpriced == len(given) and {*produced, *totals} == {None} else None
    if unpriced not in (0, len(given)):
        return None
    try:
        parts = list(map(add, given, produced))
        if not min(parts) or (totals.count(None) != len(totals) and any(map(gt, parts, totals))):
            return None
        cost = None if unpriced else _sum(prices)
    except (TypeError, InvalidOperation):  # a count that is not told; a price that is none
        return None
    if cost is None and not unpriced:
        return None
    return {"input_tokens": sum(given), "output_tokens": sum(produced), "cost": cost}


def _sum(prices: Iterable[Any]) -> Decimal | None:
    """None where one would have to be rounded, or is none that `parsers.numbers.money` takes."""
    amounts = list(map(Decimal, prices))
    total = sum(amounts, Decimal())
    exponent = total.as_tuple().exponent
    return money(total) if isinstance(exponent, int) and exponent >= -12 and min(amounts) >= 0 else None
