"""What cannot be read (D42, D43): files that may not be opened for a while, and errors of the file system.

Real permissions are in test_source.py.
"""

import os
from pathlib import Path

import pytest

from tests.exporter.reader import Reader, append
from tests.exporter.tail.scenario import (
    Steps,
    allow,
    begin,
    copytruncate,
    counts,
    create,
    date,
    deny,
    has_read,
    link,
    overwrite,
    play,
    poll,
    reads,
    rename,
    restart,
    start,
    stop,
    table,
    truncate,
    write,
)

DENIED: dict[str, Steps] = {
    "D42 start_at is the end of a file that may not be read": [
        write("old\n"), deny(""), start(start_at="end"), reads(),
        allow(""), write("new\n"), reads("new"),
    ],
    # Found by the state machine: emptied before it was allowed.
    "B23 D42 a copy is found of what could not be read": [
        write("a1\n"), start(), poll(),
        rename(".3"), write("b1\n"), deny(""), deny(".3"), poll(), allow(""), allow(".3"),
        copytruncate(".2"), rename(".1"), write("c1\n"), poll(20),
        has_read("a1", "b1", "c1"), counts(lost_bytes=0),
    ],
    # Found by the state machine: emptied and renamed between two polls, and not to be opened until the restart.
    "B23 D42 what was written after a truncation is found also by a later start": [
        write("a1\na2\na3\n"), start(), poll(),
        truncate(), write("b1\n"), rename(".1"), write("c1\n"), deny(".1"), poll(), allow(".1"),
        write("c2\n"), date(2 * 10**9), poll(), restart, poll(10),
        has_read("a1", "a2", "a3", "b1", "c1", "c2"),
    ],
    # Found by the state machine: what is missing and still there was given the content of a younger file.
    "B28 D42 a target that may not be read is not taken for another": [
        create("one"), link("one"), start(), poll(), stop,
        deny("one"), write("a1\n", "one"), write("b1\n" * 100, "two"), link("two"), begin, poll(),
        overwrite("b2\n" * 90, "two"), create("three"), link("three"), allow("one"), poll(15),
        has_read("a1", *["b1"] * 100, *["b2"] * 90),
    ],
}  # fmt: skip


@table(DENIED)
def test_a_file_may_not_be_opened_for_a_while(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


def test_d43_a_stale_descriptor_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "access.log"
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a2\n")

    def stale(*_: object) -> bytes:
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", stale)
        assert reader.poll() == []
        assert reader.source.errors == {"io": 1}
    assert reader.poll() == ["a2"]
