"""Parts of queries that all dashboards share: what the variables select, names of apps, quantiles."""

from grafana.panels import Query

#: What a user selects. Every variable's "All" is `.*`, which also matches series without the label: a Prometheus of one
#: deployment has no label cluster.
CLUSTER = 'cluster=~"$cluster"'
SOURCE = f'{CLUSTER}, source=~"$source"'
ROUTE = f'{SOURCE}, route=~"$route"'
APP = f'{SOURCE}, app_id=~"$app"'
MODEL = f'{SOURCE}, model=~"$model"'
APP_MODEL = f'{APP}, model=~"$model"'

#: The description of a panel that stacks sources. Tokens and runs may be in the logs of several.
ONE_SOURCE = "Select one source: sources that log the same calls are stacked on each other."

#: Joins name and team of each app; an app that is not in [apps] has its id as name.
NAMED = (
    "* on (app_id) group_left (name, team) "
    f'max by (app_id, name, team) (app:dify_app_names:max{{{CLUSTER}, team=~"$team"}})'
)


def quantiles(metric: str, selected: str, legend: str, window: str, *percents: int) -> list[Query]:
    """Queries of recorded quantiles. `metric` is the level and the name; `legend` gets the percentile behind it.

    Recorded series have the same names with classic and with native histograms.
    """
    return [(f"{metric}:p{percent}_{window}{{{selected}}}", f"{legend} p{percent}".strip()) for percent in percents]


def share_within(seconds: str, native: bool) -> str:
    """The share of requests within a bound of the buckets ("1.0")."""
    requests = "dify_request_duration_seconds"
    if native:
        return f"histogram_fraction(0, {seconds}, sum by (source) (rate({requests}{{{SOURCE}}}[$__rate_interval])))"
    return (
        f'sum by (source) (rate({requests}_bucket{{{SOURCE}, le="{seconds}"}}[$__rate_interval]))'
        f" / sum by (source) (rate({requests}_count{{{SOURCE}}}[$__rate_interval]))"
    )
