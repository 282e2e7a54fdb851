"""The tables of `exporter.toml` as structs. The types of the fields define which values are valid."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from msgspec import Meta, Struct

from exporter.config.address import parse_address
from exporter.config.toml_table import FileName, Seconds
from exporter.config.web import WebConfig
from exporter.config.wsgi import ProxyConfig, ReceiveConfig
from exporter.ledger.budgets import Budget
from exporter.ledger.history import HistoryConfig
from exporter.ledger.money import Exchange
from exporter.ledger.prices import Price
from exporter.ledger.series import Limits
from exporter.tail.source_config import SourceConfig
from parsers.access.routes import table as route_table

#: What `serve` and `check` say of a configuration without a source.
NO_SOURCE = "no [[source]] table, expected at least one; see exporter.toml for examples"

Text = Annotated[str, Meta(min_length=1, examples=["nginx"])]


class ExporterConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[exporter]`. Times are in seconds."""

    listen: str = "127.0.0.1:9877"
    state: FileName = ".dify-exporter/state"
    web_config: FileName = ""
    poll_interval: Annotated[float, Meta(gt=0, le=1)] = 1.0
    start_at: Literal["end", "beginning"] = "end"
    first_pass_timeout: Seconds = 60.0
    prices: FileName = ""

    def __post_init__(self) -> None:
        parse_address(self.listen)


class SourceKeys(Struct, frozen=True):
    """The keys that every `[[source]]` has. All other keys are fields of its parser."""

    name: Text
    paths: Annotated[tuple[Annotated[FileName, Meta(min_length=1)], ...], Meta(min_length=1, examples=[["access.log"]])]
    parser: Text
    envelope: Text = "none"
    log_patterns: tuple[FileName, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isprintable():
            raise ValueError(f"name: expected a name of printable characters, found {self.name!r}")
        for pattern in self.log_patterns:
            if pattern.count("%s") + pattern.count("{stem}") != 1 or pattern.count("{ext}") > pattern.count("{stem}"):
                raise ValueError(
                    "log_patterns: expected one {stem} for the file's name without its ending and at most one {ext} "
                    f'for the ending, or one %s for both, found "{pattern}"'
                )


class RoutesConfig(Struct, frozen=True, forbid_unknown_fields=True):
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        route_table(self.extra)


class AppConfig(Struct, frozen=True, forbid_unknown_fields=True):
    name: str = ""
    team: str = ""


class Config(Struct, frozen=True):
    """The whole configuration file, after its checks."""

    exporter: ExporterConfig = ExporterConfig()
    sources: tuple[SourceConfig, ...] = ()
    routes: RoutesConfig = RoutesConfig()
    limits: Limits = Limits()
    buckets: Mapping[str, tuple[float, ...]] = {}
    prices: tuple[Price, ...] = ()
    prices_date: date | None = None
    budgets: tuple[Budget, ...] = ()
    exchange: Exchange = Exchange()
    apps: Mapping[str, AppConfig] = {}
    history: HistoryConfig = HistoryConfig()
    proxy: ProxyConfig = ProxyConfig()
    receive: ReceiveConfig = ReceiveConfig()
    web: WebConfig = WebConfig()
