"""deploy/prices.toml is what `make prices` writes from the pinned genai-prices, without the network."""

import re
import tomllib
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib.metadata import version

import msgspec
import pytest
from genai_prices import Usage as GenaiUsage
from genai_prices import calc_price
from genai_prices.types import (
    ConditionalPrice,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from deploy.prices import LIST, OWN, PROJECT, Entry, entries_of, rendered
from exporter.ledger.prices import Price, Prices
from parsers.batch import Usage

OWN_FACTS = tomllib.loads(OWN.read_text("utf-8"))


def priced(input: object = Decimal(2), output: object = Decimal(8), **more: object) -> ModelPrice:
    return ModelPrice(input_mtok=input, output_mtok=output, **more)


def test_the_shipped_list_is_the_generators() -> None:
    text = LIST.read_text("utf-8")
    assert f"genai-prices {version('genai-prices')} " in text, "the list is of another release: run `make prices`"
    assert f'"genai-prices=={version("genai-prices")}"' in PROJECT.read_text("utf-8")
    assert text == rendered(tomllib.loads(text)["date"], tomllib.loads(OWN.read_text("utf-8")))


def test_the_program_does_not_need_the_package() -> None:
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    for needed in (project["dependencies"], *project["optional-dependencies"].values()):
        assert not [name for name in needed if "genai" in name]
    assert "genai" not in (PROJECT.parent / "requirements.lock").read_text()


def test_prices_by_date_are_listed_from_their_day() -> None:
    changes = [
        ConditionalPrice(prices=priced(Decimal("0.50"), Decimal("1E+1"))),
        ConditionalPrice(prices=priced(Decimal("0.25"), None), constraint=StartDateConstraint(date(2026, 8, 17))),
    ]
    assert entries_of("m", "p", changes) == [
        Entry("p", "m", "", "0.50", "10", "USD"), Entry("p", "m", "2026-08-17", "0.25", "0", "USD")
    ]  # fmt: skip


def test_a_price_that_did_not_change_is_listed_once() -> None:
    cached = priced(cache_read_mtok=Decimal("0.1"))
    changes = [
        ConditionalPrice(prices=priced()),
        ConditionalPrice(prices=cached, constraint=StartDateConstraint(date(2026, 8, 17))),
    ]
    assert [entry.since for entry in entries_of("m", "p", changes) or []] == [""]


@pytest.mark.parametrize(
    "price",
    [
        ConditionalPrice(prices=priced(), constraint=TimeOfDateConstraint(time(1), time(4))),  # the zone is not known
        ConditionalPrice(prices=priced(requests_kcount=Decimal(5))),
        ConditionalPrice(prices=priced(input=None)),
    ],
)
def test_what_a_list_cannot_express_is_left_out(price: ConditionalPrice) -> None:
    assert entries_of("m", "p", [ConditionalPrice(prices=priced()), price]) is None


def test_prices_by_the_length_of_the_prompt_become_tiers() -> None:
    by_input = TieredPrices(Decimal(1), [Tier(272_000, Decimal(4)), Tier(200_000, Decimal(2))])
    by_output = TieredPrices(Decimal(3), [Tier(200_000, Decimal("4.5"))])
    [entry] = entries_of("m", "p", [ConditionalPrice(prices=priced(by_input, by_output))]) or []
    assert entry == Entry("p", "m", "", "1", "3", "USD", ((200_000, "2", "4.5"), (272_000, "4", "4.5")))
    [listed] = tomllib.loads(f"price = [{entry}]")["price"]
    assert listed["tiers"][1] == {"above": 272_000, "input": "4", "output": "4.5"}


def test_prices_by_the_hour_are_those_of_the_newest_price() -> None:
    changes = [
        ConditionalPrice(prices=priced(Decimal(9), Decimal(9))),
        ConditionalPrice(prices=priced(Decimal(1), Decimal(2)), constraint=StartDateConstraint(date(2026, 8, 17))),
        ConditionalPrice(
            prices=priced(Decimal("3.5"), Decimal(4)),
            constraint=TimeOfDateConstraint(time(1, tzinfo=UTC), time(4, 30, tzinfo=UTC)),
        ),
    ]
    before, newest = entries_of("m", "p", changes) or []
    assert before.hours == ()
    assert newest == Entry("p", "m", "2026-08-17", "1", "2", "USD", hours=(("01:00", "04:30", "3.5", "4"),))
    [listed] = tomllib.loads(f"price = [{newest}]")["price"]
    assert listed["hours"] == [{"from": "01:00", "to": "04:30", "input": "3.5", "output": "4"}]


def test_facts_of_our_own_count_only_where_the_package_has_none() -> None:
    own = {
        "names": {},
        "price": [
            {"provider": "openai", "model": "gpt-4.1", "input": "99", "output": "99", "currency": "USD"},
            {
                "provider": "tongyi",
                "model": "qwen-max",
                "input": "2.4",
                "output": "9.6",
                "currency": "RMB",
                "tiers": [{"above": 32_000, "input": "3", "output": "12"}],
            },
        ],
    }
    listed = tomllib.loads(rendered(date(2026, 11, 30), own))["price"]
    assert [p["input"] for p in listed if p["model"] == "gpt-4.1" and p["provider"] == "openai"] == ["2"]
    (qwen,) = (p for p in listed if p["model"] == "qwen-max" and p["provider"] == "tongyi")
    assert (qwen["currency"], qwen["tiers"]) == ("RMB", [{"above": 32_000, "input": "3", "output": "12"}])


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "mistralai", "x", "cohere", "voyage"])
def test_most_names_of_difys_plugins_have_a_price_or_are_named(provider: str) -> None:
    text = LIST.read_text("utf-8")
    listed = {p["model"] for p in tomllib.loads(text)["price"] if p["provider"] == provider}
    head = re.sub(r"\n#\s+", " ", text.partition("\ndate = ")[0])
    names = OWN_FACTS["names"][provider]
    known = [name for name in names if name in listed or re.search(rf"[ ,]{re.escape(name)}(?:,|\n| |$)", head)]
    assert len(known) >= 0.5 * len(names), sorted({*names} - {*known})


