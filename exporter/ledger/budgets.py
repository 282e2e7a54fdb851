"""Budgets: what was spent in a calendar window, in money or tokens.

A line's own time chooses the window it counts in, the clock chooses the window that is shown; so a late line of
October never counts in November. What is kept is by currency, and exchanged when it is shown: a rate may change,
or be added, without anything being lost.

Sums are taken over all sources. Where two logs tell of the same calls (the proxy's and the enterprise telemetry),
a budget names one of them with `match = { source = "…" }`.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

from exporter import catalogue as c
from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.money import Exchange, amount, currency
from exporter.ledger.prices import same_provider
from exporter.messages import unknown
from parsers.batch import Usage
from parsers.values.numbers import SECOND
from parsers.values.times import zone

TOKENS = "tokens"

_LABELS = frozenset({"source", "app_id", "provider", "model"})

#: Windows of a budget that are kept, the newest: enough for late lines and for a clock that was set wrong.
_KEPT_WINDOWS = 8

#: Elapsed share of a window below which its rate says nothing about its end.
_EARLY = 0.05


Text = Annotated[str, Meta(min_length=1)]

#: By the window's first nanosecond since the epoch, and by currency or TOKENS.
Spent = Mapping[tuple[int, str], int | Decimal]


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[budget]]`: a limit on money or tokens a calendar window; weeks begin on Monday (ISO 8601)."""

    name: Annotated[str, Meta(min_length=1, examples=["monthly"])]
    window: Literal["day", "week", "month"]
    unit: Annotated[str, Meta(min_length=1, examples=["USD"])]
    limit: Annotated[str, Meta(min_length=1, examples=["500"])]
    timezone: str = "UTC"
    match: dict[str, Text] = {}

    def __post_init__(self) -> None:
        for label in self.match.keys() - _LABELS:
            raise ValueError("match: " + unknown("label", label, _LABELS))
        zone(self.timezone)
        amount("limit", self.limit)
        if self.unit != TOKENS:
            currency(f'unit must be "{TOKENS}" or', self.unit)

    @property
    def key(self) -> str:
        """Name and definition: what was spent under another definition is another budget's."""
        return json.dumps([self.name, self.window, self.timezone, sorted(self.match.items())])

    def window_of(self, at: int) -> tuple[int, int]:
        """The first nanosecond of the window that holds a time, and that of the next window."""
        local = zone(self.timezone)
        first = datetime.fromtimestamp(at // SECOND, local).date()
        if self.window == "day":
            following = first + timedelta(days=1)
        elif self.window == "week":
            first -= timedelta(days=first.weekday())
            following = first + timedelta(days=7)
        else:
            first = first.replace(day=1)
            following = (first + timedelta(days=31)).replace(day=1)
        return _midnight(first, local), _midnight(following, local)

    def takes(self, source: str, usage: Usage) -> bool:
        """Whether the filter lets a usage through."""
        wanted = self.match
        return (
            wanted.get("source", source) == source
            and wanted.get("app_id", usage.app_id) == usage.app_id
            and wanted.get("model", usage.model) == usage.model
            and same_provider(wanted.get("provider", ""), usage.provider)
        )


class Budgets:
    """What was spent, by budget. Not locked: whoever owns it (the ledger) is."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self._windows: dict[str, tuple[int, int]] = {}  # the last one used: a line is nearly always in the same
        self.spent: dict[str, ChangeTracker[tuple[int, str], int | Decimal]] = {}
        self.configure(budgets)

    def configure(self, budgets: Iterable[Budget]) -> None:
        """Others from now on; one that was there before, by its definition, goes on from what it has spent."""
        self._budgets = [(budget, budget.key) for budget in budgets]
        self._filtering = [budget for budget, _ in self._budgets if budget.match.keys() - {"source"}]
        for _, key in self._budgets:
            self.spent.setdefault(key, ChangeTracker())

    def filters(self, source: str, usage: Usage) -> bool:
        """Whether a budget takes this usage for its app, provider or model."""
        return any(budget.takes(source, usage) for budget in self._filtering)

    def spend(self, source: str, usage: Usage, cost: Decimal | None, code: str, at: int) -> None:
        """Enters a usage and what it cost; `at` is its time, in nanoseconds."""
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0) + (usage.unsplit_tokens or 0)
        for budget, key in self._budgets:
            if not budget.takes(source, usage):
                continue
            start, end = self._windows.get(key, (0, 0))
            if not start <= at < end:
                start, _ = self._windows[key] = budget.window_of(at)
            _add(self.spent[key], (start, TOKENS), tokens)
            if cost is not None:
                _add(self.spent[key], (start, code), cost)

    def take_over(self, stored: Mapping[str, Spent]) -> list[str]:
        """Goes on from what was stored; one sentence for each budget that cannot."""
        told = []
        for key, spent in stored.items():
            if key in self.spent:
                self.spent[key].enter(spent)
            elif spent:
                told.append(f"budget {json.loads(key)[0]} is removed or defined anew: what it had spent is dropped")
        return told


def gauges(
    budgets: Iterable[Budget], exchange: Exchange, spent: Mapping[str, Spent], now: float
) -> dict[c.Metric, dict[tuple[str, ...], float]]:
    """The windows that `now`, in seconds since the epoch, lies in."""
    found: dict[c.Metric, dict[tuple[str, ...], float]] = {
        metric: {} for metric in (c.BUDGET_LIMIT, c.BUDGET_SPENT, c.BUDGET_PROJECTED, c.BUDGET_WINDOW_END)
    }
    for budget in budgets:
        start, end = budget.window_of(round(now * SECOND))
        labels = (budget.name, budget.window, budget.unit)
        value = float(_in_unit(budget, exchange, spent.get(budget.key, {}), start))
        found[c.BUDGET_LIMIT][labels] = float(budget.limit)
        found[c.BUDGET_SPENT][labels] = value
        found[c.BUDGET_WINDOW_END][labels] = end / SECOND
        elapsed = (now * SECOND - start) / (end - start)
        if elapsed >= _EARLY:
            found[c.BUDGET_PROJECTED][labels] = value / elapsed
    return found


def _midnight(day: date, local: tzinfo) -> int:
    """Where midnight does not exist (a clock put forward at it) this is the moment of the change."""
    return int(datetime(day.year, day.month, day.day, tzinfo=local).timestamp()) * SECOND


def _add(spent: ChangeTracker[tuple[int, str], int | Decimal], key: tuple[int, str], more: int | Decimal) -> None:
    if key in spent:
        spent[key] += more
        return
    spent[key] = more
    kept = sorted({start for start, _ in spent})[-_KEPT_WINDOWS:]
    for old in [old for old in spent if old[0] < kept[0]]:
        del spent[old]


def _in_unit(budget: Budget, exchange: Exchange, spent: Spent, start: int) -> int | Decimal:
    if budget.unit == TOKENS:
        return spent.get((start, TOKENS), 0)
    amounts = (
        exchange.convert(Decimal(value), code, budget.unit)
        for (at, code), value in spent.items()
        if at == start and code != TOKENS
    )
    return sum((value for value in amounts if value is not None), Decimal(0))
