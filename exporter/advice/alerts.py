"""Decides which of the shipped alerts can fire with the configured sources, and why the others cannot.

alerts.json is generated from rules/ (`make docs`). For each alert it has the ways in which the alert can fire; each way
is a list of metrics that must exist. Failure counters always exist, so there the list also has the kind of failure that
the rule selects. Some alerts compare the receiver with another source: `of_other_source` names the metrics of that one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TypeVar

import msgspec
from msgspec import Struct

from exporter import catalogue as c
from exporter.config.settings import Config
from exporter.ledger.budgets import TOKENS
from exporter.ledger.snapshot import Snapshot
from exporter.tail.source_config import SourceConfig
from parsers.batch import Batch
from parsers.parser import checked_call

K = TypeVar("K")

_PROXY = "put dify-exporter proxy in front of Dify's api (docs/proxy.md)"
_RECEIVER = "let Dify send its traces to dify-exporter receive (docs/receiver.md)"
_PROBES = (
    "they need probes of blackbox_exporter, which this exporter cannot see",
    "run blackbox_exporter as deploy/ does. Without a scrape job named dify-probe, DifyServiceDown always fires",
)
_TOKEN_SOURCES = f"{_RECEIVER}, {_PROXY}, or tail the enterprise telemetry"


def of_other_source(metric: str) -> str:
    """The name in alerts.json of a metric that another source than the receiver's log must report."""
    return f'{metric}{{source="other"}}'


#: By metric: the reason why an alert on it cannot fire if the metric does not exist, and the remedy.
_REMEDIES: Mapping[str, tuple[str, str]] = {
    c.REQUESTS.name: (
        "no source reports requests",
        "tail nginx's access log, or set ENABLE_REQUEST_LOGGING=true in Dify's api",
    ),
    c.ERRORS.name: ("no source reports errors of model providers", "tail the logs of Dify's api and worker"),
    c.TASKS_RECEIVED.name: (
        "no source reports Celery tasks that a worker received",
        "tail the log of Dify's worker, with LOG_LEVEL=INFO",
    ),
    f'{c.ERRORS.name}{{kind="task_failed"}}': ("no source reports Celery tasks", "tail the log of Dify's worker"),
    c.REQUEST_DURATION.name: ("no source reports durations", "use the dify-timed log_format of deploy/nginx"),
    c.TIME_TO_FIRST_TOKEN.name: ("no source reports times to the first token", _PROXY),
    c.CHECKPOINT_ERRORS.name: ("no state folder is configured", "set [exporter] state"),
    c.ACTIVE_REQUESTS.name: ("no source reports active requests", _PROXY),
    c.TOKENS_USED.name: ("no source reports tokens", _TOKEN_SOURCES),
    c.COST.name: ("no source reports cost", "add [[price]] tables (docs/money.md) for tokens that a source reports"),
    c.UNPRICED_TOKENS.name: ("no source reports tokens", _TOKEN_SOURCES),
    c.RECEIVER_ITEMS.name: ("no source is the log of dify-exporter receive", _RECEIVER),
    of_other_source(c.RUNS.name): (
        "no source but the receiver shows the runs, and this alert compares the two",
        "tail the log of Dify's worker",
    ),
    of_other_source(c.REQUESTS.name): (
        "no source but the receiver shows the runs, and this alert compares the two",
        "tail the log of Dify's worker, of dify-exporter proxy or of nginx",
    ),
    c.RUNS.name: ("no source reports runs", "tail the log of Dify's worker"),
    c.DROPPED_LINES.name: ("no source is the log of dify-exporter proxy", _PROXY),
    c.USAGE_MISSING.name: ("no source reports token usage", _TOKEN_SOURCES),
    c.BUDGET_LIMIT.name: (
        "no budget is configured for tokens or cost that a source reports",
        "add a [[budget]] to the configuration",
    ),
    "probe_success": _PROBES,
    "probe_ssl_earliest_cert_expiry": _PROBES,
}

#: Metrics of Prometheus and Alertmanager themselves, which exist in a stack like deploy/.
_PROMETHEUS_METRICS = frozenset(
    {"up", "ALERTS", "alertmanager_notification_requests_total", "alertmanager_notification_requests_failed_total"}
)


class Verdict(Struct, frozen=True):
    """Whether an alert can fire. `why` says why it cannot; it is "" for an alert that can.

    Each of `sources` alone can make it fire. `sources` is empty for an alert on the exporter or on Prometheus itself.
    """

    alert: str
    sources: tuple[str, ...] = ()
    why: str = ""


