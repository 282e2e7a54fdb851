"""The files of one source: globs, turns, one (device, inode) once, read errors, the first pass."""

import errno
import itertools
import os
import subprocess
import sys
import tempfile
import threading
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec import structs

from exporter.tail.wake import Wake
from parsers.batch import Batch, Failure, Usage
from tests.exporter.reader import Lines, Reader, append


def test_a_glob_finds_new_files_and_no_rotated_ones(tmp_path: Path) -> None:
    append(tmp_path / "a.log", "a1\n")
    append(tmp_path / "a.log.1", "preexisting\n")
    append(tmp_path / "a.log.2.gz", "preexisting\n")
    append(tmp_path / "a.log.4.xz", "preexisting\n")
    reader = Reader(tmp_path / "*.log*")
    assert reader.poll() == ["a1"]
    append(tmp_path / "b.log", "b1\n")
    (tmp_path / "a.log").rename(tmp_path / "a.log.3")
    append(tmp_path / "a.log", "a2\n")
    assert sorted(reader.wait(2)) == ["a2", "b1"]
    assert reader.wait(10) == []
    assert reader.source.files == 2


def test_start_at_end_is_for_the_files_that_are_there(tmp_path: Path) -> None:
    append(tmp_path / "a.log", "old\n")
    reader = Reader(tmp_path / "*.log", start_at="end")
    reader.poll()
    append(tmp_path / "b.log", "new\n")
    assert reader.wait(2) == ["new"]
    reader.stop()
    append(tmp_path / "c.log", "newer\n")
    reader.start()
    assert reader.wait(2) == ["newer"]


