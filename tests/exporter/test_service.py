"""The service in this process: its life cycle, without a signal or a command line."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from exporter.config.loader import load
from exporter.persistence.checkpoint import Checkpoint
from exporter.service import Service

_SCRAPES = 8


def test_scrapes_at_the_same_time_end_the_first_pass_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All scrapes find the first pass done, because other threads run during the commit that ends it."""
    log, file = tmp_path / "access.log", tmp_path / "exporter.toml"
    log.write_bytes(b"")
    source = f'[[source]]\nname = "nginx"\npaths = ["{log}"]\nparser = "nginx"\nformat = "combined"\n'
    file.write_text(f'[exporter]\nlisten = "127.0.0.1:0"\n{source}')
    service, together = Service(load(file), file), Barrier(_SCRAPES)

    def is_ready() -> bool:
        together.wait(10.0)
        return service.ready()

    with caplog.at_level(logging.INFO, "exporter.service"):
        service.listen()
        try:
            service.start(Checkpoint(tmp_path / "state"))
            with ThreadPoolExecutor(_SCRAPES) as pool:
                while not all(pool.map(lambda _: is_ready(), range(_SCRAPES))):  # until first_pass_timeout at most
                    pass
        finally:
            service.stop()
    assert [record.message for record in caplog.records].count("first pass done") == 1
