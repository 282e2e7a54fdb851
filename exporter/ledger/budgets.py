"""Budgets: the money or tokens spent in a calendar window.

The time of a line selects the window in which it counts, and the wall clock selects the window that is shown. So a
late line of October never counts in November. Amounts are kept per currency and exchanged when they are shown, so a
rate can be changed or added later.

A budget sums over all sources. If two logs report the same calls (the proxy's log and the enterprise telemetry), the
budget should select one of them with `match = { source = "…" }`.
"""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

from exporter import catalogue as c
from exporter.ledger.calendar import Spans, span_of
from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.money import Amount, Exchange, amount, currency
from exporter.ledger.prices import same_provider
from exporter.messages import unknown
from parsers.batch import Usage
from parsers.values.numbers import SECOND
from parsers.values.times import zone

TOKENS = "tokens"

#: In place of a currency: the earliest event time of a window that was read, in nanoseconds since the epoch.
SEEN = "seen"

_LABELS = frozenset({"source", "app_id", "provider", "model"})

#: The newest windows of a budget that are kept: enough for late lines and for a clock that was set wrong.
_KEPT_WINDOWS = 8

#: While less than this share of a window was seen, no projection is shown.
_EARLY = 0.05


Text = Annotated[str, Meta(min_length=1)]

#: Amounts by the start of the window (nanoseconds since the epoch) and by currency or TOKENS; and SEEN.
Spent = Mapping[tuple[int, str], int | Decimal]


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[budget]]`: a limit on money or tokens per calendar window. Weeks begin on Monday (ISO 8601)."""

    name: Annotated[str, Meta(min_length=1, examples=["monthly"])]
    window: Literal["day", "week", "month"]
    unit: Annotated[str, Meta(min_length=1, examples=["USD"])]
    limit: Annotated[Amount, Meta(examples=["500"])]
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
        """Name and definition. A redefined budget has another key, so it does not inherit the spent amounts."""
        return json.dumps([self.name, self.window, self.timezone, sorted(self.match.items())])

    def window_of(self, at: int) -> tuple[int, int]:
        """The start of the window that contains the time `at`, and the start of the next window, in nanoseconds."""
        return span_of(self.window, zone(self.timezone), at)

    def includes(self, source: str, usage: Usage) -> bool:
        wanted = self.match
        return (
            wanted.get("source", source) == source
            and wanted.get("app_id", usage.app_id) == usage.app_id
            and wanted.get("model", usage.model) == usage.model
            and same_provider(wanted.get("provider", ""), usage.provider)
        )


class Budgets:
    """The spent amounts of all budgets. Not thread-safe: the ledger locks."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self.spent: dict[str, ChangeTracker[tuple[int, str], int | Decimal]] = {}
        self.configure(budgets)

    def configure(self, budgets: Iterable[Budget]) -> None:
        """Replace the budgets. A budget with an unchanged definition keeps its spent amounts."""
        self._budgets = [(each, each.key, Spans(each.window, zone(each.timezone))) for each in budgets]
        self._filtering = [budget for budget, _, _ in self._budgets if budget.match.keys() - {"source"}]
        for _, key, _ in self._budgets:
            self.spent.setdefault(key, ChangeTracker())

    @property
    def has_filters(self) -> bool:
        return bool(self._filtering)

    def filters(self, source: str, app_id: str, provider: str, model: str) -> bool:
        """Whether a budget with a filter on app, provider or model includes the usages with these labels."""
        usage = Usage(app_id, provider, model)
        return any(budget.includes(source, usage) for budget in self._filtering)

    def windows(self, at: int) -> tuple[int, ...]:
        """The starts of the windows of all budgets that contain the time `at`, in nanoseconds."""
        return tuple(window_of(at)[0] for _, _, window_of in self._budgets)

    def spend(self, source: str, usage: Usage, cost: Decimal | None, code: str, at: int) -> None:
        """Add a usage and its cost in the currency `code`. `at` is its time in nanoseconds."""
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0) + (usage.unsplit_tokens or 0)
        for budget, key, window_of in self._budgets:
            if not budget.includes(source, usage):
                continue
            start, _ = window_of(at)
            _add(self.spent[key], (start, TOKENS), tokens)
            if cost is not None:
                _add(self.spent[key], (start, code), cost)

    def note_time(self, at: int) -> None:
        """Note that a line of the time `at` (nanoseconds) was read: each budget knows what was spent from then on."""
        for _, key, window_of in self._budgets:
            seen, spent = (window_of(at)[0], SEEN), self.spent[key]
            if at < spent.get(seen, at + 1):
                spent.pop(seen, None)
                _add(spent, seen, at)

    def restore(self, stored: Mapping[str, Spent]) -> list[str]:
        """Restore stored amounts. Returns a warning for each budget that no longer exists."""
        warnings = []
        for key, spent in stored.items():
            if key in self.spent:
                self.spent[key].enter(spent)
            elif spent:
                warnings.append(f"budget {json.loads(key)[0]} was removed or redefined: its spent amounts are dropped")
        return warnings


def gauges(
    budgets: Iterable[Budget], exchange: Exchange, spent: Mapping[str, Spent], now: float
) -> dict[c.Metric, dict[tuple[str, ...], float]]:
    """The gauges of each budget, for the window that contains `now` (seconds since the epoch)."""
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
        seen = now * SECOND - _seen_from(spent.get(budget.key, {}), start)
        if seen / (end - start) >= _EARLY:
            found[c.BUDGET_PROJECTED][labels] = value + value / seen * (end - now * SECOND)
    return found


def _seen_from(spent: Spent, start: int) -> int:
    """The time from which on a window was read: its start if an earlier window was read, else its first line.

    An older exporter stored no such time; its windows count as read from their start.
    """
    if any(at < start for at, _ in spent):
        return start
    return int(spent.get((start, SEEN), start))


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
        if at == start and code not in (TOKENS, SEEN)
    )
    return sum((value for value in amounts if value is not None), Decimal(0))
