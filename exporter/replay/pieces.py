"""Cuts a log into pieces and parses one piece, in any process.

The laws of parsers allow a cut after any whole record. So a log that can be read at any offset is cut at newlines
before any of it is parsed; a packed one is a single piece. If a parser does not consume the end of a piece, because a
record continues in the next one, the rest and the next piece are parsed again together. The slices of a piece do not
know the event times before it; `exporter.replay.jobs` does.
"""

import pickle
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from hashlib import sha256
from importlib.metadata import entry_points
from io import BufferedReader

from msgspec import Struct, structs

from exporter import __version__
from exporter.ledger.postings import Postings, Tally
from exporter.messages import address
from exporter.replay import remote
from exporter.replay.errors import InputError, WorkersError
from exporter.replay.feed import Part, feed
from exporter.replay.inputs import open_file, open_input
from parsers.batch import Batch
from parsers.parser import ENTRY_POINTS, Parser
from parsers.slices import Slice, SpanOf
from parsers.values.times import newest_known, oldest_known

#: How many bytes are read at once to find the end of a line.
_LOOK = 1 << 16

#: How many bytes at the beginning of a file distinguish it from another one.
_BEGINNING = 1 << 16

#: A slice, and the sums of the records that it no longer holds.
Parsed = tuple[Slice, Postings | None]


class Plan(Struct, frozen=True):
    """How a log is parsed: its source, its parser, and what `feed` and `Tally` need to know.

    `version` is the content that the caller has seen; another one raises InputError. "" accepts any.
    """

    file: str
    source: str
    parser: Parser
    line_length: int
    span_of: SpanOf | None = None
    buckets: Mapping[str, tuple[float, ...]] = {}
    has_history: bool = False
    version: str = ""


class Piece(Struct, frozen=True):
    """A part of a log: from the first line that begins at or behind `begin`, to the one at or behind `end`.

    Without an `end` it is the last piece. With `is_exact` it begins at `begin` itself. `skip` is the `skip` of the
    batch before it. `is_packed` marks the whole of a packed log.
    """

    begin: int = 0
    end: int | None = None
    skip: tuple[str, ...] = ()
    is_exact: bool = False
    is_packed: bool = False


class Result(Struct, frozen=True):
    """A parsed piece: where it begins, the position and the `skip` behind it, and why a packed log ends too early."""

    begin: int
    position: int
    skip: tuple[str, ...]
    parsed: list[Parsed]
    damage: str = ""


def cut(size: int | None, length: int) -> Iterator[Piece]:
    """The pieces of a log of a size in bytes, of about `length` bytes each; None is the size of a packed log.

    The last piece has no end, because a file may still grow.
    """
    if size is None:
        yield Piece(is_packed=True)
        return
    begin = 0
    while begin + length < size:
        yield Piece(begin, begin + length)
        begin += length
    yield Piece(begin)


@cache
def packages() -> tuple[tuple[str, str], ...]:
    """The versions of this program and of the packages that bring parsers: all machines need the same ones."""
    found = {each.dist.metadata["Name"]: each.dist.version for each in entry_points(group=ENTRY_POINTS) if each.dist}
    return tuple(sorted({**found, "dify-exporter": __version__}.items()))


def parse_piece(needed: tuple[tuple[str, str], ...], plan: bytes, piece: Piece) -> Result:
    """Parse a piece. `plan` is a pickled Plan.

    Raises InputError, and WorkersError if this process has other `packages` than needed; () needs none.
    """
    if needed and (present := packages()) != needed:
        raise WorkersError(
            f"the worker {socket.gethostname()} has {_listed(present)}, and this machine {_listed(needed)}: install "
            "the same versions on all of them"
        )
    return _parse(_plan(plan), piece)


def version(name: str) -> str:
    """What distinguishes the present content of a log from another one with the same name. Raises InputError."""
    if remote.is_remote(name):
        return remote.version(name)
    with open_file(name) as file:
        return sha256(file.read(_BEGINNING)).hexdigest()


@lru_cache(maxsize=8)
def _plan(pickled: bytes) -> Plan:
    """The plan of a log. It is kept, because to compile a parser takes longer than to look it up."""
    plan: Plan = pickle.loads(pickled)
    return plan


def _parse(plan: Plan, piece: Piece) -> Result:
    if plan.version and version(plan.file) != plan.version:
        raise InputError(
            f"{address(plan.file)}: the worker {socket.gethostname()} reads something else there than this machine: "
            "it has changed, or each machine has a file of its own under this name"
        )
    if piece.is_packed:
        damage: list[str] = []
        with open_input(plan.file, damage.append) as log:
            slices = feed(log.read, plan.parser, plan.line_length, span_of=plan.span_of)
            result = _result(plan, piece, 0, slices)
        return structs.replace(result, damage="".join(damage[:1]))
    with open_file(plan.file) as file:
        begin = piece.begin if piece.is_exact or not piece.begin else line_end(file, piece.begin)
        end = None if piece.end is None else line_end(file, piece.end)
        file.seek(begin)
        position = begin

        def read(size: int) -> bytes:
            nonlocal position
            block = file.read1(size if end is None else min(size, max(0, end - position)))
            position += len(block)
            return block

        part = Part(piece.skip, not begin, piece.end is None)
        slices = feed(read, plan.parser, plan.line_length, span_of=plan.span_of, part=part)
        return _result(plan, piece, begin, slices)


def _result(plan: Plan, piece: Piece, begin: int, slices: Iterable[Slice]) -> Result:
    position, skip, tally = begin, piece.skip, Tally(plan.buckets)
    parsed: list[Parsed] = []
    last: Slice | None = None
    for each in slices:
        position += each.batch.consumed
        skip = each.batch.skip if each.batch.consumed else skip
        if last is not None and _span(last, plan) != _span(each, plan):
            parsed.append((last, tally.taken()))
            last = None
        kept = structs.replace(each, batch=structs.replace(each.batch, records=tally.post(each.batch.records)))
        if last is not None and parsed and not kept.batch.records:
            last = _sum(last, kept)
        else:
            # A budget needs the time of the first slice. Records whose order matters need all times before them.
            parsed += [] if last is None else [(last, None)]
            last = kept
    parsed += [] if last is None else [(last, tally.taken())]
    return Result(begin, position, skip, parsed)


def _span(each: Slice, plan: Plan) -> tuple[object, bool, bool]:
    span = None if plan.span_of is None or each.at is None else plan.span_of(each.at)
    return span, each.is_doubtful, each.is_behind


def _sum(first: Slice, second: Slice) -> Slice:
    """The sum of two slices of one span. The second one has no records."""
    one, two = first.batch, second.batch
    batch = Batch(
        consumed=one.consumed + two.consumed,
        lines=one.lines + two.lines,
        ignored=one.ignored + two.ignored,
        unparsed=dict(Counter(one.unparsed) + Counter(two.unparsed)),
        examples={**two.examples, **one.examples},
        last_at=newest_known((one.last_at, two.last_at)),
        first_at=oldest_known((one.first_at, two.first_at)),
        records=one.records,
        skip=two.skip if two.consumed else one.skip,
    )
    return structs.replace(first, batch=batch, at=first.at if second.at is None else second.at)


def _listed(versions: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions)


def line_end(file: BufferedReader, position: int) -> int:
    """The offset after the first newline at or after `position`, or else the end of the file."""
    file.seek(position)
    while block := file.read1(_LOOK):
        if end := block.find(b"\n") + 1:
            return position + end
        position += len(block)
    return position
