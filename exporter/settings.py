"""The tables of `exporter.toml` as structs: a table *is* its object, types are the validation."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from exporter.address import address
from exporter.books.budgets import Budget
from exporter.books.money import Exchange
from exporter.books.prices import Price
from exporter.books.series import Limits
from exporter.proxy.settings import Proxy
from exporter.toml_table import FileName
from exporter.web_config import WebConfig
from parsers.parser import Parser
from parsers.routes import table as route_table

Text = Annotated[str, Meta(min_length=1, examples=["nginx"])]
Seconds = Annotated[float, Meta(gt=0, le=86400)]


class Exporter(Struct, frozen=True, forbid_unknown_fields=True):
    """`[exporter]`; times in seconds."""

    listen: str = "127.0.0.1:9877"
    state: FileName = ".dify-exporter/state"
    web_config: FileName = ""
    poll_interval: Annotated[float, Meta(gt=0, le=1)] = 1.0
    start_at: Literal["end", "beginning"] = "end"
    first_pass_timeout: Seconds = 60.0
    prices: FileName = ""

    def __post_init__(self) -> None:
        address(self.listen)


class Source(Struct, frozen=True):
    """One `[[source]]`, its parser built and wrapped in its envelope; paths are absolute."""

    name: str
    paths: tuple[str, ...]
    parser: Parser
    log_patterns: tuple[str, ...] = ()


class SourceKeys(Struct, frozen=True):
    """The keys that every source has; the others are its parser's fields."""

    name: Text
    paths: Annotated[tuple[Annotated[FileName, Meta(min_length=1)], ...], Meta(min_length=1, examples=[["access.log"]])]
    parser: Text
    envelope: Text = "none"
    log_patterns: tuple[FileName, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isprintable():
            raise ValueError(f"name: expected a name of printable characters, found {self.name!r}")
        for pattern in self.log_patterns:
            if pattern.count("%s") != 1:
                raise ValueError(f'log_patterns: expected one %s for the file\'s name, found "{pattern}"')


class Routes(Struct, frozen=True, forbid_unknown_fields=True):
    """`[routes]`"""

    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        route_table(self.extra)


class App(Struct, frozen=True, forbid_unknown_fields=True):
    """A name and a team for an app id in `[apps]`."""

    name: str = ""
    team: str = ""


class Config(Struct, frozen=True):
    """The whole file, checked."""

    exporter: Exporter = Exporter()
    sources: tuple[Source, ...] = ()
    routes: Routes = Routes()
    limits: Limits = Limits()
    buckets: Mapping[str, tuple[float, ...]] = {}
    prices: tuple[Price, ...] = ()
    budgets: tuple[Budget, ...] = ()
    exchange: Exchange = Exchange()
    apps: Mapping[str, App] = {}
    proxy: Proxy = Proxy()
    web: WebConfig = WebConfig()
