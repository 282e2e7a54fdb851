"""How long a search goes on, and when it looks again. All times are monotonic seconds."""

#: Seconds of a search: a copy or a `.gz` may still be unfinished.
SEARCH = 5.0

#: Seconds of a search while the path names nothing: the whole folder may only be unmounted (D43).
_AWAY = 86400.0

#: Seconds between two looks into the folder, and where there is no hurry. New evidence is followed at once.
_HURRY = 0.25
_PAUSE = 10.0


class Deadlines:
    """`begins`: generations are known from an earlier process, so everything is searched for first."""

    def __init__(self, begins: bool) -> None:
        self._begins = begins
        self._newer_until = self._missing_until = self._next_look = 0.0
        self._away_since: float | None = None

    def for_newer(self, now: float) -> None:
        self._newer_until = now + SEARCH
        self._next_look = now

    def for_missing(self, now: float) -> None:
        self._missing_until = now + SEARCH
        self._next_look = now

    def newer(self, now: float) -> bool:
        """Whether generations that nobody has seen are searched for."""
        return self._begins or now <= self._newer_until

    def missing(self, now: float) -> bool:
        """Whether missing generations are searched for, and not lost yet."""
        return now < self._missing_until

    def is_due(self, now: float) -> bool:
        return now >= self._next_look

    def looked(self, now: float, at_once: bool, soon: bool, named: bool) -> None:
        """The folder was looked into. `named`: the path names a file that can be read."""
        hurry = soon or now <= self._newer_until or (named and self.missing(now))
        self._next_look = now + (0.0 if at_once else _HURRY if hurry else _PAUSE)

    def extend(self, now: float, named: bool) -> None:
        """Deadlines are extended while the path names nothing, or something that cannot be read."""
        if self._begins:
            self._begins = False
            self._missing_until = now + SEARCH
            # While we were down, or just before, a whole generation may have come and gone (B18).
            self._newer_until = now + SEARCH
        if named:
            self._away_since = None
            return
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since < _AWAY:
            self._missing_until = now + SEARCH
