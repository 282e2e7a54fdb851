"""Wakes a source when a file changes, or at the time of the next poll.

Only the poll is reliable. watchdog reports nothing after a queue overflow, for writes through a symbolic link, on
network mounts, and for a folder that was removed and created again. A lost event costs latency, never data.
"""

import logging
import os
import threading
from collections.abc import Iterable

from watchdog import events
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

_log = logging.getLogger(__name__)

#: Events of changes only: reading a file raises events, too, and would wake the source again.
_CHANGES: list[type[events.FileSystemEvent]] = [
    events.FileModifiedEvent, events.FileMovedEvent, events.FileCreatedEvent, events.FileDeletedEvent,
]  # fmt: skip

#: Shortest time in seconds between two wake-ups, so that a busy log is not read line by line.
_REST = 0.02


class Wake(events.FileSystemEventHandler):
    """A wake-up signal. One source waits for it, watchdog's thread sets it, and any thread may end it."""

    def __init__(self) -> None:
        self._set = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._paths: set[str] = set()

    def on_any_event(self, event: events.FileSystemEvent) -> None:
        with self._lock:
            self._paths.add(os.fsdecode(event.src_path))
        self._set.set()

    def end(self) -> None:
        """Wake the source for the last time: `wait` no longer blocks."""
        self._ended.set()
        self._set.set()

    def wait(self, timeout: float) -> set[str]:
        """Wait for a change, at most `timeout` seconds. Return the paths of the files that have changed."""
        self._ended.wait(min(_REST, timeout))
        self._set.wait(max(0.0, timeout - _REST))
        if not self._ended.is_set():
            self._set.clear()
        with self._lock:
            paths, self._paths = self._paths, set()
        return paths


class FolderWatcher:
    """Watches the folders of all sources with one observer. A folder that cannot be watched is only polled."""

    def __init__(self) -> None:
        self._observer: BaseObserver | None = None
        self._watches: dict[Wake, set[ObservedWatch]] = {}

    def start(self) -> None:
        """Start the observer. If there are too many inotify instances already, all folders are only polled."""
        try:
            self._observer = Observer()
            self._observer.start()
        except OSError as error:
            self._observer = None
            _log.info("folders are polled, not watched: reason=%s", error.strerror)

    def add(self, folders: Iterable[str], wake: Wake) -> None:
        """Watch folders for a source. Call this after `start`: then a folder that fails does not affect the others."""
        if self._observer is None:
            return
        watches = self._watches.setdefault(wake, set())
        for folder in set(folders):
            try:
                watches.add(self._observer.schedule(wake, folder, event_filter=_CHANGES))
            except OSError as error:
                _log.info("folder is polled, not watched: folder=%s reason=%s", folder, error.strerror)

    def remove(self, wake: Wake) -> None:
        """Stop waking a source. Folders that no other source needs are no longer watched."""
        for watch in self._watches.pop(wake, set()):
            if self._observer is None:
                return
            if any(watch in others for others in self._watches.values()):
                self._observer.remove_handler_for_watch(wake, watch)
            else:
                self._observer.unschedule(watch)

    def stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
