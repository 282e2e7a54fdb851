"""Enters the records of a batch into the ledger of their source."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import structs

from exporter.ledger.fold import COUNTED, SUMMED, usage_time
from exporter.ledger.fold_joins import JOINED
from exporter.ledger.overflow import Overflow
from exporter.ledger.source_ledger import SourceLedger
from parsers import batch as b

#: What each record type changes.
FOLDS: Mapping[type, Callable[[SourceLedger, Any], None]] = {**COUNTED, **JOINED}


def post(ledger: SourceLedger, records: Sequence[b.Record]) -> None:
    """Enter the records of a batch."""
    overflow = Overflow(ledger.source, ledger.series, ledger.prices, ledger.budgets)
    if not overflow:
        for record in records:
            FOLDS[type(record)](ledger, record)
        return
    records, usage_at = _with_times(ledger, records)
    for record in overflow.take(records):
        FOLDS[type(record)](ledger, record)
    for each in overflow.sums():
        SUMMED[type(each)](ledger, each, refused=True)
    ledger.usage_at = usage_at  # the sums are not in the order of the records


def _with_times(ledger: SourceLedger, records: Sequence[b.Record]) -> tuple[Sequence[b.Record], int]:
    """The records, each usage with the time at which it counts, and `usage_at` behind them."""
    times = [record.at for record in records if type(record) is b.Usage]
    if None in times:
        records = [
            structs.replace(record, at=usage_time(ledger, record.at)) if isinstance(record, b.Usage) else record
            for record in records
        ]
    elif times:
        usage_time(ledger, times[-1])
    return records, ledger.usage_at
