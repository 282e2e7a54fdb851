"""What a source waits on: a change that watchdog has seen, or the time of the next poll.

The poll is the truth. Watchdog says nothing on a queue's overflow, for writes through a symlink, on network
mounts, and for a folder that was made anew; an event it loses costs latency, never data.
"""

import logging
import os
import threading
from collections.abc import Iterable

from watchdog.events import (
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

_log = logging.getLogger(__name__)

#: Reading a file raises events too: these are the others, so that nothing wakes itself.
_CHANGES: list[type[FileSystemEvent]] = [
    FileModifiedEvent,
    FileMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
]

#: Seconds between two wake-ups: a busy log is read in bites rather than line by line.
_REST = 0.02


class Wake:
    """One source waits on it, anybody sets it."""

    def __init__(self) -> None:
        self._set = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._paths: set[str] = set()

    def changed(self, path: str) -> None:
        """This file has changed."""
        with self._lock:
            self._paths.add(path)
        self._set.set()

    def end(self) -> None:
        """Nobody waits any more, now or later."""
        self._ended.set()
        self._set.set()

    def wait(self, timeout: float) -> set[str]:
        """Returns the files that have changed, when there are any, at the latest after `timeout` seconds."""
        self._ended.wait(min(_REST, timeout))
        self._set.wait(max(0.0, timeout - _REST))
        if not self._ended.is_set():
            self._set.clear()
        with self._lock:
            paths, self._paths = self._paths, set()
        return paths


class Watch:
    """One observer for all sources. A folder that cannot be watched is polled like any other."""

    def __init__(self) -> None:
        self._observer: BaseObserver | None = None
        self._setters: dict[Wake, dict[ObservedWatch, _Setter]] = {}

    def start(self) -> None:
        """Where there are too many inotify instances already, everything is polled."""
        try:
            self._observer = Observer()
            self._observer.start()
        except OSError as error:
            self._observer = None
            _log.info("folders are polled, not watched: reason=%s", error.strerror)

    def add(self, folders: Iterable[str], wake: Wake) -> None:
        """After `start`, so that a folder which cannot be watched costs only itself."""
        if self._observer is None:
            return
        setters = self._setters.setdefault(wake, {})
        setter = _Setter(wake)
        for folder in set(folders):
            try:
                setters[self._observer.schedule(setter, folder, event_filter=_CHANGES)] = setter
            except OSError as error:
                _log.info("folder is polled, not watched: folder=%s reason=%s", folder, error.strerror)

    def remove(self, wake: Wake) -> None:
        """Nothing sets it any more. A folder that nobody else waits for is watched no longer."""
        for watch, setter in self._setters.pop(wake, {}).items():
            if self._observer is None:
                return
            if any(watch in others for others in self._setters.values()):
                self._observer.remove_handler_for_watch(setter, watch)
            else:
                self._observer.unschedule(watch)

    def stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()


class _Setter(FileSystemEventHandler):
    def __init__(self, wake: Wake) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._wake.changed(os.fsdecode(event.src_path))
