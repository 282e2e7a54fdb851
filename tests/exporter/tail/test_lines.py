"""What is one line (A1 to A8): half lines, ends of lines, lines that are too long, holes of NUL bytes."""

import os
import resource
from pathlib import Path

import pytest

from tests.exporter.reader import Reader, append
from tests.exporter.tail.scenario import (
    Steps,
    back,
    counts,
    create,
    leave,
    overwrite,
    play,
    poll,
    reads,
    restart,
    start,
    table,
    turn,
    write,
)

#: What other programs take for the end of a line, and bytes that are no UTF-8.
_INSIDE = [b"\r", b"\x0b", b"\x0c", b"\xc2\x85", b"\xe2\x80\xa8", b"\xff\xfe", b"\xe4\xbd"]

HALF_LINES: dict[str, Steps] = {
    "A1 a half line waits": [
        write("abc"), start(), reads(),
        write("def\n"), reads("abcdef"),
    ],
    "A2 a half line is finished": [
        write("partial"), start(), poll(),
        leave, write(" line\n"), back, reads("partial line"),
    ],
    # Pygtail: UnicodeDecodeError, unexpected end of data.
    "A4 half a character waits": [
        start(), write(b"one\n\xe2\x82"), reads("one"),
        write(b"\xac\n"), reads("\xe2\x82\xac"),
    ],
    # Pygtail: delivered as a line, offset 1.46e48, then the whole file again.
    "A5 a carriage return at the end": [
        write(b"one\ntwo\r"), start(), reads("one"),
        restart, write(b"\nthree\n"), reads("two\r", "three"),
    ],
    # Pygtail: one, one, two.
    "A5 a line end split over two writes": [
        write(b"one\r"), start(), reads(),
        write(b"\ntwo\n"), reads("one\r", "two"),
    ],
    "A7 empty files and lines": [
        create(), start(), reads(),
        write("\n\n"), reads("", ""),
    ],
}  # fmt: skip

WHOLE_LINES: dict[str, Steps] = {
    f"A3 A4 A5 only a newline ends a line: {inside!r}": [
        start(), write(b"one" + inside), reads(),
        write(inside + b"two\nthree\n"), reads((b"one" + inside * 2 + b"two").decode("latin-1"), "three"),
        restart, reads(),
    ]
    for inside in _INSIDE
} | {
    # Pygtail: 930 lines, an exception, no offset; the same 930 at each run.
    "A3 good lines before and behind a bad byte": [
        write(b"good\n" * 930 + b"\xff\xfe\n" + b"good\n" * 69), start(),
        reads(*["good"] * 930, "\xff\xfe", *["good"] * 69),
        restart, reads(),
    ],
}  # fmt: skip

LONG_LINES: dict[str, Steps] = {
    "A6 a line too long is one unparsed line, also over a restart": [
        start(line_length=1000), write(b"good\n" + b"x" * 2500), reads("good"), counts(unparsed=["too_long"]),
        restart, write(b"x" * 700 + b"\nforged? no\n"), reads("forged? no"), counts(unparsed=["too_long"]),
    ],
    # Filebeat: wrong offset, sent again; here the position says that the rest is to be passed over.
    "A6 a crash in the middle of a line that is too long": [
        write(b"x" * 5000), start(line_length=1000), turn, counts(unparsed=["too_long"]),
        restart, write(b"x\nFORGED? no\n"), reads("FORGED? no"), counts(unparsed=["too_long"]),
    ],
    "A6 below the limit": [write("x" * 998 + "\n"), start(line_length=1000), reads("x" * 998), counts(unparsed=[])],
    "A6 at the limit": [write("x" * 999 + "\n"), start(line_length=1000), reads("x" * 999), counts(unparsed=[])],
    "A6 beyond the limit": [
        write("x" * 1000 + "\n"), start(line_length=1000), reads(), counts(unparsed=["too_long"]),
    ],
    "A6 a line beyond the live window is read whole": [
        write("x" * 900_000 + "\nshort\n"), start(), reads("x" * 900_000, "short"),
    ],
}  # fmt: skip

HOLES: dict[str, Steps] = {
    "A8 B22 a hole at the beginning is skipped": [
        start(), poll(),
        overwrite(b"\0" * 600_000 + b"new\n"), reads("new"), counts(unparsed=[]),
    ],
    "A8 B22 a hole after a truncation is skipped": [
        write("old\n" * 100), start(), poll(),
        overwrite(b"\0" * 600_000 + b"new\n"), reads("new"), counts(unparsed=[]),
    ],
}  # fmt: skip


@table({**HALF_LINES, **WHOLE_LINES})
def test_only_a_newline_ends_a_line(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


@table(LONG_LINES)
def test_a_line_has_a_longest_length(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


@table(HOLES)
def test_a_hole_of_nul_bytes_is_no_line(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


@pytest.mark.system
def test_a6_two_hundred_mebibytes_without_a_newline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pygtail: 414 MB of memory, and 0.4 s at each poll thereafter."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        for _ in range(200):
            file.write(b"x" * (1 << 20))
    line_length = 1 << 20
    reader = Reader(log, line_length=line_length)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reader.poll() == []
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 4 * line_length
    read: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: read.append(size) or real(file, size, at))
    assert reader.wait(10) == []
    assert sum(read) < 10 * 1024
    append(log, "tail\ngood\n")
    assert reader.poll() == ["good"]
    assert reader.ledger.unparsed == ["too_long"]


@pytest.mark.system
def test_a12_a_million_lines_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"%d\n" % n for n in range(1_000_000)))
    reader = Reader(log)
    assert reader.source.turn()
    assert reader.source.lag > 5_000_000
    assert reader.source.backlog == reader.source.lag
    reader.poll()
    assert len(set(reader.ledger.lines)) == len(reader.ledger.lines) == 1_000_000
    assert reader.source.lag == reader.source.backlog == 0
