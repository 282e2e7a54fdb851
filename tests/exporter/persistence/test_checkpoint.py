"""The state's files: what they hold, what a fault leaves behind, and what is made of damage."""

import errno
import fcntl
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from exporter import catalogue as c
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.state import VERSION
from exporter.metrics.exposition import render
from exporter.persistence import checkpoint
from exporter.persistence.checkpoint import Checkpoint, LockedError, read_state
from exporter.tail.position import Position, RotationEvents, Window
from parsers import batch as b
from tests.exporter.persistence.disk import Disk
from tests.special_files import MAKE

READ_BYTES = c.READ_BYTES.name


def new_ledger() -> Ledger:
    ledger = Ledger(Limits(), lambda: 1e9)
    ledger.open("s")
    return ledger


def post(ledger: Ledger, lines: int = 1) -> None:
    known = ledger.positions("s").get("f", Position("log", 1, 0, 0))
    ledger.post(Window("s", "f", known, b"x" * lines), b.Batch(consumed=lines, lines=lines))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Three commits of one line each: a whole loaded and two changes."""
    ledger, stored = new_ledger(), Checkpoint(tmp_path / "state")
    for _ in range(3):
        post(ledger)
        stored.save(ledger.changes())
    stored.close()
    return tmp_path / "state"


def read(folder: Path) -> tuple[int, list[str]]:
    """Bytes counted, 0 where nothing can be used, and what was warnings."""
    opened = Checkpoint(folder)
    try:
        loaded, warnings = opened.load()
    finally:
        opened.close()
    return int(loaded.counters[READ_BYTES]["s",]) if loaded else 0, warnings


def ends(data: bytes | bytearray) -> list[int]:
    """Where each record ends."""
    found, at = [], data.index(b"\n") + 1
    while at < len(data):
        at += checkpoint._RECORD.size + checkpoint._RECORD.unpack_from(data, at)[0]
        found.append(at)
    return found


def test_what_was_stored_is_read(state: Path) -> None:
    assert read(state) == (3, [])
    assert sorted(path.name for path in state.iterdir()) == ["lock", "state.1"]


def test_a_commit_writes_what_has_changed(tmp_path: Path) -> None:
    ledger, stored = new_ledger(), Checkpoint(tmp_path)
    for number in range(3000):
        ledger.enter("s", b.Batch(records=(b.Request("GET", f"/{number}", "200"),)))
    stored.save(ledger.changes())
    whole = (tmp_path / "state.1").stat().st_size
    ledger.enter("s", b.Batch(records=(b.Request("GET", "/7", "200"),)))
    stored.save(ledger.changes())
    changed = (tmp_path / "state.1").stat().st_size - whole
    stored.save(ledger.changes())
    assert (tmp_path / "state.1").stat().st_size == whole + changed
    assert changed < 300 < whole / 100
    stored.close()


def test_the_file_is_begun_anew_before_its_changes_outgrow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_SMALL_JOURNAL", 100)
    ledger, stored = new_ledger(), Checkpoint(tmp_path)
    largest = 0
    for _ in range(200):
        post(ledger)
        stored.save(ledger.changes())
        largest = max(largest, *(path.stat().st_size for path in tmp_path.glob("state.?")))
    stored.close()
    whole = len(msgspec.msgpack.encode(stored.state))
    assert largest < 4 * whole
    assert read(tmp_path) == (200, [])
    assert (tmp_path / "state.0").exists()


STEPS = ["write", "fsync", "rename", "fsync folder"]


@pytest.mark.parametrize("step", STEPS)
def test_a_failed_commit_leaves_the_state_as_it_was(state: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    monkeypatch.setattr(checkpoint, "os", disk)
    stored = Checkpoint(state)
    loaded, _ = stored.load()
    assert loaded is not None
    ledger = new_ledger()
    ledger.restore(loaded, ["s"])
    post(ledger)
    disk.fail_at = STEPS.index(step)
    with pytest.raises(OSError, match="No space left"):
        stored.save(ledger.changes())
    assert disk.steps == STEPS[: STEPS.index(step) + 1]
    assert not list(state.glob("*.tmp"))
    stored.close()
    assert read(state)[0] == (4 if step == "fsync folder" else 3)


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_change_that_failed_is_in_the_next_commit(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    monkeypatch.setattr(checkpoint, "os", disk)
    ledger, stored = new_ledger(), Checkpoint(tmp_path)
    post(ledger)
    stored.save(ledger.changes())
    post(ledger)
    disk.fail_at = ["write", "fsync"].index(step)
    with pytest.raises(OSError, match="No space left"):
        stored.save(ledger.changes())
    stored.save(ledger.changes())
    stored.close()
    assert read(tmp_path) == (2, [])


def test_a_torn_end_is_cut_without_a_word(state: Path) -> None:
    path = state / "state.1"
    data = path.read_bytes()
    counted = set()
    for end in range(len(data), ends(data)[0] - 1, -1):
        path.write_bytes(data[:end])
        found, warnings = read(state)
        assert warnings == []
        counted.add(found)
    assert counted == {1, 2, 3}


@pytest.mark.parametrize("tail", [bytes(4096), b"\0\0\1", os.urandom(10)], ids=["zeros", "short", "random"])
def test_what_a_power_loss_may_append_is_cut_without_a_word(state: Path, tail: bytes) -> None:
    with (state / "state.1").open("ab") as file:
        file.write(tail)
    assert read(state) == (3, [])


def test_a_damaged_middle_counts_up_to_there(state: Path) -> None:
    path = state / "state.1"
    data = bytearray(path.read_bytes())
    data[ends(data)[1] - 1] ^= 1
    path.write_bytes(data)
    assert read(state) == (1, [f"{path} is damaged behind byte {ends(data)[0]} of {len(data)}: it is used up to there"])


def test_a_record_counts_only_behind_the_one_it_was_written_behind(state: Path) -> None:
    path = state / "state.1"
    data = path.read_bytes()
    first, second, _ = ends(data)
    path.write_bytes(data[:first] + data[second:])
    assert read(state)[0] == 1


POSITION = {"path": "log", "number": 1, "device": 0, "inode": 0}


def written(number: int, *states: object, version: int = VERSION) -> bytes:
    """A file whose checksums are right, whatever it holds."""
    import zlib

    head = b"dify-exporter state %d %d\n" % (version, number)
    data, checksum = head, head
    for loaded in states:
        payload = zlib.compress(msgspec.msgpack.encode(loaded))
        checksum = checkpoint._checksum(payload, checksum)
        data += checkpoint._RECORD.pack(len(payload), checksum) + payload
    return data


DAMAGES = {
    "empty": (b"", "it does not begin like a state file"),
    "garbage": (b"\x89PNG\r\n" * 100, "it does not begin like a state file"),
    "zeros": (bytes(4096), "it does not begin like a state file"),
    "somebody else's": (b"[exporter]\nlisten = 1\n", "it does not begin like a state file"),
    "half": (None, "its beginning is damaged"),
    "future": (written(9, {}, version=VERSION + 1), f"its version is {VERSION + 1}, this exporter reads {VERSION}"),
    "negative position": (
        written(9, {"positions": {"s": {"f": {**POSITION, "offset": -1}}}}),
        "Expected `int` >= 0 - at `$.positions[...][...].offset`",
    ),
    "no position": (written(9, {"positions": {"s": {"f": 7}}}), "Expected `object | null`, got `int`"),
    "no number": (written(9, {"counters": {"m": {("s",): None}}}), "Expected `int | decimal`, got `None`"),
    "no table": (written(9, [1, 2]), "Expected `object`, got `array`"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_used_is_set_aside_and_the_previous_one_counts(state: Path, damage: str) -> None:
    content, why = DAMAGES[damage]
    newest = state / "state.0"
    newest.write_bytes(content if content is not None else written(9, {"created": {}})[:-3])
    found, warnings = read(state)
    assert found == 3
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{newest} cannot be used: {why}")
    assert warnings[0].endswith("it was set aside as state.0.damaged")
    assert (state / "state.0.damaged").exists()
    assert read(state) == (3, [])


def test_without_file_descriptors_a_good_file_is_not_set_aside(state: Path) -> None:
    opened = Checkpoint(state)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.dup(0)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            opened.load()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        opened.close()
    assert read(state) == (3, [])


def test_where_nothing_can_be_used_nothing_counts(state: Path) -> None:
    (state / "state.1").write_bytes(b"?")
    found, warnings = read(state)
    assert (found, len(warnings)) == (0, 2)
    assert warnings[1] == (
        f"no state in {state} can be used: counters and the newest 8 days of the history begin at 0, and sources begin "
        "where start_at says"
    )


def test_a_second_exporter_is_told_who_holds_the_state(tmp_path: Path) -> None:
    first = Checkpoint(tmp_path)
    with pytest.raises(LockedError, match=f"in use by the exporter with process id {os.getpid()}"):
        Checkpoint(tmp_path)
    first.close()
    Checkpoint(tmp_path).close()


def test_a_file_system_without_locks_is_no_second_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match=f"No locks available: '{tmp_path}/lock'"):
        Checkpoint(tmp_path)


def test_somebody_else_wrote_the_file_meanwhile(tmp_path: Path) -> None:
    ledger, stored = new_ledger(), Checkpoint(tmp_path)
    stored.save(ledger.changes())
    (tmp_path / "state.1").write_bytes(b"?")
    post(ledger)
    with pytest.raises(OSError, match="another process changed it"):
        stored.save(ledger.changes())
    stored.save(ledger.changes())
    stored.close()
    assert read(tmp_path)[0] == 1


def test_rotations_for_weeks_leave_a_small_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C39: what is forgotten of a generation is forgotten in the state."""
    monkeypatch.setattr(checkpoint, "os", Disk())
    ledger, stored = new_ledger(), Checkpoint(tmp_path)
    for number in range(3000):
        forget = (f"log#{number - 8}",) if number >= 8 else ()
        window = Window(
            "s", f"log#{number}", Position("log", number, 0, number), b"x", events=RotationEvents(forget=forget)
        )
        ledger.post(window, b.Batch(consumed=1, lines=1))
        stored.save(ledger.changes())
    assert max(path.stat().st_size for path in tmp_path.glob("state.?")) < 40_000
    stored.close()
    reopened = Checkpoint(tmp_path)
    loaded, _ = reopened.load()
    reopened.close()
    assert loaded is not None
    assert len(loaded.positions["s"]) == 8
    assert loaded.counters[READ_BYTES]["s",] == 3000


