"""The names of rotated files: all that Pygtail would choose, those that other rotators give, and log patterns."""

from pathlib import Path

import pytest
from pygtail import Pygtail

from exporter.tail.rotated_names import matching_names, originals, rotated_names

_BEHIND = (
    "log.0", "log.1", "log.12", "log.1.gz", "log-20261123", "log-20261123.gz", "log-2026112310",
    "log-20261123-1790000000", "log-20261123-1790000000.gz", "log.2026-11-23", "log.2026-11-23_10",
    "log.20261123-101500", "log.20261123-101500.gz", "log.2026-11-23-10", "log.20261123", "log.2026-11-23.1",
    "log-2026112310.backup",  # logrotate found a new log before it created one
)  # fmt: skip
_OTHER = ("log", "log.gz", "logs.1", "other.log.1", "log.1.tmp", "log.bak", "log.1x", "xlog.1", "log-2026", "log.")

_BEFORE = (
    "test-20261129.log", "test-2026112908.log", "test.1.log", "test-1.log", "test-20261129.log.gz", "test.12.log.gz",
    "test-2026-11-29T08-00-00.000.log", "test-2026-11-29T08-00-00.000.log.gz",  # lumberjack
    "test-2026-11-29T08-00-00.000-size.log", "test-2026-11-29T08-00-00.000-time_12.log",  # timberjack
    "test-11-29-2026-1.log.gz", "test-2026-11-29-3.log", "test.2026-11-29.log", "test.2026-11-29.0.log",  # log4j2, logback
    "test.log.1", "test.log-20261129.gz",
)  # fmt: skip
_NOT_BEFORE = ("test.log", "test.log.gz", "test-a.log", "test1.log", "test-1.txt", "tests-1.log", "test-.log", "1.log")


@pytest.mark.parametrize("name", _BEHIND)
def test_a_rotated_name(name: str) -> None:
    assert rotated_names("log", ["log", name]) == [name]
    assert "/folder/log" in originals(f"/folder/{name}")


@pytest.mark.parametrize("name", _OTHER)
def test_another_name(name: str) -> None:
    assert rotated_names("log", [name]) == []
    assert "/folder/log" not in originals(f"/folder/{name}")


@pytest.mark.parametrize("name", _BEFORE)
def test_a_number_or_a_date_before_the_ending(name: str) -> None:
    assert rotated_names("test.log", sorted([*_NOT_BEFORE, name])) == [name]


@pytest.mark.parametrize("name", _NOT_BEFORE)
def test_neither_a_number_nor_a_date(name: str) -> None:
    assert rotated_names("test.log", [name]) == []


@pytest.mark.parametrize("name", ["worker-1.log", "worker.2.log"])
def test_what_may_be_a_log_of_its_own_is_rotated_for_no_glob(name: str) -> None:
    assert "/folder/worker.log" not in originals(f"/folder/{name}")


@pytest.mark.parametrize("name", [*_BEHIND, "old-log.txt"])
def test_what_pygtail_chooses_is_among_them(tmp_path: Path, name: str) -> None:
    (tmp_path / "log").touch()
    (tmp_path / name).touch()
    chosen = Pygtail(str(tmp_path / "log"), log_patterns=["old-%s.*"])._check_rotated_filename_candidates()
    found = {*rotated_names("log", [name]), *matching_names("old-%s.*", "log", [name])}
    assert {Path(path).name for path in {chosen} - {None}} <= found


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("%s.*.old", "test.log.7.old"),
        ("%s.*.old", "test.log.7.old.gz"),
        ("{stem}_*{ext}", "test_7.log"),
        ("{stem}_*{ext}", "test_7.log.gz"),
        ("{stem}@[0-9]{ext}", "test@7.log"),
        ("archive-{stem}", "archive-test"),
    ],
)
def test_a_log_pattern(pattern: str, name: str) -> None:
    others = ["test.log", "test", "rest_7.log", "test_7.txt", "archive-tests", "best@7.log"]
    assert matching_names(pattern, "test.log", sorted([*others, name])) == [name]


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("%s.*.old", "/f/test.log.7.old"),
        ("{stem}_*{ext}", "/f/test_7.log"),
        ("old/{stem}-*{ext}", "/f/old/test-7.log.gz"),
    ],
)
def test_a_log_pattern_names_its_log(pattern: str, path: str) -> None:
    assert "/f/test.log" in originals(path, (pattern,))


def test_a_log_pattern_for_a_log_with_magic_in_its_name() -> None:
    assert matching_names("{stem}-*{ext}", "a[b].log", ["a[b]-1.log", "ab-1.log"]) == ["a[b]-1.log"]
