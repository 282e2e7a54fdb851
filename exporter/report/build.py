"""Builds a report: plain data, as `--output json` prints it. All other outputs are made from it."""

from collections.abc import Sequence
from typing import Any

from exporter.config.settings import Config
from exporter.ledger.calendar import Unit, span_of
from exporter.ledger.prices import Price
from exporter.ledger.series import Labels
from exporter.messages import unknown
from exporter.report.figures import Failures, Options, Row, Rows, figures_of
from exporter.report.gather import Dated, Gathered, incomplete, incomplete_before
from exporter.report.query import Query

Report = dict[str, Any]


def prices_of(models: Sequence[str], config: Config) -> dict[str, list[Price]]:
    """The prices of models, the newest first. A model can be written with its provider, as in `openai/gpt-4.1`.

    Raises ValueError for a model without a price.
    """
    found: dict[str, list[Price]] = {}
    for model in models:
        fitting = [price for price in config.prices if model in (price.model, f"{price.provider}/{price.model}")]
        if not fitting:
            raise ValueError("--what-if: " + unknown("model", model, {price.model for price in config.prices}))
        found[model] = sorted(fitting, key=lambda price: price.since, reverse=True)
    return found


def build(query: Query, gathered: Gathered, options: Options, now: int) -> Report:
    """`now` is the clock in nanoseconds. With `compare`, the query has both limits."""
    figures = figures_of(query.group)
    shown = [each for each in gathered.books if query.contains(each.begin)]
    rows = _rows(query, shown, options)
    data = [_labels(query, key) | row.as_data(figures, options.prices) for key, row in sorted(rows.rows.items())]
    totals = rows.total.as_data(figures, options.prices)
    failures, sentences = None, list(incomplete(gathered, shown, query, now))
    if options.compare:
        before = query.before()
        books = [each for each in gathered.books if before.contains(each.begin)]
        earlier, failures = _rows(before, books, options), Failures(books)
        data = _compared(query, before, (rows, earlier), options)
        totals["previous"] = earlier.total.as_data(figures, options.prices)
        sentences += incomplete_before(gathered, before)
    since, until = _limits(query, shown)
    return {
        "since": since,
        "until": until,
        "timezone": str(query.local),
        "by": query.by,
        "group": list(query.group),
        "rows": data,
        "totals": totals,
        "failures": Failures(shown).as_data(failures),
        "incomplete": [*sentences, *_unpriced(rows, options)],
    }


def _rows(query: Query, books: Sequence[Dated], options: Options) -> Rows:
    rows = Rows(query.group, options)
    for each in books:
        rows.add(query.time_of(each.begin), each.source, each.entries, each.day)
    return rows


def _labels(query: Query, key: Labels) -> dict[str, Any]:
    time, *values = key
    labels = dict(zip(query.group, values, strict=True))
    return labels if query.by == "total" else {"time": time, **labels}


def _compared(query: Query, before: Query, both: tuple[Rows, Rows], options: Options) -> list[dict[str, Any]]:
    """The rows of the report, each with the same bucket of the span before. A row may be in one of the spans only."""
    present, earlier = (rows.rows for rows in both)
    figures = figures_of(query.group)
    names = list(query.buckets())
    place = dict(zip(names, before.buckets(), strict=False))
    back = {old: new for new, old in place.items()}
    keys = {*present, *((back[key[0]], *key[1:]) for key in earlier if key[0] in back)}
    return [
        _labels(query, key)
        | present.get(key, Row()).as_data(figures, options.prices)
        | {"previous": earlier.get((place.get(key[0], ""), *key[1:]), Row()).as_data(figures, options.prices)}
        for key in sorted(keys, key=lambda key: (names.index(key[0]), key))
    ]


def _limits(query: Query, shown: Sequence[Dated]) -> tuple[str | None, str | None]:
    """The span of the report. Without limits it is that of its books."""
    since, until = query.since, query.until
    if shown:
        by: Unit = "hour" if query.by == "hour" else "day"
        since = shown[0].begin if since is None else since
        until = span_of(by, query.local, shown[-1].begin)[1] if until is None else until
    return tuple(None if at is None else query.moment(at).isoformat() for at in (since, until))  # type: ignore[return-value]


def _unpriced(rows: Rows, options: Options) -> list[str]:
    sentences = [
        f"what if {model}: {tokens:,} tokens have no price there, or are not known as input or output"
        for model, tokens in rows.unpriced.items()
    ]
    sentences += [
        f"what if {model}: at the price of prompts of at most {limit:,} tokens; the history does not hold their lengths"
        for model, prices in options.prices.items()
        for limit in {price.tiers[0].above for price in prices if price.tiers}
    ]
    sentences += [
        f"what if {model}: at the price outside its special hours; the history does not hold the hours"
        for model, prices in options.prices.items()
        if any(price.hours for price in prices)
    ]
    return sentences + [
        f"costs in {code} are not exchanged into {options.currency}: [exchange] has no rate"
        for code in sorted(rows.without_rate)
    ]