def available_metrics(snapshot: Snapshot, config: Config, sample: Callable[[str], Batch]) -> dict[str, frozenset[str]]:
    """The metrics of each source that have series, or will have them after the first event.

    Metrics without a source are under the key "". `sample` returns some records of a source.
    """
    found: dict[str, set[str]] = {source.name: set() for source in config.sources}
    durable: Mapping[c.Metric, Iterable[tuple[str, ...]]] = {**snapshot.counters, **snapshot.histograms}
    for metric, series in durable.items():
        if metric.labels[:1] == ("source",):
            for name in {labels[0] for labels in series} & found.keys():
                found[name].add(metric.name)
    for source in config.sources:
        metrics = found[source.name]
        metrics |= {*_implied(source, metrics, source.name in snapshot.active, sample(source.name))}
    own = {metric.name for metric in c.METRICS if metric.name.startswith("dify_exporter_")} | _PROMETHEUS_METRICS
    if not config.exporter.state:
        own -= {c.CHECKPOINT_ERRORS.name, c.CHECKPOINT_TIMESTAMP.name}
    reported = set().union(*found.values())
    if any((c.TOKENS_USED if budget.unit == TOKENS else c.COST).name in reported for budget in config.budgets):
        own |= {c.BUDGET_LIMIT.name, c.BUDGET_SPENT.name, c.BUDGET_PROJECTED.name}
    others = [metrics for metrics in found.values() if c.RECEIVER_ITEMS.name not in metrics]
    own |= {of_other_source(metric) for metrics in others for metric in metrics}
    return {"": frozenset(own), **{name: frozenset(metrics) for name, metrics in found.items()}}


def _implied(source: SourceConfig, found: set[str], active: bool, sample: Batch) -> Iterator[str]:
    """The further metrics that a source with the metrics `found` has."""
    if found & {c.REQUESTS.name, c.REQUEST_DURATION.name}:
        yield c.ROUTE_INFO.name
    if c.TOKENS_USED.name in found:
        yield c.USAGE_MISSING.name
        yield c.UNPRICED_TOKENS.name
    if active:
        yield c.ACTIVE_REQUESTS.name
        yield c.DROPPED_LINES.name
    for kind in checked_call(source.parser, "error_kinds", sample)[0]:
        yield f'{c.ERRORS.name}{{kind="{kind}"}}'
    if c.FAILED_REQUESTS.name in found:
        for reason in checked_call(source.parser, "failure_reasons", sample)[0]:
            yield f'{c.FAILED_REQUESTS.name}{{reason="{reason}"}}'


def evaluate(available: Mapping[str, frozenset[str]]) -> list[Verdict]:
    """The verdicts on all shipped alerts, in the order of the rules."""
    verdicts, rules = [], files("exporter.advice").joinpath("alerts.json").read_bytes()
    for alert, ways in msgspec.json.decode(rules, type=dict[str, list[list[str]]]).items():
        needs_source = not any(available[""].issuperset(way) for way in ways)
        sources = tuple(
            name
            for name, found in available.items()
            if needs_source and any((found | available[""]).issuperset(way) for way in ways)
        )
        verdicts.append(Verdict(alert, sources, _why(ways, available) if needs_source and not sources else ""))
    return verdicts


def summary(verdicts: Sequence[Verdict]) -> str:
    can_fire = sum(not verdict.why for verdict in verdicts)
    return f"{can_fire} of the {len(verdicts)} shipped alerts can fire with these sources"


def by_source(verdicts: Iterable[Verdict]) -> dict[tuple[str, ...], list[str]]:
    """The alerts that can fire, by their sources."""
    return _grouped((verdict.sources, verdict.alert) for verdict in verdicts if not verdict.why)


def by_reason(verdicts: Iterable[Verdict]) -> dict[str, list[str]]:
    """The alerts that cannot fire, by the reason."""
    return _grouped((verdict.why, verdict.alert) for verdict in verdicts if verdict.why)


def _grouped(pairs: Iterable[tuple[K, str]]) -> dict[K, list[str]]:
    found: dict[K, list[str]] = {}
    for key, alert in pairs:
        found.setdefault(key, []).append(alert)
    return found


def _why(ways: list[list[str]], available: Mapping[str, frozenset[str]]) -> str:
    """The reason why an alert cannot fire, for the source that lacks the fewest metrics.

    Among equals, a metric with a known remedy is preferred.
    """
    lacks = [
        [name for name in way if name not in found | available[""]] for way in ways for found in available.values()
    ]
    missing = min(lacks, key=lambda names: (len(names), not any(map(_remedy, names))))
    named = next(filter(_remedy, missing), missing[0])
    reason, remedy = _remedy(named) or (f"no source reports {named}", "see docs/metrics.md")
    is_elsewhere = any(named in found for found in available.values())
    together = " together with the other metrics of this alert" if is_elsewhere else ""
    return f"{reason}{together}; {remedy}"


def _remedy(name: str) -> tuple[str, str] | None:
    """The reason and remedy for a metric, if there are some for its kind of failure or for the metric itself."""
    return _REMEDIES.get(name) or _REMEDIES.get(name.partition("{")[0])
