"""Which of the shipped alerts can fire with what these sources tell, and why the others cannot.

alerts.json is derived from rules/ (`make docs`): by alert the ways in which it can fire, each a list of metrics; of
failures, which exist from the first moment, also the kind that a rule asks for.
"""

from collections.abc import Iterable, Mapping
from importlib.resources import files

import msgspec
from msgspec import Struct

from exporter import catalogue as c
from exporter.ledger import Snapshot
from exporter.settings import Config
from parsers.envelope import Envelope

_PROXY = "put dify-exporter proxy in front of Dify's api (docs/proxy.md)"

#: What is absent where a metric is, and how to get it.
_REMEDIES: Mapping[str, tuple[str, str]] = {
    c.REQUESTS.name: ("requests", "tail nginx's access log, or set ENABLE_REQUEST_LOGGING=true in Dify's api"),
    c.ERRORS.name: ("errors of model providers", "tail the logs of Dify's api and worker"),
    c.REQUEST_DURATION.name: ("durations", "use the dify-timed log_format of deploy/nginx"),
    c.TIME_TO_FIRST_TOKEN.name: ("times to the first token", _PROXY),
    c.ACTIVE_REQUESTS.name: ("active requests", _PROXY),
    c.TOKENS_USED.name: ("tokens", f"{_PROXY}, or tail the enterprise telemetry"),
    c.USAGE_MISSING.name: ("token usage", f"{_PROXY}, or tail the enterprise telemetry"),
    c.BUDGET_LIMIT.name: ("a budget, with tokens to count in it", "add a [[budget]] to the configuration"),
    "probe_success": ("probes", "run blackbox_exporter as deploy/ does; this exporter cannot see whether you do"),
    "probe_ssl_earliest_cert_expiry": ("probes", "run blackbox_exporter as deploy/ does"),
}

#: What Prometheus and Alertmanager have where deploy/ is followed.
_GIVEN = frozenset(
    {"up", "ALERTS", "alertmanager_notification_requests_total", "alertmanager_notification_requests_failed_total"}
)


class Verdict(Struct, frozen=True):
    """`why` is "" for an alert that can fire."""

    alert: str
    why: str = ""


def live(snapshot: Snapshot, config: Config) -> frozenset[str]:
    """The metrics that have series, or get some as soon as there is reason."""
    durable: Iterable[tuple[c.Metric, object]] = (*snapshot.counters.items(), *snapshot.histograms.items())
    found = {metric.name for metric, series in durable if series}
    found |= {metric.name for metric in c.METRICS if metric.name.startswith("dify_exporter_")}
    if c.REQUESTS.name in found:
        found.add(c.ROUTE_INFO.name)
    if c.TOKENS_USED.name in found:
        found.add(c.USAGE_MISSING.name)
        if config.budgets:
            found |= {c.BUDGET_LIMIT.name, c.BUDGET_SPENT.name, c.BUDGET_PROJECTED.name}
    if snapshot.active:
        found.add(c.ACTIVE_REQUESTS.name)
    for source in config.sources:
        parser = source.parser.parser if isinstance(source.parser, Envelope) else source.parser
        found |= {f'{c.ERRORS.name}{{kind="{kind}"}}' for kind in parser.error_kinds}
        if c.FAILED_REQUESTS.name in found:
            found |= {f'{c.FAILED_REQUESTS.name}{{reason="{reason}"}}' for reason in parser.failure_reasons}
    return frozenset(found)


def judge(there: frozenset[str]) -> list[Verdict]:
    """Of each shipped alert, in the order of the rules."""
    return [Verdict(alert, _why(ways, there | _GIVEN)) for alert, ways in _table().items()]


def sentence(verdicts: list[Verdict]) -> str:
    able = sum(not verdict.why for verdict in verdicts)
    return f"{able} of the {len(verdicts)} shipped alerts can fire with these sources"


def _table() -> dict[str, list[list[str]]]:
    return msgspec.json.decode(files("exporter").joinpath("alerts.json").read_bytes(), type=dict[str, list[list[str]]])


def _why(ways: list[list[str]], there: frozenset[str]) -> str:
    missing = min(([name for name in way if name not in there] for way in ways), key=len, default=[])
    if not missing:
        return ""
    # Several ways lack as much: the one that a remedy is known for.
    known = [name for way in ways for name in way if name not in there and _bare(name) in _REMEDIES]
    what, remedy = _REMEDIES.get(_bare(known[0] if known else missing[0]), (missing[0], "see docs/metrics.md"))
    return f"no source carries {what}; {remedy}"


def _bare(name: str) -> str:
    """A metric's name without the kind of failure that was asked for."""
    return name.partition("{")[0]
