"""Random lives of the state against a model: what is read back is what was stored, whole, whatever broke when."""

import shutil
import tempfile
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.state import State
from exporter.persistence import checkpoint
from exporter.persistence.checkpoint import Checkpoint
from exporter.tail.position import Position, RotationEvents, Window
from parsers import batch as b
from tests.exporter.persistence.disk import NEVER, Crash, Disk

SECOND = 1_000_000_000


def plain(loaded: State) -> dict[str, object]:
    """Without tables that have become empty, and in whatever order."""
    tables: dict[str, dict] = msgspec.to_builtins(loaded, builtin_types=(bytes, Decimal), str_keys=False)
    return {
        field: {name: table for name, table in by_name.items() if table or table == 0}
        for field, by_name in tables.items()
    }


class Lives(RuleBasedStateMachine):
    """`durable` is what the newest successful commit held, `tried` what those since then held that failed: of them
    nothing was shown, so either may be read.
    """

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.disk = Disk()
        self.patch.setattr(checkpoint, "os", self.disk)
        self.patch.setattr(checkpoint, "_SMALL_JOURNAL", 200)
        self.durable, self.tried = plain(State()), []
        self.history: list[dict[str, object]] = []
        self.ledger, self.checkpoint = Ledger(Limits(open_joins=5), lambda: 1e9), Checkpoint(self.folder)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.restart()
            self.checkpoint.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    @invariant()
    def no_file_is_left_over(self) -> None:
        assert not hasattr(self, "folder") or not (self.folder / "state.tmp").exists() or self.crashed

    crashed = False

    @rule(file=st.sampled_from("ab"), lines=st.integers(1, 9), closes=st.booleans(), trace=st.integers(0, 9))
    def post(self, file: str, lines: int, closes: bool, trace: int) -> None:
        records: tuple[b.Record, ...] = (
            b.Request("GET", f"/r{lines}", "200", count=lines, durations=(SECOND,) * lines),
            b.Usage(input_tokens=lines, cost=Decimal(lines) / 10, currency="USD"),
            b.Closed(f"t{trace}", "finished", SECOND, 0) if closes else b.Opened(f"t{trace}", "workflow", "a", trace),
            b.Active(f"w{trace % 3}", lines, SECOND),
            b.TraceError(f"t{lines}", "plugin", lines),
            b.Accepted("/v1/chat-messages", "stream_error", f"t{trace}\nt{lines}", "1970-01-01\n1970-01-02"),
        )
        known = self.ledger.positions("s").get(file, Position(file, 1, 0, 0))
        forget = ("a" if file == "b" else "b",) if closes else ()
        window = Window("s", file, known, b"x" * lines, events=RotationEvents(forget=forget))
        self.ledger.post(window, b.Batch(consumed=lines, lines=lines, records=records))

    @rule()
    def commit(self) -> None:
        self.checkpoint.save(self.ledger.changes())
        self.durable, self.tried = plain(self.checkpoint.state), []
        self.history.append(self.durable)

    @rule(step=st.integers(0, 4))
    def commit_on_a_bad_disk(self, step: int) -> None:
        """As after every failure the live numbers are shown, so nothing is claimed of them."""
        self.disk.fail_at = step
        self.attempt(OSError)
        self.disk.fail_at = NEVER

    @rule(step=st.integers(0, 4), power=st.booleans(), undo=st.booleans(), kept=st.floats(0, 1), zeros=st.booleans())
    def commit_and_crash(self, step: int, power: bool, undo: bool, kept: float, zeros: bool) -> None:
        self.disk.crash_at = step
        self.attempt(Crash)
        self.disk.crash_at = NEVER
        if power:
            self.disk.lose_power(self.folder, undo, kept, zeros)
        self.restart()

    def attempt(self, error: type[BaseException]) -> None:
        try:
            self.commit()
        except error:
            self.tried.append(plain(self.checkpoint.state))
            self.history.append(self.tried[-1])

    @rule()
    def crash_between_commit_and_answer(self) -> None:
        self.commit()
        self.restart()

    @rule(where=st.floats(0, 1), number=st.integers(0, 1), cut=st.booleans())
    def damage(self, where: float, number: int, cut: bool) -> None:
        """What is read was stored as a whole at some time, or it is nothing."""
        path = self.folder / f"state.{number}"
        if not path.exists():
            return
        data = bytearray(path.read_bytes())
        at = min(int(where * len(data)), len(data) - 1)
        path.write_bytes(data[:at] if cut else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        self.tried = [*self.history, plain(State())]
        self.restart(damaged=True)

    def restart(self, damaged: bool = False) -> None:
        self.crashed = True
        self.checkpoint.close()
        self.checkpoint = Checkpoint(self.folder)
        loaded, warnings = self.checkpoint.load()
        assert plain(loaded or State()) in [self.durable, *self.tried]
        assert damaged or not warnings
        self.ledger = Ledger(Limits(open_joins=5), lambda: 1e9)
        assert self.ledger.restore(loaded or State(), ["s"]) == []


TestLives = Lives.TestCase
TestLives.settings = settings(stateful_step_count=30)
