"""The charts after a restart: their points are those from before it, at their times."""

import logging
import os
import stat
import time
from pathlib import Path

import pytest

from exporter.ledger.series import Limits
from exporter.metrics.exemplars import Exemplars
from exporter.status import history as chart_file
from exporter.status.history import NAME, RANGES, History, Point, Totals, load, rates, save
from exporter.status.monitor import StatusMonitor
from tests.exporter.status.test_history import NOW, new_ledger, request
from tests.special_files import MAKE


def test_the_points_come_back_at_their_times_also_after_a_reboot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, monotonic = [1_790_000_000.0], [9000.0]
    monkeypatch.setattr(chart_file.time, "time", lambda: wall[0])
    monkeypatch.setattr(chart_file.time, "monotonic", lambda: monotonic[0])
    save(tmp_path, {"24h": [Point(8400.0, {"nginx": Totals(5)}), Point(9000.0, {"nginx": Totals(9)})]})
    wall[0], monotonic[0] = 1_790_000_060.0, 20.0
    assert load(tmp_path) == {"24h": [Point(-640.0, {"nginx": Totals(5)}), Point(-40.0, {"nginx": Totals(9)})]}
    wall[0] = 1_789_999_700.0  # the clock was set back: a point may not lie in the future
    assert [point.totals["nginx"].lines for point in load(tmp_path)["24h"]] == [5]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("content", [b"", b"\xff", b"\x81\xa324h\x90\x00", b"\x81\xa324h\xa1x"])
def test_a_damaged_file_costs_only_the_charts(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert load(tmp_path) == {}
    assert "the charts of the status page start empty" in caplog.text


def test_no_file_and_no_folder_are_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert load(tmp_path) == {}
    save(tmp_path / "missing", {"24h": []})
    assert caplog.text == ""


def test_a_monitor_continues_with_the_points_of_the_one_before_it(tmp_path: Path) -> None:
    at = time.monotonic()
    points = {name: [Point(at - 50 + number, {"nginx": Totals(number)}) for number in range(3)] for name in RANGES}
    save(tmp_path, points)
    for folder in (tmp_path, tmp_path, None):
        monitor = StatusMonitor(new_ledger(), (), Exemplars(Limits(), {}), lambda: False)
        monitor.start(folder)
        monitor.stop()
    assert {name: [point.totals for point in found] for name, found in load(tmp_path).items()} == {
        name: [point.totals for point in found] for name, found in points.items()
    }


def test_a_restored_history_goes_on() -> None:
    """The increase of the time in between is spread over it, and points that are too old are dropped."""
    now = time.monotonic()
    before = [Point(now - age, {"nginx": Totals(lines)}) for age, lines in ((90_000, 1), (1400, 10), (600, 90))]
    history = History()
    history.points |= {"24h": before, "7d": before}
    ledger = new_ledger()
    ledger.enter("nginx", request(count=690))
    history.add(now, ledger.snapshot(NOW))
    assert [round(rate, 2) for _, rate in rates(history.points["24h"], "nginx", "lines")] == [0.1, 1.0]
    assert len(history.points["1h"]) == 1


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("name", ["charts", "charts.new"])
def test_what_is_no_file_costs_only_the_charts(tmp_path: Path, name: str, kind: str) -> None:
    MAKE[kind](tmp_path / name)
    assert load(tmp_path) == {}
    save(tmp_path, {"1h": []})


def test_a_nested_value_that_is_too_deep_costs_only_the_charts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / NAME).write_bytes(b"\x81\xa31hr\x91\x81\xa1x" + b"\x91" * 200_000)
    assert load(tmp_path) == {}
    assert "start empty" in caplog.text


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (tmp_path / NAME).open("wb") as file:
        file.truncate(1 << 40)
    assert load(tmp_path) == {}
    assert "it is larger than 64 MiB" in caplog.text


def test_the_file_belongs_to_the_user_alone_and_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("text")
    (tmp_path / f"{NAME}.new").symlink_to(other)
    save(tmp_path, {"1h": []})
    assert other.read_text() == "text"
    assert (tmp_path / NAME).lstat().st_mode == stat.S_IFREG | 0o600


def test_a_full_disk_keeps_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", lambda *_: os.stat(tmp_path / "missing"))
    save(tmp_path, {"1h": []})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("age", [float("inf"), float("nan"), 90_000.0])
def test_points_outside_of_every_range_are_left_out(tmp_path: Path, age: float) -> None:
    save(tmp_path, {"1h": [Point(time.monotonic() - age, {}), Point(time.monotonic() - 5, {})]})
    assert len(load(tmp_path)["1h"]) == 1
