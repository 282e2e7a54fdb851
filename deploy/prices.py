"""Writes deploy/prices.toml from the package genai-prices and from deploy/prices-dify.toml. Run it with `make prices`.

genai-prices is kept by Pydantic (github.com/pydantic/genai-prices). Its models are matched to the names that Dify's
plugins write. A price by the length of the prompt becomes tiers, and a price by the hour of the day becomes hours. A
price per request is left out, because a list cannot express it.
"""

import re
import textwrap
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from genai_prices import data, types

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "deploy/prices.toml"
OWN = ROOT / "deploy/prices-dify.toml"
PROJECT = ROOT / "pyproject.toml"

#: The provider in the names of Dify (the last part of `langgenius/gemini/google`), by its id in genai-prices.
PROVIDERS = {
    "openai": "openai", "anthropic": "anthropic", "google": "google", "deepseek": "deepseek", "mistral": "mistralai",
    "x-ai": "x", "cohere": "cohere", "groq": "groq", "voyageai": "voyage", "fireworks": "fireworks",
    "openrouter": "openrouter",
}  # fmt: skip

HEAD = """\
# Prices of models, for logs that report tokens without a price. Use this file with
#
#   [exporter]
#   prices = "deploy/prices.toml"
#
# Written by `make prices`: do not edit it. As of {day}, from genai-prices {version} (github.com/pydantic/genai-prices)
# and deploy/prices-dify.toml, which names its sources. Your own prices belong into [[price]] of the configuration.
#
# Prices are for the provider's standard API, per million tokens, without discounts for cached input or batches, so the
# computed cost is an upper bound of the bill: Dify does not report how many tokens were cached. `tiers` are the prices
# of calls with more than `above` input tokens, and `hours` those at these hours of the day, in UTC. A [[price]] in the
# configuration overrides the same entry here, and a price with a provider overrides a price without one. Tokens of
# models that are not listed are counted in dify_unpriced_tokens_total.
#
# Not listed, because the price depends on the number of requests, or is not known:
{left_out}
"""

#: Names of models whose calls report no tokens to Dify, or that are no models of a plugin.
_WITHOUT_TOKENS = re.compile(
    r"ocr|tts|whisper|transcribe|translate|voice|voxtral|orpheus|realtime|live|:free|moderation"
)


class Entry(NamedTuple):
    """One `[[price]]`. Amounts are decimal strings, `since` is the first day, or "" for a price without one.

    A tier is the number of input tokens above which it applies, and the amounts of input and output. Hours are the
    times in UTC at which they begin and end, and the amounts.
    """

    provider: str
    model: str
    since: str
    input: str
    output: str
    currency: str
    tiers: tuple[tuple[int, str, str], ...] = ()
    hours: tuple[tuple[str, str, str, str], ...] = ()

    def __str__(self) -> str:
        since = f' from = "{self.since}",' if self.since else ""
        tiers = (f'{{ above = {above}, input = "{given}", output = "{made}" }}' for above, given, made in self.tiers)
        hours = (
            f'{{ from = "{begin}", to = "{end}", input = "{given}", output = "{made}" }}'
            for begin, end, given, made in self.hours
        )
        return (
            f'  {{ provider = "{self.provider}", model = "{self.model}",{since} '
            f'input = "{self.input}", output = "{self.output}", currency = "{self.currency}"'
            + (f", tiers = [{', '.join(tiers)}]" if self.tiers else "")
            + (f", hours = [{', '.join(hours)}]" if self.hours else "")
            + " },"
        )


def entries_of(model: str, provider: str, prices: list[types.ConditionalPrice]) -> list[Entry] | None:
    """The entries of one model, None if they cannot express its prices."""
    entries = []
    for each in prices:
        since = each.constraint.start_date.isoformat() if isinstance(each.constraint, types.StartDateConstraint) else ""
        found = each.prices
        if found.requests_kcount or found.input_mtok is None:
            return None
        amounts = [found.input_mtok, found.output_mtok or types.Decimal(0)]
        if isinstance(each.constraint, types.TimeOfDateConstraint):
            if not (hours := _hours(each.constraint, amounts)) or not entries or entries[-1].tiers:
                return None
            # A price by the hour belongs to the newest entry.
            entries[-1] = entries[-1]._replace(hours=(*entries[-1].hours, hours))
            continue
        limits = {tier.start for amount in amounts if isinstance(amount, types.TieredPrices) for tier in amount.tiers}
        base, *tiers = ([_at(amount, limit) for amount in amounts] for limit in (0, *sorted(limits)))
        above = tuple((limit, *tier) for limit, tier in zip(sorted(limits), tiers, strict=True))
        entries.append(Entry(provider, model, since, *base, "USD", above))
    changes = zip(entries, [None, *entries], strict=False)
    return [entry for entry, before in changes if before is None or entry[3:] != before[3:]]


