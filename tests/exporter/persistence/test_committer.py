"""Nothing is shown that is not durable; where nothing can be stored, the live numbers are."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from exporter import catalogue as c
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.snapshot import Snapshot
from exporter.persistence import checkpoint
from exporter.persistence import committer as commit
from exporter.persistence.checkpoint import Checkpoint
from exporter.persistence.committer import Committer
from parsers import batch as b
from tests.exporter.persistence.disk import Disk
from tests.system.programs import until

#: What the log says when commits work again.
RECOVERED = "the state can be written again"


class Slow(Disk):
    """A disk that waits at each fsync until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.waits = threading.Event()

    def fsync(self, file: int) -> None:
        if not self.may_go_on.is_set():
            self.waits.set()
            assert self.may_go_on.wait(30)
        super().fsync(file)


class Rig(SimpleNamespace):
    """A committer over a disk that obeys; `rendered` names the threads that have rendered."""

    def count(self, lines: int = 1) -> None:
        self.ledger.enter("s", b.Batch(lines=lines))

    def text(self, form: str = "text") -> int:
        """The number of lines that a scrape shows."""
        return int(self.committer.text(form))

    def stored(self) -> int:
        """The number of lines that a restart would find."""
        loaded, _ = checkpoint.Checkpoint.load(SimpleNamespace(folder=self.folder))  # type: ignore[arg-type]
        return int(sum(loaded.counters[c.LINES.name].values())) if loaded else 0


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    disk = Slow()
    monkeypatch.setattr(checkpoint, "os", disk)
    monkeypatch.setattr(commit, "_PERIOD", 3600.0)
    clock = [1e9]
    ledger, rendered = Ledger(Limits(), lambda: clock[0]), []

    def render(snapshot: Snapshot, form: str) -> bytes:
        rendered.append(threading.current_thread().name)
        if form == "slow":
            threading.Event().wait(0.5)
        if form == "bad":
            raise ValueError(form)
        return b"%d" % sum(snapshot.counters[c.LINES].values())

    committer = Committer(ledger, Checkpoint(tmp_path), lambda: clock[0], render)
    ledger.open("s")
    yield Rig(committer=committer, ledger=ledger, disk=disk, clock=clock, rendered=rendered, folder=tmp_path)
    disk.may_go_on.set()
    if any(thread.name == "commit" for thread in threading.enumerate()):
        committer.stop()


def test_what_is_shown_is_stored(rig: Rig) -> None:
    for number in range(1, 20):
        rig.count()
        assert rig.text() == number == rig.stored()
    assert set(rig.rendered) == {"commit"}


def test_what_is_posted_meanwhile_is_in_the_next_one(rig: Rig) -> None:
    """Between what is stored and the answer lines go on being counted."""
    rig.count()
    rig.disk.may_go_on.clear()
    shown: list[int] = []
    scrape = threading.Thread(target=lambda: shown.append(rig.text()))
    scrape.start()
    assert rig.disk.waits.wait(30)
    rig.count(100)
    rig.disk.may_go_on.set()
    scrape.join()
    assert shown == [1]
    assert rig.text() == 101


def test_scrapes_at_the_same_time_share_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.count()
    waiting, real = set(), threading.Condition.wait

    def wait(condition: threading.Condition, timeout: float | None = None) -> bool:
        waiting.add(threading.current_thread())
        return real(condition, timeout)

    monkeypatch.setattr(threading.Condition, "wait", wait)
    rig.disk.may_go_on.clear()
    first = threading.Thread(target=rig.text)
    first.start()
    assert rig.disk.waits.wait(30)
    shown: list[int] = []
    others = [threading.Thread(target=lambda: shown.append(rig.text())) for _ in range(8)]
    for thread in others:
        thread.start()
    until("all to wait", lambda: waiting.issuperset([first, *others]))
    rig.disk.may_go_on.set()
    for thread in [first, *others]:
        thread.join()
    assert shown == [1] * 8
    assert len(rig.rendered) == 2


def test_nobody_renders_when_nobody_asks(rig: Rig) -> None:
    rig.count()
    rig.committer.stop()
    assert rig.stored() == 1
    assert rig.rendered == []


