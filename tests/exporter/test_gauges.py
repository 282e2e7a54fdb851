"""What is looked up when somebody asks."""

from exporter import catalogue as c
from exporter.books.series import Limits
from exporter.gauges import looked_up
from exporter.ledger import Ledger
from exporter.settings import App, Config


def test_an_app_without_a_team_has_no_empty_label() -> None:
    config = Config(apps={"a": App(name="Support bot"), "b": App(team="care")})
    found = looked_up(Ledger(Limits(), lambda: 0.0).snapshot(0.0), config, 0.0)
    assert set(found[c.APP_INFO]) == {("a", "Support bot", "unknown"), ("b", "unknown", "care")}
