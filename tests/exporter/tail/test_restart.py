"""Positions (C33, C34, C39, C40, B27, D41): where reading begins, and where it continues after a restart."""

from pathlib import Path

import pytest
from msgspec import structs

from exporter.tail.position import Fingerprint
from tests.exporter.reader import Reader, append
from tests.exporter.tail.scenario import (
    Scene,
    Steps,
    back,
    begin,
    copytruncate,
    counts,
    create,
    folder,
    has_read,
    leave,
    link,
    move_to_another_disk,
    pack,
    play,
    poll,
    reads,
    rename,
    restart,
    shift_date,
    start,
    stop,
    table,
    truncate,
    write,
)


def _reads_last(line: str) -> object:
    def step(scene: Scene) -> None:
        assert scene.reader.poll()[-1] == line

    return step


BEGINNINGS: dict[str, Steps] = {
    "D41 a missing file is waited for": [
        start(start_at="end"), reads(), write("first\n"), reads("first"),
    ],
    "start_at is the end": [
        write("old\n"), start(start_at="end"), reads(), restart, write("new\n"), reads("new"),
    ],
    "start_at is the end, in a half line": [
        write("old\nhalf"), start(start_at="end"), reads(), restart, write("rest\nnew\n"), reads("new"),
    ],
}  # fmt: skip

RESTARTS: dict[str, Steps] = {
    "C33 power loss: reading continues at the new end": [
        write("".join(f"line {n}\n" for n in range(100))), start(), poll(),
        stop, truncate(500), begin, reads(),
        write("\nnew\n"), _reads_last("new"), restart, reads(within=10),
    ],
    # The rotated file's mtime lies before what was last known of it: its inode and its bytes identify it.
    "C40 a clock that was set back": [
        write("a1\n"), start(), poll(), leave,
        write("a2\n"), shift_date(-3600), rename(".1"), write("b1\n"), shift_date(-3600), back,
        reads("a2", "b1", within=2),
    ],
    # To another disk or machine, or back from a backup: other inodes.
    "a folder that was moved goes on where it was": [
        write("".join(f"a{n}\n" for n in range(100))), start(), poll(),
        rename(".1"), write("".join(f"b{n}\n" for n in range(100))),
        reads(*(f"b{n}" for n in range(100)), within=10), stop,
        move_to_another_disk(".1", ""), write("b100\n"), begin,
        reads("b100", within=10), counts(rotations=1, lost_bytes=0),
    ],
}  # fmt: skip

_AGAIN = [truncate(), poll()]
_SAME = "the same line\n"

