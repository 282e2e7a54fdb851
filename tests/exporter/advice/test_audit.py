"""What `check` says about money."""

from pathlib import Path

import pytest

from exporter.advice.audit import audit
from exporter.config.loader import load
from parsers.dify.proxy import REQUEST_EVENT, ProxyAttributes, ProxyLine, UsageEntry, encode

PRICE = '[[price]]\nmodel = "listed"\ninput = "1"\noutput = "1"\ncurrency = "EUR"\n'
BUDGET = '[[budget]]\nname = "monthly"\nwindow = "month"\nunit = "USD"\nlimit = "5"\n'


def line(model: str = "m", cost: str | None = None, currency: str | None = None) -> str:
    usage = UsageEntry(model=model, input_tokens=1, output_tokens=2, total_price=cost, currency=currency)
    attributes = ProxyAttributes(
        event=REQUEST_EVENT, method="POST", route="/v1/chat-messages", status_code=200, worker="w", active_requests=1,
        usage=(usage,),
    )  # fmt: skip
    message = "POST /v1/chat-messages 200 1.0"
    return encode(ProxyLine(ts="2026-11-23T08:53:31.404Z", message=message, attributes=attributes)).decode()


@pytest.fixture
def told(tmp_path: Path):
    def tell(config: str, **logs: str) -> list[tuple[str, bool]]:
        for name, text in logs.items():
            (tmp_path / f"{name}.log").write_text(text)
            config += f'[[source]]\nname = "{name}"\npaths = ["{name}.log"]\nparser = "dify"\n'
        (tmp_path / "exporter.toml").write_text(config)
        return [(finding.text, finding.problem) for finding in audit(load(tmp_path / "exporter.toml"))]

    return tell


def test_a_currency_that_no_budget_sees_is_named(told) -> None:
    sentence = (
        "costs in RMB (source a) are seen by no budget: add what one RMB and one of a budget's currency (USD) "
        "is worth in USD to [exchange]"
    )
    assert told(BUDGET, a=line(cost="1", currency="RMB")) == [(sentence, True)]
    assert told(BUDGET + '[exchange]\nRMB = "0.14"\n', a=line(cost="1", currency="RMB")) == []
    assert told(BUDGET, a=line(cost="1", currency="USD")) == []
    assert told(BUDGET.replace("USD", "tokens"), a=line(cost="1", currency="RMB")) == []


def test_a_currency_of_the_price_list_is_named_where_a_log_needs_it(told) -> None:
    ((sentence, problem),) = told(BUDGET + PRICE, a=line("listed"))
    assert sentence.startswith("costs in EUR (source a) are seen by no budget")
    assert problem


def test_a_cost_without_a_currency(told) -> None:
    sentence = "source a reports costs without a currency: no budget sees them"
    assert told(BUDGET, a=line(cost="1")) == [(sentence, False)]


def test_models_without_a_price_are_named(told) -> None:
    sentence = (
        "some tokens of m have no price: the log reports none, and no [[price]] decides one (deploy/prices.toml is a "
        "list to begin with)"
    )
    assert told(PRICE, a=line() + line("listed") + line("unknown")) == [(sentence, False)]


def test_two_sources_may_tell_of_the_same_calls(told) -> None:
    sentence = (
        "budget monthly adds up what the sources a, b tell; where two of them tell of the same calls, choose one: "
        'match = { source = "a" }'
    )
    logs = {name: line(cost="1", currency="USD") for name in "ab"}
    assert told(BUDGET, **logs) == [(sentence, False)]
    assert told(BUDGET + 'match = { source = "b" }\n', **logs) == []


def test_budgets_without_any_usage(told) -> None:
    sentence = "no log carries token usage at its end: budgets stay as they are until one does"
    assert told(BUDGET, a="") == [(sentence, False)]
    assert told("", a="") == []


def test_a_budget_of_a_source_that_is_none_is_named(told) -> None:
    ours = BUDGET + 'match = { source = "a" }\n'
    assert told(ours, a=line(cost="1", currency="USD")) == []
    sentence = 'budget monthly stays 0: match: unknown source "a", expected one of proxy'
    assert told(ours, proxy="") == [
        (sentence, True),
        ("no log carries token usage at its end: budgets stay as they are until one does", False),
    ]
