"""Waking: watchdog brings a change early, and what it cannot do costs latency only."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from watchdog.observers.api import BaseObserver

from exporter.tail.source import Source
from exporter.tail.source_config import SourceConfig, SourceOptions
from exporter.tail.wake import FolderWatcher, Wake
from tests.exporter.reader import Lines, MemoryLedger, append


def test_a_change_wakes_and_reading_does_not(tmp_path: Path) -> None:
    append(tmp_path / "log", "a\n")
    wake, watch = Wake(), FolderWatcher()
    watch.start()
    watch.add([str(tmp_path)], wake)
    try:
        wake.wait(0.2)
        (tmp_path / "log").read_bytes()
        begun = time.monotonic()
        wake.wait(0.3)
        assert time.monotonic() - begun >= 0.29
        append(tmp_path / "log", "b\n")
        begun = time.monotonic()
        wake.wait(30)
        assert time.monotonic() - begun < 10
    finally:
        watch.stop()


@pytest.mark.parametrize("step", ["__init__", "start"])
def test_d44_no_observer_is_no_error(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(BaseObserver, step, full)
    watch, wake = FolderWatcher(), Wake()
    watch.start()
    watch.add([str(tmp_path)], wake)
    watch.stop()
    wake.wait(0.01)


def test_a_missing_folder_costs_only_itself(tmp_path: Path) -> None:
    watch, wake = FolderWatcher(), Wake()
    watch.start()
    try:
        watch.add([str(tmp_path / "missing"), str(tmp_path)], wake)
        append(tmp_path / "log", "b\n")
        begun = time.monotonic()
        wake.wait(30)
        assert time.monotonic() - begun < 10
    finally:
        watch.stop()


def test_an_ended_wake_never_waits() -> None:
    wake = Wake()
    wake.end()
    begun = time.monotonic()
    wake.wait(30)
    wake.wait(30)
    assert time.monotonic() - begun < 10


def _observer_stopped(watch: FolderWatcher, folder: Path, patch: pytest.MonkeyPatch) -> None:
    watch.stop()


def _folder_made_anew(watch: FolderWatcher, folder: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _linked_elsewhere(watch: FolderWatcher, folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder.parent / "target").touch()
    (folder / "log").unlink()
    (folder / "log").symlink_to(folder.parent / "target")


def _events_dropped(watch: FolderWatcher, folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BaseObserver, "dispatch_events", lambda observer, queue: queue.get(block=True))


@pytest.mark.system
@pytest.mark.parametrize("harm", [_observer_stopped, _folder_made_anew, _linked_elsewhere, _events_dropped])
def test_d44_b28_watchdogs_silences_cost_a_poll_and_no_line(
    harm: Callable[[FolderWatcher, Path, pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watchdog is silent after its folder was removed, for writes through a link, and after an overflow."""
    folder = tmp_path / "logs"
    folder.mkdir()
    append(folder / "log", "before\n")
    wake, watch, stop, ledger, poll = Wake(), FolderWatcher(), threading.Event(), MemoryLedger(), 0.2
    options = SourceOptions(SourceConfig("s", (str(folder / "log"),), Lines()), poll)
    source = Source(options, ledger, time.monotonic, "beginning")
    watch.start()
    watch.add([str(folder)], wake)
    thread = threading.Thread(target=source.run, args=(stop, wake))
    thread.start()
    try:
        assert _seen(ledger, "before", 10)
        harm(watch, folder, monkeypatch)
        for number in range(3):
            append(folder / "log", f"{number}\n")
            assert _seen(ledger, str(number), poll + 2), "later than a poll, and two seconds for a busy machine"
    finally:
        stop.set()
        wake.end()
        thread.join(10)
        watch.stop()
    assert ledger.lines == ["before", "0", "1", "2"]


def _seen(ledger: MemoryLedger, line: str, seconds: float) -> bool:
    end, pause = time.monotonic() + seconds, threading.Event()
    while line not in ledger.lines and time.monotonic() < end:
        pause.wait(0.01)
    return line in ledger.lines


def test_a_wake_names_what_has_changed(tmp_path: Path) -> None:
    wake, watch = Wake(), FolderWatcher()
    watch.start()
    watch.add([str(tmp_path)], wake)
    try:
        append(tmp_path / "log", "b\n")
        assert str(tmp_path / "log") in wake.wait(30)
    finally:
        watch.stop()
