"""Cuts the windows of the live sources at the midnights of the history."""

from collections.abc import Callable

from exporter.ledger.history import History
from exporter.tail.position import Window
from exporter.tail.validation import validate_batch
from parsers.batch import Batch
from parsers.slices import Parse, Slice, Slicer, later
from parsers.values.numbers import SECOND


class WindowSlices:
    """The running maximum of the event times of each file, by source.

    A file belongs to the thread of its source, so `cut` needs no lock, and no other source waits for its parses.
    """

    def __init__(self, history: History, clock: Callable[[], float]) -> None:
        """`clock` returns the wall clock in seconds."""
        self._history, self._clock = history, clock
        self._parsers: dict[str, Parse] = {}
        self._slicers: dict[str, dict[str, Slicer]] = {}

    def open(self, source: str, parse: Parse | None) -> None:
        """Begin a source. `parse` parses a part of a window; without it, a window is not cut."""
        self._slicers[source] = {}
        if parse is not None:
            self._parsers[source] = parse

    def forget(self, source: str, file: str) -> None:
        self._slicers.get(source, {}).pop(file, None)

    def cut(self, window: Window, batch: Batch) -> list[Slice]:
        """The slices of a window. A parser that does not keep the laws gets its batch in one piece."""
        slicers, parse = self._slicers.setdefault(window.source, {}), self._parsers.get(window.source)
        if not self._history.enabled or parse is None:
            return [Slice(batch, batch.last_at)]
        slicer = slicers.get(window.file) or Slicer(parse, self._span_of)
        slicers[window.file], before = slicer, slicer.reached
        slices = [] if window.kind else self._slices(slicer, window, batch)
        if not slices:
            slicer.reached = later(before, batch.last_at)
            slices = [Slice(batch, slicer.reached)]
        return slices

    def _span_of(self, at: int) -> tuple[int, int]:
        return self._history.span_of(at)

    def _slices(self, slicer: Slicer, window: Window, batch: Batch) -> list[Slice]:
        """The slices of a window that add up to its batch; none if the parser fails."""
        now = round(self._clock() * SECOND)
        try:
            slices = list(slicer.slices(window.data, window.final, window.position.skip_streams, now, batch))
            for each in slices if len(slices) > 1 else ():
                validate_batch(len(window.data), each.batch)
        except Exception:  # a third-party parser may raise anything
            return []
        consumed = sum(each.batch.consumed for each in slices)
        return slices if consumed == batch.consumed and slices and slices[-1].batch.skip == batch.skip else []
