"""Who commits also answers scrapes: nothing is shown that is not durable.

A scrape asks for a commit and gets the snapshot that was stored; scrapes at the same time share one. After a
commit that took t the next starts no sooner than 4 t, so that a slow disk is not kept busy. A commit that fails
or takes more than a second does not keep a scrape waiting: it is answered with the live numbers.
"""

import logging
import threading
import time
from collections.abc import Callable

from exporter.checkpoint import Checkpoint
from exporter.ledger import Ledger, Snapshot

_PATIENCE = 1.0
_PERIOD = 5.0

log = logging.getLogger(__name__)


class Committer:
    """A thread that stores the books on a timer, when asked, and at the end."""

    def __init__(self, ledger: Ledger, checkpoint: Checkpoint | None, clock: Callable[[], float]) -> None:
        """`clock` gives the wall clock in seconds. Without a checkpoint every snapshot is a live one."""
        self._ledger = ledger
        self._checkpoint = checkpoint
        self._clock = clock
        self._changed = threading.Condition()
        self._wanted = 0  # how many commits were asked for
        self._done = 0  # up to which request the newest commit reaches
        self._stored: Snapshot | None = None
        self._stopping = False
        self._failing = False
        self.errors = 0
        self.stored_at = 0.0
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        if checkpoint is not None:
            self._thread.start()

    def snapshot(self) -> Snapshot:
        """A snapshot that is durable, or after a second's wait, or a failure, the live one."""
        if self._checkpoint is None:
            return self._ledger.snapshot(self._clock())
        with self._changed:
            self._wanted += 1
            mine = self._wanted
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done >= mine, _PATIENCE)
            if self._done >= mine and self._stored is not None:
                return self._stored
        return self._ledger.snapshot(self._clock())

    def stop(self) -> None:
        """Commits a last time and releases the state."""
        if self._checkpoint is None:
            return
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        self._checkpoint.close()

    def _run(self) -> None:
        pause, stopping = 0.0, False
        while not stopping:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, pause)
                self._changed.wait_for(lambda: self._stopping or self._wanted > self._done, _PERIOD)
                stopping, wanted = self._stopping, self._wanted
            begun = time.monotonic()
            stored = self._commit()
            pause = 4 * (time.monotonic() - begun)
            with self._changed:
                self._stored, self._done = stored, wanted
                self._changed.notify_all()

    def _commit(self) -> Snapshot | None:
        assert self._checkpoint is not None
        snapshot, image = self._ledger.closing(self._clock())
        try:
            self._checkpoint.save(image)
        except OSError as error:
            self.errors += 1
            if not self._failing:
                log.error("the state cannot be written: %s; metrics are served, and go on from the last one", error)
            self._failing = True
            return None
        if self._failing:
            log.info("the state is written again")
        self._failing = False
        self.stored_at = self._clock()
        return snapshot