#: One inode has had several generations, and those that were truncated are still searched for when the exporter starts.
REUSED: dict[str, Steps] = {
    f"a half line was truncated, {name}": [
        *([link("target")] if linked else []), write("half"), start(), poll(), *between, write(second), poll(),
        leave, *while_down, back, poll(10), has_read(*lines), counts(lost_bytes=lost),
    ]
    for name, linked, between, second, while_down, lines, lost in (
        ("of a log", False, _AGAIN, "longer\n", [], ["longer"], 4),
        ("of a link's target", True, _AGAIN, "longer\n", [], ["longer"], 4),
        ("twice", False, [*_AGAIN, write("ha"), restart, poll(), *_AGAIN], "longer\n", [], ["longer"], 6),
        ("then lines were read", False, _AGAIN, "b1\nb2\n", [write("b3\n")], ["b1", "b2", "b3"], 4),
        ("then another half line", False, _AGAIN, "b1\nhalf", [write(" b2\n")], ["b1", "half b2"], 4),
        ("then the log was renamed", False, _AGAIN, "longer\n", [rename(".1"), write("c1\n")], ["longer", "c1"], 4),
        ("then the log was packed", False, _AGAIN, "longer\n", [pack("", ".1.gz"), write("c1\n")], ["longer", "c1"], 4),
        ("copied", False, [copytruncate(".1"), poll()], "longer\n", [], ["longer"], 0),
        ("copied and packed", False, [copytruncate(".1"), pack(".1"), poll()], "longer\n", [], ["longer"], 0),
    )
} | {
    "a half line was truncated, and another path names the log": [
        folder("other"), write("half", "a"), start("a", "other/b"), poll(), truncate(name="a"), poll(),
        write("longer\n", "a"), poll(),
        leave, rename("other/b", "a"), back, poll(20), has_read("longer"),
    ],
    "a log begins again as before": [
        write(_SAME), start(), poll(), *_AGAIN, write(_SAME + "b1\n"), poll(),
        leave, write("b2\n"), back, poll(10), has_read(*[_SAME.strip()] * 2, "b1", "b2"),
    ],
    "a log begins again as before, and grows beyond the end that it had": [
        write(_SAME * 2), start(), poll(), *_AGAIN, write(_SAME), poll(),
        leave, write(_SAME * 3), back, poll(10), has_read(*[_SAME.strip()] * 6),
    ],
    "a log begins again as before, and both are copied": [
        write(_SAME * 2 + "a1\n"), start(), poll(), copytruncate(".1"), poll(), write(_SAME), poll(),
        leave, rename(".2", ".1"), write("b1\n"), copytruncate(".1"), write("c1\n"), back, poll(10),
        has_read("a1", "b1", "c1", *[_SAME.strip()] * 3),
    ],
    "a log begins again as before, and is renamed": [
        write(_SAME), start(), poll(), *_AGAIN, write(_SAME + "b1\n"), poll(),
        leave, write("b2\n"), rename(".1"), write("c1\n"), back, poll(10), has_read(*[_SAME.strip()] * 2, "b1", "b2", "c1"),
    ],
    "a log begins again as before, and is moved to another disk": [
        write(_SAME * 100), start(), poll(), *_AGAIN, write(_SAME * 100 + "b1\n"), poll(),
        stop, move_to_another_disk(""), begin, poll(10), has_read(*[_SAME.strip()] * 200, "b1"),
    ],
    "a log that begins again as before is shorter: no power loss": [
        write(_SAME * 100), start(), poll(), *_AGAIN, write(_SAME * 40), poll(),
        leave, write(_SAME * 10), back, poll(10), has_read(*[_SAME.strip()] * 150),
    ],
    "a log that begins again as before has a half line: no power loss": [
        write(_SAME * 100), start(), poll(), *_AGAIN, write("the"), poll(),
        leave, write(" same line\n" + _SAME * 40), back, poll(10), has_read(*[_SAME.strip()] * 141),
    ],
}  # fmt: skip


@table(BEGINNINGS)
def test_where_reading_begins(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


@table(RESTARTS)
def test_where_reading_continues(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


@table(REUSED)
def test_a_file_continues_its_last_generation(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


def test_b27_a_reused_inode_is_a_new_file(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, "x" * 40 + "\n")
    reader = Reader(log)
    reader.poll()
    reader.stop()
    inode = log.stat().st_ino
    for _ in range(50):
        log.unlink()
        append(log, "new1" * 20 + "\nnew2\n")
        if log.stat().st_ino == inode:
            break
    reader.start()
    assert reader.poll() == ["new1" * 20, "new2"]


def test_c39_the_positions_of_old_generations_expire(tmp_path: Path) -> None:
    rotations = [step for n in range(80) for step in (write(f"{n}\n"), poll(), rename(".1"), create(), poll(8))]
    ledger = play(tmp_path, [start(), *rotations]).reader.ledger
    assert ledger.lines == [str(n) for n in range(80)]
    assert len(ledger.kept) < 70


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 10**18},
        {"offset": 3},
        {"inode": 1},
        {"tail": Fingerprint(b"x" * 16, 256)},
        {"head": Fingerprint(b"x" * 16, 255)},
    ],
)
def test_c34_impossible_positions_never_tear_a_line(tmp_path: Path, change: dict[str, object]) -> None:
    """Pygtail: five of eight damaged offset files raise until they are deleted, one gives a torn line."""
    log, lines = tmp_path / "log", [f"line {n}" for n in range(100)]
    append(log, "".join(f"{line}\n" for line in lines))
    reader = Reader(log)
    reader.poll()
    ((key, position),) = reader.ledger.kept.items()
    reader.ledger.kept[key] = structs.replace(position, **change)
    reader.restart()
    found = reader.wait(10)
    append(log, "new\n")
    assert reader.poll() == ["new"]
    assert set(found) <= set(lines)