@pytest.mark.parametrize("call", range(1, 8))
@pytest.mark.parametrize("rotated", [False, True])
def test_d43_a_file_that_fails_as_it_is_found_is_found_again(
    tmp_path: Path, rotated: bool, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any of the calls that look into an open file."""
    log, real, calls = tmp_path / "a.log", os.fstat, itertools.count(1)
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    reader.stop()
    append(log, "a2\n")
    if rotated:
        log.rename(tmp_path / "a.log.1")
    reader.start()

    def failing(descriptor: int) -> os.stat_result:
        if next(calls) == call:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", failing)
    assert reader.wait(8) == ["a2"]
    assert reader.ledger.lost_bytes == 0


def test_files_take_turns(tmp_path: Path) -> None:
    append(tmp_path / "big.log", "xxxxxxx\n" * 500_000)
    append(tmp_path / "small.log", "small\n")
    reader = Reader(tmp_path / "*.log")
    assert reader.source.turn()
    assert "small" in reader.ledger.lines
    assert len(reader.ledger.lines) < 150_000


def test_windows_are_large_behind_a_backlog_and_small_when_it_is_read(tmp_path: Path) -> None:
    size = (2 << 20) + (1 << 19)
    append(tmp_path / "log", ("x" * 31 + "\n") * (size // 32))
    reader = Reader(tmp_path / "log")
    read = []
    while not reader.source.first_pass.is_done():
        reader.source.turn()
        read.append(reader.source.first_pass.progress()[0])
    assert read == [1 << 20, 2 << 20, (2 << 20) + (1 << 18), size]


def test_the_first_pass_ends_when_the_sizes_found_are_reached(tmp_path: Path) -> None:
    append(tmp_path / "log", ("x" * 31 + "\n") * 25_000)
    reader = Reader(tmp_path / "log", tmp_path / "missing")
    assert not reader.source.first_pass.is_done()
    reader.source.turn()
    assert not reader.source.first_pass.is_done()
    assert reader.source.first_pass.progress() == (1 << 18, 800_000)
    while not reader.source.first_pass.is_done():
        append(tmp_path / "log", "more\n")
        assert reader.source.turn()
    assert reader.source.lag < 1000


def test_positions_of_paths_no_longer_configured_are_forgotten(tmp_path: Path) -> None:
    append(tmp_path / "a.log", "a1\n")
    append(tmp_path / "b.log", "b1\n")
    reader = Reader(tmp_path / "a.log")
    reader.poll()
    ledger = reader.ledger
    reader.stop()
    reader = Reader(tmp_path / "b.log")
    reader.stop()
    reader.ledger = ledger
    reader.start()
    reader.wait(2)
    assert {p.path.rpartition("/")[2] for p in ledger.kept.values()} == {"b.log"}


def test_the_gauges_tell_the_truth(tmp_path: Path) -> None:
    a, b = tmp_path / "a.log", tmp_path / "b.log"
    reader = Reader(a, b)
    source = reader.source
    reader.poll()
    assert (source.up, source.files, source.lag) == (False, 0, 0)
    append(a, "one\nhalf")
    reader.poll()
    assert (source.up, source.files, source.lag, source.backlog) == (True, 1, 4, 0)
    os.link(a, b)
    reader.wait(2)
    assert (source.up, source.files) == (True, 1), "one file under two names"
    b.unlink()
    append(b, "two\n")
    reader.wait(2)
    assert (source.up, source.files) == (True, 2)
    a.unlink()
    reader.wait(10)
    assert (source.up, source.files, source.lag) == (True, 1, 0)
    assert reader.ledger.unparsed == ["unterminated"]
    b.unlink()
    b.mkdir()
    reader.wait(2)
    assert (source.up, source.files, source.errors) == (False, 0, {"not_a_file": 1})


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/full", path)])
def test_d41_what_is_no_file_is_refused(tmp_path: Path, make: object) -> None:
    make(tmp_path / "log")  # type: ignore[operator]
    append(tmp_path / "good.log", "good\n")
    reader = Reader(tmp_path / "log", tmp_path / "good.log")
    assert reader.wait(3) == ["good"]
    assert reader.source.errors == {"not_a_file": 1}
    assert not reader.source.up


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    append(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff%20.log")), "one\n")
    reader = Reader(tmp_path / "*.log")
    assert reader.poll() == ["one"]
    reader.restart()
    assert reader.poll() == []


_AS_NOBODY = """
import os, sys
from pathlib import Path
from tests.exporter.reader import Reader, append
folder = Path(sys.argv[1])
log = folder / "logs" / "log"
os.setegid(65534), os.seteuid(65534)
def root(*calls):
    os.seteuid(0)
    for call in calls: call()
    os.seteuid(65534)
reader = Reader(log)
assert reader.poll() == ["a1"]
root(lambda: log.chmod(0), lambda: append(log, "a2\\n"))
assert reader.poll() == ["a2"], "the open descriptor still reads"
root(lambda: log.rename(log.with_name("log.1")), lambda: append(log, "b1\\n"), lambda: log.chmod(0o600))
assert reader.wait(8) == [] and reader.source.errors == {"permission": 1} and not reader.source.up
root(lambda: log.chmod(0o644))
assert reader.poll() == ["b1"] and reader.source.up
root(lambda: log.rename(log.with_name("log.2")), lambda: append(log, "c1\\n"), lambda: log.chmod(0o600))
reader.poll()
assert not reader.source.up and reader.source.lag == 3, "its size is known, if not its bytes"
root(lambda: log.rename(log.with_name("log.3")), lambda: append(log, "d1\\n"))
assert reader.wait(60) == ["d1"] and reader.source.up and reader.source.lag == 3, "rotated before it could be read"
root(lambda: log.with_name("log.3").chmod(0o644))
assert reader.wait(20) == ["c1"] and reader.source.lag == 0
root(lambda: log.parent.chmod(0o700), lambda: append(log, "b2\\n"))
assert reader.poll() == ["b2"] and not reader.source.up
root(lambda: append(log, "b3\\n"))
reader.restart()
assert reader.wait(30) == []
root(lambda: log.parent.chmod(0o755))
assert reader.wait(8) == ["b3"] and reader.ledger.lost_bytes == 0
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, in order to drop it")
def test_d42_d43_troubles_with_permissions_are_states_that_end() -> None:
    with tempfile.TemporaryDirectory() as folder:  # other users may search this one, and none that pytest makes
        os.chmod(folder, 0o755)
        logs = Path(folder) / "logs"
        logs.mkdir()
        append(logs / "log", "a1\n")
        run = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, folder], capture_output=True, text=True, timeout=30, check=False
        )
    assert run.returncode == 0, run.stderr


