"""What `check` says about money."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.advice.audit import audit
from exporter.config.loader import load
from parsers.dify.proxy import ProxyAttributes, ProxyLine, UsageEntry, encode
from parsers.tracing import heartbeat_line
from parsers.tracing.line import MESSAGE, TOTAL_TOKENS
from parsers.tracing.line import encode as fact_line

PRICE = '[[price]]\nmodel = "listed"\ninput = "1"\noutput = "1"\ncurrency = "EUR"\n'
BUDGET = '[[budget]]\nname = "monthly"\nwindow = "month"\nunit = "USD"\nlimit = "5"\n'


def line(model: str = "m", cost: str | None = None, currency: str | None = None) -> str:
    usage = UsageEntry(model=model, input_tokens=1, output_tokens=2, price=cost, currency=currency)
    attributes = ProxyAttributes(
        method="POST", route="/v1/chat-messages", status_code=200, worker="w", active_requests=1,
        usage=(usage,),
    )  # fmt: skip
    message = "POST /v1/chat-messages 200 1.0"
    return encode(ProxyLine(ts="2026-11-23T08:53:31.404Z", message=message, attributes=attributes)).decode()


@pytest.fixture
def findings(tmp_path: Path):
    def examine(config: str, **logs: str) -> list[tuple[str, bool]]:
        for name in logs:
            config += f'[[source]]\nname = "{name}"\npaths = ["{name}.log"]\nparser = "dify"\n'
        (tmp_path / "exporter.toml").write_text(config)
        loaded = load(tmp_path / "exporter.toml")
        records = {source.name: source.parser.parse(logs[source.name].encode()).records for source in loaded.sources}
        return [(finding.text, finding.problem) for finding in audit(loaded, records)]

    return examine


def test_a_currency_that_counts_in_no_budget_is_named(findings) -> None:
    sentence = (
        "costs in RMB (source a) count in no budget: add the rates of RMB and of a budget's currency (USD) "
        "to USD to [exchange]"
    )
    assert findings(BUDGET, a=line(cost="1", currency="RMB")) == [(sentence, True)]
    assert findings(BUDGET + '[exchange]\nRMB = "0.14"\n', a=line(cost="1", currency="RMB")) == []
    assert findings(BUDGET, a=line(cost="1", currency="USD")) == []
    assert findings(BUDGET.replace("USD", "tokens"), a=line(cost="1", currency="RMB")) == []


def test_a_currency_of_the_price_list_is_named_where_a_log_needs_it(findings) -> None:
    ((sentence, problem),) = findings(BUDGET + PRICE, a=line("listed"))
    assert sentence.startswith("costs in EUR (source a) count in no budget")
    assert problem


def test_a_cost_without_a_currency(findings) -> None:
    sentence = "source a reports costs without a currency: they count in no budget"
    assert findings(BUDGET, a=line(cost="1")) == [(sentence, False)]


def test_models_without_a_price_are_named(findings) -> None:
    sentence = (
        "some tokens of m have no price: the log reports none, and no [[price]] gives one (start with the list in "
        "deploy/prices.toml)"
    )
    assert findings(PRICE, a=line() + line("listed") + line("unknown")) == [(sentence, False)]


@pytest.mark.parametrize(("age", "is_old"), [(0, False), (90, False), (91, True), (400, True)])
def test_an_old_price_list_is_named(findings, tmp_path: Path, age: int, is_old: bool) -> None:
    listed = datetime.now(UTC).date() - timedelta(days=age)
    (tmp_path / "prices.toml").write_text(f"date = {listed}\n{PRICE}")
    found = findings("[exporter]\nprices = 'prices.toml'\n", a=line("listed") + line("other"))
    unpriced = "some tokens of other have no price: the log reports none, and no [[price]] gives one (add one, see docs/money.md)"
    assert found[-1] == (unpriced, False)
    assert [text.startswith(f"the price list is of {listed}, {age} days ago: ") for text, _ in found[:-1]] == [
        True
    ] * is_old


def test_a_price_list_without_a_date_is_no_finding(findings, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(PRICE)
    assert findings("[exporter]\nprices = 'prices.toml'\n", a=line("listed")) == []


def test_two_sources_may_report_the_same_calls(findings) -> None:
    sentence = (
        "budget monthly sums over the sources a, b; if two of them report the same calls, choose one: "
        'match = { source = "a" }'
    )
    logs = {name: line(cost="1", currency="USD") for name in "ab"}
    assert findings(BUDGET, **logs) == [(sentence, False)]
    assert findings(BUDGET + 'match = { source = "b" }\n', **logs) == []


def test_a_receiver_beside_a_proxy_is_named_without_any_budget(findings) -> None:
    attributes = {"dify.app_id": "8b0e7153-bf7c-4370-a6d8-5c524e440066", TOTAL_TOKENS: 5}
    received = (
        fact_line(MESSAGE, 1_790_000_000_000_000_000, attributes) + heartbeat_line({("otel", "written"): 1}, 1)
    ).decode()
    ((sentence, problem),) = findings("", receiver=received, proxy=line(cost="1", currency="USD"))
    assert sentence.startswith("sources receiver (tracing) and proxy (the proxy) may report the same model calls")
    assert not problem
    assert findings("", receiver=received) == []


def test_budgets_without_any_usage(findings) -> None:
    sentence = "no log contains token usage at its end: budgets do not change until one does"
    assert findings(BUDGET, a="") == [(sentence, False)]
    assert findings("", a="") == []


def test_a_budget_of_a_source_that_is_none_is_named(findings) -> None:
    ours = BUDGET + 'match = { source = "a" }\n'
    assert findings(ours, a=line(cost="1", currency="USD")) == []
    sentence = 'budget monthly stays 0: match: unknown source "a", expected one of proxy'
    assert findings(ours, proxy="") == [
        (sentence, True),
        ("no log contains token usage at its end: budgets do not change until one does", False),
    ]
