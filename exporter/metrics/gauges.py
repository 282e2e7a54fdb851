"""The gauges that are computed for each scrape instead of being counted."""

import platform

from exporter import __version__
from exporter import catalogue as c
from exporter.config.settings import Config
from exporter.ledger import budgets
from exporter.ledger.ledger import Snapshot
from exporter.ledger.series import Labels
from parsers.access.routes import table as route_table
from parsers.batch import UNKNOWN


def computed_gauges(snapshot: Snapshot, config: Config, now: float) -> dict[c.Metric, dict[Labels, float]]:
    """The gauges that follow from a snapshot and the configuration alone. `now` is in seconds since the epoch."""
    routes = route_table(config.routes.extra)
    seen = sorted({labels[2] for labels in snapshot.counters[c.REQUESTS]})
    return {
        c.ACTIVE_REQUESTS: {(source,): float(number) for source, number in snapshot.active.items()},
        c.ROUTE_INFO: {(route, *routes.information(route)): 1.0 for route in seen},
        c.APP_INFO: {(app_id, app.name or UNKNOWN, app.team or UNKNOWN): 1.0 for app_id, app in config.apps.items()},
        c.LAST_LINE: {(source,): min(at, now) for source, at in snapshot.last_at.items()},
        **budgets.gauges(config.budgets, config.exchange, snapshot.spent, now),
    }


def build_information() -> dict[Labels, float]:
    """The value of `dify_exporter_build_info`."""
    return {(__version__, platform.python_version()): 1.0}
