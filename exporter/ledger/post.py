"""Enters the records of a batch into the ledger of their source."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import structs

from exporter.ledger.fold import COUNTED, usage_time
from exporter.ledger.fold_joins import JOINED, enter_decided
from exporter.ledger.source_ledger import SourceLedger
from exporter.ledger.waiting import sum_up
from parsers import batch as b

#: What each record type changes.
FOLDS: Mapping[type, Callable[[SourceLedger, Any], None]] = {**COUNTED, **JOINED}


def post(ledger: SourceLedger, records: Sequence[b.Record]) -> None:
    """Enter the records of a batch, or add them to the sums that wait."""
    for record in sum_up(ledger, _with_times(ledger, records)):
        FOLDS[type(record)](ledger, record)
    enter_decided(ledger)


def _with_times(ledger: SourceLedger, records: Sequence[b.Record]) -> Sequence[b.Record]:
    """The records, each usage with the time at which it counts."""
    times = [record.at for record in records if type(record) is b.Usage]
    if None in times:
        return [
            structs.replace(record, at=usage_time(ledger, record.at)) if isinstance(record, b.Usage) else record
            for record in records
        ]
    if times:
        usage_time(ledger, times[-1])
    return records
