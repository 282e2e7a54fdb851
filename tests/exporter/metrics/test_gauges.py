"""The gauges that are computed for each scrape."""

from exporter import catalogue as c
from exporter.config.settings import AppConfig, Config
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.metrics.gauges import computed_gauges


def test_an_app_without_a_team_has_no_empty_label() -> None:
    config = Config(apps={"a": AppConfig(name="Support bot"), "b": AppConfig(team="care")})
    found = computed_gauges(Ledger(Limits(), lambda: 0.0).snapshot(0.0), config, 0.0)
    assert set(found[c.APP_INFO]) == {("a", "Support bot", "unknown"), ("b", "unknown", "care")}