@pytest.mark.parametrize(
    ("model", "provider", "given"),
    [(m, p, n) for m, p in (("gpt-5.5", "openai"), ("gemini-2.5-pro", "google")) for n in (1, 200_001, 272_001)],
)
def test_a_call_has_the_cost_that_the_package_computes(model: str, provider: str, given: int) -> None:
    listed = tomllib.loads(LIST.read_text("utf-8"))["price"]
    usage = Usage(provider=f"langgenius/x/{provider}", model=model, input_tokens=given, output_tokens=7, is_call=True)
    price = Prices(msgspec.convert(listed, tuple[Price, ...])).find(usage, 2**60)
    assert price is not None
    oracle = calc_price(GenaiUsage(input_tokens=given, output_tokens=7), model_ref=model, provider_id=provider)
    assert price.cost(usage) == oracle.total_price


@pytest.mark.parametrize("model", ["deepseek-v4-pro", "deepseek-v4-flash"])
def test_a_call_has_the_cost_that_the_package_computes_at_each_quarter_of_a_day(model: str) -> None:
    prices = Prices(msgspec.convert(tomllib.loads(LIST.read_text("utf-8"))["price"], tuple[Price, ...]))
    usage = Usage(provider="langgenius/deepseek/deepseek", model=model, input_tokens=1000, output_tokens=7)
    costs = set()
    for quarter in range(96):
        at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=15 * quarter)
        price = prices.find(usage, int(at.timestamp()) * 10**9)
        oracle = calc_price(
            GenaiUsage(input_tokens=1000, output_tokens=7),
            model_ref=model,
            provider_id="deepseek",
            genai_request_timestamp=at,
        )
        assert price is not None
        assert price.cost(usage) == oracle.total_price
        costs.add(oracle.total_price)
    assert len(costs) == 2
