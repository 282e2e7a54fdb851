"""Reads and checks `exporter.toml`. All problems are reported at once, each as one sentence."""

import tomllib
from collections.abc import Callable, Hashable
from datetime import date
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from msgspec import Struct, structs

from exporter import catalogue
from exporter.config.settings import AppConfig, Config, ExporterConfig, RoutesConfig, SourceKeys
from exporter.config.toml_table import Problems, Table, convert, known_tables, shown, toml_type
from exporter.config.web import WebConfig, convert_web_config, tls_context
from exporter.config.wsgi import ProxyConfig, ReceiveConfig
from exporter.ledger.budgets import Budget
from exporter.ledger.history import HistoryConfig
from exporter.ledger.money import ANCHOR, Exchange, amount, currency, same_currencies
from exporter.ledger.prices import Price
from exporter.ledger.series import Limits
from exporter.messages import unknown
from exporter.process.special_files import is_stream, refuse_special
from exporter.tail.source_config import SourceConfig
from parsers.envelope import ENVELOPES
from parsers.parser import PackageError, construction_fault, registered
from parsers.values.numbers import MAX_SECONDS, SECOND

S = TypeVar("S", bound=Struct)

_TABLES = ("exporter", "routes", "limits", "buckets", "exchange", "apps", "history", "proxy", "receive")
_ARRAYS = ("source", "price", "budget")


class ConfigError(Exception):
    """`problems` holds one sentence per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError with all its problems."""
    problems = Problems(str(path))
    content = _document(path, problems)
    if problems.sentences:
        raise ConfigError(problems.sentences)
    document = known_tables(content, problems, _TABLES, _ARRAYS)
    exporter = _one(document, "exporter", ExporterConfig, problems)
    routes = _one(document, "routes", RoutesConfig, problems)
    prices, prices_date = _prices(path, document, exporter, problems)
    config = Config(
        exporter=exporter,
        routes=routes,
        sources=_sources(document, path.absolute().parent, routes.extra, problems),
        limits=_one(document, "limits", Limits, problems),
        buckets=_buckets(document.get("buckets", {}), problems),
        prices=prices,
        prices_date=prices_date,
        budgets=_many(document, "budget", Budget, problems, lambda budget: budget.name, "name"),
        exchange=_exchange(document.get("exchange", {}), problems),
        apps=_apps(document.get("apps", {}), problems),
        history=_one(document, "history", HistoryConfig, problems),
        proxy=_one(document, "proxy", ProxyConfig, problems),
        receive=_one(document, "receive", ReceiveConfig, problems),
        web=_web(path, exporter, problems),
    )
    if problems.sentences:
        raise ConfigError(problems.sentences)
    return config


def convert_source(
    table: Table, folder: Path, extra_routes: tuple[str, ...], problems: Problems, where: str
) -> SourceConfig | None:
    """Convert one `[[source]]` table. Returns None if it has problems, after adding them."""
    common = {f.encode_name for f in structs.fields(SourceKeys)}
    found = len(problems.sentences)
    keys = convert({k: v for k, v in table.items() if k in common}, SourceKeys, where, problems)
    # Only the named parser is imported: all of them take a fifth of the start.
    try:
        known = registered(str(table.get("parser"))) or registered()
    except PackageError as error:
        problems.add(where, str(error))
        return None
    named = {"parser": known, "envelope": ["none", *ENVELOPES]}
    for key, names in named.items():
        if isinstance(name := table.get(key), str) and name not in names:
            problems.add(where, f"{key}: " + unknown(key, name, names))
    struct = known.get(str(table.get("parser")))
    if struct is None:
        return None
    hidden = {"routes": extra_routes} if "routes" in struct.__struct_fields__ else {}
    parser_keys = {f.encode_name for f in structs.fields(struct)} - hidden.keys()
    for key in (key for key in table if key not in common | parser_keys):
        problems.add(where, unknown("key", key, common | parser_keys))
    options = {k: v for k, v in table.items() if k in parser_keys}
    try:
        parser = convert(options, struct, where, problems, hidden)
    except Exception as error:  # a third-party parser may raise anything
        problems.add(where, construction_fault(error))
        return None
    if parser is None or keys is None or len(problems.sentences) > found:
        return None
    if keys.envelope != "none":
        parser = ENVELOPES[keys.envelope](parser=parser)
    return SourceConfig(keys.name, tuple(str(folder / p) for p in keys.paths), parser, keys.log_patterns)


def _document(path: Path, problems: Problems, named_by: str = "--config") -> dict[str, Any]:
    """The content of a file; {} after adding a problem if it cannot be read."""
    try:
        if not is_stream(str(path)):
            refuse_special(path)
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        write = ", or let `dify-exporter init` write one"
        hint = write if isinstance(error, FileNotFoundError) and named_by == "--config" else ""
        problems.add("", f"cannot be read: {error.strerror}; name another file with {named_by}{hint}")
    except UnicodeDecodeError as error:
        line, byte = error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
        problems.add("", f"is not UTF-8: byte {byte:#04x} in line {line}; save it as UTF-8")
    except ValueError as error:  # from tomllib, or from Python for an integer of 5,000 digits
        problems.add("", f"is not valid TOML: {error}")
    except RecursionError:
        problems.add("", "is not valid TOML: its tables and arrays are nested too deeply")
    return {}


