"""The threads of the sources: one that hangs keeps neither another nor the end of the process waiting."""

import threading
from pathlib import Path

import pytest

from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.tail import supervisor
from exporter.tail.source_config import SourceConfig, SourceOptions
from exporter.tail.supervisor import Supervisor
from parsers.batch import Batch
from parsers.parser import Parser
from tests.exporter.reader import Lines, append

_released, _hanging = threading.Event(), threading.Event()


class Hanging(Parser):
    """As a read from a mount whose server is gone."""

    def parse(self, window: bytes, final: bool = False) -> Batch:
        _hanging.set()
        _released.wait(60)
        return Batch(consumed=len(window))


def test_d43_a_source_that_hangs_stops_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "_STOP_TIMEOUT_SECONDS", 0.3)
    tables = tuple(
        SourceConfig(name, (str(tmp_path / name),), parser)
        for name, parser in (("hangs", Hanging()), ("reads", Lines()))
    )
    for table in tables:
        append(Path(table.paths[0]), "one\n")
    ledger = Ledger(Limits(), lambda: 0.0)
    running = Supervisor(lambda _: ledger, lambda *_: None)
    try:
        running.start([SourceOptions(table, 0.05, 1 << 20) for table in tables], "beginning")
        assert _hanging.wait(10)
        append(tmp_path / "reads", "two\n")
        pause = threading.Event()
        for _ in range(500):
            if any(position.offset == 8 for position in ledger.positions("reads").values()):
                break
            pause.wait(0.02)
        assert [position.offset for position in ledger.positions("reads").values()] == [8]
        running.stop()
        assert (
            f"a source does not stop, perhaps because a mount hangs: source=hangs path={tables[0].paths[0]}"
            in caplog.text
        )
    finally:
        _released.set()
