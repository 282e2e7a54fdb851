"""The days of the status page: the sums of the history's books, counted as the verdict counts."""

from decimal import Decimal

from exporter.ledger.history import NO_DAY, History, HistoryConfig
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.status.traffic import DayRow, day_rows, today_row
from exporter.tail.position import Position, Window
from parsers.nginx import Nginx

NOW = 1_795_500_000.0  # 2026-11-24


def line(day: int, status: int, route: str = "/v1/info") -> bytes:
    return b'1.2.3.4 - - [%d/Nov/2026:10:00:00 +0000] "GET %s HTTP/1.1" %d 5 "-" "-"\n' % (day, route.encode(), status)


def test_days_are_summed_by_source() -> None:
    ledger = Ledger(Limits(), lambda: NOW)
    ledger.keep_history(History(HistoryConfig(), Limits(), lambda: NOW))
    parser, offset = Nginx(format="combined"), 0
    lines = (
        line(22, 200) * 3 + line(22, 502),
        line(23, 200) + line(23, 499) + line(23, 200, "/logo/a.png"),
        line(24, 200, "/logo/a.png"),
    )
    for data in lines:
        position = Position("/a", 1, 1, 1, offset)
        ledger.post(Window("nginx", "a", position, data), parser.parse(data))
        offset += len(data)
    rows = [(row.day, row.timezone, row.source, row.requests, row.failed) for row in day_rows(ledger.books())]
    assert rows == [("2026-11-23", "UTC", "nginx", 2, 0), ("2026-11-22", "UTC", "nginx", 4, 1)]


def test_money_tokens_and_durations_of_a_day() -> None:
    entries = {
        ("tokens", "app", "p", "m", "input"): 10,
        ("tokens", "app", "p", "m", "output"): 5,
        ("cost", "app", "p", "m", "USD"): Decimal("0.25"),
        ("cost", "other", "p", "m", "USD"): Decimal("0.5"),
        ("cost", "other", "p", "m", "CNY"): Decimal(1),
        ("durations", "/v1/info", "2xx"): {240: 99},
        ("durations", "static", "2xx"): {300: 9999},
    }
    (row,) = day_rows({("UTC", "2026-11-22", "proxy"): entries, ("UTC", NO_DAY, "proxy"): entries})
    assert (row.tokens, row.cost) == (15, (("CNY", Decimal(1)), ("USD", Decimal("0.75"))))
    assert row.p95 is not None
    assert 0.9 < row.p95 < 1.1


def test_the_newest_day_is_first_and_the_number_of_rows_is_bounded() -> None:
    books = {
        ("UTC", f"2026-11-{day:02}", f"s{n:02}"): {("tokens", "a", "p", "m", "input"): 1}
        for day in range(1, 9)
        for n in range(40)
    }
    rows = day_rows(books)
    assert len(rows) == 60
    assert [(row.day, row.source) for row in rows[:2]] == [("2026-11-08", "s00"), ("2026-11-08", "s01")]


def test_today_is_the_source_with_the_most_tokens_and_no_sum_of_sources() -> None:
    """The receiver, the proxy and the worker may report the same calls."""

    def row(day: str, source: str, tokens: int) -> DayRow:
        return DayRow(day, "Asia/Tokyo", source, 0, 0, None, tokens, ())

    now = 1_795_446_000.0  # 2026-11-24, 00:00 in Tokyo
    rows = (row("2026-11-24", "proxy", 7), row("2026-11-24", "receiver", 9), row("2026-11-23", "worker", 99))
    assert today_row(rows, now, "Asia/Tokyo") == rows[1]
    assert today_row(rows, now - 1, "Asia/Tokyo") == rows[2]
    assert today_row(rows, now, "UTC") is None
