"""Replay, the status page and PrometheusProto show quantiles within 5 % of exact, and exact sums, for any shape."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter import catalogue as c
from exporter.cli import main
from exporter.ledger.exponential import ZERO_INDEX, quantile
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.metrics.exposition import PROTOBUF, ScrapeOptions, render
from exporter.metrics.quantile import approximate
from exporter.status.history import History
from exporter.status.traffic import recent, route_rows
from parsers.dify import Dify
from tests.durations import Book, access_lines, books
from tests.exporter.metrics.metrics_proto import families, native_buckets

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def in_seconds(shown: str) -> float:
    """The number of a text such as `≈ 12.3 ms`."""
    _, number, unit = shown.split()
    return float(number.replace(",", "")) / (1000 if unit == "ms" else 1)


@pytest.fixture(params=[1, 2, 3])
def found(request: pytest.FixtureRequest) -> list[Book]:
    return books(request.param, 300)


def test_replay_shows_them(tmp_path: Path, found: list[Book]) -> None:
    (tmp_path / "api.log").write_text("".join(line + "\n" for line in access_lines(found)))
    run = CliRunner().invoke(main, ["replay", str(tmp_path / "api.log"), "--parser", "dify", "--output", "json"])
    rows = {row["route"]: row for row in json.loads(run.stdout)["dify"]["handler_durations"]}
    assert len(rows) == len(found) == 20
    for book in found:
        row = rows[book.route]
        assert row["count"] == len(book.durations)
        for name, q in QUANTILES.items():
            assert row[name] == pytest.approx(book.exact(q), rel=0.05)
            assert in_seconds(approximate(row[name])) == pytest.approx(book.exact(q), rel=0.05)


def test_the_page_and_protobuf_show_them(found: list[Book]) -> None:
    ledger, history, log = (
        Ledger(Limits(), lambda: 1e9),
        History(),
        "".join(line + "\n" for line in access_lines(found)).encode(),
    )
    lines = log.splitlines(keepends=True)
    for begin in range(0, len(lines), 700):
        ledger.enter("api", Dify().parse(b"".join(lines[begin : begin + 700])))
        if not begin:
            history.add(0.0, Ledger(Limits(), lambda: 1e9).snapshot(1e9))
    snapshot = ledger.snapshot(1e9)
    rows = route_rows(recent(snapshot, 60.0, history))
    shown = {row.route: row.p95 for row in rows}
    [family] = [
        each for each in families(render(snapshot, {}, ScrapeOptions(PROTOBUF))) if each.name == c.HANDLER_DURATION.name
    ]
    native = {pair.value: each.histogram for each in family.metric for pair in each.label if pair.name == "route"}
    for book in found:
        p95 = shown[book.route]
        assert p95 is not None
        assert in_seconds(approximate(p95)) == pytest.approx(book.exact(0.95), rel=0.05)
        histogram = native[book.route]
        assert histogram.sample_sum == sum(book.durations) / 10**9
        counts = {index - ZERO_INDEX: count for index, count in native_buckets(histogram).items()}
        for q in QUANTILES.values():
            assert quantile(q, counts) == pytest.approx(book.exact(q), rel=0.05)
