"""The names of rotated files: all that Pygtail would choose, and those it does not see."""

from pathlib import Path

import pytest
from pygtail import Pygtail

from exporter.files.siblings import originals, rotated

_ROTATED = (
    "log.0", "log.1", "log.12", "log.1.gz", "log-20261123", "log-20261123.gz", "log-2026112310",
    "log-20261123-1790000000", "log-20261123-1790000000.gz", "log.2026-11-23", "log.2026-11-23_10",
    "log.20261123-101500", "log.20261123-101500.gz",
)  # fmt: skip
_OTHER = ("log", "log.gz", "logs.1", "other.log.1", "log.1.tmp", "log.bak", "log.1x", "xlog.1", "log-2026", "log.")


@pytest.mark.parametrize("name", _ROTATED)
def test_a_rotated_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    path = str(tmp_path / "log")
    assert [s.path for s in rotated(path)] == [str(tmp_path / name)]
    assert path in originals(str(tmp_path / name))


@pytest.mark.parametrize("name", _OTHER)
def test_another_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    path = str(tmp_path / "log")
    assert rotated(path) == []
    assert path not in originals(str(tmp_path / name))


@pytest.mark.parametrize("name", [*_ROTATED, "old-log.txt"])
def test_what_pygtail_chooses_is_among_them(tmp_path: Path, name: str) -> None:
    (tmp_path / "log").touch()
    (tmp_path / name).touch()
    patterns = ["old-%s.*"]
    chosen = Pygtail(str(tmp_path / "log"), log_patterns=patterns)._check_rotated_filename_candidates()
    assert {chosen} - {None} <= {s.path for s in rotated(str(tmp_path / "log"), tuple(patterns))}


def test_a_gzip_file_beside_its_twin_is_left_out(tmp_path: Path) -> None:
    for name in ("log.1", "log.1.gz", "log.2.gz"):
        (tmp_path / name).touch()
    assert {Path(s.path).name for s in rotated(str(tmp_path / "log"))} == {"log.1", "log.2.gz"}
