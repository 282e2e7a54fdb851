"""What do the models cost, which apps cause the cost, and is the budget sufficient?"""

import tomllib
from pathlib import Path

from grafana.board import dashboard
from grafana.panels import Json, Query, bargauge, row, stat, table, timeseries
from grafana.queries import APP, APP_MODEL, CLUSTER, NAMED, ONE_SOURCE, SOURCE
from grafana.variables import PASSED_ON, text_box

PRICES = Path(__file__).parents[2] / "deploy/prices.toml"

#: Models of deploy/prices.toml: a panel shows the cost of all tokens at the price of each.
COMPARED = ("gpt-4.1", "gpt-4.1-mini", "claude-sonnet-4-5", "deepseek-chat")

_TOKENS, _COST = "source_app_model:dify_tokens_used", "source_app_model:dify_cost"
_APP = [("Only this app", f"/d/dify-tokens?var-app=${{__data.fields.app_id}}&{PASSED_ON}")]
_UPPER_BOUND = "If only a total is known, it is multiplied with the output price: an upper bound."


def money() -> Json:
    panels = [*_budgets(), *_tokens(), *_cost(), *_cost_by_app(), *_other_prices(), *_completeness()]
    prices = [
        text_box("input_price", "Price of input, per million", "3.00"),
        text_box("output_price", "Price of output, per million", "15.00"),
    ]
    return dashboard("dify-tokens", "Dify / Tokens and cost", str(__doc__), panels, variables=prices, since="now-24h")


def _budgets() -> list[Json]:
    def budget(what: str) -> str:
        return f"budget:dify_budget_{what}{{{CLUSTER}}}"

    legend = "{{budget}} ({{window}}, {{unit}})"
    return [
        row("Budgets"),
        bargauge("Spent share of each budget", (budget("spent_per_limit:ratio"), legend), steps=[(0.8, "yellow"), (1, "red")], maximum=1.2),
        bargauge("Projected share at the end of the window", (budget("projected_per_limit:ratio"), legend),
                 steps=[(0.9, "yellow"), (1, "red")], maximum=1.5,
                 description="If spending goes on at the average rate of this window. There is no projection in its first 5 %."),
        timeseries("Spent, projected and limit",
                   (budget("spent:sum"), "{{budget}} spent, {{unit}}"),
                   (budget("projected:sum"), "{{budget}} projected, {{unit}}"),
                   (budget("limit:max"), "{{budget}} limit, {{unit}}")),
        table("Budgets and their windows",
              (budget("spent:sum"), "spent"), (budget("limit:max"), "limit"), (budget("projected:sum"), "projected"),
              ("1000 * " + budget("window_end_timestamp_seconds:max"), "ends"), units={"ends": "dateTimeAsIso"}),
    ]  # fmt: skip


def _tokens() -> list[Json]:
    def by_app(series: str) -> str:
        return f"{series}{{{APP}}} {NAMED}"

    return [
        row("Tokens"),
        timeseries("Tokens per day, and daily budgets",
                   (f"sum by (source) (increase(dify_tokens_used_total{{{APP_MODEL}}}[1d]))", "{{source}}"),
                   (f'budget:dify_budget_limit:max{{{CLUSTER}, unit="tokens", window="day"}}', "{{budget}} limit"), bars="1d",
                   description="Select about 30 days. A bar is the 24 hours before its end."),
        timeseries("Tokens per hour by model",
                   (f"sum by (source, provider, model, token_type) ({_TOKENS}:increase1h{{{APP_MODEL}}})",
                    "{{source}} {{provider}} {{model}} {{token_type}}"), stack=True, description=ONE_SOURCE),
        table("Tokens by app, 24 hours",
              (f"topk(25, sum by (source, app_id) ({_TOKENS}:increase1d{{{APP_MODEL}}}) {NAMED} > 0)", "tokens"),
              (by_app("source_app:dify_runs:increase1d") + " > 0", "runs"),
              (by_app("source_app:dify_tokens_used_per_run:ratio_increase1d"), "tokens per run"),
              (by_app("source_app:dify_tokens_used_per_run_per_last_week:ratio"), "ratio to last week"), links={"name": _APP}),
        table("Tokens by team, time shown",
              (f"sum by (source, team) (sum by (source, app_id) (increase(dify_tokens_used_total{{{APP_MODEL}}}[$__range])) {NAMED}) > 0",
               "tokens")),
    ]  # fmt: skip


