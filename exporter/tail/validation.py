"""Checks the batch of a parser before it is posted: a batch is posted as a whole or not at all.

The built-in parsers keep the laws of parsers, so only their position is checked. A parser of another package may break
any law, and must not corrupt a counter or a position.
"""

from decimal import Decimal

import msgspec

from parsers import batch as b
from parsers.envelope.envelope import inner_of
from parsers.parser import Parser
from parsers.values.currencies import currency_of
from parsers.values.times import zone

#: The records whose texts are stored as they are. Labels are cleaned.
_STORED = (b.Accepted, b.Active, b.Closed, b.OfSpan, b.Opened, b.SpanApp, b.TraceError)

# msgspec prepares a struct type at its first use. Two threads that do this at the same time crash the process, and all
# source threads start together, so it is done once here.
msgspec.convert({"consumed": 0}, b.Batch)


class MalformedError(ValueError):
    """The parser did not return a valid batch for the window. The message has no byte of the log."""


def is_built_in(parser: Parser) -> bool:
    """Return whether a parser, and the one inside an envelope, belong to this package: tests hold them to the laws."""
    return all(type(each).__module__.startswith("parsers.") for each in (parser, inner_of(parser)))


def validate_batch(size: int, batch: object, is_trusted: bool = False) -> None:
    """Raise MalformedError if the parser's result is not a valid batch for a window of `size` bytes.

    The records of a trusted parser are not looked at, which takes 3 % of the time of a window.
    """
    if not isinstance(batch, b.Batch):
        raise MalformedError(f"parse gave {type(batch).__name__}, expected Batch")
    if not is_trusted:
        _validate_records(batch)
    if batch.consumed > size:
        raise MalformedError(f"consumed is {batch.consumed} of {size} bytes")
    if batch.observed < 0:
        raise MalformedError(f"more lines ignored and unparsed than the {batch.lines} there are")


def _validate_records(batch: b.Batch) -> None:
    try:
        msgspec.convert(msgspec.to_builtins(batch, builtin_types=(bytes, Decimal)), b.Batch)
    except msgspec.ValidationError as error:
        raise MalformedError(f"a record is malformed: {error}") from None
    for record in batch.records:
        usage = b.OfSpan.inner(record)
        if isinstance(usage, b.Usage):
            if usage.cost is not None and not (usage.cost.is_finite() and usage.cost >= 0):
                raise MalformedError("a cost is negative or not finite")
            if usage.currency not in (b.UNKNOWN, b.OTHER, currency_of(usage.currency)):
                raise MalformedError("a currency is no code such as USD")
        if isinstance(record, b.Accepted) and not _is_zone(record.timezone):
            raise MalformedError("a time zone is unknown")
        if isinstance(record, _STORED) and not _is_unicode(record):
            raise MalformedError("a text is not Unicode")
    if batch.skip and not _is_unicode(batch.skip):
        raise MalformedError("a text is not Unicode")


def _is_unicode(value: object) -> bool:
    """Whether the state can store the texts of a value: half a surrogate pair would make every commit fail."""
    try:
        msgspec.msgpack.encode(value)
    except UnicodeEncodeError:
        return False
    return True


def _is_zone(name: str) -> bool:
    try:
        zone(name)
    except ValueError:
        return False
    return True
