"""Rates and quantiles, from several snapshots."""

from itertools import pairwise

from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.status.history import History, rates
from exporter.status.traffic import recent, route_rows, traffic_rows
from parsers import batch as b

NOW = 1_790_000_000.0
SECOND = 1_000_000_000


def new_ledger() -> Ledger:
    return Ledger(Limits(), lambda: NOW)


def request(status: str = "200", failure: str = "", seconds: float = 1.0, count: int = 1) -> b.Batch:
    durations = (round(seconds * SECOND),) * count
    return b.Batch(lines=count, records=(b.Request("GET", "/v1/info", status, failure, count, durations=durations),))


def test_points_are_close_at_first_and_cover_at_most_an_hour() -> None:
    ledger, history, at = new_ledger(), History(), 0.0
    lengths: dict[float, int] = {}
    while at < 7200:
        history.add(at, ledger.snapshot(NOW))
        lengths[at] = len(history.points["1h"])
        steps = [later.at - earlier.at for earlier, later in pairwise(history.points["1h"])]
        assert not steps[:-1] or max(steps) < 2.5 * min(steps[:-1])
        ledger.enter("s", request(count=round(2 * 128 * history.step())))
        at += history.step()
    assert lengths[3.0] == 4
    assert max(lengths.values()) < 250
    points = history.points["1h"]
    assert 3580 < points[-1].at - points[0].at <= 3600
    chart = rates(points, "s", "requests")
    assert chart[-1][0] == 0
    assert chart[0][0] > 3500
    assert {round(value / 128, 1) for _, value in chart} == {2.0}
    assert rates(points, "unknown", "requests") == []


def test_a_day_is_kept_in_bounded_memory() -> None:
    ledger, history, at = new_ledger(), History(), 0.0
    snapshot = ledger.snapshot(NOW)
    while at < 90_000:
        history.add(at, snapshot)
        assert len(history.points["24h"]) < 300
        at += history.step()
    points = history.points["24h"]
    assert 86_000 < points[-1].at - points[0].at <= 86_400
    steps = [later.at - earlier.at for earlier, later in pairwise(points)]
    assert max(steps) < 2.5 * 360
    assert 3580 < history.points["1h"][-1].at - history.points["1h"][0].at <= 3600


def test_routes_cover_the_last_minutes_or_everything_if_these_are_empty() -> None:
    ledger, history = new_ledger(), History()
    ledger.enter("s", request(count=100, seconds=0.02))
    history.add(0.0, ledger.snapshot(NOW))
    period = recent(ledger.snapshot(NOW), 60.0, history)
    span, (row,) = period.span, route_rows(period)
    assert (span, row.requests, row.rate) == (0.0, 100, 0.0)
    ledger.enter("s", request("500", "server_error", seconds=40, count=30))
    period = recent(ledger.snapshot(NOW), 60.0, history)
    span, (row,) = period.span, route_rows(period)
    assert (span, row.requests, row.failed, row.rate) == (60.0, 30, 30, 0.5)
    assert row.p95 is not None
    assert 30 < row.p95 < 60


def test_traffic_is_counted_as_the_alert_counts_it() -> None:
    ledger, history = new_ledger(), History()
    history.add(0.0, ledger.snapshot(NOW))
    ledger.enter("s", request(count=6))
    ledger.enter("s", request("502", "server_error", seconds=40, count=3))
    ledger.enter("s", request("504", "timeout", seconds=40, count=1))
    ledger.enter("s", request("499", "client_closed", count=2))
    ledger.enter("s", b.Batch(lines=100, records=(b.Request("GET", "static", "200", "", 100),)))
    ledger.enter("frontend", b.Batch(lines=100, records=(b.Request("GET", "static", "200", "", 100),)))
    (row,) = traffic_rows(recent(ledger.snapshot(NOW), 60.0, history))
    assert (row.source, row.requests, row.rate, row.failed, row.reason) == ("s", 12, 0.2, 4, "server_error")
    assert row.p95 is not None
    assert 38 < row.p95 < 42
