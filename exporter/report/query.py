"""What a report shows: the span of time, its buckets, and the labels of its rows."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from msgspec import Struct, structs

from exporter.ledger.calendar import midnight, span_of
from exporter.replay.event_times import Span
from parsers.values.numbers import SECOND

By = Literal["total", "month", "week", "day", "hour"]

GROUPS = (
    "source", "app_id", "app", "team", "provider", "model", "kind", "route", "status_class", "reason",
)  # fmt: skip


class Query(Struct, frozen=True):
    """The rows of a report. `since` and `until` are in nanoseconds, [since, until); None where there is no limit."""

    local: tzinfo
    by: By = "total"
    group: tuple[str, ...] = ("source",)
    since: int | None = None
    until: int | None = None

    def contains(self, at: int) -> bool:
        return Span(self.since, self.until).contains(at)

    @property
    def limits(self) -> tuple[int, int]:
        """`since` and `until` of a query that has both."""
        assert self.since is not None
        assert self.until is not None
        return self.since, self.until

    def time_of(self, at: int) -> str:
        """The name of the bucket that contains a time: the beginning of the bucket in the report's time zone."""
        if self.by == "total":
            return ""
        begin, _ = span_of(self.by, self.local, at)
        return self.name(begin)

    def name(self, begin: int) -> str:
        moment = self.moment(begin)
        if self.by == "hour":
            return moment.isoformat(timespec="minutes")
        if self.by == "week":
            year, week, _ = moment.isocalendar()
            return f"{year}-W{week:02}"
        return moment.strftime("%Y-%m") if self.by == "month" else moment.date().isoformat()

    def moment(self, at: int) -> datetime:
        return datetime.fromtimestamp(at // SECOND, UTC).astimezone(self.local)

    def buckets(self) -> Iterator[str]:
        """The names of all buckets of the span, which must have both limits."""
        at, until = self.limits
        if self.by == "total":
            yield ""
            return
        while at < until:
            begin, end = span_of(self.by, self.local, at)
            yield self.name(begin)
            at = end

    def before(self) -> "Query":
        """The same query for the span before, of the same length. Months are compared with months."""
        since, until = self.limits
        begin, end = self.moment(since), self.moment(until)
        if not self._is_midnight(since) or not self._is_midnight(until):
            return structs.replace(self, since=2 * since - until, until=since)
        if begin.day == end.day == 1:
            months = (end.year - begin.year) * 12 + end.month - begin.month
            month = begin.year * 12 + begin.month - 1 - months
            first = begin.date().replace(year=month // 12, month=month % 12 + 1)
        else:
            first = begin.date() - (end.date() - begin.date())
        return structs.replace(self, since=midnight(first, self.local), until=since)

    def whole_days(self) -> "Query":
        """The same query for whole days: the first and the last day are whole."""

        def rounded(at: int | None, up: bool) -> int | None:
            if at is None or self._is_midnight(at):
                return at
            day = self.moment(at).date()
            return midnight(day + timedelta(days=1) if up else day, self.local)

        return structs.replace(self, since=rounded(self.since, up=False), until=rounded(self.until, up=True))

    def _is_midnight(self, at: int) -> bool:
        return midnight(self.moment(at).date(), self.local) == at
