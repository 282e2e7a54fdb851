"""The tail of one path: windows of every generation of its log, each byte once, the oldest first.

A generation lives from the moment the path names it until 5 s after it last grew once the path has moved on.
Its descriptor stays open meanwhile, so its name does not matter. What is lost from sight while nobody looks
(truncated, or rotated while we were down) is a missing position: its file is searched among the siblings, by
inode and by content, for as long as the grace lasts, and then counted as lost. Nothing is read that existed
under a rotated name before the path was first seen.
"""

import os
from collections.abc import Callable, Mapping

from pygtail import Pygtail

from exporter.files.following import Following, Terms
from exporter.files.generation import Generation, Truncated
from exporter.files.opened import GZIP_ERRORS, Identity, Opened
from exporter.window import Position, Window


class Tail(Pygtail):  # type: ignore[misc]  # Pygtail has no types
    """Pygtail whose "next line" is the next window of bytes, and whose offset file is the caller's ledger.

    After each window `posted` must be called. `elsewhere` finds the tail of the same source that holds a file.
    `lag` are the bytes known and not posted, `backlog` those of them that can be read by now; `reads`: the path
    names a file that is read here. These and `error` may be asked for by other threads.
    """

    def __init__(
        self,
        path: str,
        terms: Terms,
        positions: Mapping[str, Position] | None = None,
        read_from_end: bool = False,
        elsewhere: "Callable[[Tail, Identity, Opened | None], Tail | None] | None" = None,
    ) -> None:
        # An empty file in the place of the offset file: Pygtail neither reads nor writes one.
        super().__init__(
            path,
            offset_file=os.devnull,
            read_from_end=read_from_end,
            log_patterns=list(terms.log_patterns),
            save_on_end=False,
        )
        self.error = ""
        self.lag = self.backlog = 0
        self.left = self.reads = False
        self._terms, self._elsewhere = terms, elsewhere
        self._following = Following(path, terms, positions or {}, read_from_end, self._other)
        self._given: Window | None = None
        self._turn = 0

    def window(self) -> Window | None:
        """The next window, None where there is nothing new. Never raises OSError: see `error`."""
        window: Window | None = next(self, None)
        self._given = window
        self._measure()
        return window

    def posted(self, consumed: int) -> None:
        """The window last given is in the ledger, and the parser took so many bytes of it."""
        window, self._given = self._given, None
        if window is None:
            return
        self._following.lineage.told(window)
        for generation in self._following.generations:
            if generation.key == window.file:
                generation.posted(window, consumed)
                if generation.closed:
                    self._following.given_up(generation)
                break
        self._measure()

    @property
    def waits(self) -> bool:
        """What there is to read waits for something older that may turn up."""
        return self._following.lineage.waits

    @property
    def gone(self) -> bool:
        """The path names nothing and all that it named has been read."""
        return self._following.gone

    @property
    def files(self) -> tuple[str, ...]:
        """Keys of all generations whose positions the ledger may hold."""
        return self._following.files

    def holds(self, held: Identity, file: Opened | None) -> bool:
        return self._following.holds(held, file)

    def forget(self) -> None:
        """Nothing of this path is needed any more: the next windows only say so."""
        self.close()
        self.left = True
        self._following.lineage.forget()

    def close(self) -> None:
        self._following.close()

    def __del__(self) -> None:
        """D41: Pygtail's opens the file in order to close it, and raises where it is missing."""
        if hasattr(self, "_following"):
            self.close()

    def _get_next_line(self) -> Window:
        """The next window instead of the next line: bytes (A3, A4), cut at no `\\r` (A5), of bounded size (A6)."""
        now, following = self._terms.clock(), self._following
        found = None if self.left else following.follow(now)
        while True:
            before = list(following.generations)
            for generation in self._in_turn():
                window = self._window_of(generation, now, found if generation is following.current else None)
                if window is not None:
                    return following.lineage.tell(window)
            if following.generations == before:
                break
            # One was truncated or cannot be read: its copy may be there, and comes before what stands there now.
            found = following.follow(now)
        told = [g for g in following.generations if g.announced or not following.lineage.waits]
        window = following.lineage.news(self._terms.source, told)
        if window is None:
            raise StopIteration
        return window

    def _is_new_file(self) -> bool:
        """B14, B15, B17: Pygtail leaves the old file at its first end; here several are read side by side."""
        return False

    def _in_turn(self) -> list[Generation]:
        """The generations up to the first that was not yet read to its end, another one first each time; none that is
        not in the ledger yet while something older may turn up (B17).
        """
        ready: list[Generation] = []
        for generation in self._following.generations:
            if not generation.announced and self._following.lineage.waits:
                break
            ready.append(generation)
            if not generation.drained:
                break
        self._turn = (self._turn + 1) % max(1, len(ready))
        return ready[self._turn :] + ready[: self._turn]

    def _window_of(self, generation: Generation, now: float, found: os.stat_result | None) -> Window | None:
        """`found` is what the file looks like, where that is known."""
        following = self._following
        try:
            cut = generation.look(now, found)
            generation.closing = following.over(generation, now)
            if generation.quiet(now):
                return None
            window = generation.window(self._terms.source)
        except Truncated:
            following.truncated(generation, now)
        except (OSError, *GZIP_ERRORS) as error:
            following.stumbled(generation, error, now)
        else:
            if cut:
                following.lineage.cut(generation.key, cut)
            if found is not None and following.complete:
                generation.date(found.st_mtime_ns)
            return window
        return None

    def _measure(self) -> None:
        """For whoever asks from another thread."""
        following = self._following
        self.error, self.reads = following.error, following.current is not None
        self.lag = sum(g.position.unread for g in following.generations) + following.lineage.missing_bytes
        self.backlog = sum(g.position.unread for g in following.generations if not g.resting)

    def _other(self, held: Identity, file: Opened | None) -> Following | None:
        """Who else of the same source holds a file."""
        other = self._elsewhere(self, held, file) if self._elsewhere else None
        return other._following if other else None
