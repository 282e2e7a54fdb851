"""Which of the shipped alerts can fire with what these sources tell, and why the others cannot.

alerts.json is derived from rules/ (`make docs`): by alert the ways in which it can fire, each a list of metrics; of
failures, which exist from the first moment, also the kind that a rule asks for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files

import msgspec
from msgspec import Struct

from exporter import catalogue as c
from exporter.config.settings import Config, SourceConfig
from exporter.ledger.budgets import TOKENS
from exporter.ledger.ledger import Snapshot
from parsers.batch import Batch

_PROXY = "put dify-exporter proxy in front of Dify's api (docs/proxy.md)"

#: What is absent where a metric is, and how to get it.
_REMEDIES: Mapping[str, tuple[str, str]] = {
    c.REQUESTS.name: ("requests", "tail nginx's access log, or set ENABLE_REQUEST_LOGGING=true in Dify's api"),
    c.ERRORS.name: ("errors of model providers", "tail the logs of Dify's api and worker"),
    c.REQUEST_DURATION.name: ("durations", "use the dify-timed log_format of deploy/nginx"),
    c.TIME_TO_FIRST_TOKEN.name: ("times to the first token", _PROXY),
    c.CHECKPOINT_ERRORS.name: ("a state", "name a folder for it: [exporter] state"),
    c.ACTIVE_REQUESTS.name: ("active requests", _PROXY),
    c.TOKENS_USED.name: ("tokens", f"{_PROXY}, or tail the enterprise telemetry"),
    c.USAGE_MISSING.name: ("token usage", f"{_PROXY}, or tail the enterprise telemetry"),
    c.BUDGET_LIMIT.name: ("a budget, with tokens or cost to count in it", "add a [[budget]] to the configuration"),
    "probe_success": (
        "probes",
        "run blackbox_exporter as deploy/ does: without it DifyServiceDown fires, for nobody asks for Dify; "
        "this exporter cannot see whether you do",
    ),
    "probe_ssl_earliest_cert_expiry": ("probes", "run blackbox_exporter as deploy/ does"),
}

#: What Prometheus and Alertmanager have where deploy/ is followed.
_GIVEN = frozenset(
    {"up", "ALERTS", "alertmanager_notification_requests_total", "alertmanager_notification_requests_failed_total"}
)


class Verdict(Struct, frozen=True):
    """`sources` can make it fire, each alone; none are needed for what the exporter or Prometheus says of itself.
    `why` is "" for an alert that can fire.
    """

    alert: str
    sources: tuple[str, ...] = ()
    why: str = ""


def live(snapshot: Snapshot, config: Config, sample: Callable[[str], Batch]) -> dict[str, frozenset[str]]:
    """By source the metrics that have series, or get some as soon as there is reason; those of no source under "".

    `sample` gives some records of a source.
    """
    found: dict[str, set[str]] = {source.name: set() for source in config.sources}
    durable: Iterable[tuple[c.Metric, Iterable[tuple[str, ...]]]] = (
        *snapshot.counters.items(),
        *snapshot.histograms.items(),
    )
    for metric, series in durable:
        if metric.labels[:1] == ("source",):
            for name in {labels[0] for labels in series} & found.keys():
                found[name].add(metric.name)
    for source in config.sources:
        of = found[source.name]
        of |= {*_implied(source, of, source.name in snapshot.active, sample(source.name))}
    own = _of_no_source(config, set().union(*found.values()))
    return {"": own, **{name: frozenset(of) for name, of in found.items()}}


def _implied(source: SourceConfig, found: set[str], active: bool, sample: Batch) -> Iterator[str]:
    """What a source with these metrics has besides."""
    if c.REQUESTS.name in found:
        yield c.ROUTE_INFO.name
    if c.TOKENS_USED.name in found:
        yield c.USAGE_MISSING.name
    if active:
        yield c.ACTIVE_REQUESTS.name
    for kind in source.parser.error_kinds(sample):
        yield f'{c.ERRORS.name}{{kind="{kind}"}}'
    if c.FAILED_REQUESTS.name in found:
        for reason in source.parser.failure_reasons(sample):
            yield f'{c.FAILED_REQUESTS.name}{{reason="{reason}"}}'


def _of_no_source(config: Config, found: set[str]) -> frozenset[str]:
    own = {metric.name for metric in c.METRICS if metric.name.startswith("dify_exporter_")}
    if not config.exporter.state:
        own -= {c.CHECKPOINT_ERRORS.name, c.CHECKPOINT_TIMESTAMP.name}
    if any((c.TOKENS_USED if budget.unit == TOKENS else c.COST).name in found for budget in config.budgets):
        own |= {c.BUDGET_LIMIT.name, c.BUDGET_SPENT.name, c.BUDGET_PROJECTED.name}
    return frozenset(own | _GIVEN)


def judge(there: Mapping[str, frozenset[str]]) -> list[Verdict]:
    """Of each shipped alert, in the order of the rules; `there` as `live` gives it."""
    verdicts = []
    for alert, ways in _table().items():
        alone = any(there[""].issuperset(way) for way in ways)
        able = (
            ()
            if alone
            else tuple(
                name for name, found in there.items() if any((found | there[""]).issuperset(way) for way in ways)
            )
        )
        verdicts.append(Verdict(alert, able, "" if alone or able else _why(ways, there)))
    return verdicts


def sentence(verdicts: Sequence[Verdict]) -> str:
    able = sum(not verdict.why for verdict in verdicts)
    return f"{able} of the {len(verdicts)} shipped alerts can fire with these sources"


def by_source(verdicts: Iterable[Verdict]) -> dict[tuple[str, ...], list[str]]:
    """The alerts that can fire, by the sources of which each alone is enough."""
    found: dict[tuple[str, ...], list[str]] = {}
    for verdict in verdicts:
        if not verdict.why:
            found.setdefault(verdict.sources, []).append(verdict.alert)
    return found


def silent(verdicts: Iterable[Verdict]) -> dict[str, list[str]]:
    """Those that cannot, by the reason."""
    found: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.why:
            found.setdefault(verdict.why, []).append(verdict.alert)
    return found


def _table() -> dict[str, list[list[str]]]:
    text = files("exporter.advice").joinpath("alerts.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, list[list[str]]])


def _why(ways: list[list[str]], there: Mapping[str, frozenset[str]]) -> str:
    """By the source that lacks least; where several lack as much, by what a remedy is known for."""
    lacks = [[name for name in way if name not in found | there[""]] for way in ways for found in there.values()]
    missing = min(lacks, key=lambda names: (len(names), all(_bare(name) not in _REMEDIES for name in names)))
    named = next((name for name in missing if _bare(name) in _REMEDIES), missing[0])
    what, remedy = _REMEDIES.get(_bare(named), (named, "see docs/metrics.md"))
    together = " together with what else it takes" if any(named in found for found in there.values()) else ""
    return f"no source carries {what}{together}; {remedy}"


def _bare(name: str) -> str:
    """A metric's name without the kind of failure that was asked for."""
    return name.partition("{")[0]