def _hours(
    constraint: types.TimeOfDateConstraint, amounts: list[types.Decimal | types.TieredPrices]
) -> tuple[str, str, str, str] | None:
    """The hours of a price; None if a list cannot express them."""
    limits = (constraint.start_time, constraint.end_time)
    if any(isinstance(each, types.TieredPrices) for each in amounts) or any(t.tzinfo is not UTC for t in limits):
        return None
    begin, end = (f"{limit:%H:%M}" for limit in limits)
    return begin, end, *(_at(each, 0) for each in amounts)


def _at(price: types.Decimal | types.TieredPrices, limit: int) -> str:
    """The price of a token in a prompt that is longer than `limit`."""
    if isinstance(price, types.TieredPrices):
        price = next((tier.price for tier in reversed(price.tiers) if tier.start <= limit), price.base)
    return f"{types.Decimal(price):f}"


def names_of(provider: types.Provider, dify: list[str]) -> Iterator[str]:
    """The names of a provider's models: in Dify's plugins, and those that genai-prices matches exactly."""
    names = {*dify}
    for model in provider.models:
        names.add(model.id)
        if provider.id == "openrouter":  # it has several more names per model, for its variants
            continue
        clauses = model.match.or_ if isinstance(model.match, types.ClauseOr) else [model.match]
        names.update(clause.equals for clause in clauses if isinstance(clause, types.ClauseEquals))
    yield from sorted(name for name in names if re.fullmatch(r"[\w./:@-]+", name))


def rendered(day: date, own: dict[str, Any]) -> str:
    """The text of the price list, made on this day."""
    listed, left_out = _maintained(own["names"])
    for key in {(price["provider"], price["model"]) for price in own["price"]} & {*listed}:
        if any(entry.tiers or entry.hours for entry in listed[key]):
            del listed[key]
    maintained = {*listed}
    for price in own["price"]:
        if (key := (price["provider"], price["model"])) not in maintained:
            values = {"since": "", **{"since" if name == "from" else name: value for name, value in price.items()}}
            values["tiers"] = tuple((tier["above"], tier["input"], tier["output"]) for tier in price.get("tiers", ()))
            listed.setdefault(key, []).append(Entry(**values))
    notes = []
    for provider, names in sorted(left_out.items()):
        missing = [name for name in names if (provider, name) not in listed]
        text = f"{provider}: {', '.join(missing)}"
        notes += textwrap.wrap(text, 120, initial_indent="#   ", subsequent_indent="#     ", break_on_hyphens=False)
    head = HEAD.format(day=day, version=version("genai-prices"), left_out="\n".join(notes))
    lines = (str(entry) for key in sorted(listed) for entry in listed[key])
    return f"{head}\ndate = {day}\nprice = [\n" + "\n".join(lines) + "\n]\n"


def _maintained(dify: dict[str, list[str]]) -> tuple[dict[tuple[str, str], list[Entry]], dict[str, list[str]]]:
    """The entries of genai-prices by provider and model, and the models by provider that a list cannot express.

    `dify` are the names in Dify's plugins by provider.
    """
    listed: dict[tuple[str, str], list[Entry]] = {}
    left_out: dict[str, list[str]] = {}
    for provider in data.providers:
        name = PROVIDERS.get(provider.id, "")
        for model_name in names_of(provider, dify.get(name, [])) if name else ():
            model = provider.find_model(model_name)
            if model is None or _WITHOUT_TOKENS.search(model_name):
                continue
            prices = model.prices if isinstance(model.prices, list) else [types.ConditionalPrice(prices=model.prices)]
            if entries := entries_of(model_name, name, prices):
                listed[name, model_name] = entries
            elif name != "openrouter":  # its models are those of the others
                left_out.setdefault(name, []).append(model_name)
    return listed, left_out


def main() -> None:
    """Write the list, and pin the version of genai-prices that it was made from."""
    LIST.write_text(rendered(datetime.now(UTC).date(), tomllib.loads(OWN.read_text("utf-8"))), "utf-8")
    pinned = re.sub(r'"genai-prices==[\d.]+"', f'"genai-prices=={version("genai-prices")}"', PROJECT.read_text("utf-8"))
    PROJECT.write_text(pinned, "utf-8")


if __name__ == "__main__":
    main()