def _cost() -> list[Json]:
    def of_the_last(window: str) -> Json:
        query = f"sum by (source, currency) ({_COST}:increase{window}{{{APP_MODEL}}})"
        title = {"1d": "Cost, 24 hours", "30d": "Cost, 30 days"}[window]
        return stat(title, (query, "{{source}} {{currency}}"), width=6, unit="none")

    return [
        row("Cost"),
        of_the_last("1d"),
        of_the_last("30d"),
        stat("Highest cost on this day of past weeks",
             (f"source_currency:dify_cost:max_of_past_weeks{{{SOURCE}}}", "{{source}} {{currency}}"), width=6, unit="none",
             description="24 hours, of all apps. DifySpendingSpike compares the last 24 hours with it."),
        stat("Tokens without a price, last hour",
             (f"sum by (source) (source:dify_unpriced_tokens:increase1h{{{SOURCE}}})"
              f" or 0 * sum by (source) ({_TOKENS}:increase1h{{{SOURCE}}})", "{{source}}"),
             width=6, steps=[(1, "yellow")], description="Neither the log nor the price list has a price for these tokens."),
        timeseries("Cost per hour by model",
                   (f"sum by (source, model, currency) ({_COST}:increase1h{{{APP_MODEL}}})", "{{source}} {{model}} {{currency}}"),
                   stack=True, unit="none", description=ONE_SOURCE),
        timeseries("Cost per hour by app",
                   (f"sum by (source, name, team, currency) (sum by (source, app_id, currency) ({_COST}:increase1h{{{APP_MODEL}}}) {NAMED})",
                    "{{source}} {{name}} ({{team}}), {{currency}}"), stack=True, unit="none", description=ONE_SOURCE),
    ]  # fmt: skip


def _cost_by_app() -> list[Json]:
    spent = f"increase(dify_cost_total{{{APP_MODEL}}}[$__range])"
    return [
        table("Cost by app and model, time shown",
              (f"topk(50, sum by (source, app_id, model, currency) ({spent}) {NAMED} > 0)", "cost"), width=16, links={"name": _APP}),
        table("Cost by team, time shown",
              (f"sum by (source, team, currency) (sum by (source, app_id, currency) ({spent}) {NAMED}) > 0", "cost"), width=8),
    ]  # fmt: skip


def _used(kind: str) -> str:
    """Return the tokens of a kind by source; 0 for a source that has only the other kind."""
    by_source = f'sum by (source) (increase(dify_tokens_used_total{{{APP_MODEL}, token_type=~"{kind}"}}[$__range]))'
    return f"({by_source} or 0 * sum by (source) (increase(dify_tokens_used_total{{{APP_MODEL}}}[$__range])))"


def _at_the_price_of(model: str) -> Query:
    """Return the cost of all tokens at the newest listed price of a model."""
    listed = tomllib.loads(PRICES.read_text())["price"]
    price = max((each for each in listed if each["model"] == model), key=lambda each: each.get("from", ""))
    return (
        f"sum({_used('input')} * {price['input']} + {_used('output|unsplit')} * {price['output']}) / 1e6",
        f"{model}, {price['currency']}",
    )


def _other_prices() -> list[Json]:
    return [
        bargauge("Cost of the same tokens with another model", *map(_at_the_price_of, COMPARED), unit="none",
                 description="Tokens of the selected time range at the newest prices of deploy/prices.toml. Select one source. "
                             + _UPPER_BOUND),
        stat("Cost of the same tokens at the two prices above",
             (f"({_used('input')} * $input_price + {_used('output|unsplit')} * $output_price) / 1e6", "{{source}}"),
             width=12, unit="none",
             description="Tokens of the selected time range. The prices are per million tokens. " + _UPPER_BOUND),
    ]  # fmt: skip


def _completeness() -> list[Json]:
    missing = f"sum by (source) (source_app:dify_usage_missing:increase1h{{{APP}}})"
    expected = f"sum by (source) (source:dify_usage_expected:increase1h{{{SOURCE}}})"
    calls = f'source_operation:dify_model_invocations:increase1h{{{SOURCE}, operation="invoke_llm"}}'
    return [
        timeseries("Answers without usage", (f"({missing} or 0 * {expected}) / {expected}", "{{source}}"), unit="percentunit",
                   description="Share of responses whose tokens are unknown, so their cost is not counted; see DifyUsageMissing."),
        timeseries("Model calls and answers with usage, per hour",
                   (f"sum by (source) ({calls})", "{{source}} calls"),
                   (f"{expected} - ({missing} or 0 * {expected})", "{{source}} answers with usage"),
                   description="The plugin daemon counts every model call. Dify reports no usage for conversation titles, for "
                               "stopped runs and for disconnected clients, so only the first number contains these "
                               "calls. Compare the daemon's source with the source of the proxy or the telemetry. One "
                               "answer of a workflow may contain several calls."),
    ]  # fmt: skip
