"""The growing copies of the samples that `make run` serves."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exporter.config.loader import load
from exporter.tail.source_config import SourceConfig
from samples.live import GrowingLog, moved, prepare, records
from tests.golden import ROOT, config

SOURCES = config().sources
NOW = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_moved_record_counts_as_before_and_at_the_new_time(source: SourceConfig) -> None:
    """Only the digits of a time and a trace id change: no line becomes unparsed, and none keeps its old time."""
    log = Path(source.paths[0]).read_bytes()
    before = source.parser.parse(log, final=True)
    after = source.parser.parse(b"".join(moved(record, NOW, 1) for record in records(log)), final=True)
    assert (after.observed, after.unparsed) == (before.observed, before.unparsed)
    if before.last_at is not None and source.name not in ("shipped", "collector"):  # their times are numbers
        assert datetime.fromtimestamp(after.last_at // 10**9, UTC) == NOW


def test_each_cycle_has_its_own_trace_ids() -> None:
    line = b"x 4f0c4f0c4f0c4f0c4f0c4f0c4f0c4f0c y\n"
    first, second = moved(line, NOW, 1), moved(line, NOW, 2)
    assert len({line, first, second}) == 3
    assert first == moved(line, NOW, 1)
    assert all(re.fullmatch(rb"x [0-9a-f]{32} y\n", moved_line) for moved_line in (first, second))


def test_a_traceback_stays_with_its_head() -> None:
    log = b"banner\n2026-11-23 08:53:08.1 ERROR x\nTraceback\n  File\n2026-11-23 08:53:09.1 INFO y\n"
    assert records(log) == [b"2026-11-23 08:53:08.1 ERROR x\nTraceback\n  File\n", b"2026-11-23 08:53:09.1 INFO y\n"]
    assert records(b"GET /v1/info 200 1\nGET /v1/meta 200 1\n") == [b"GET /v1/info 200 1\n", b"GET /v1/meta 200 1\n"]


def test_the_copies_grow_and_the_samples_stay(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (ROOT / "samples").glob("*.log")}
    logs = prepare(tmp_path)
    for tick in range(240):
        for log in logs:
            log.grow(tick / 2)
    assert {path: path.read_bytes() for path in (ROOT / "samples").glob("*.log")} == before
    for path, content in before.items():
        copy = (tmp_path / "samples" / path.name).read_bytes()
        assert copy.startswith(content)
        assert len(copy) > len(content) or path.name == "collector.log"
    paths = [path for source in load(tmp_path / "exporter.toml").sources for path in source.paths]
    assert all(path.startswith(f"{tmp_path}/samples/") for path in paths)


def test_a_growing_log_begins_again_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"2026-11-23 08:53:08 a\n2026-11-23 08:53:08 b\n")
    log = GrowingLog(path)
    for tick in range(400):
        log.grow(tick / 2)
    ends = [line[-1:] for line in path.read_bytes().splitlines()]
    assert len(ends) > 10
    assert ends == [b"a", b"b"] * (len(ends) // 2) + [b"a"] * (len(ends) % 2)
