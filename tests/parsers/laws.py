"""The laws of a parser (see parsers/parser.py), as assertions on one log that is cut into windows or slices."""

import gc
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec
from hypothesis import settings

from parsers.batch import (
    UNPARSED_REASONS,
    Accepted,
    Active,
    Batch,
    DroppedLines,
    DroppedValue,
    Failure,
    FirstToken,
    Invocation,
    NodeRun,
    OfSpan,
    Request,
    Run,
    SpanApp,
    Task,
    TaskReceived,
    Usage,
)
from parsers.parser import Parser
from parsers.slices import Slice, Slicer, SpanOf
from parsers.values.times import iso, zone

_QUARTER = 900 * 10**9


def _moves(record: object) -> Iterable[tuple[object, ...]]:
    """Split a record into facts that can be counted, so that the grouping of records does not matter."""
    if isinstance(record, Request):
        labels = (record.method, record.route, record.status_code, record.failure)
        yield from [("request", *labels)] * record.count
        if record.response_bytes is not None:
            yield from [("bytes known", *labels)]
        for kind in ("durations", "first_bytes", "handler_durations"):
            yield from ((kind, *labels, value) for value in getattr(record, kind))
    elif isinstance(record, NodeRun | Invocation | Run | FirstToken | Task | TaskReceived):
        fields = msgspec.structs.asdict(record)
        labels = [value for name, value in fields.items() if name not in ("duration", "count", "durations")]
        kind = type(record).__name__
        durations = fields.get("durations") or (() if fields.get("duration") is None else (fields["duration"],))
        yield from ((kind, *labels, value) for value in durations)
        yield from [(kind, *labels)] * record.count
    elif isinstance(record, DroppedValue):
        yield from [("dropped", record.field)] * record.count
    elif isinstance(record, Usage):
        yield from [_usage(record)] * record.count
    elif isinstance(record, Active | DroppedLines):
        return
    elif isinstance(record, Accepted | OfSpan | SpanApp | Failure):
        yield from _other_moves(record)
    else:
        yield (type(record).__name__, *(repr(v) for v in msgspec.structs.astuple(record)))


def _other_moves(record: Accepted | OfSpan | SpanApp | Failure) -> Iterable[tuple[object, ...]]:
    if isinstance(record, OfSpan):
        yield from (("of span", record.parent, *move) for move in _moves(record.record))
    elif isinstance(record, SpanApp):
        yield "span", record.span, record.app_id, record.parent
    elif isinstance(record, Failure):
        yield from [("failure", record.kind)] * record.count
    else:
        for trace_id, time in zip(record.trace_ids.split("\n"), record.times.split("\n"), strict=True):
            if (at := iso(time.encode(), zone(record.timezone))) is not None:
                yield "accepted", record.route, record.failure, trace_id, at


def _usage(record: Usage) -> tuple[object, ...]:
    """Return the parts of a usage that are not sums: labels, the quarter of an hour, and which amounts are known."""
    amounts = (record.input_tokens, record.output_tokens, record.unsplit_tokens, record.cost)
    quarter = None if record.at is None else record.at // _QUARTER
    known = tuple(amount is not None for amount in amounts)
    return ("usage", record.app_id, record.provider, record.model, record.currency, quarter, known)


def _amounts(record: object) -> Iterable[tuple[tuple[object, ...], int | Decimal]]:
    """Return the sums of a record by key."""
    if isinstance(record, Request) and record.response_bytes is not None:
        yield (record.method, record.route, record.status_code, record.failure), record.response_bytes
    if isinstance(record, Usage):
        for name in ("input_tokens", "output_tokens", "unsplit_tokens", "cost"):
            yield (*_usage(record), name), getattr(record, name) or 0
    if isinstance(record, DroppedLines):
        yield ("dropped lines",), record.lines
    if isinstance(record, OfSpan):
        yield from ((("of span", record.parent, *key), amount) for key, amount in _amounts(record.record))


def summed(batches: Iterable[Batch]) -> dict[str, object]:
    """Return all counts and sums of a sequence of batches, independent of the windows."""
    batches = list(batches)
    facts: Counter[object] = Counter(move for b in batches for r in b.records for move in _moves(r))
    sums: dict[tuple[object, ...], int | Decimal] = {}
    active: dict[str, int] = {}  # the newest line of each worker counts
    for batch in batches:
        for r in batch.records:
            if isinstance(r, Active):
                active[r.worker] = max(active.get(r.worker, 0), r.at or 0)
            for key, amount in _amounts(r):
                sums[key] = sums.get(key, 0) + amount
            if isinstance(r, Request) and r.response_bytes is not None:
                facts["bytes known", r.method, r.route, r.status_code, r.failure] = 1
    return {
        "consumed": sum(b.consumed for b in batches),
        "lines": sum(b.lines for b in batches),
        "ignored": sum(b.ignored for b in batches),
        "unparsed": sum((Counter(b.unparsed) for b in batches), Counter()),
        "last_at": max((b.last_at for b in batches if b.last_at is not None), default=None),
        "first_at": min((b.first_at for b in batches if b.first_at is not None), default=None),
        "facts": facts,
        "sums": sums,
        "active": active,
    }


def batches_of(slices: Iterable[Slice]) -> list[Batch]:
    """Return the batches of slices."""
    return [part.batch for part in slices]