def test_sums_beyond_64_bits_are_kept(tmp_path: Path) -> None:
    """A hundred streams that never rest are 584 years of nanoseconds after six years."""
    ledger, stored = new_ledger(), Checkpoint(tmp_path / "state")
    most = 2**63 - 1
    request = b.Request("GET", "/v1/info", "200", response_bytes=most, durations=(most, most, most))
    for _ in range(3):
        ledger.enter("s", b.Batch(lines=1, records=(request,)))
        stored.save(ledger.changes())
    stored.close()
    opened, again = Checkpoint(tmp_path / "state"), Ledger(Limits(), lambda: 1e9)
    loaded, warnings = opened.load()
    opened.close()
    assert loaded is not None
    assert (warnings, again.restore(loaded, ["s"])) == ([], [])
    again.enter("s", b.Batch(lines=1, records=(request,)))
    found = again.snapshot(0)
    histogram = found.histograms[c.REQUEST_DURATION]["s", "GET", "/v1/info", "200"]
    assert (histogram.count, histogram.total) == (12, 12 * most)
    assert found.counters[c.RESPONSE_BYTES]["s", "/v1/info"] == 4 * most
    assert b"/v1/info" in render(found, {})


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("name", ["state.0", "state.1", "state.tmp", "lock"])
def test_what_is_no_file_is_refused_with_one_sentence(tmp_path: Path, name: str, kind: str) -> None:
    """Opening a FIFO would wait for ever, and a device may have no end."""
    MAKE[kind](tmp_path / name)
    with pytest.raises(OSError, match=kind) as refused:
        Checkpoint(tmp_path)
    assert refused.value.filename in (str(tmp_path / name), tmp_path / name)
    if name in ("state.0", "state.1"):
        with pytest.raises(OSError, match=kind):
            read_state(tmp_path)
