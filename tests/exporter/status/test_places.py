"""The command of a failure prints exactly its line, whatever the file is named and wherever it was rotated."""

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.status.failures import FailureBuffer, FailureEntry, failure_row, quoted
from exporter.tail.position import Position, Window, encoded
from parsers.nginx import Nginx

GOOD = b'1.2.3.4 - - [23/Nov/2026:10:00:00 +0000] "GET /v1/info HTTP/1.1" 200 5 "-" "-"\n'
BAD = b'1.2.3.4 - - [23/Nov/2026:10:00:01 +0000] "POST /v1/chat-messages HTTP/1.1" 502 5 "-" "-"\n'
DATA = GOOD * 3 + BAD + GOOD


def failure(path: Path, compressed: bool = False) -> FailureEntry:
    """The failure in a log with the content DATA, as it is recorded."""
    found = path.stat()
    position = Position(encoded(str(path)), 1, found.st_dev, found.st_ino, compressed=compressed)
    buffer, parser = FailureBuffer(), Nginx(format="combined")
    buffer.record(Window("s", "f", position, DATA), parser.parse(DATA), parser)
    (entry,) = buffer.failures()
    return entry


def printed(command: str, folder: Path) -> bytes:
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, timeout=10, check=True).stdout


NAMES = [
    "access.log", "a b.log", "$(touch canary).log", "`touch canary`", "'; touch canary; '", '"quoted".log', "-n",
    "line\nbreak.log", "tab\t.log", "\x1b[31mred", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "\u202egol.ssecca",
    os.fsdecode(b"latin-\xe9'\\.log"), "*", "~", "!!", "end\n",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_command_prints_the_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(DATA)
    command = failure_row(failure(path)).command
    assert command.isprintable()
    assert printed(command, tmp_path) == BAD
    assert os.listdir(tmp_path) == [name]


def test_the_line_of_a_packed_file(tmp_path: Path) -> None:
    path = tmp_path / "access log.1.gz"
    path.write_bytes(gzip.compress(DATA))
    command = failure_row(failure(path, compressed=True)).command
    assert command.startswith("zcat ")
    assert printed(command, tmp_path) == BAD


@pytest.mark.parametrize("way", ["rename", "copytruncate"])
def test_a_rotated_line_is_found_in_its_file(tmp_path: Path, way: str) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(DATA)
    entry = failure(path)
    (tmp_path / "access.log.1").write_bytes(GOOD * 9)
    if way == "rename":
        path.rename(tmp_path / "access.log.2")
    else:
        shutil.copy(path, tmp_path / "access.log.2")
    path.write_bytes(GOOD * 9)
    command = failure_row(entry).command
    assert "access.log.2" in command
    assert printed(command, tmp_path) == BAD


def test_no_command_for_a_line_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(DATA)
    entry = failure(path)
    path.write_bytes(GOOD * 9)
    os.mkfifo(tmp_path / "access.log.pipe")
    assert failure_row(entry).command == ""
    path.unlink()
    assert failure_row(entry).command == ""


@pytest.mark.system
@given(st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name))
def test_a_quoted_path_is_one_word_of_a_shell(name: bytes) -> None:
    word = quoted("/" + os.fsdecode(name))
    assert word.isprintable()
    assert printed(f"printf %s {word}", Path("/")) == b"/" + name
