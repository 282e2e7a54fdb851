"""The gauges that are computed for each scrape."""

from exporter import catalogue as c
from exporter.config.settings import AppConfig, Config
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.metrics.gauges import computed_gauges
from parsers.batch import Batch, Request


def test_an_app_without_a_team_has_no_empty_label() -> None:
    config = Config(apps={"a": AppConfig(name="Support bot"), "b": AppConfig(team="care")})
    found = computed_gauges(Ledger(Limits(), lambda: 0.0).snapshot(0.0), config, 0.0)
    assert set(found[c.APP_INFO]) == {("a", "Support bot", "unknown"), ("b", "unknown", "care")}


def test_a_route_whose_requests_are_only_timed_has_its_information() -> None:
    """The rules of latency join the durations with it; the log of gevent-websocket may be the only one of the api."""
    ledger = Ledger(Limits(), lambda: 0.0)
    ledger.enter("api", Batch(records=(Request("GET", "/v1/info", "200", "", 0, 5, (7,)),)))
    found = computed_gauges(ledger.snapshot(0.0), Config(), 0.0)
    assert found[c.ROUTE_INFO] == {("/v1/info", "service_api", "no", "no"): 1.0}
