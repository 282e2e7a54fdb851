"""Cuts the windows of the live sources at the midnights of the history."""

from exporter.ledger.history import History
from exporter.ledger.source_ledger import SourceLedger
from exporter.tail.position import Window
from exporter.tail.validation import validate_batch
from parsers.batch import Batch
from parsers.slices import Slice, Slicer, later


def cut(ledger: SourceLedger, history: History, window: Window, batch: Batch, now: int) -> list[Slice]:
    """The slices of a window. `now` is the wall clock in nanoseconds.

    A parser that does not keep the laws gets its batch in one piece. A file belongs to the thread of its source, so no
    lock is needed, and no other source waits for the parses.
    """
    if not history.enabled or ledger.parse is None:
        return [Slice(batch, batch.last_at)]
    slicer = ledger.slicers.get(window.file) or Slicer(ledger.parse, history.span_of)
    ledger.slicers[window.file], before = slicer, slicer.reached
    slices: list[Slice] = []
    try:
        if not window.kind:
            slices = list(slicer.slices(window.data, window.final, window.position.skip_streams, now, batch))
        for each in slices if len(slices) > 1 else ():
            validate_batch(len(window.data), each.batch)
        adds_up = sum(each.batch.consumed for each in slices) == batch.consumed
    except Exception:  # a third-party parser may raise anything
        adds_up = False
    if slices and adds_up and slices[-1].batch.skip == batch.skip:
        return slices
    slicer.reached = later(before, batch.last_at)
    return [Slice(batch, slicer.reached)]
