"""A name decides nothing (B17, B24, B29, cases 21, 23, 48): what was read is found again under any name."""

from pathlib import Path

import pytest

from tests.exporter.reader import Reader, append
from tests.exporter.tail.scenario import (
    Steps,
    back,
    begin,
    copy,
    copytruncate,
    counts,
    date,
    folder,
    has_read,
    leave,
    pack,
    play,
    poll,
    reads,
    reads_in_any_order,
    remove,
    rename,
    shift_date,
    start,
    stop,
    table,
    write,
)


def line(number: int) -> str:
    return f'10.1.1.1 - - [29/Nov/2026:08:00:{number:02d} +0000] "GET /v1/info HTTP/1.1" 200 {1000 + number}\n'


def lines(*numbers: int) -> str:
    return "".join(map(line, numbers))


def _texts(*numbers: int) -> list[str]:
    return [line(number).strip() for number in numbers]


_ANY = (
    "test-20261129.log", "test.1.log", "test-1.log", "test-2026-11-29T08-00-00.000.log", "test-11-29-2026-1.log",
    "test.2026-11-29.0.log", "test.log.bak", "old", "server-of-yesterday.txt", "test.log.2026-11-29-08",
)  # fmt: skip

#: Read in part: found under any name.
READ_IN_PART: dict[str, Steps] = {
    f"{how} to {name}": [
        write(lines(1, 2)), start(), poll(), leave,
        write(lines(3, 4)), move, write(line(5)), back,
        reads_in_any_order(*_texts(3, 4, 5), within=12), counts(lost_bytes=0),
    ]
    for name in _ANY
    for how, move in (("renamed", rename(name)), ("copied and truncated", copytruncate(name)))
} | {
    f"packed to {name}.gz": [
        write(lines(1, 2)), start(), poll(), stop,
        write(lines(3, 4)), pack("", f"{name}.gz"), write(line(5)), begin,
        reads_in_any_order(*_texts(3, 4, 5), within=12), counts(lost_bytes=0),
    ]
    for name in _ANY
}  # fmt: skip

_SERIES = [
    ("test-20261127.log", "test-20261128.log", "test-20261129.log"),
    ("test.3.log", "test.2.log", "test.1.log"),
    ("test-3.log", "test-2.log", "test-1.log"),
    tuple(f"test-2026-11-{day}T08-00-00.000.log" for day in (27, 28, 29)),
    ("test.log-20261129", "test.log-2026112908.backup", "test.log-20261130"),
    tuple(f"test-11-29-2026-{number}.log" for number in (1, 2, 3)),
]

#: Never seen: found by a rotated name only.
NEVER_SEEN: dict[str, Steps] = {
    f"{names[0]} and so on{', packed' * packed}": [
        write(line(1)), start(), poll(), stop,
        *(
            step
            for number, name in enumerate(names)
            for step in (
                write(lines(10 * number + 10, 10 * number + 11)), shift_date(number),
                pack("", f"{name}.gz") if packed else rename(name),
            )
        ),
        write(line(40)), begin,
        reads(*_texts(10, 11, 20, 21, 30, 31, 40), within=12), counts(lost_bytes=0),
    ]
    for names in _SERIES
    for packed in (False, True)
} | {
    # `test-1.log` is written by another worker, and was there when the source was first seen.
    "a log of its own is no generation of another": [
        write(line(50), "test-1.log"), date(0, "test-1.log"), write(line(1)), start(), poll(),
        write(line(51), "test-1.log"), write(line(2)), rename(".1"), write(line(3)), reads(*_texts(2, 3), within=12),
        stop, write(line(52), "test-1.log"), rename(".1"), write(line(4)), begin, reads(*_texts(4), within=12),
    ],
}  # fmt: skip

#: logrotate's olddir and renamecopy.
OTHER_FOLDERS: dict[str, Steps] = {
    **{
        f"B29 renamecopy to {name}": [
            folder("elsewhere"), write("a1\na2\n"), start(), poll(),
            write("a3\n"), rename("tmp"), write("b1\n"), copy(name, "tmp", size=7), reads("a3", "b1"),
            copy(name, "tmp"), remove("tmp"), reads(within=10),
        ]
        for name in ("elsewhere/test.log.1", "test.log.1")
    },
    "B29 a folder is found by a log pattern": [
        folder("old"), write("a1\n"), start(log_patterns=("old/%s.*",)), poll(), leave,
        write("a2\n"), rename("old/test.log.1"), write("b1\n"), back, reads("a2", "b1", within=2),
    ],
    # Not configured: two rotations between two polls, or while the exporter is down.
    "B29 a folder is found where one has gone there": [
        folder("old"), write("a1\n"), start(), poll(), write("a2\n"), leave,
        rename("old/test.log.2"), write("b1\n"), rename("old/test.log.1"), write("c1\n"), back, poll(10),
        has_read("a1", "a2", "b1", "c1"), counts(rotations=2, lost_bytes=0),
    ],
    "B29 a folder is found where one has gone there, and was packed": [
        folder("old"), write("a1\n"), start(), poll(), write("a2\n"), stop,
        rename("old/test.log.2"), write("b1\n"), rename("old/test.log.1"), write("c1\n"), pack("old/test.log.2"),
        begin, poll(10), has_read("a1", "a2", "b1", "c1"), counts(rotations=2, lost_bytes=0),
    ],
    # What is there under the log's name is read only where it holds what was read before, and all of it.
    "B29 another folder has logs of its own": [
        folder("site"), folder("backup"), write("other\n" * 100, "site/test.log.1"), write("a1\n", "backup/test.log.1"),
        write("a1\n"), start(), poll(), write("a2\n"), poll(), write("a3\n"), poll(), stop,
        remove(), write("b1\n"), begin, poll(10), has_read("a1", "a2", "a3", "b1"),
    ],
}  # fmt: skip


@table(READ_IN_PART)
def test_what_was_read_in_part_is_found_under_any_name(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, log="test.log", goes_down=goes_down)


@table(NEVER_SEEN)
def test_what_nobody_saw_is_found_under_a_rotated_name(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, log="test.log", goes_down=goes_down)


@table(OTHER_FOLDERS)
def test_other_folders_have_rotated_files(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, log="test.log", goes_down=goes_down)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{stem}_*{ext}", "test_7.log"),
        ("%s~*", "test.log~7"),
        ("old/{stem}-*", "old/test-a"),
        ("../gone/%s", "../gone/test.log"),
        ("o?d/%s~*", "old/test.log~7"),
    ],
)
def test_a_log_pattern_names_generations_that_nobody_saw(tmp_path: Path, pattern: str, name: str) -> None:
    log = tmp_path / "logs" / "test.log"
    for each in ("logs", "logs/old", "gone"):
        (tmp_path / each).mkdir()
    append(log, line(1))
    reader = Reader(log, log_patterns=(pattern,))
    reader.poll()
    reader.stop()
    log.rename(log.with_name("test.log.1"))
    append(log, line(2))
    log.rename(log.parent / name)
    append(log, line(3))
    reader.start()
    assert reader.wait(12) == _texts(2, 3)
