"""Decides how long a search lasts and when it looks again. All times are monotonic seconds."""

#: Duration of a search in seconds: a copy or a `.gz` may still be unfinished.
SEARCH = 5.0

#: Longest search in seconds while the path does not exist: the folder may be unmounted for a while (D43).
_ABSENT = 86400.0

#: Seconds between two looks into the folder: the short and the long interval. After a rotation it is looked at at once.
_SHORT = 0.25
_LONG = 10.0


class SearchDeadlines:
    """`is_first_search`: an earlier process has stored generations, so the first look searches for everything.

    A search ends with the first look that is made at its deadline or later. So the process may be stopped for any time
    (a starved machine, SIGSTOP, a mount that hangs): what was written before it continued is still found.
    """

    def __init__(self, is_first_search: bool) -> None:
        self._is_first_search = is_first_search
        self._unseen_until = self._missing_until = self._next_look = 0.0
        self._looked_at = 0.0
        self._absent_since: float | None = None

    @property
    def is_searching_unseen(self) -> bool:
        """Return whether unseen generations are searched for: those that came and went between two looks."""
        return self._is_first_search or self._looked_at < self._unseen_until

    @property
    def is_searching_missing(self) -> bool:
        return self._looked_at < self._missing_until

    def search_unseen(self, now: float) -> None:
        self._unseen_until = now + SEARCH
        self._next_look = now

    def search_missing(self, now: float) -> None:
        self._missing_until = now + SEARCH
        self._next_look = now

    def is_due(self, now: float) -> bool:
        return now >= self._next_look

    def looked(self, now: float, at_once: bool, soon: bool, named: bool) -> None:
        """Note a look that began at `now`, and set the time of the next one.

        `named`: the path names a file that can be read.
        """
        self._looked_at = now
        hurry = soon or self.is_searching_unseen or (named and self.is_searching_missing)
        self._next_look = now + (0.0 if at_once else _SHORT if hurry else _LONG)

    def extend(self, now: float, named: bool) -> None:
        """Extend the deadlines while the path does not exist or cannot be read."""
        if self._is_first_search:
            self._is_first_search = False
            self._missing_until = now + SEARCH
            # While the exporter was down, a whole generation may have been created and rotated (B18).
            self._unseen_until = now + SEARCH
        if named:
            self._absent_since = None
            return
        if self._absent_since is None:
            self._absent_since = now
        if now - self._absent_since < _ABSENT:
            self._missing_until = now + SEARCH
