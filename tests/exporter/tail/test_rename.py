"""Rotation by rename (B13 to B18, B26, B31): the path names another file, or none; the old file has another name."""

from pathlib import Path

import pytest

from exporter.tail.window_reader import GRACE
from tests.exporter.tail.scenario import (
    Steps,
    back,
    begin,
    copytruncate,
    counts,
    create,
    date,
    has_read,
    is_open,
    leave,
    pack,
    play,
    poll,
    reads,
    reads_in_any_order,
    remove,
    rename,
    restart,
    shift_date,
    start,
    starve,
    stop,
    table,
    turn,
    write,
)

RENAMED: dict[str, Steps] = {
    "B13 rename and create": [
        write("a1\n"), start(), poll(),
        leave, write("a2\n"), rename(".1"), write("b1\n"), back,
        reads("a2", "b1"), counts(rotations=1),
    ],
    # Pygtail #71: rotated between its making and its first read.
    "B18 renamed before the first read": [
        write("a1\n"), start(), poll(), write("a2\n"), restart,
        rename(".1"), write("b1\n"), reads("a2", "b1"),
    ],
    "B16 nocreate: no file for some time": [
        write("a1\n"), start(), poll(),
        write("a2\n"), rename(".1"), reads("a2"),
        poll(60), write("a3\n", ".1"), reads("a3"),
        write("b1\n"), reads("b1"),
    ],
    "B31 renamed back": [
        write("a1\n"), start(), poll(),
        rename(".20261123-101500"), poll(30), rename("", ".20261123-101500"),
        write("a2\n"), reads("a2", within=10),
    ],
    "B31 removed and made anew": [
        write("a1\n"), start(), poll(),
        write("a2\n"), remove(), write("b1\n"), reads("a2", "b1"),
    ],
    # max-file=1 of Docker: unlink, then O_TRUNC without O_APPEND (moby #37646 stopped following).
    "B31 removed and made anew again and again": [
        write("a1\n"), start(), poll(),
        *(
            step
            for n in range(5)
            for step in (
                write(f"last{n}\n"), remove(), write(f"first{n}\n"), reads(f"last{n}", f"first{n}"),
            )
        ),
    ],
}  # fmt: skip

#: The writer still has the renamed file.
LATE: dict[str, Steps] = {
    "B14 the old file is read until the grace is over": [
        write("a1\n"), start(), poll(), rename(".1"), create(),
        write("new1\n"), write("late1\n", ".1"), reads_in_any_order("late1", "new1"),
        *(
            step
            for n in range(4)
            for step in (
                write(f"late{n}\n", ".1"), write(f"new{n}\n"), reads_in_any_order(f"late{n}", f"new{n}", within=4),
            )
        ),
        poll(7), write("too late\n", ".1"), reads(within=3),
    ],
    # Pygtail: late1 new1 new2, and late2 lost.
    "B14 late lines after the new file was begun": [
        write("a1\n"), start(), poll(), rename(".1"),
        write("late1\n", ".1"), write("new1\n"), reads_in_any_order("late1", "new1"),
        write("late2\n", ".1"), write("new2\n"), reads_in_any_order("late2", "new2"),
    ],
    # Found by the state machine: what had been quiet for long was never seen to have been read to its end.
    "B14 a quiet file that is renamed holds nothing up": [
        write("a1\n"), start(), poll(20),
        rename(".1"), write("b1\n"), reads("b1"),
    ],
    "B14 the descriptor is closed after the grace": [
        write("a1\n"), start(), poll(),
        rename(".1"), write("b1\n"), poll(), poll(GRACE - 2), is_open(".1", True),
        poll(3), is_open(".1", False),
    ],
    "B15 a half line is finished in the renamed file": [
        write("par"), start(), poll(),
        rename(".1"), write("b1\n"), reads("b1"),
        write("tial\n", ".1"), reads("partial"),
    ],
    "B15 a half line that is never finished is one unparsed line": [
        write("whole\npar"), start(), poll(),
        rename(".1"), create(), reads(within=8), counts(unparsed=["unterminated"]),
        restart, poll(8), counts(unparsed=["unterminated"]), has_read("whole"),
    ],
    "B15 a poll that comes late loses no line that still grows": [
        write("par"), start(), poll(),
        rename(".1"), write("b1\n"), poll(),
        write("tial", ".1"), starve(60), reads(),
        write(" line\n", ".1"), reads("partial line"), counts(unparsed=[]),
    ],
}  # fmt: skip

_NAMES = [(".3", ".2", ".1"), ("-20261121", "-20261122", "-20261123"), (".20261123-101500", ".20261123-101501", ".2")]

