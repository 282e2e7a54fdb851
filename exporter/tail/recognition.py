"""Whether the lines of a source begin records of its parser; where nearly none does, our log says so and what to do."""

import logging
from collections.abc import Callable

from parsers.batch import Batch

_log = logging.getLogger(__name__)

#: A verdict needs so many lines, and comes so many seconds after the one before it: a start prints a banner, and a
#: failure a long traceback.
_PERIOD = 10.0
_LEAST_LINES = 50
#: Of so many lines at least one begins a record, also where each record has a long traceback.
_LINES_PER_RECORD = 200


def recognised(lines: int, ignored: int) -> bool:
    """Whether so many of these lines begin records, of a parser that ignores only continuations."""
    return lines < _LEAST_LINES or (lines - ignored) * _LINES_PER_RECORD >= lines


class Recognition:
    """Of one source. `clock` gives seconds. `holds` is the last verdict, True before the first one.

    `can_fail` is False for a parser that ignores what it has recognised: many such lines are no fault.
    """

    def __init__(self, source: str, can_fail: bool, clock: Callable[[], float]) -> None:
        self.holds = True
        self._source, self._can_fail, self._clock = source, can_fail, clock
        self._lines = self._ignored = 0
        self._judged_at = float("-inf")
        self._warned = False

    def add(self, batch: Batch) -> None:
        """Takes note of what became of a batch's lines."""
        if self._can_fail:
            self._lines += batch.lines
            self._ignored += batch.ignored

    def judge(self) -> None:
        """Gives a verdict where it is time for one; warns once, and again only after the source was recognised."""
        if self._lines < _LEAST_LINES or self._clock() - self._judged_at < _PERIOD:
            return
        self.holds = recognised(self._lines, self._ignored)
        if self.holds:
            self._warned = False
        elif not self._warned:
            self._warned = True
            _log.warning(
                "source %s: %d of %d lines were ignored, because they begin no record that its parser knows; "
                "`dify-exporter check` says which parser and envelope fit the log",
                self._source,
                self._ignored,
                self._lines,
            )
        self._lines = self._ignored = 0
        self._judged_at = self._clock()
