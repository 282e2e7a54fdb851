"""Rates, quantiles and what today has cost, from snapshots a while apart."""

from exporter.history import History, rates
from exporter.ledger import Ledger
from exporter.series import Limits
from exporter.status import TODAY, route_rows, today
from parsers import batch as b

NOW = 1_790_000_000.0
SECOND = 1_000_000_000


def ledger() -> Ledger:
    return Ledger(Limits(), lambda: NOW, budgets=[TODAY])


def request(status: str = "200", failure: str = "", seconds: float = 1.0, count: int = 1) -> b.Batch:
    durations = (round(seconds * SECOND),) * count
    return b.Batch(lines=count, records=(b.Request("GET", "/v1/info", status, failure, count, durations=durations),))


def test_a_point_each_step_and_never_more_than_an_hour_of_them() -> None:
    books, history = ledger(), History()
    for number in range(400):
        books.enter("s", request(count=30))
        history.add(number * 15.0, books.snapshot(NOW))
    points = history.points()
    assert len(points) == 241
    assert set(rates(points, "s", "requests")) == {2.0}
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
    assert today(books.snapshot(NOW), NOW) == {"tokens": 15}