def test_a_form_that_cannot_be_rendered_costs_only_itself(rig: Rig) -> None:
    with pytest.raises(ValueError, match="bad"):
        rig.text("bad")
    assert rig.text() == 0


@pytest.mark.parametrize("step", range(4))
def test_a_failed_commit_shows_the_live_numbers(rig: Rig, step: int, caplog: pytest.LogCaptureFixture) -> None:
    rig.count()
    rig.disk.fail_at = step
    assert rig.text() == 1
    assert rig.committer.errors == 1
    assert not (rig.folder / "state.tmp").exists()
    assert [r.levelno for r in caplog.records] == [logging.ERROR]
    assert "No space left on device" in caplog.text


def test_it_recovers_by_itself(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert rig.text() == 0
    for number in range(1, 4):
        rig.count()
        rig.disk.fail_at = 0
        rig.text()
        until("the failure", lambda number=number: rig.committer.errors == number)
    until("recovery", lambda: rig.text() and RECOVERED in caplog.text)
    assert rig.text() == 3 == rig.stored()
    assert [r.levelname for r in caplog.records] == ["ERROR", "INFO"]


def test_a_commit_that_takes_too_long_counts_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(commit, "_COMMIT_TIMEOUT", 0.05)
    rig.count()
    rig.disk.may_go_on.clear()
    assert rig.text() == 1
    assert rig.text("other") == 1
    assert rig.committer.errors == 1
    monkeypatch.undo()
    rig.disk.may_go_on.set()
    until("recovery", lambda: rig.text() and RECOVERED in caplog.text)
    assert rig.committer.errors == 1
    assert rig.text() == 1 == rig.stored()


def test_a_text_that_takes_long_is_no_slow_commit(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "_COMMIT_TIMEOUT", 0.3)
    waiting, real = threading.Event(), threading.Condition.wait

    def wait(condition: threading.Condition, timeout: float | None = None) -> bool:
        if threading.current_thread() is scrape and timeout is not None and timeout <= 0.3:
            waiting.set()
        return real(condition, timeout)

    rig.disk.may_go_on.clear()
    scrape = threading.Thread(target=rig.text, args=("slow",))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Condition, "wait", wait)
        scrape.start()
        assert waiting.wait(30)
        rig.disk.may_go_on.set()
        scrape.join()
    assert rig.committer.errors == 0
    assert rig.rendered == ["commit"]


def test_the_next_commit_waits_four_times_as_long(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(commit, "time", SimpleNamespace(monotonic=lambda: now[0]))
    waited: list[float] = []
    real = threading.Condition.wait_for

    def wait_for(condition: threading.Condition, predicate: Callable[[], object], timeout: float) -> object:
        waited.append(timeout)
        return real(condition, predicate, min(timeout, 0) if timeout < 3600 else timeout)

    monkeypatch.setattr(threading.Condition, "wait_for", wait_for)
    rig.disk.may_go_on.clear()
    scrape = threading.Thread(target=rig.text)
    scrape.start()
    assert rig.disk.waits.wait(30)
    now[0] = 0.25
    rig.disk.may_go_on.set()
    scrape.join()
    rig.text()
    assert waited[0] == 1.0


@pytest.mark.parametrize("seconds", [-3600, 86400, -(10**9)], ids=["an hour back", "a day ahead", "to 1970"])
def test_a_clock_that_jumps_resets_nothing(rig: Rig, seconds: int) -> None:
    """C40: waiting goes by the monotonic clock; births stay what they were."""
    rig.count()
    rig.text()
    before = rig.ledger.snapshot(0).created[c.LINES]
    rig.clock[0] += seconds
    rig.count()
    assert rig.text() == 2 == rig.stored()
    assert rig.ledger.snapshot(0).created[c.LINES] == before
    assert rig.committer.stored_at == rig.clock[0]
    assert rig.committer.errors == 0


def test_without_a_state_every_text_is_a_live_one() -> None:
    ledger = Ledger(Limits(), lambda: 1e9)
    committer: Committer[str] = Committer(ledger, None, lambda: 1e9, lambda snapshot, form: form.encode())
    assert committer.text("live") == b"live"
    assert committer.errors == 0
    committer.stop()