def _one(document: Table, name: str, struct: type[S], problems: Problems) -> S:
    return convert(document.get(name, {}), struct, f"[{name}]", problems) or struct()


def _many(
    document: Table, name: str, struct: type[S], problems: Problems, key_of: Callable[[S], Hashable], what: str
) -> tuple[S, ...]:
    """Convert the tables `[[name]]`. No two of them may have the same key; messages call it `what`."""
    tables = enumerate(document.get(name, []), 1)
    converted = (convert(table, struct, f"[[{name}]] {number}", problems) for number, table in tables)
    found = tuple(item for item in converted if item is not None)
    numbers: dict[Hashable, int] = {}
    for number, key in enumerate(map(key_of, found), 1):
        if (first := numbers.setdefault(key, number)) < number:
            problems.add(f"[[{name}]] {number}", f"{what}: the same as in [[{name}]] {first}")
    return found


def _sources(document: Table, folder: Path, extra: tuple[str, ...], problems: Problems) -> tuple[SourceConfig, ...]:
    sources: list[SourceConfig] = []
    earlier: list[object] = []
    for number, table in enumerate(document.get("source", []), 1):
        name = table.get("name")
        where = f'[[source]] "{name}"' if isinstance(name, str) else f"[[source]] {number}"
        source_config = convert_source(table, folder, extra, problems, where)
        if isinstance(name, str) and name in earlier:
            problems.add(where, "name: an earlier source has the same name, expected a different name per source")
        earlier.append(name)
        if source_config is not None:
            sources.append(source_config)
    return tuple(sources)


def _web(path: Path, exporter: ExporterConfig, problems: Problems) -> WebConfig:
    if not exporter.web_config:
        return WebConfig()
    file = path.absolute().parent / exporter.web_config
    of_file = Problems(str(file), problems.sentences)
    web = convert_web_config(_document(file, of_file, "[exporter] web_config"), file.parent, of_file)
    try:
        if web.tls is not None:
            tls_context(web.tls)
    except ValueError as error:
        of_file.add("[tls_server_config]", str(error))
    return web


def _prices(
    path: Path, document: Table, exporter: ExporterConfig, problems: Problems
) -> tuple[tuple[Price, ...], date | None]:
    """The prices in the configuration, then those in the file that `prices` names, and the date of that file.

    The first match applies.
    """
    own = _price_list(document, problems)
    if not exporter.prices:
        return own, None
    file = path.absolute().parent / exporter.prices
    of_file = Problems(str(file), problems.sentences)
    price_file = _document(file, of_file, "[exporter] prices")
    if type(as_of := price_file.pop("date", None)) not in (date, NoneType):
        of_file.add("", f"date: expected a date such as 2026-11-30, found {toml_type(as_of)}")
    return (*own, *_price_list(known_tables(price_file, of_file, (), ["price"]), of_file)), as_of


def _price_list(document: Table, problems: Problems) -> tuple[Price, ...]:
    return _many(
        document, "price", Price, problems, lambda p: (p.model, p.provider, p.since), "model, provider and from"
    )


def _buckets(table: Table, problems: Problems) -> dict[str, tuple[float, ...]]:
    histograms = {m.name for m in catalogue.METRICS if m.kind == "histogram"}
    buckets = {}
    for name, bounds in table.items():
        if name not in histograms:
            problems.add("[buckets]", unknown("histogram", name, histograms))
        elif (
            not isinstance(bounds, list)
            or not bounds
            or not all(type(b) in (int, float) and 1 / SECOND <= b <= MAX_SECONDS for b in bounds)
            or sorted(set(bounds)) != bounds
        ):
            expected = f"increasing numbers of seconds from {1 / SECOND:g} to {MAX_SECONDS}"
            problems.add("[buckets]", f"{name}: expected {expected}, found {shown(bounds)}")
        else:
            buckets[name] = tuple(float(b) for b in bounds)
    return buckets


def _exchange(table: Table, problems: Problems) -> Exchange:
    rates = {}
    for code, rate in table.items():
        try:
            rates[currency("currency must be", code)] = amount(code, rate)
        except ValueError as error:
            problems.add("[exchange]", str(error))
    for one, other in same_currencies(rates):
        problems.add("[exchange]", f"{other}: the same currency as {one}, expected one of them")
    if rates.get(ANCHOR, 1) != 1:
        problems.add("[exchange]", f"{ANCHOR}: all rates are in {ANCHOR}, expected only other currencies")
    return Exchange(rates)


def _apps(table: Table, problems: Problems) -> dict[str, AppConfig]:
    apps = {}
    for app_id, value in table.items():
        if not isinstance(value, dict):
            problems.add("[apps]", f'{app_id}: expected {{ name = "…", team = "…" }}, found {shown(value)}')
        elif (app := convert(value, AppConfig, f'[apps] "{app_id}"', problems)) is not None:
            apps[app_id] = app
    return apps
