"""Checks whether the lines of a source begin records of its parser, and warns if nearly none does."""

import logging
from collections.abc import Callable

from parsers.batch import Batch

_log = logging.getLogger(__name__)

#: Seconds between two checks, and the fewest lines of a check: at its start a program prints a banner, and a failure
#: prints a long traceback.
_PERIOD = 10.0
_LEAST_LINES = 50
#: At least one of so many lines must begin a record, even if each record has a long traceback.
_LINES_PER_RECORD = 200


def recognised(lines: int, ignored: int) -> bool:
    """Return whether enough lines begin records. The parser must ignore only continuation lines."""
    return lines < _LEAST_LINES or (lines - ignored) * _LINES_PER_RECORD >= lines


class Recognition:
    """Checks one source. `clock` returns seconds. `is_recognised` is the last result, True before the first check.

    `can_fail` is False for a parser that also ignores lines that it recognises: many ignored lines are then no fault.
    """

    def __init__(self, source: str, can_fail: bool, clock: Callable[[], float]) -> None:
        self.is_recognised = True
        self._source, self._can_fail, self._clock = source, can_fail, clock
        self._lines = self._ignored = 0
        self._checked_at = float("-inf")
        self._warned = False

    def add(self, batch: Batch) -> None:
        if self._can_fail:
            self._lines += batch.lines
            self._ignored += batch.ignored

    def check(self) -> None:
        """Check if enough lines and seconds have passed. Warn once, and again only after the source was recognised."""
        if self._lines < _LEAST_LINES or self._clock() - self._checked_at < _PERIOD:
            return
        self.is_recognised = recognised(self._lines, self._ignored)
        if self.is_recognised:
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
        self._checked_at = self._clock()
