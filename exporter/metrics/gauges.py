"""Which metrics a scrape shows, in any of its forms, and the gauges that are computed for it, not counted."""

import platform
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from exporter import __version__
from exporter import catalogue as c
from exporter.config.settings import Config
from exporter.ledger import budgets
from exporter.ledger.series import Labels
from exporter.ledger.snapshot import Snapshot
from parsers.access.routes import table as route_table
from parsers.batch import UNKNOWN

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

    from exporter.tail.source import Source


_ENDINGS = ("", "_bucket", "_count", "_sum")

#: The values of metrics that are not durable, by metric and label values.
Gauges = Mapping[c.Metric, Mapping[Labels, float]]


def selected(snapshot: Snapshot, gauges: Gauges, names: Container[str]) -> Iterator[c.Metric]:
    """The metrics that have series. If `names` is not empty, only those with such a name or a sample of such a name."""
    for metric in c.METRICS:
        if names and not any(metric.name + ending in names for ending in _ENDINGS):
            continue
        if snapshot.counters.get(metric) or gauges.get(metric) or snapshot.histograms.get(metric):
            yield metric


def of_process(collectors: Iterable["Collector"], names: Container[str]) -> Iterator["Metric"]:
    for family in (family for collector in collectors for family in collector.collect()):
        if not names or family.name in names or any(sample.name in names for sample in family.samples):
            yield family


#: A source is catching up if its backlog is larger or its newest event is older.
_CATCHING_UP_BYTES = 1 << 20
_CATCHING_UP_SECONDS = 10.0


def computed_gauges(snapshot: Snapshot, config: Config, now: float) -> dict[c.Metric, dict[Labels, float]]:
    """The gauges that follow from a snapshot and the configuration alone. `now` is in seconds since the epoch."""
    routes = route_table(config.routes.extra)
    requests = *snapshot.counters[c.REQUESTS], *snapshot.histograms[c.REQUEST_DURATION]  # some are only timed
    seen = sorted({labels[2] for labels in requests})
    return {
        c.ACTIVE_REQUESTS: {(source,): float(number) for source, number in snapshot.active.items()},
        c.ROUTE_INFO: {(route, *routes.information(route)): 1.0 for route in seen},
        c.APP_INFO: {(app_id, app.name or UNKNOWN, app.team or UNKNOWN): 1.0 for app_id, app in config.apps.items()},
        c.LAST_LINE: {(source,): min(at, now) for source, at in snapshot.last_at.items()},
        **budgets.gauges(config.budgets, config.exchange, snapshot.spent, now),
    }


def source_gauges(sources: Iterable["Source"], snapshot: Snapshot, now: float) -> dict[c.Metric, dict[Labels, float]]:
    """The gauges of the running sources. `now` is in seconds since the epoch."""
    running = list(sources)
    return {
        c.SOURCE_UP: {(source.name,): float(source.up) for source in running},
        c.SOURCE_RECOGNISED: {(source.name,): float(source.recognition.is_recognised) for source in running},
        c.SOURCE_FILES: {(source.name,): float(source.files) for source in running},
        c.LAG_BYTES: {(source.name,): float(source.lag) for source in running},
        c.CATCHING_UP: {(source.name,): float(_is_catching_up(source, snapshot, now)) for source in running},
    }


def _is_catching_up(source: "Source", snapshot: Snapshot, now: float) -> bool:
    """Whether a source is behind. An old newest event without a backlog only means that the log is quiet."""
    backlog = source.backlog
    return backlog > _CATCHING_UP_BYTES or (
        backlog > 0 and now - snapshot.last_at.get(source.name, now) > _CATCHING_UP_SECONDS
    )


def reload_gauges(is_successful: bool, loaded_at: float) -> dict[c.Metric, dict[Labels, float]]:
    """The gauges of this process and its configuration. `loaded_at` is in seconds since the epoch."""
    return {
        c.BUILD_INFO: {(__version__, platform.python_version()): 1.0},
        c.RELOAD_SUCCESSFUL: {(): float(is_successful)},
        c.RELOAD_TIMESTAMP: {(): loaded_at},
    }


def checkpoint_gauges(errors: int, stored_at: float) -> dict[c.Metric, dict[Labels, float]]:
    """`stored_at` is in seconds since the epoch."""
    return {c.CHECKPOINT_ERRORS: {(): float(errors)}, c.CHECKPOINT_TIMESTAMP: {(): stored_at}}
