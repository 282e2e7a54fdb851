"""The verdict at the top of the status page: what is wrong now, one sentence for each fault.

The limits are those of the shipped alerts (rules/thresholds.yml); a test compares them.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from exporter.messages import counted, some
from exporter.status import humanize
from exporter.status.rows import Status
from exporter.status.traffic import TrafficRow

FAILURE_RATIO = 0.05
MINIMUM_REQUESTS = 10
MINIMUM_FAILURES = 3
UNPARSED_RATIO = 0.1
MINIMUM_LINES = 50
BUDGET_SPENT_RATIO = 0.8
BUDGET_PROJECTED_RATIO = 1.0

_MAX_NAMES = 3

Level = Literal["bad", "waiting", "good"]
_FAULTS: tuple[Level, ...] = ("bad", "waiting")


class Finding(Struct, frozen=True):
    """A sentence of the verdict. `anchor` is the id of the section that shows more, or ""."""

    level: Level
    sentence: str
    anchor: str = ""


class Overview(Struct, frozen=True):
    """The verdict: the worst level of its findings, a headline of a few words, and the findings, the worst first."""

    level: Level
    headline: str
    findings: tuple[Finding, ...]


def overview(status: Status) -> Overview:
    """The verdict on everything that the page shows."""
    found = [*_exporter(status), *_sources(status), *_traffic(status), *_budgets(status), *_unparsed(status)]
    bad = [finding for finding in found if finding.level == "bad"]
    warnings = [finding for finding in found if finding.level == "waiting"]
    headline = ", ".join(
        counted(len(found), name) for found, name in ((bad, "problem"), (warnings, "warning")) if found
    )
    if bad:
        return Overview("bad", headline, (*bad, *warnings))
    if not status.ready:
        return Overview("waiting", "reading existing logs", tuple(warnings))
    if warnings:
        return Overview("waiting", headline, tuple(warnings))
    if not status.traffic:
        sentence = "No source has reported a request yet, so nothing can be said about Dify."
        return Overview("waiting", "no requests yet", (Finding("waiting", sentence),))
    worst = max(status.traffic, key=lambda row: row.failed / row.requests)
    count, failed = len(status.sources), humanize.share(worst.failed, worst.requests)
    up = "The source is up" if count == 1 else f"All {count} sources are up"
    sentence = f"{up}, and {failed} of the requests failed {period_words(status)}."
    return Overview("good", "no problem found", (Finding("good", sentence),))


def period_words(status: Status) -> str:
    """Which time the figures cover."""
    return f"in the last {humanize.age(status.span)}" if status.span else "since the first line"


def traffic_level(status: Status, row: TrafficRow) -> Level:
    """Bad if the alert DifyHighErrorRate would fire on these requests.

    Failures that are few, or older than the last minutes, are a warning.
    """
    if row.failed <= FAILURE_RATIO * row.requests:
        return "good"
    is_enough = row.requests >= MINIMUM_REQUESTS and row.failed >= MINIMUM_FAILURES
    return "bad" if is_enough and status.span else "waiting"


def worst_traffic(status: Status) -> TrafficRow | None:
    """The source with the worst level and, within it, the largest share of failures; None without requests.

    Among equals it is the first one, which has the most requests.
    """

    def weight(row: TrafficRow) -> tuple[bool, bool, float]:
        level = traffic_level(status, row)
        return level == "bad", level == "waiting", row.failed / row.requests

    return max(status.traffic, key=weight, default=None)


def _exporter(status: Status) -> Iterator[Finding]:
    if not status.ready:
        done, known = map(humanize.size, status.progress)
        sentence = f"The first pass has read {done} of {known}. Metrics are available when it is complete."
        yield Finding("waiting", sentence)
    if status.reload_problems:
        loaded = humanize.age(status.now - status.loaded_at)
        yield Finding(
            "bad",
            "The last reload failed: the new configuration was refused for the reasons below. "
            f"The configuration that was loaded {loaded} ago stays active.",
        )


def _sources(status: Status) -> Iterator[Finding]:
    down = [row for row in status.sources if not row.up]
    if not status.sources:
        yield Finding("waiting", "The configuration has no source, so nothing is read.", "sources")
    elif len(down) == 1:
        reasons = ", ".join(down[0].errors)
        why = f" ({reasons})" if reasons else ""
        yield Finding("bad", f"Source {down[0].name} is down{why}.", "sources")
    elif down:
        names = some([row.name for row in down], _MAX_NAMES)
        yield Finding("bad", f"{len(down)} of {len(status.sources)} sources are down: {names}.", "sources")


def _traffic(status: Status) -> Iterator[Finding]:
    for level in _FAULTS:
        rows = [row for row in status.traffic if traffic_level(status, row) == level]
        if len(rows) > _MAX_NAMES:
            rows.sort(key=lambda row: row.failed / row.requests, reverse=True)
            shares = [f"{humanize.share(row.failed, row.requests)} in {row.source}" for row in rows]
            sentence = f"Requests failed in {len(rows)} sources {period_words(status)}: {some(shares, _MAX_NAMES)}."
            yield Finding(level, sentence, "requests")
            continue
        for row in rows:
            share = humanize.share(row.failed, row.requests)
            counts = f"{row.failed:,} of {row.requests:,}. The most frequent reason is {row.reason.replace('_', ' ')}"
            sentence = f"{share} of the requests in source {row.source} failed {period_words(status)}: {counts}."
            yield Finding(level, sentence, "requests")


def _budgets(status: Status) -> Iterator[Finding]:
    for row in status.budgets:
        limit = f"{humanize.amount(row.limit, row.unit)} {row.unit} per {row.window}"
        used = f"{humanize.share(row.spent, row.limit)} of {limit}"
        if row.is_overspent:
            yield Finding("bad", f"Budget {row.name} is overspent: {used}.", "tokens-and-cost")
        elif row.projected is not None and row.projected > BUDGET_PROJECTED_RATIO * row.limit:
            projected = f"{humanize.share(row.projected, row.limit)} of {limit}"
            sentence = (
                f"Budget {row.name} will be overspent if spending continues at this rate: {projected} is projected."
            )
            yield Finding("waiting", sentence, "tokens-and-cost")
        elif row.spent > BUDGET_SPENT_RATIO * row.limit:
            yield Finding("waiting", f"Budget {row.name} is almost spent: {used}.", "tokens-and-cost")


def _unparsed(status: Status) -> Iterator[Finding]:
    for row in status.sources:
        lines, unparsed = row.totals.lines, row.totals.unparsed
        if lines >= MINIMUM_LINES and unparsed > UNPARSED_RATIO * lines:
            share = humanize.share(unparsed, lines)
            sentence = f"{share} of the lines of source {row.name} do not match its format."
            yield Finding("waiting", sentence, "unparsed-lines")
