"""The thread that commits the ledger to disk and renders what scrapes get: only durable numbers are shown.

A scrape requests a commit and gets the text of what was stored. Scrapes at the same time share one commit, and
nothing is rendered without a request. After a commit that took t seconds the next one starts 4 t seconds later at
the earliest, so that a slow disk is not busy all the time. While commits fail, or while one takes more than a
second, scrapes get the live numbers instead.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshot import Snapshot, snapshot_of
from exporter.persistence.checkpoint import Checkpoint

_COMMIT_TIMEOUT = 1.0  # seconds, as the two below
_PERIOD = 5.0
_LAST_COMMIT_TIMEOUT = 10.0
_SLOW = "it takes more than a second"

_log = logging.getLogger(__name__)

_NEVER = float("inf")

Form = TypeVar("Form")


class Committer(Generic[Form]):
    """Commits the ledger on a timer, on request, and at the end, in a thread of its own.

    `errors` counts the commits that failed or took too long. `stored_at` is the time of the last good commit, in
    seconds since the epoch.
    """

    def __init__(
        self,
        ledger: Ledger,
        checkpoint: Checkpoint | None,
        clock: Callable[[], float],
        render: Callable[[Snapshot, Form], bytes],
        after_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """`clock` gives the wall clock in seconds; `render` prints a snapshot in one of its forms. Without a
        checkpoint every scrape gets the live numbers. `after_commit` is called after each good commit.
        """
        self._ledger, self._checkpoint, self._clock = ledger, checkpoint, clock
        self._render, self._after_commit = render, after_commit
        self._changed = threading.Condition()
        self._requested: dict[Form, Future[bytes]] = {}
        self._deadline = _NEVER  # monotonic clock; from then on the present commit takes too long
        self._failing = checkpoint is None
        self._done: threading.Event | None = None
        self._stopping = False
        self.errors = 0
        self.stored_at = 0.0
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        if checkpoint is not None:
            self._thread.start()

    def text(self, form: Form) -> bytes:
        """Print the durable numbers of this moment, or the live ones if they cannot be stored."""
        with self._changed:
            future = self._requested.setdefault(form, Future())
            self._changed.notify_all()
            while not future.done() and not self._failing:
                self._changed.wait(min(self._deadline - time.monotonic(), threading.TIMEOUT_MAX))
                if self._deadline < time.monotonic():
                    self._failed(_SLOW)
        if future.done():
            return future.result()
        return self._render(self._ledger.snapshot(self._clock()), form)

    def commit(self) -> None:
        """Wait until everything that is posted by now is stored or has failed, for one second at most."""
        if self._checkpoint is None:
            return
        with self._changed:
            self._done = done = self._done or threading.Event()
            self._changed.notify_all()
        done.wait(_COMMIT_TIMEOUT)

    def stop(self) -> None:
        """Commit a last time and release the state."""
        if self._checkpoint is None:
            return
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(_LAST_COMMIT_TIMEOUT)
        if self._thread.is_alive():
            _log.error("the last commit does not end; its log lines are read again at the next start")
            return
        self._checkpoint.close()

    def _run(self) -> None:
        pause, stopping = 0.0, False
        while not stopping:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, pause)
                self._changed.wait_for(lambda: self._stopping or self._requested or self._done, _PERIOD)
                stopping = self._stopping
                waiting, self._done = self._done, None
                requested, self._requested = self._requested, {}
                started = time.monotonic()
                self._deadline = started + _COMMIT_TIMEOUT
                self._changed.notify_all()
            self._commit()
            pause = 4 * (time.monotonic() - started)
            if waiting:
                waiting.set()
            self._render_for(requested)
            if not self._failing:
                self._after_commit()
        with self._changed:
            self._failing = True
            self._changed.notify_all()

    def _commit(self) -> None:
        assert self._checkpoint is not None
        now, failure = self._clock(), ""
        try:
            self._checkpoint.save(self._ledger.changes())
            self.stored_at = now
        except Exception as error:  # of any kind: scrapes must not wait for a thread that has ended
            failure = str(error) or type(error).__name__
        with self._changed:
            if self._deadline < time.monotonic():
                failure = failure or _SLOW
            if self._deadline == _NEVER:
                pass  # a scrape waited too long for it and has counted it already
            elif failure:
                self._failed(failure)
            elif self._failing:
                _log.info("the state can be written again")
                self._failing = False
            self._deadline = _NEVER

    def _failed(self, failure: str) -> None:
        """Count the present commit as failed, once."""
        self.errors += 1
        self._deadline = _NEVER
        if not self._failing:
            _log.error("the state cannot be written: %s; the live numbers are served until it can", failure)
        self._failing = True

    def _render_for(self, requested: dict[Form, Future[bytes]]) -> None:
        """Render what was just stored. After a failure the waiting scrapes render the live numbers themselves."""
        assert self._checkpoint is not None
        for form, future in () if self._failing else requested.items():
            try:
                future.set_result(self._render(snapshot_of(self._checkpoint.state, self._clock()), form))
            except Exception as error:
                future.set_exception(error)
        with self._changed:
            self._changed.notify_all()
