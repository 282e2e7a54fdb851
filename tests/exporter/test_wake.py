"""Waking: watchdog brings a change early, and what it cannot do costs latency only."""

import time
from pathlib import Path

import pytest
from watchdog.observers.api import BaseObserver

from exporter.wake import Wake, Watch
from tests.exporter.reader import append


def test_a_change_wakes_and_reading_does_not(tmp_path: Path) -> None:
    append(tmp_path / "log", "a\n")
    wake, watch = Wake(), Watch()
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


def test_d44_no_observer_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: BaseObserver) -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(BaseObserver, "start", full)
    watch, wake = Watch(), Wake()
    watch.start()
    watch.add([str(tmp_path)], wake)
    watch.stop()
    wake.wait(0.01)


def test_a_missing_folder_costs_only_itself(tmp_path: Path) -> None:
    watch, wake = Watch(), Wake()
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