#: Several rotations between two polls, or while the exporter is down.
SEVERAL: dict[str, Steps] = {
    f"B17 B18 three rotations, {', '.join(names)}{', packed' * packed}": [
        write("a1\n"), start(), poll(), leave,
        *(
            step
            for number, name in enumerate(names)
            for step in (
                write(f"{number}x\n{number}y\n"), shift_date(number / 10**6), rename(name), create(),
                *([pack(name)] * packed),
            )
        ),
        write("last\n"), back,
        reads("0x", "0y", "1x", "1y", "2x", "2y", "last"), reads(within=10), counts(rotations=3),
    ]
    for names in _NAMES
    for packed in (False, True)
} | {
    # Pygtail: c1 only.
    "B17 two rotations": [
        write("a1\na2\n"), start(), poll(), leave,
        write("a3\n"), rename(".2"), write("b1\nb2\n"), rename(".1"), write("c1\n"), back,
        reads("a3", "b1", "b2", "c1"), counts(rotations=2),
    ],
    # Found against a running exporter: two lines are shorter than a digest, and might be the beginning of a copy.
    "B17 a short life between two polls survives further rotations": [
        write("a" * 300 + "\n"), date(1), start(), poll(),
        rename(".7"), write("b1\n"), date(2), rename(".6"), write("b2\n"), date(3),
        rename(".5"), write("c1\n"), date(4), poll(),
        rename(".4"), write("d1\n"), date(5), poll(5),
        has_read("a" * 300, "b1", "b2", "c1", "d1"), counts(rotations=4),
    ],
    # Found by the state machine: a restart took those for new that had ended in the same second as the newest.
    "B17 B18 many rotations in a second": [
        write("a\n"), date(-1), start(), poll(), stop,
        *(
            step
            for number in range(1, 60)
            for step in (rename(f".{60 - number}"), write(f"{number}\n"), date(number / 100))
        ),
        begin, reads(*map(str, range(1, 60)), within=15),
        restart, reads(within=15), counts(rotations=59),
    ],
    # Found against a running exporter: it was killed between the windows of a backlog of several files.
    "B18 rotations are counted once however often it crashes": [
        write("a1\n"), start(), poll(), stop,
        write("b1" * 200 + "\n"), rename(".3"), write("b2" * 200 + "\n"), rename(".2"),
        write("b3" * 200 + "\n"), rename(".1"), write("c1\n"),
        *([begin, turn, stop] * 20),
        begin, poll(10), counts(rotations=3, lost_bytes=0),
        has_read("a1", "b1" * 200, "b2" * 200, "b3" * 200, "c1"),
    ],
    # Found by the soak on a starved machine: files that came and went unseen were taken for copies of the newest.
    "B18 a first line half written makes no copies of what begins alike": [
        write("127.0.0.1 a" + "a" * 300 + "\n"), date(1), start(), poll(), stop,
        *(
            step
            for second in (2, 3, 4)
            for step in (
                rename(f".{9 - second}"), write(f"127.0.0.1 {second}" + "b" * 300 + "\n"), date(second),
            )
        ),
        rename(".1"), write("127.0.0.1"), date(5), begin, poll(),
        write(" c\n"), date(6), poll(), write("d\n"), date(9), restart, poll(10), counts(rotations=4),
        has_read(
            "127.0.0.1 a" + "a" * 300, *(f"127.0.0.1 {second}" + "b" * 300 for second in (2, 3, 4)), "127.0.0.1 c", "d",
        ),
    ],
}  # fmt: skip

#: Files that had a rotated name before the first look.
ANCIENT: dict[str, Steps] = {
    f"B26 a file that existed before, {how}": [
        write("ANCIENT1\nANCIENT2\nANCIENT3\n", ".1"), shift_date(-86400, ".1"), write("l1\nl2\n"), start(), poll(),
        write("l3\n"), *steps, write("n1\n"), reads_in_any_order("l3", "n1", within=10),
    ]
    for how, steps in {
        "rename": [rename("-20261123"), create()],
        "copytruncate": [copytruncate("-20261123")],
    }.items()
} | {
    # All in one second, so that no time stamp helps.
    "B26 a file that existed before, of the same second": [
        write("ANCIENT1\nANCIENT2\n", ".1"), write("l1\n"), start(), reads("l1"), leave,
        write("l2\n"), rename(".2", ".1"), rename(".1"), write("n1\n"), back,
        reads("l2", "n1", within=10),
    ],
}  # fmt: skip


@table(RENAMED)
def test_a_log_is_renamed(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


@table(LATE)
def test_the_writer_continues_in_the_renamed_file(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


@table(SEVERAL)
def test_several_rotations_between_two_polls(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


@table(ANCIENT)
def test_an_ancient_file_is_never_read(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


@pytest.mark.parametrize("polls", [1, 2, 3, 4])
def test_b17_a_short_life_between_two_polls_survives_a_crash(tmp_path: Path, polls: int) -> None:
    """Found against a running exporter: nothing newer is entered before it is known to be no copy."""
    reader = play(
        tmp_path,
        [
            write("a" * 300 + "\n"), date(1), start(), poll(),
            rename(".2"), write("b1\n"), date(2), rename(".1"), write("c1\n"), date(3), poll(polls),
        ],
    ).reader  # fmt: skip
    reader.start()
    reader.poll()
    assert reader.source.first_pass.is_done() == (len(reader.ledger.lines) == 3)
    reader.wait(5)
    assert reader.source.first_pass.is_done()
    assert reader.ledger.lines[1:] == ["b1", "c1"]
    assert reader.ledger.rotations == 2
