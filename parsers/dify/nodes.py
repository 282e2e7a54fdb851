"""Finished workflow nodes of a whole block at once: almost every line of an enterprise worker's telemetry.

The block is decoded by type in one call. Of the lines that differ only in their numbers one is read the plain way,
and the others are added to its records. A line that is anything else, or not exactly as expected, is left to the
plain way; a test holds that both give the same.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from operator import add, gt
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field, structs

from parsers.batch import NodeRun, Record, Usage
from parsers.numbers import SECOND, money
from parsers.times import iso, zone
from parsers.window import Outcome

#: Lines from which a block pays, and bytes that are decoded in one go.
_MANY = 16
_PART = 1 << 20

_EVENTS = frozenset({"dify.node.execution", "dify.node.execution.draft"})
_UTC = zone("UTC")
_TIMES = re.compile(r"(?:\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d\.\d{3}Z)*", re.ASCII)
_MINUTE = len("2026-11-23T08:53")

_Count = Annotated[int, Meta(ge=0, le=10**12)] | None


class _Node(Struct, frozen=True, gc=False):
    """`elsewhere` are the names under which other events and generations tell a price."""

    event: str = field(default="", name="dify.event.name")
    app_id: str | None = field(default=None, name="dify.app_id")
    node_type: str | None = field(default=None, name="dify.node.type")
    status: str | None = field(default=None, name="dify.node.status")
    elapsed: Annotated[float, Meta(ge=0, le=10_000_000)] | None = field(default=None, name="dify.node.elapsed_time")
    provider: str | None = field(default=None, name="gen_ai.provider.name")
    model: str | None = field(default=None, name="gen_ai.request.model")
    given: _Count = field(default=None, name="gen_ai.usage.input_tokens")
    produced: _Count = field(default=None, name="gen_ai.usage.output_tokens")
    total: _Count = field(default=None, name="gen_ai.usage.total_tokens")
    price: str | None = field(default=None, name="dify.node.total_price")
    currency: str | None = field(default=None, name="dify.node.currency")
    cost_currency: str | None = field(default=None, name="dify.cost.currency")
    elsewhere: Any = field(default=None, name="dify.usage")
    elsewhere_price: Any = field(default=None, name="dify.usage.total_price")
    elsewhere_currency: Any = field(default=None, name="dify.usage.currency")
    prompt_currency: Any = field(default=None, name="dify.prompt_generation.currency")


class _Line(Struct, frozen=True, gc=False):
    ts: str
    message: str
    attributes: _Node = _Node()


_decode_lines = msgspec.json.Decoder(_Line).decode_lines

_Key = tuple[object, ...]


def read(block: bytes, plain: Callable[[bytes], Outcome]) -> tuple[list[Record], int | None, bytes]:
    """The records of the regular nodes among whole lines, their newest time, and all other lines.

    `plain` reads one line.
    """
    if block.count(b"\n", 0, _PART) < _MANY:
        return [], None, block
    lines, begins, rest = _lines(block)
    records, newest, others = list[Record](), "", list[int]()
    first_of: dict[_Key, Sequence[Record]] = {}
    for (minute, *labels), numbers in _alike(lines).items():
        alike, key = [lines[number] for number in numbers], tuple(labels)
        first = first_of.get(key)
        if first is None:
            outcome = plain(_line(block, begins[numbers[0]]).rstrip(b"\r\n")) if _is_regular(alike[0]) else None
            first = outcome[0] if isinstance(outcome, tuple) else ()
        nodes = [line.attributes for line in alike]
        merged = _merged(first, nodes, iso(f"{minute}:00Z".encode(), _UTC)) if first else None
        if merged is None:
            others += numbers
        else:
            first_of[key] = first  # an example for other minutes too, now that its own numbers are known to be good
            records += merged
            newest = max(newest, *[line.ts for line in alike])
    rest += [_line(block, begins[number]) for number in sorted(others)]
    return records, iso(newest.encode(), _UTC), b"".join(rest)


def _line(block: bytes, begin: int) -> bytes:
    return block[begin : block.find(b"\n", begin) + 1 or len(block)]


def _lines(block: bytes) -> tuple[list[_Line], list[int], list[bytes]]:
    """The lines that can be decoded, where they begin, and the other ones."""
    lines, begins, rest = list[_Line](), list[int](), list[bytes]()
    begin = 0
    while begin < len(block):
        end = block.find(b"\n", begin + _PART) + 1 or len(block)
        part = block[begin:end]
        if decoded := _decoded(part, part.count(b"\n")):
            lines += decoded
            begins += accumulate(decoded[1:], lambda at, _: block.find(b"\n", at) + 1, initial=begin)
            begin = end
        while begin < end:  # one that is irregular costs itself
            line = _line(block, begin)
            if decoded := _decoded(line, 1):
                lines += decoded
                begins.append(begin)
            else:
                rest.append(line)
            begin += len(line)
    return lines, begins, rest


def _decoded(part: bytes, lines: int) -> list[_Line]:
    """All of so many lines, or none."""
    if not part.startswith(b"{"):
        return []
    try:
        decoded = _decode_lines(part)
    except (ValueError, RecursionError):
        return []
    regular = len(decoded) == lines and _TIMES.fullmatch("".join([line.ts for line in decoded]))
    return decoded if regular else []


def _alike(lines: Sequence[_Line]) -> Mapping[_Key, list[int]]:
    """The numbers of the lines that differ only in numbers and in the seconds of a minute, by minute and labels."""
    groups: defaultdict[_Key, list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        node = line.attributes
        key = (
            line.ts[:_MINUTE], node.node_type, node.app_id, node.model, node.provider, node.status, node.currency,
            node.cost_currency, node.given is None, node.price is None, node.elapsed is None, node.event, line.message,
        )  # fmt: skip
        groups[key].append(number)
    return groups


def _is_regular(line: _Line) -> bool:
    return line.message.startswith("telemetry.") and line.attributes.event in _EVENTS


def _is_told_here(node: _Node) -> bool:
    """Whether price and currency, if they are told at all, are told where nodes tell them."""
    elsewhere = (node.elsewhere, node.elsewhere_price, node.elsewhere_currency, node.prompt_currency)
    if node.price is not None and (node.currency or node.cost_currency):
        return node.prompt_currency is None
    return elsewhere == (None, None, None, None)


def _merged(first: Sequence[Record], nodes: Sequence[_Node], minute: int | None) -> list[Record] | None:
    """The records of the first node, for all of them; None where more than numbers may differ."""
    usage = _usage(nodes) if all(map(_is_told_here, nodes)) else None
    if usage is None or minute is None:
        return None
    durations = () if nodes[0].elapsed is None else tuple([round((node.elapsed or 0) * SECOND) for node in nodes])
    merged: list[Record] = []
    for record in first:
        if isinstance(record, NodeRun):
            merged.append(NodeRun(record.node_type, record.status, None, len(nodes), durations))
        elif isinstance(record, Usage):
            merged.append(structs.replace(record, at=minute, count=len(nodes), **usage))
        else:
            merged += [record] * len(nodes)
    return merged


def _usage(nodes: Sequence[_Node]) -> dict[str, Any] | None:
    """The sums of tokens and price; nothing where no node tells any, None where a sum would not be what each says."""
    given, produced = [node.given for node in nodes], [node.produced for node in nodes]
    totals: list[Any] = [node.total for node in nodes]
    priced = nodes[0].price is not None
    if given[0] is None:
        return None if priced or {*produced, *totals} != {None} else {}
    try:
        parts = list(map(add, given, produced))
        if not min(parts) or (totals.count(None) != len(nodes) and any(map(gt, parts, totals))):
            return None
        cost = _sum([node.price for node in nodes]) if priced else None
    except (TypeError, InvalidOperation):  # a count that is not told; a price that is none
        return None
    return (
        None if priced and cost is None else {"input_tokens": sum(given), "output_tokens": sum(produced), "cost": cost}
    )


def _sum(prices: Iterable[Any]) -> Decimal | None:
    """None where one would have to be rounded, or is none that `parsers.numbers.money` takes."""
    amounts = list(map(Decimal, prices))
    total = sum(amounts, Decimal())
    exponent = total.as_tuple().exponent
    return money(total) if isinstance(exponent, int) and exponent >= -12 and min(amounts) >= 0 else None
