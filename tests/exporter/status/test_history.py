"""Rates, quantiles and what today has cost, from snapshots a while apart."""

from itertools import pairwise

from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.status.history import History, rates
from exporter.status.rows import TODAY_BUDGET, route_rows, spent_today
from parsers import batch as b

NOW = 1_790_000_000.0
SECOND = 1_000_000_000


def ledger() -> Ledger:
    return Ledger(Limits(), lambda: NOW, budgets=[TODAY_BUDGET])


def request(status: str = "200", failure: str = "", seconds: float = 1.0, count: int = 1) -> b.Batch:
    durations = (round(seconds * SECOND),) * count
    return b.Batch(lines=count, records=(b.Request("GET", "/v1/info", status, failure, count, durations=durations),))


def test_points_are_close_at_first_and_never_more_than_an_hour_of_them() -> None:
    books, history, at = ledger(), History(), 0.0
    lengths: dict[float, int] = {}
    while at < 7200:
        history.add(at, books.snapshot(NOW))
        lengths[at] = len(history.points())
        steps = [later.at - earlier.at for earlier, later in pairwise(history.points())]
        assert not steps[:-1] or max(steps) < 2.5 * min(steps[:-1])
        books.enter("s", request(count=round(2 * 128 * history.step())))
        at += history.step()
    assert lengths[3.0] == 4
    assert max(lengths.values()) < 250
    points = history.points()
    assert 3580 < points[-1].at - points[0].at <= 3600
    charted = rates(points, "s", "requests")
    assert charted[-1][0] == 0
    assert charted[0][0] > 3500
    assert {round(value / 128, 1) for _, value in charted} == {2.0}
    assert rates(points, "unknown", "requests") == []


def test_routes_are_of_the_last_minutes_and_of_everything_where_those_were_quiet() -> None:
    books, history = ledger(), History()
    books.enter("s", request(count=100, seconds=0.02))
    history.add(0.0, books.snapshot(NOW))
    span, (row,) = route_rows(books.snapshot(NOW), 60.0, history)
    assert (span, row.requests, row.rate) == (0.0, 100, 0.0)
    books.enter("s", request("500", "server_error", seconds=40, count=30))
    span, (row,) = route_rows(books.snapshot(NOW), 60.0, history)
    assert (span, row.requests, row.failed, row.rate) == (60.0, 30, 30, 0.5)
    assert row.p95 is not None
    assert 30 < row.p95 < 60


def test_today_is_what_the_lines_of_today_tell() -> None:
    books = ledger()
    for at in (NOW, NOW - 86400):
        usage = b.Usage("app", "p", "m", 10, 5, at=round(at * SECOND))
        books.enter("s", b.Batch(records=(usage,), last_at=round(at * SECOND)))
    assert spent_today(books.snapshot(NOW), NOW) == {"tokens": 15}
