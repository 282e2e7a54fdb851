"""What a parser gave, judged before any of it is entered: a batch is posted whole or not at all.

The built-in parsers keep the laws; one of another package may break any, and must cost neither a counter nor a
position.
"""

from decimal import Decimal

import msgspec

from exporter.window import Window
from parsers.batch import Accepted, Batch, Usage
from parsers.values.times import zone

# msgspec builds what it knows of a struct at its first use, and two threads that do so at once crash the process:
# the sources' threads begin together.
msgspec.convert({"consumed": 0}, Batch)


class MalformedError(ValueError):
    """What was given is no batch of the window. Its text holds no byte of the log."""


def judge(window: Window, batch: object) -> None:
    """Raises MalformedError."""
    if not isinstance(batch, Batch):
        raise MalformedError(f"parse gave {type(batch).__name__}, expected Batch")
    try:
        msgspec.convert(msgspec.to_builtins(batch, builtin_types=(bytes, Decimal)), Batch)
    except msgspec.ValidationError as error:
        raise MalformedError(f"a record is malformed: {error}") from None
    for record in batch.records:
        if isinstance(record, Usage) and record.cost is not None and not (record.cost.is_finite() and record.cost >= 0):
            raise MalformedError("a cost is no amount")
        if isinstance(record, Accepted) and not _is_zone(record.timezone):
            raise MalformedError("a time zone is unknown")
    if batch.consumed > len(window.data):
        raise MalformedError(f"consumed is {batch.consumed} of {len(window.data)} bytes")
    if batch.observed < 0:
        raise MalformedError(f"more lines ignored and unparsed than the {batch.lines} there are")


def _is_zone(name: str) -> bool:
    try:
        zone(name)
    except ValueError:
        return False
    return True
