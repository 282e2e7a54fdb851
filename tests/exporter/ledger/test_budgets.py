"""Calendar windows, what counts in which, and what is shown when."""

from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import catalogue as c
from exporter.config.settings import Config
from exporter.ledger.budgets import Budget
from exporter.ledger.ledger import Ledger
from exporter.ledger.money import Exchange
from exporter.ledger.prices import Price
from exporter.ledger.series import Limits
from exporter.ledger.state import State
from exporter.metrics.gauges import computed_gauges
from parsers.batch import Batch, Usage

HOUR = 3600
DAY = 24 * HOUR


def moment(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def ns(text: str, zone: str = "UTC") -> int:
    return round(moment(text, zone)) * 10**9


def budget(unit: str = "USD", window: str = "month", limit: str = "100", **keys: object) -> Budget:
    return msgspec.convert({"name": "b", "window": window, "unit": unit, "limit": limit, **keys}, Budget)


class Till:
    """A ledger with budgets and a clock that is turned by hand."""

    def __init__(self, now: str, *budgets: Budget, rates: dict[str, str] | None = None) -> None:
        self.now = moment(now)
        exchange = Exchange({code: Decimal(rate) for code, rate in (rates or {}).items()})
        self.config = Config(budgets=budgets, exchange=exchange, prices=(Price("priced", "1", "2", "USD"),))
        self.ledger = self._ledger()

    def _ledger(self) -> Ledger:
        return Ledger(Limits(), lambda: self.now, None, self.config.prices, self.config.budgets)

    def turn(self, now: str) -> None:
        self.now = moment(now)

    def line(self, at: str | None, cost: str | None = "1", currency: str = "USD", source: str = "s", **keys) -> None:
        usage = Usage(
            at=None if at is None else ns(at), cost=cost and Decimal(cost), currency=currency,
            **{"input_tokens": 10, "output_tokens": 5, **keys},
        )  # fmt: skip
        self.ledger.enter(source, Batch(lines=1, records=(usage,)))

    def restart(self, *budgets: Budget) -> list[str]:
        """Through the bytes of the checkpoint."""
        state = msgspec.msgpack.encode(self.ledger.changes())
        self.config = msgspec.structs.replace(self.config, budgets=budgets or self.config.budgets)
        self.ledger = self._ledger()
        return self.ledger.restore(msgspec.msgpack.decode(state, type=State), ["s"])

    def shown(self, metric: c.Metric = c.BUDGET_SPENT) -> list[float]:
        return list(computed_gauges(self.ledger.snapshot(self.now), self.config, self.now)[metric].values())


@pytest.mark.parametrize(
    ("window", "zone", "at", "start", "end", "hours"),
    [
        ("day", "UTC", "2026-11-24T23:59:59", "2026-11-24", "2026-11-25", 24),
        ("day", "Europe/Berlin", "2026-03-29T12:00:00", "2026-03-29", "2026-03-30", 23),
        ("day", "Europe/Berlin", "2026-10-25T12:00:00", "2026-10-25", "2026-10-26", 25),
        ("day", "Asia/Shanghai", "2026-11-24T00:00:00", "2026-11-24", "2026-11-25", 24),
        ("week", "UTC", "2026-11-29T23:00:00", "2026-11-23", "2026-11-30", 168),
        ("week", "UTC", "2027-01-01T00:00:00", "2026-12-28", "2027-01-04", 168),
        ("week", "America/New_York", "2026-11-01T12:00:00", "2026-10-26", "2026-11-02", 169),
        ("month", "UTC", "2028-02-29T12:00:00", "2028-02-01", "2028-03-01", 29 * 24),
        ("month", "UTC", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01", 31 * 24),
        ("month", "Europe/Berlin", "2026-03-31T23:59:59", "2026-03-01", "2026-04-01", 31 * 24 - 1),
        ("day", "Africa/Cairo", "2026-04-24T12:00:00", "2026-04-24T01:00", "2026-04-25", 23),  # no midnight
    ],
)
def test_windows_are_of_the_calendar(window: str, zone: str, at: str, start: str, end: str, hours: int) -> None:
    found = budget(window=window, timezone=zone).window_of(ns(at, zone))
    assert found == (ns(start, zone), ns(end, zone))
    assert (found[1] - found[0]) // 10**9 == hours * HOUR


@given(
    st.sampled_from(["day", "week", "month"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata"]),
    st.integers(0, 4_000_000_000),
)
def test_windows_cover_all_time_without_overlap(window: str, zone: str, seconds: int) -> None:
    each = budget(window=window, timezone=zone)
    start, end = each.window_of(seconds * 10**9)
    assert start <= seconds * 10**9 < end
    assert each.window_of(start) == (start, end) == each.window_of(end - 1)
    assert each.window_of(end)[0] == end


def test_the_lines_time_chooses_the_window_and_the_clock_the_one_shown() -> None:
    till = Till("2026-11-30T23:00:00", budget())
    till.line("2026-11-30T22:59:59", "5")
    assert till.shown() == [5]
    till.turn("2026-12-01T00:00:10")
    assert till.shown() == [0]
    till.line("2026-11-30T23:59:59", "7")  # late
    till.line("2026-12-01T00:00:01", "2")
    assert till.shown() == [2]
    assert till.shown(c.BUDGET_WINDOW_END) == [moment("2027-01-01T00:00:00")]


def test_a_clock_that_goes_back_finds_the_old_window_as_it_was() -> None:
    till = Till("2026-11-30T23:59:00", budget())
    till.line("2026-11-30T23:58:00", "5")
    till.turn("2026-12-01T00:01:00")
    till.line("2026-12-01T00:00:30", "2")
    till.turn("2026-11-30T23:30:00")
    assert till.shown() == [5]
    till.turn("2026-12-01T00:02:00")
    assert till.shown() == [2]


def test_a_clock_set_to_1970_loses_nothing() -> None:
    till = Till("2026-11-30T12:00:00", budget())
    till.line("2026-11-30T11:00:00", "5")
    till.turn("1970-01-01T00:10:00")
    till.line("2026-11-30T12:00:01", "1")
    assert till.shown() == [1]
    till.turn("2026-11-30T12:01:00")
    assert till.shown() == [5]


def test_a_time_that_cannot_be_is_bounded() -> None:
    till = Till("2026-11-30T12:00:00", budget())
    till.line("2126-01-01T00:00:00", "3")
    till.line(None, "4")
    till.ledger.enter("s", Batch(lines=1, records=(Usage(cost=Decimal(9), currency="USD", at=-(10**20)),)))
    till.ledger.enter("s", Batch(lines=1, records=(Usage(model="priced", input_tokens=1, output_tokens=1, at=10**20),)))
    assert till.shown() == [pytest.approx(7.000003)]


def test_only_the_newest_windows_are_kept() -> None:
    till = Till("2026-11-30T12:00:00", budget(window="day"))
    for days in range(400):
        till.line((datetime.fromisoformat("2025-10-27") + timedelta(days=days)).isoformat())
    (spent,) = till.ledger.snapshot(till.now).spent.values()
    assert len({start for start, _ in spent}) == 8
    assert till.shown() == [1]


def test_the_projection_is_of_this_windows_rate_and_absent_at_its_beginning() -> None:
    till = Till("2026-11-02T11:59:59", budget())  # 1.4 of 30 days
    till.line("2026-11-01T00:00:00", "1")
    till.line("2026-11-02T00:00:00", "5")
    assert till.shown(c.BUDGET_PROJECTED) == []
    till.turn("2026-11-02T12:00:00")  # 5 %
    assert till.shown(c.BUDGET_PROJECTED) == [pytest.approx(120)]
    till.turn("2026-11-16T00:00:00")
    assert till.shown(c.BUDGET_PROJECTED) == [pytest.approx(12)]


def test_the_projection_is_of_the_time_that_was_seen() -> None:
    """A budget that begins in the middle of a month knows nothing of the time before."""
    till = Till("2026-11-15T00:00:00", budget())
    till.ledger.enter("s", Batch(lines=1, last_at=ns("2026-11-15T00:00:00")))
    till.turn("2026-11-16T00:00:00")
    till.line("2026-11-16T00:00:00", "3")
    assert till.shown(c.BUDGET_PROJECTED) == [], "it began a day ago"
    till.turn("2026-11-18T00:00:00")
    assert till.shown(c.BUDGET_PROJECTED) == [pytest.approx(3 + 13)], "1 a day, for 13 more days"
    assert till.restart() == []
    assert till.shown(c.BUDGET_PROJECTED) == [pytest.approx(16)]
    assert till.shown() == [3]
    till.turn("2026-12-04T00:00:00")
    till.line("2026-12-04T00:00:00", "3")
    assert till.shown(c.BUDGET_PROJECTED) == [pytest.approx(3 + 28)], "December is seen from its beginning"


def test_the_first_start_counts_what_the_logs_still_hold() -> None:
    till = Till("2026-11-16T00:00:00", budget())
    till.line("2026-11-11T00:00:00", "1")
    till.line("2026-11-15T00:00:00", "4")
    assert (till.shown(), till.shown(c.BUDGET_PROJECTED)) == ([5], [pytest.approx(5 + 15)])


def test_money_of_several_currencies_meets_where_a_rate_is_known() -> None:
    till = Till("2026-11-24T12:00:00", budget(), budget("RMB", name="yuan"), rates={"RMB": "0.14"})
    till.line("2026-11-24T00:00:00", "100", "RMB")
    till.line("2026-11-24T00:00:00", "1", "USD")
    till.line("2026-11-24T00:00:00", "1000", "JPY")
    till.line("2026-11-24T00:00:00", "1000", "unknown")
    assert till.shown() == [15, pytest.approx(100 + 1 / 0.14)]


def test_a_rate_that_is_added_later_holds_for_what_was_spent_before() -> None:
    till = Till("2026-11-24T12:00:00", budget())
    till.line("2026-11-24T00:00:00", "100", "RMB")
    assert till.shown() == [0]
    till.config = msgspec.structs.replace(till.config, exchange=Exchange({"RMB": Decimal("0.14")}))
    till.restart()
    assert till.shown() == [14]


def test_tokens_count_with_and_without_a_model_and_a_split() -> None:
    till = Till("2026-11-24T12:00:00", budget("tokens", limit="1000000"))
    till.line("2026-11-24T00:00:00", None)
    till.line("2026-11-24T00:00:00", None, input_tokens=None, output_tokens=None, unsplit_tokens=100)
    till.line("2026-11-24T00:00:00", None, model="unknown", input_tokens=1000, output_tokens=None)
    assert till.shown() == [1115]


def test_the_list_prices_what_the_log_does_not() -> None:
    till = Till("2026-11-24T12:00:00", budget())
    till.line("2026-11-24T00:00:00", None, model="priced", input_tokens=1_000_000, output_tokens=1_000_000)
    till.line("2026-11-24T00:00:00", None, model="unpriced")
    assert till.shown() == [3]


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        ({}, 4),
        ({"app_id": "a"}, 2),
        ({"provider": "openai"}, 3),
        ({"provider": "langgenius/openai/openai"}, 2),
        ({"model": "m2"}, 1),
        ({"source": "s"}, 3),
        ({"app_id": "a", "model": "m"}, 1),
        ({"app_id": "nobody"}, 0),
    ],
)
def test_a_filter_takes_what_fits_all_of_it(match: dict[str, str], taken: int) -> None:
    till = Till("2026-11-24T12:00:00", budget(match=match))
    at, openai = "2026-11-24T00:00:00", "langgenius/openai/openai"
    till.line(at, app_id="a", provider=openai, model="m")
    till.line(at, app_id="a", provider=openai, model="m2")
    till.line(at, app_id="b", provider="openai", model="m")
    till.line(at, app_id="b", provider="langgenius/deepseek/deepseek", model="m", source="other")
    assert till.shown() == [taken]


def test_what_was_spent_survives_a_restart_also_into_the_next_window() -> None:
    till = Till("2026-11-30T23:59:00", budget(), budget("tokens", name="t"))
    till.line("2026-11-30T23:58:00", "0.1")
    till.line("2026-11-30T23:58:00", "0.2")
    assert till.restart() == []
    assert till.shown() == [0.3, 30]
    till.turn("2026-12-01T00:05:00")
    assert till.restart() == []
    assert till.shown() == [0, 0]
    till.line("2026-11-30T23:59:59", "1")  # written while the exporter was away
    assert till.shown() == [0, 0]


def test_another_limit_or_unit_goes_on_and_another_definition_begins_anew() -> None:
    till = Till("2026-11-24T12:00:00", budget())
    till.line("2026-11-24T00:00:00", "5")
    assert till.restart(budget(limit="50")) == []
    assert till.shown() == [5]
    assert till.restart(budget("tokens")) == []
    assert till.shown() == [15]
    warnings = till.restart(budget(match={"app_id": "a"}))
    assert warnings == ["budget b was removed or redefined: its spent amounts are dropped"]
    assert till.shown() == [0]
