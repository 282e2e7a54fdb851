"""Valid configurations and the structs that they become."""

from datetime import date
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from exporter import catalogue as c
from exporter.config.address import parse_address
from exporter.config.loader import ConfigError, load
from exporter.ledger.budgets import gauges
from parsers.batch import Usage
from parsers.envelope import Docker
from parsers.nginx import Nginx
from parsers.parser import registered

FULL = """
[exporter]
listen = "[::1]:0"
state = ""
start_at = "beginning"
prices = "prices.toml"
[[source]]
name = "nginx"
paths = ["log/*.log", "/var/log/nginx/access.log"]
parser = "nginx"
format = "dify-timed"
envelope = "docker"
timezone = "Asia/Shanghai"
log_patterns = ["%s.*.old"]
[routes]
extra = ["/gateway/{tenant}/chat"]
[limits]
label_length = 64
[buckets]
dify_request_duration_seconds = [1, 2.5]
[[price]]
provider = "openai"
model = "gpt-4.1"
from = "2026-01-01"
input = "2.00"
output = "8.00"
currency = "USD"
[[budget]]
name = "monthly"
window = "month"
timezone = "Europe/Berlin"
unit = "USD"
limit = "500"
match = { app_id = "x" }
[exchange]
RMB = "0.14"
[apps]
"0f0e" = { name = "Support bot", team = "care" }
[proxy]
workers = 2
"""


def test_a_file_with_every_table_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(
        '[[price]]\nmodel = "m"\ninput = "1"\noutput = "2"\ncurrency = "RMB"\nfrom = 2026-02-01\n'
    )
    file = tmp_path / "exporter.toml"
    file.write_text(FULL)
    config = load(file)
    (source,) = config.sources
    assert source.paths == (str(tmp_path / "log/*.log"), "/var/log/nginx/access.log")
    assert isinstance(source.parser, Docker)
    assert source.parser.parser == Nginx(
        format="dify-timed", timezone="Asia/Shanghai", routes=("/gateway/{tenant}/chat",)
    )
    assert config.buckets == {"dify_request_duration_seconds": (1.0, 2.5)}
    assert [price.since for price in config.prices] == [date(2026, 1, 1), date(2026, 2, 1)]
    assert config.exchange.convert(Decimal(100), "RMB", "USD") == Decimal(14)
    assert config.apps["0f0e"].team == "care"
    assert parse_address(config.exporter.listen) == ("::1", 0)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "exporter.toml"
    file.write_text("")
    config = load(file)
    assert config.sources == ()
    assert config.exporter.listen == "127.0.0.1:9877"
    assert config.limits.open_joins == 10_000


def test_all_problems_of_a_table_are_reported(tmp_path: Path) -> None:
    """Wrong types, unknown keys and values that the parser rejects, all at once."""
    (tmp_path / "x.toml").write_text(
        '[exporter]\nlisten = "9877"\nstat = "x"\n'
        '[[source]]\nname = "a"\npaths = []\nparser = "ngnix"\nenvelope = "dockre"\n'
        '[[source]]\nname = "b"\npaths = ["x"]\nparser = "nginx"\nformat = "difi"\ntimezone = "Europe"\nfromat = 1\n'
        '[[source]]\npaths = "x"\nparser = "regex"\npattern = "("\ntimeout = 99\n'
    )
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "x.toml")
    assert [problem.removeprefix(f"{tmp_path / 'x.toml'}: ") for problem in refused.value.problems] == [
        '[exporter]: unknown key "stat", did you mean "state"?',
        '[exporter]: listen must be host:port such as 127.0.0.1:9877, found "9877"',
        '[[source]] "a": paths: expected an array of length >= 1, found []',
        '[[source]] "a": parser: unknown parser "ngnix", did you mean "nginx"?',
        '[[source]] "a": envelope: unknown envelope "dockre", did you mean "docker"?',
        '[[source]] "b": unknown key "fromat", did you mean "format"?',
        '[[source]] "b": timezone: unknown time zone "Europe", expected a name such as UTC or Asia/Shanghai',
        '[[source]] "b": format: unknown name "difi", did you mean "dify"? If not, copy the log_format directive from nginx.conf',
        "[[source]] 3: paths: expected an array, found 'x'",
        "[[source]] 3: name is missing",
        "[[source]] 3: pattern: does not compile: missing ) at position 1",
        "[[source]] 3: timeout must be above 0 and at most 10 seconds, found 99.0",
    ]


@pytest.mark.parametrize(("written", "amount"), [("500", "500"), ("0.1", "0.1"), ("1e3", "1000"), ('"500"', "500")])
def test_an_amount_may_be_a_number(tmp_path: Path, written: str, amount: str) -> None:
    """In a budget, in a price and in a rate; a number is taken as it is written."""
    (tmp_path / "x.toml").write_text(
        f"[[budget]]\nname = 'b'\nwindow = 'day'\nunit = 'USD'\nlimit = {written}\n"
        f"[[price]]\nmodel = 'm'\ninput = {written}\noutput = {written}\ncurrency = 'USD'\n"
        f"[exchange]\nRMB = {written}\n"
    )
    config = load(tmp_path / "x.toml")
    assert gauges(config.budgets, config.exchange, {}, 0)[c.BUDGET_LIMIT] == {("b", "day", "USD"): float(amount)}
    usage = Usage(provider="p", model="m", input_tokens=1_000_000, output_tokens=0)
    assert config.prices[0].cost(usage) == Decimal(amount)
    assert config.exchange.convert(Decimal(1), "RMB", "USD") == Decimal(amount)


@pytest.mark.parametrize("written", ["true", "0", "-1", "nan", "inf", "[500]", '""'])
def test_what_is_no_amount_is_refused(tmp_path: Path, written: str) -> None:
    table = "[[budget]]\nname = 'b'\nwindow = 'day'\nunit = 'USD'\nlimit = "
    (tmp_path / "x.toml").write_text(table + written + "\n")
    with pytest.raises(ConfigError) as refusal:
        load(tmp_path / "x.toml")
    (problem,) = refusal.value.problems
    assert "[[budget]] 1: limit" in problem


def test_only_the_named_parsers_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, real = [], EntryPoint.load

    def load_entry_point(point: EntryPoint) -> object:
        loaded.append(point.name)
        return real(point)

    monkeypatch.setattr(EntryPoint, "load", load_entry_point)
    registered.cache_clear()
    file = tmp_path / "exporter.toml"
    sources = [("a", "nginx"), ("b", "gunicorn"), ("c", "nginx")]
    file.write_text(
        "".join(f'[[source]]\nname = "{name}"\nparser = "{parser}"\npaths = ["log"]\n' for name, parser in sources)
    )
    load(file)
    assert sorted(loaded) == ["gunicorn", "nginx"]