def test_the_thread_ends_when_told(tmp_path: Path) -> None:
    append(tmp_path / "log", "a1\n")
    reader, stop, wake = Reader(tmp_path / "log"), threading.Event(), Wake()
    thread = threading.Thread(target=reader.source.run, args=(stop, wake))
    thread.start()
    stop.set()
    wake.end()
    thread.join(10)
    assert not thread.is_alive()


def test_an_idle_turn_asks_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        append(tmp_path / f"{number}.log", "x\n")
    reader = Reader(tmp_path / "*.log")
    reader.wait(10)
    asked: list[object] = []
    real = os.stat
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", lambda path, **keys: asked.append(path) or real(path, **keys))
        for call in ("fstat", "lstat", "pread", "open", "listdir", "scandir"):
            patched.setattr(os, call, lambda *arguments, call=call: asked.append((call, *arguments)))
        lines = reader.poll()
    assert lines == []
    assert len(asked) == len(set(asked)) == 51, "a stat of each file and of their folder"


class Unlawful(Lines):
    """Fails in the requested way on windows with the word `bad`."""

    fault: str

    def parse(self, window: bytes, final: bool = False) -> Batch:
        batch = super().parse(window, final)
        if b"bad" not in window or self.fault == "none":
            return batch
        match self.fault:
            case "raises":
                raise RuntimeError(window.decode())
            case "consumed":
                return structs.replace(batch, consumed=len(window) + 1)
            case "type":
                return None  # type: ignore[return-value]
            case _:
                records = {
                    "negative": Failure("other", -1),
                    "no label": Failure(None),  # type: ignore[arg-type]
                    "no record": 7,
                    "cost": Usage(cost=Decimal("NaN")),
                }
                return structs.replace(batch, records=(*batch.records, records[self.fault]))  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", ["raises", "consumed", "type", "negative", "no label", "no record", "cost"])
def test_a_parser_that_breaks_a_law_costs_its_file_and_no_other(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    append(tmp_path / "a.log", "a1\nbad\n")
    append(tmp_path / "b.log", "b1\n")
    append(tmp_path / "c.log", "c1\n")
    reader = Reader(tmp_path / "*.log", parser=Unlawful(fault=fault))
    assert sorted(reader.wait(5)) == ["b1", "c1"], "nothing of a batch is entered that cannot be entered whole"
    assert reader.source.errors == {"parser": 1}, "said once"
    assert "bad" not in caplog.text
    assert not reader.source.up
    assert reader.source.first_pass.is_done(), "what cannot be read is not waited for"
    append(tmp_path / "b.log", "b2\n")
    assert reader.wait(2) == ["b2"]
    ledger = reader.ledger
    reader.stop()
    reader = Reader(tmp_path / "*.log", parser=Unlawful(fault="none"))
    reader.ledger = ledger
    reader.restart()
    assert reader.wait(2) == ["a1", "bad"], "a better parser continues where the bad one stopped"
    assert reader.source.up


class Pieces(Lines):
    """A last line that ends with a plus is open, as a piece of a line that Docker cut."""

    def parse(self, window: bytes, final: bool = False) -> Batch:
        batch = super().parse(window, final)
        if final or not window[: batch.consumed].endswith(b"+\n"):
            return batch
        return super().parse(window[: window[: batch.consumed - 1].rfind(b"\n") + 1])


def test_an_unfinished_record_is_offered_once_more_when_its_file_is_done(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append(log, "a1\na2+\n")
    reader = Reader(log, parser=Pieces())
    assert reader.wait(3) == ["a1"]
    log.rename(tmp_path / "log.1")
    append(log, "b1\n")
    assert sorted(reader.wait(12)) == ["a2+", "b1"]
    assert reader.ledger.unparsed == []
