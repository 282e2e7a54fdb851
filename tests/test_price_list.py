"""deploy/prices.toml is what `make prices` writes from the pinned genai-prices, without the network."""

import re
import tomllib
from datetime import date, time
from decimal import Decimal
from importlib.metadata import version

import msgspec
import pytest
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
        ConditionalPrice(prices=priced(TieredPrices(Decimal(1), [Tier(200_000, Decimal(2))]))),
        ConditionalPrice(prices=priced(output=TieredPrices(Decimal(1), [Tier(200_000, Decimal(2))]))),
        ConditionalPrice(prices=priced(), constraint=TimeOfDateConstraint(time(1), time(4))),
        ConditionalPrice(prices=priced(requests_kcount=Decimal(5))),
        ConditionalPrice(prices=priced(input=None)),
    ],
)
def test_what_a_list_cannot_express_is_left_out(price: ConditionalPrice) -> None:
    assert entries_of("m", "p", [ConditionalPrice(prices=priced()), price]) is None


def test_facts_of_our_own_count_only_where_the_package_has_none() -> None:
    own = {
        "names": {},
        "price": [
            {"provider": "openai", "model": "gpt-4.1", "input": "99", "output": "99", "currency": "USD"},
            {"provider": "tongyi", "model": "qwen-max", "input": "2.4", "output": "9.6", "currency": "RMB"},
        ],
    }
    listed = tomllib.loads(rendered(date(2026, 11, 30), own))["price"]
    assert [p["input"] for p in listed if p["model"] == "gpt-4.1" and p["provider"] == "openai"] == ["2"]
    assert [p["currency"] for p in listed if p["model"] == "qwen-max" and p["provider"] == "tongyi"] == ["RMB"]


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "mistralai", "x", "cohere", "voyage"])
def test_most_names_of_difys_plugins_have_a_price_or_are_named(provider: str) -> None:
    text = LIST.read_text("utf-8")
    listed = {p["model"] for p in tomllib.loads(text)["price"] if p["provider"] == provider}
    head = re.sub(r"\n#\s+", " ", text.partition("\ndate = ")[0])
    names = OWN_FACTS["names"][provider]
    known = [name for name in names if name in listed or re.search(rf"[ ,]{re.escape(name)}(?:,|\n| |$)", head)]
    assert len(known) >= 0.5 * len(names), sorted({*names} - {*known})


def test_an_unlisted_tier_stays_unpriced() -> None:
    listed = tomllib.loads(LIST.read_text("utf-8"))["price"]
    prices = Prices(msgspec.convert(listed, tuple[Price, ...]))
    assert prices.find(Usage(provider="langgenius/openai/openai", model="gpt-4.1", input_tokens=1), 2**60) is not None
    assert prices.find(Usage(provider="langgenius/openai/openai", model="gpt-5.5", input_tokens=1), 2**60) is None
