"""What tokens cost by the list, and when the list says nothing."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec import structs

from exporter import catalogue as c
from exporter.config.loader import ConfigError, load
from exporter.ledger.ledger import Ledger
from exporter.ledger.money import Exchange
from exporter.ledger.prices import Hours, Price, Prices, Tier
from exporter.ledger.series import Limits
from parsers.batch import Batch, Usage

ROOT = Path(__file__).parents[3]


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def price(model: str = "m", input: str = "2", output: str = "8", **keys: object) -> Price:
    return Price(model, input, output, "USD", **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tokens", "by_input", "by_output", "cost"),
    [
        ({"input_tokens": 1_000_000, "output_tokens": 500_000}, "2", "8", "6"),
        ({"input_tokens": 3, "output_tokens": 0}, "0.1", "0", "0.0000003"),
        ({"unsplit_tokens": 1000}, "2", "8", None),
        ({"unsplit_tokens": 1000}, "2", "2", "0.002"),
        ({"input_tokens": 1000, "unsplit_tokens": 1000}, "2", "2", "0.004"),
        ({"input_tokens": 1000}, "2", "8", None),
        ({"input_tokens": 1000}, "2", "0", "0.002"),
        ({"output_tokens": 1000}, "2", "8", None),
    ],
)
def test_a_cost_is_computed_only_where_the_tokens_decide_it(
    tokens: dict[str, int], by_input: str, by_output: str, cost: str | None
) -> None:
    assert price("m", by_input, by_output).cost(Usage(**tokens)) == (None if cost is None else Decimal(cost))


def test_the_price_is_the_one_valid_at_the_lines_time() -> None:
    old, new = price(input="1"), price(input="3", since=date(2026, 3, 1))
    prices = Prices((old, new))
    assert prices.find(Usage(model="m"), at("2026-02-28T23:59:59")) == old
    assert prices.find(Usage(model="m"), at("2026-03-01T00:00:00")) == new
    assert prices.find(Usage(model="m"), 0) == old
    assert Prices((new,)).find(Usage(model="m"), at("2026-02-28T23:59:59")) is None


def test_a_price_with_a_provider_wins_and_only_for_that_provider() -> None:
    general, special = price(input="1"), price(input="3", provider="azure_openai")
    prices = Prices((general, special))
    assert prices.find(Usage(model="m", provider="langgenius/azure_openai/azure_openai"), 0) == special
    prices = Prices((general, price(input="3", provider="openai")))
    assert prices.find(Usage(model="m", provider="langgenius/openai/openai"), 0).input == "3"
    assert prices.find(Usage(model="m", provider="openai"), 0).input == "3"
    assert prices.find(Usage(model="m", provider="unknown"), 0) == general
    assert prices.find(Usage(model="M"), 0) is None


def test_the_configurations_own_price_wins_over_the_list(tmp_path: Path) -> None:
    text = '[[price]]\nmodel = "m"\ninput = "{}"\noutput = "1"\ncurrency = "USD"\n'
    (tmp_path / "prices.toml").write_text(text.format(2))
    file = tmp_path / "exporter.toml"
    file.write_text("[exporter]\nprices = 'prices.toml'\n" + text.format(1))
    assert Prices(load(file).prices).find(Usage(model="m"), 0).input == "1"


def test_currencies_are_exchanged_through_the_dollar() -> None:
    exchange = Exchange({"RMB": Decimal("0.14"), "EUR": Decimal("1.12")})
    assert exchange.convert(Decimal(100), "RMB", "USD") == 14
    assert exchange.convert(Decimal(8), "RMB", "EUR") == 1
    assert exchange.convert(Decimal(5), "EUR", "EUR") == 5
    assert exchange.convert(Decimal(5), "JPY", "JPY") == 5
    assert exchange.convert(Decimal(5), "JPY", "USD") is None
    assert exchange.convert(Decimal(5), "USD", "JPY") is None
    assert exchange.convert(Decimal(5), "unknown", "USD") is None


def test_the_yuan_has_two_names() -> None:
    exchange = Exchange({"CNY": Decimal("0.14")})
    assert exchange.convert(Decimal(100), "RMB", "USD") == 14
    assert Exchange().convert(Decimal(100), "RMB", "CNY") == 100


def test_the_shipped_list_is_valid_and_dated(tmp_path: Path) -> None:
    shipped = ROOT / "deploy/prices.toml"
    file = tmp_path / "exporter.toml"
    file.write_text(f"[exporter]\nprices = '{shipped}'\n")
    config = load(file)
    prices = Prices(config.prices)
    assert config.prices_date is not None
    assert f"As of {config.prices_date}" in shipped.read_text()

    def cost(model: str, provider: str, day: str) -> Decimal | None:
        usage = Usage(model=model, provider=provider, input_tokens=10_000, output_tokens=10_000)
        found = prices.find(usage, at(day))
        return found and (cost := found.cost(usage)) and 100 * cost

    assert cost("gpt-4.1", "langgenius/openai/openai", "2026-11-01") == 10
    assert cost("claude-sonnet-4-5", "langgenius/anthropic/anthropic", "2026-11-01") == 18
    assert cost("deepseek-chat", "langgenius/deepseek/deepseek", "2025-09-28") == Decimal("2.24")
    assert cost("deepseek-chat", "langgenius/deepseek/deepseek", "2025-12-24") == Decimal("0.70")
    assert cost("gpt-4.1", "openai", "2026-11-01") == 10
    assert cost("gemini-2.5-flash", "langgenius/gemini/google", "2026-11-01") == Decimal("2.8")
    assert cost("qwen-max", "langgenius/tongyi/tongyi", "2026-11-01") == 12
    assert cost("glm-4-plus", "langgenius/zhipuai/zhipuai", "2026-11-01") == 10
    assert cost("kimi-k2.5", "langgenius/moonshot/moonshot", "2026-11-01") == 25
    assert cost("gpt-4.1", "langgenius/azure_openai/azure_openai", "2026-11-01") is None


# --- prices by the length of the prompt -------------------------------------------------------------------------

TIERED = Price(
    "m", "1", "2", "USD", tiers=(Tier(above=200_000, input="2", output="3"), Tier(above=400_000, input="4", output="3"))
)
TIERS = [
    ("short", Usage(input_tokens=200_000, output_tokens=10), "0.20002"),
    ("long", Usage(input_tokens=200_001, output_tokens=10, is_call=True), "0.400032"),
    ("longest", Usage(input_tokens=500_000, output_tokens=10, is_call=True), "2.00003"),
    ("perhaps several calls, each may be long", Usage(input_tokens=200_001, output_tokens=10), None),
    ("many short calls", Usage(input_tokens=900_000, output_tokens=10, count=50), "0.90002"),
    ("the length is not known", Usage(output_tokens=10, unsplit_tokens=300_000, is_call=True), None),
]


@pytest.mark.parametrize(("usage", "cost"), [pytest.param(*rest, id=name) for name, *rest in TIERS])
def test_the_length_of_the_prompt_decides_the_price(usage: Usage, cost: str | None) -> None:
    assert TIERED.cost(usage) == (cost and Decimal(cost))


def test_thinking_tokens_do_not_lengthen_the_prompt() -> None:
    usage = Usage(input_tokens=150_000, output_tokens=10, unsplit_tokens=90_000, is_call=True)
    assert TIERED.priced(usage) == (Decimal("0.15002"), 90_000)


def test_a_usage_whose_tier_is_not_known_is_unpriced() -> None:
    ledger = Ledger(Limits(), clock=lambda: 0.0, prices=[TIERED])
    usage = Usage(model="m", input_tokens=300_000, output_tokens=5)
    ledger.enter("s", Batch(lines=2, records=(usage, structs.replace(usage, is_call=True))))
    snapshot = ledger.snapshot(None)
    assert list(snapshot.counters[c.UNPRICED_TOKENS].values()) == [300_005]
    assert list(snapshot.counters[c.COST].values()) == [Decimal("0.600015")]


# --- prices by the hour of the day -----------------------------------------------------------------------------

BY_HOUR = Price(
    "m", "1", "2", "USD",
    hours=(Hours(begin="01:00", end="04:00", input="3", output="4"), Hours(begin="22:15", end="00:30", input="5", output="6")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("time", "cost"),
    [
        ("00:29:59", 11), ("00:30:00", 3), ("00:59:59", 3), ("01:00:00", 7), ("03:59:59", 7), ("04:00:00", 3),
        ("22:14:59", 3), ("22:15:00", 11), ("23:59:59", 11), ("00:00:00", 11),
    ],
)  # fmt: skip
def test_the_hour_of_the_call_decides_the_price(time: str, cost: int) -> None:
    usage = Usage(model="m", input_tokens=1_000_000, output_tokens=1_000_000)
    at = int(datetime.fromisoformat(f"2026-11-01T{time}+00:00").timestamp()) * 10**9
    ledger = Ledger(Limits(), clock=lambda: 2e9, prices=[BY_HOUR])
    ledger.enter("s", Batch(lines=1, records=(structs.replace(usage, at=at),)))
    assert list(ledger.snapshot(None).counters[c.COST].values()) == [cost]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ("tiers = [{ above = 1000, input = 1, output = 1 }]", "tiers 1: above: expected an integer >= 32000"),
        ("tiers = [{ above = 200000, input = 1 }]", "output"),
        (
            'tiers = [{ above = 200000, input = 1, output = "x" }]',
            """: tiers 1: output must be an amount of at least 0 such as "2.50", found 'x'""",
        ),
        (
            "tiers = [{ above = 300000, input = 1, output = 1 }, { above = 200000, input = 1, output = 1 }]",
            "tiers must have increasing values of above, found [300000, 200000]",
        ),
        ('hours = [{ from = "1:00", to = "04:00", input = 1, output = 1 }]', 'from must be a quarter of an hour in UTC such as "01:00", found "1:00"'),
        ('hours = [{ from = "01:00", to = "04:10", input = 1, output = 1 }]', 'to must be a quarter of an hour in UTC such as "01:00", found "04:10"'),
        ('hours = [{ from = "01:00", to = "01:00", input = 1, output = 1 }]', 'from and to are the same time "01:00"'),
        ('hours = [{ from = "01:00", to = "04:00", input = 1 }]', "output"),
        ('hours = [{ from = "01:00", to = "04:00", input = 1, output = 1 }]\ntiers = [{ above = 32000, input = 1, output = 1 }]', "a price has tiers or hours, not both"),
        ('hours = [{ from = "01:00", to = "04:00", input = 1, output = 1 }, { from = "04:00", to = "24:00", input = 1, output = 1 }]',
         ': hours 2: to must be a quarter of an hour in UTC such as "01:00", found "24:00"'),
        ('hours = [{ from = "0\N{ARABIC-INDIC DIGIT ONE}:00", to = "04:00", input = 1, output = 1 }]', ": hours 1: from must be a quarter of an hour"),
        ('hours = [{ from = "01:00", to = "04:00", input = -1, output = 1 }]', ': hours 1: input must be an amount of at least 0 such as "2.50", found -1'),
    ],
)  # fmt: skip
def test_wrong_tiers_and_hours_are_named(tmp_path: Path, keys: str, sentence: str) -> None:
    file = tmp_path / "exporter.toml"
    file.write_text(f'[[price]]\nmodel = "m"\ninput = 1\noutput = 1\ncurrency = "USD"\n{keys}\n')
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("01:00", "04:00"), ("03:45", "05:00")),
        (("03:45", "05:00"), ("01:00", "04:00")),
        (("01:00", "04:00"), ("02:00", "03:00")),
        (("23:00", "01:00"), ("00:30", "02:00")),
        (("23:00", "01:00"), ("22:00", "23:15")),
        (("04:00", "03:45"), ("05:00", "06:00")),
        (("01:00", "04:00"), ("01:00", "04:00")),
    ],
)
def test_hours_that_overlap_have_no_price(one: tuple[str, str], other: tuple[str, str]) -> None:
    hours = tuple(Hours(begin=begin, end=end, input="1", output="1") for begin, end in (one, other))
    with pytest.raises(ValueError, match=rf"^hours {'-'.join(one)} and {'-'.join(other)} overlap, expected one price"):
        Price("m", "1", "2", "USD", hours=hours)


def test_hours_may_follow_each_other() -> None:
    hours = tuple(
        Hours(begin=f"{hour:02}:00", end=f"{(hour + 1) % 24:02}:00", input="1", output="1") for hour in range(24)
    )
    assert len(Price("m", "1", "2", "USD", hours=hours[::-1]).hours) == 24