def in_windows(parser: Parser, log: bytes, cuts: Sequence[int]) -> list[Batch]:
    """Parse like the tail: bytes that were not consumed are parsed again with the next ones. The last window is final."""
    batches, begin = [], 0
    for end in sorted(cuts):
        if end > begin:
            batches.append(parser.parse(log[begin:end]))
            begin += batches[-1].consumed
            assert log[:begin][-1:] in (b"", b"\n"), "a position lies on the edge of a record"
    return [*batches, parser.parse(log[begin:], final=True)]


def in_parts(parser: Parser, log: bytes, cuts: Sequence[int], line_length: int) -> list[Batch]:
    """Parse like the tail with a limit for records: with `skip`, in windows of at most twice `line_length`."""
    batches: list[Batch] = []
    begin, skip = 0, ()
    for end in [*sorted(cuts), len(log)]:
        while begin < end:
            window = log[begin:end][: 2 * line_length]
            final = begin + len(window) == len(log)
            batch = parser.parse_part(window, final, skip, line_length)
            if not batch.consumed:
                assert not final
                assert len(window) < 2 * line_length, "the largest window is consumed in part"
                break
            begin, skip = begin + batch.consumed, batch.skip
            batches.append(batch)
    return batches


def seconds_of(width: int) -> SpanOf:
    """Return spans of event time that are `width` seconds long."""
    size = width * 10**9

    def span_of(at: int) -> tuple[int, int]:
        begin = at - at % size
        return begin, begin + size

    return span_of


def check_slices(parser: Parser, log: bytes, cuts: Sequence[int], span_of: SpanOf) -> None:
    """Assert that the slices of a log, in windows, add up to the log, and that each one lies in one span."""

    def parse(window: bytes, final: bool, skip: tuple[str, ...]) -> Batch:
        return parser.parse_part(window, final, skip, 1 << 20)

    slicer, begin, skip, slices = Slicer(parse, span_of), 0, (), []
    for end in [*sorted(cut for cut in cuts if cut < len(log)), len(log)]:
        window = log[begin:end]
        whole = parse(window, end == len(log), skip) if len(slices) % 2 else None
        for part in slicer.slices(window, end == len(log), skip, 2**62, whole):
            begin, skip = begin + part.batch.consumed, part.batch.skip
            slices.append(part)
    assert summed(part.batch for part in slices) == summed([parser.parse(log, final=True)])
    for part in slices:
        if part.batch.last_at is not None and not part.is_doubtful:
            assert part.at is not None
            assert part.batch.last_at < span_of(part.at)[1]


def check_laws(parser: Parser, log: bytes, cuts: Sequence[int]) -> Batch:
    """Assert the laws total, cut-proof, complete and stateless. Return the batch of the whole log for more assertions."""
    before = repr(sorted(vars(parser).items(), key=lambda item: item[0]))
    whole = parser.parse(log, final=True)
    assert whole.consumed == len(log)
    assert whole.lines == log.count(b"\n") + (not log.endswith(b"\n") and log != b"")
    assert whole.ignored >= 0
    assert all(n > 0 for n in whole.unparsed.values())
    assert set(whole.unparsed) <= set(UNPARSED_REASONS)
    assert set(whole.examples) == set(whole.unparsed)
    assert all(len(example) <= 200 for example in whole.examples.values())
    assert whole.observed >= 0
    assert summed(in_windows(parser, log, cuts)) == summed([whole])
    assert summed(in_parts(parser, log, [cut for cut in cuts if cut < len(log)], 1 << 20)) == summed([whole])
    check_slices(parser, log, cuts, seconds_of(1))
    after = repr(sorted(vars(parser).items(), key=lambda item: item[0]))
    assert after == before, "parsing changed an attribute: touch a cached_property in __post_init__"
    return whole


def check_every_cut(parser: Parser, log: bytes) -> None:
    """Assert the law cut-proof at each byte: with a cut only there, and with a cut at every byte."""
    whole = summed([parser.parse(log, final=True)])
    before: list[Batch] = []
    for at in range(len(log) + 1):
        batches = in_windows(parser, log, [at])
        assert batches == before or summed(batches) == whole  # summing takes longer than parsing
        before = batches
    assert summed(in_windows(parser, log, range(len(log) + 1))) == whole


#: The length of a line in bytes, and the processor time in seconds that a line of this length may take: five times that
#: of the slowest one. The short line makes a quadratic parser fail soon. Only the whole suite tries the longest lines.
_IS_FAST = settings.get_current_profile_name() == "fast"
_LIMITS = {8192: 0.5, 32_768: 0.5} if _IS_FAST else {8192: 0.5, 131_072: 2.0}


def check_linear(parser: Parser, beginning: bytes, noise: bytes, end: bytes, most: float = 2.0) -> None:
    """Assert the law linear: at every length, a line of noise is parsed within its limit, and within `most` seconds."""
    for length, limit in _LIMITS.items():
        line = beginning + noise * (length // len(noise)) + end + b"\n"
        begun = time.process_time()
        parser.parse(line)
        spent = time.process_time() - begun
        assert spent < min(limit, most), f"{len(line)} bytes of {beginning!r} and {noise!r} took {spent:.1f} s"


def check_bounded(parser: Parser, log: bytes) -> None:
    """Assert the law bounded: the memory of a parse is proportional to the window, and none is kept after it."""
    parser.parse(log)
    tracemalloc.start()
    try:
        parser.parse(log)
        after_one, peak = tracemalloc.get_traced_memory()
        assert peak < 400_000 + 150 * len(log), f"{len(log)} bytes took {peak}"
        parser.parse(log)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < after_one + len(log) // 3
    finally:
        tracemalloc.stop()
