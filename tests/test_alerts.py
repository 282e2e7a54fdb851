"""What the exporter says of the alerts is derived from the rules as they are."""

from exporter import alerts
from exporter.ledger import Ledger
from exporter.series import Limits
from exporter.settings import Config, Source
from parsers import batch as b
from parsers.dify import Dify
from parsers.envelope import Docker
from parsers.nginx import Nginx
from parsers.parser import Parser
from parsers.plugin_daemon import PluginDaemon
from tests.alerts import FILE, text


def test_the_table_is_that_of_the_rules() -> None:
    assert FILE.read_text() == text(), "run `make docs`"


def verdicts(*records: b.Record, parser: Parser | None = None) -> dict[str, str]:
    ledger = Ledger(Limits(), lambda: 1_790_000_000.0)
    ledger.enter("s", b.Batch(records=records))
    config = Config(sources=(Source("s", (), parser or Dify()),))
    judged = alerts.judge(alerts.live(ledger.snapshot(None), config))
    return {verdict.alert: verdict.why for verdict in judged}


def test_an_alert_that_no_source_feeds_says_what_to_add() -> None:
    plain = verdicts(b.Request("GET", "/v1/info", "200"))
    assert plain["DifyHighErrorRate"] == ""
    assert plain["DifyHighLatency"].startswith("no source carries durations; use the dify-timed log_format")
    assert plain["DifySlowFirstToken"].startswith("no source carries times to the first token; put dify-exporter proxy")
    timed = verdicts(b.Request("GET", "/v1/info", "200", durations=(5,)))
    assert timed["DifyHighLatency"] == ""
    streamed = verdicts(b.FirstToken("app", "model", 5))
    assert streamed["DifySlowFirstToken"] == ""
    assert streamed["DifyHighErrorRate"].startswith("no source carries requests")


def test_a_kind_of_failure_that_no_parser_tells_fires_nothing() -> None:
    request = b.Request("GET", "/v1/info", "200")
    for parser in (Nginx(), Docker(parser=Nginx())):
        nginx = verdicts(request, parser=parser)
        assert nginx["DifyTimeouts"] == nginx["DifyRateLimiting"] == ""
        assert nginx["DifyQuotaExceeded"].startswith(
            "no source carries errors of model providers; tail the logs of Dify"
        )
    daemon = verdicts(parser=PluginDaemon())
    assert daemon["DifyProviderFailures"].startswith("no source carries errors of model providers")
    assert verdicts(b.Invocation("invoke_llm", "200"), parser=PluginDaemon())["DifyProviderFailures"] == ""
    assert verdicts(request)["DifyQuotaExceeded"] == ""


def test_the_sentence_counts() -> None:
    judged = [alerts.Verdict("A"), alerts.Verdict("B", "no source carries tokens")]
    assert alerts.sentence(judged) == "1 of the 2 shipped alerts can fire with these sources"
