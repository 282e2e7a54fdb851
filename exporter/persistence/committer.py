"""Who commits also answers scrapes: nothing is shown that is not durable.

A scrape asks for a commit and gets the text of what was stored; scrapes at the same time share one, and nobody
renders when nobody asks. After a commit that took t the next starts no sooner than 4 t, so that a slow disk is
not kept busy. While commits fail, or one takes more than a second, scrapes get the live numbers.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from exporter.ledger.ledger import Ledger, Snapshot, snapshot_of
from exporter.persistence.checkpoint import Checkpoint

_PATIENCE = 1.0
_PERIOD = 5.0
_LAST_PATIENCE = 10.0
_SLOW = "it takes more than a second"

log = logging.getLogger(__name__)

_NEVER = float("inf")

Form = TypeVar("Form")


class Committer(Generic[Form]):
    """A thread that stores the books on a timer, when asked, and at the end.

    `errors` counts commits that failed or took too long; at `stored_at`, in seconds since the epoch, all was
    stored that there was.
    """

    def __init__(
        self,
        ledger: Ledger,
        checkpoint: Checkpoint | None,
        clock: Callable[[], float],
        render: Callable[[Snapshot, Form], bytes],
    ) -> None:
        """`clock` gives the wall clock in seconds; `render` writes a snapshot down in a form. Without a
        checkpoint every text is a live one.
        """
        self._ledger = ledger
        self._checkpoint = checkpoint
        self._clock = clock
        self._render = render
        self._changed = threading.Condition()
        self._asked: dict[Form, Future[bytes]] = {}
        self._late_at = _NEVER  # monotonic; when the present commit will have taken too long
        self._failing = checkpoint is None
        self._hurried: threading.Event | None = None
        self._stopping = False
        self.errors = 0
        self.stored_at = 0.0
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        if checkpoint is not None:
            self._thread.start()

    def text(self, form: Form) -> bytes:
        """The durable numbers of this moment, or the live ones where they cannot be stored."""
        with self._changed:
            answer = self._asked.setdefault(form, Future())
            self._changed.notify_all()
            while not answer.done() and not self._failing:
                self._changed.wait(min(self._late_at - time.monotonic(), threading.TIMEOUT_MAX))
                if self._late_at < time.monotonic():
                    self._failed(_SLOW)
        if answer.done():
            return answer.result()
        return self._render(self._ledger.snapshot(self._clock()), form)

    def commit(self) -> None:
        """Returns when all that is posted by now is stored, or cannot be, at the latest after a second."""
        if self._checkpoint is None:
            return
        with self._changed:
            self._hurried = done = self._hurried or threading.Event()
            self._changed.notify_all()
        done.wait(_PATIENCE)

    def stop(self) -> None:
        """Commits a last time and releases the state."""
        if self._checkpoint is None:
            return
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(_LAST_PATIENCE)
        if self._thread.is_alive():
            log.error("the last commit does not end: what it would have stored is read again at the next start")
            return
        self._checkpoint.close()

    def _run(self) -> None:
        pause, stopping = 0.0, False
        while not stopping:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, pause)
                self._changed.wait_for(lambda: self._stopping or self._asked or self._hurried, _PERIOD)
                stopping = self._stopping
                hurried, self._hurried = self._hurried, None
                asked, self._asked = self._asked, {}
                begun = time.monotonic()
                self._late_at = begun + _PATIENCE
                self._changed.notify_all()
            self._commit()
            pause = 4 * (time.monotonic() - begun)
            if hurried:
                hurried.set()
            self._answer(asked)
        with self._changed:
            self._failing = True
            self._changed.notify_all()

    def _commit(self) -> None:
        assert self._checkpoint is not None
        now, trouble = self._clock(), ""
        try:
            self._checkpoint.save(self._ledger.changes())
            self.stored_at = now
        except Exception as error:  # whatever it is, scrapes must not wait for a thread that has ended
            trouble = str(error) or type(error).__name__
        with self._changed:
            if self._late_at < time.monotonic():
                trouble = trouble or _SLOW
            if self._late_at == _NEVER:
                pass  # a scrape has waited for it in vain and counted it
            elif trouble:
                self._failed(trouble)
            elif self._failing:
                log.info("the state is written again")
                self._failing = False
            self._late_at = _NEVER

    def _failed(self, trouble: str) -> None:
        """Counts the present commit, once."""
        self.errors += 1
        self._late_at = _NEVER
        if not self._failing:
            log.error("the state cannot be written: %s; the live numbers are served until it can", trouble)
        self._failing = True

    def _answer(self, asked: dict[Form, Future[bytes]]) -> None:
        """Writes down what was just stored; after a failure those who ask do so themselves."""
        assert self._checkpoint is not None
        for form, answer in () if self._failing else asked.items():
            try:
                answer.set_result(self._render(snapshot_of(self._checkpoint.image, self._clock()), form))
            except Exception as error:
                answer.set_exception(error)
        with self._changed:
            self._changed.notify_all()
