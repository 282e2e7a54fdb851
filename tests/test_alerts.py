"""What the exporter says of the alerts is derived from the rules as they are."""

from typing import Any

from exporter.advice import alerts
from exporter.config.settings import Config, ExporterConfig
from exporter.ledger.budgets import Budget
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.tail.source_config import SourceConfig
from parsers import batch as b
from parsers.dify import Dify
from parsers.envelope import Docker
from parsers.nginx import Nginx
from parsers.parser import Parser
from parsers.plugin_daemon import PluginDaemon
from tests.alerts import FILE, text


def test_the_table_is_that_of_the_rules() -> None:
    assert FILE.read_text() == text(), "run `make docs`"


def evaluated(
    sources: dict[str, Parser], records: dict[str, list[b.Record]], **config: Any
) -> dict[str, alerts.Verdict]:
    ledger = Ledger(Limits(), lambda: 1_790_000_000.0)
    for name in sources:
        ledger.enter(name, b.Batch(records=tuple(records.get(name, ()))))
    tables = Config(sources=tuple(SourceConfig(name, (), parser) for name, parser in sources.items()), **config)
    available = alerts.available_metrics(
        ledger.snapshot(None), tables, lambda name: b.Batch(records=tuple(records.get(name, ())))
    )
    return {verdict.alert: verdict for verdict in alerts.evaluate(available)}


def verdicts(*records: b.Record, parser: Parser | None = None) -> dict[str, str]:
    found = evaluated({"s": parser or Dify()}, {"s": list(records)})
    return {alert: verdict.why for alert, verdict in found.items()}


def test_an_alert_that_no_source_feeds_says_what_to_add() -> None:
    plain = verdicts(b.Request("GET", "/v1/info", "200"))
    assert plain["DifyHighErrorRate"] == ""
    assert plain["DifyHighLatency"].startswith("no source reports durations; use the dify-timed log_format")
    assert plain["DifySlowFirstToken"].startswith("no source reports times to the first token; put dify-exporter proxy")
    timed = verdicts(b.Request("GET", "/v1/info", "200", durations=(5,)))
    assert timed["DifyHighLatency"] == ""
    only_timed = verdicts(b.Request("GET", "/v1/info", "200", count=0, durations=(5,)))
    assert only_timed["DifyHighLatency"] == ""
    assert only_timed["DifyHighErrorRate"].startswith("no source reports requests")
    streamed = verdicts(b.FirstToken("app", "model", 5))
    assert streamed["DifySlowFirstToken"] == ""
    assert streamed["DifyHighErrorRate"].startswith("no source reports requests")


def test_a_kind_of_failure_that_no_parser_reports_fires_nothing() -> None:
    request = b.Request("GET", "/v1/info", "200")
    for parser in (Nginx(), Docker(parser=Nginx())):
        nginx = verdicts(request, parser=parser)
        assert nginx["DifyTimeouts"] == nginx["DifyRateLimiting"] == ""
        assert nginx["DifyQuotaExceeded"].startswith(
            "no source reports errors of model providers; tail the logs of Dify"
        )
        assert nginx["DifyProviderFailures"].startswith("no source reports errors of model providers")
    daemon = verdicts(parser=PluginDaemon())
    assert daemon["DifyProviderFailures"] == daemon["DifyRateLimiting"] == ""
    assert daemon["DifyQuotaExceeded"].startswith("no source reports errors of model providers")
    assert verdicts(request)["DifyQuotaExceeded"] == ""


def test_each_source_is_evaluated_alone() -> None:
    """Rules compare within a source: the requests of one and the token usage of another are no alert."""
    request = b.Request("GET", "/v1/info", "200")
    usage = b.Usage(app_id="a", input_tokens=1, output_tokens=1)
    apart = evaluated({"nginx": Nginx(), "other": Dify()}, {"nginx": [request], "other": [usage]})
    assert apart["DifyHighErrorRate"].sources == ("nginx",)
    assert "no source reports" in apart["DifyUsageMissing"].why
    assert "together with the other metrics of this alert" in apart["DifyUsageMissing"].why
    both = evaluated({"nginx": Nginx(), "proxy": Dify()}, {"nginx": [request], "proxy": [request, usage]})
    assert both["DifyUsageMissing"] == alerts.Verdict("DifyUsageMissing", ("proxy",))
    assert both["DifyHighErrorRate"].sources == ("nginx", "proxy")
    assert both["Watchdog"] == alerts.Verdict("Watchdog")
    assert alerts.by_source(both.values())["nginx", "proxy"][0] == "DifyHighErrorRate"


def test_what_the_proxy_knows_no_access_line_does() -> None:
    request, active = b.Request("POST", "/v1/chat-messages", "400"), b.Active("w", 1, 1_790_000_000_000_000_000)
    found = evaluated({"api": Dify(), "proxy": Dify()}, {"api": [request], "proxy": [request, active]})
    # The api reports it in an ERROR record, the proxy as the reason of a failed request and as its cause.
    assert found["DifyQuotaExceeded"].sources == ("api", "proxy")
    of_proxy = Dify().error_kinds(b.Batch(records=(request, active, b.Failure("quota_exceeded"))))
    assert of_proxy > {"provider_error", "provider_unauthorized", "provider_unavailable", "rate_limited"}
    assert of_proxy.isdisjoint({"node_failed", "worker_timeout", "unhandled_exception", "other"})
    assert "proxy" in found["DifyProviderFailures"].sources
    assert "quota_exceeded" not in Dify().failure_reasons(b.Batch(records=(request,)))
    assert "request_too_large" not in Dify().error_kinds(b.Batch())
    assert "worker_timeout" in Dify().error_kinds(b.Batch())


def test_what_the_worker_the_proxy_and_prices_tell() -> None:
    task = b.Task("tasks.a", "failed", 5)
    usage = b.Usage(app_id="a", model="m", input_tokens=1, output_tokens=1)
    active = b.Active("w", 1, 1_790_000_000_000_000_000)
    found = evaluated(
        {"nginx": Nginx(), "worker": Dify(), "proxy": Dify()},
        {"nginx": [b.Request("GET", "/v1/info", "200")], "worker": [task], "proxy": [usage, active]},
    )
    assert found["DifyTasksFailing"].sources == ("worker",)
    assert found["DifyProxyDroppingLines"].sources == ("proxy",)
    assert found["DifySpendingSpike"].why.startswith("no source reports cost; add [[price]] tables")
    assert found["DifyTokensWithoutPrice"].sources == ()
    for own in ("FormatChanged", "LosingBytes", "ReloadFailed", "FoldingSeries"):
        assert found[f"DifyExporter{own}"] == alerts.Verdict(f"DifyExporter{own}")
    nginx = verdicts(b.Request("GET", "/v1/info", "200"), parser=Nginx())
    assert nginx["DifyTasksFailing"] == "no source reports Celery tasks; tail the log of Dify's worker"
    assert nginx["DifyProxyDroppingLines"].startswith("no source is the log of dify-exporter proxy")


def test_the_receivers_alerts_need_the_receiver() -> None:
    run, items = b.Run("workflow", "a", "succeeded", 5), b.ReceivedItems("phoenix", "written", 5)
    found = evaluated({"worker": Dify(), "receiver": Dify()}, {"worker": [run], "receiver": [run, items]})
    for alert in ("DifyReceiverSilent", "DifyReceiverRejecting", "DifySpansSampled"):
        assert found[alert].sources == ("receiver",)
    assert verdicts(run)["DifyReceiverRejecting"].startswith("no source is the log of dify-exporter receive; let ")


def test_alerts_that_compare_the_receiver_need_another_source() -> None:
    run, items = b.Run("workflow", "a", "succeeded", 5), b.ReceivedItems("native", "written", 5)
    receiver: list[b.Record] = [run, items]
    for alone in ({"receiver": receiver}, {"receiver": receiver, "second-receiver": receiver}):
        found = evaluated(dict.fromkeys(alone, Dify()), alone)
        for alert in ("DifyReceiverSilent", "DifySpansSampled"):
            assert found[alert].sources == ()
            assert found[alert].why == (
                "no source but the receiver shows the runs, and this alert compares the two; tail the log of Dify's worker"
            )
        assert found["DifyReceiverRejecting"].sources == tuple(alone)
    request = b.Request("POST", "/v1/chat-messages", "200")
    with_nginx = evaluated({"receiver": Dify(), "nginx": Nginx()}, {"receiver": receiver, "nginx": [request]})
    assert with_nginx["DifyReceiverSilent"].sources == ("receiver",)
    assert with_nginx["DifySpansSampled"].why.startswith("no source but the receiver shows the runs")
    idle = evaluated(
        {"receiver": Dify(), "worker": Dify()}, {"receiver": [b.ReceivedItems("none", "written", 0)], "worker": [run]}
    )
    assert idle["DifyReceiverSilent"].sources == ("receiver",)


def test_a_queue_that_grows_needs_the_workers_log() -> None:
    """A worker that has ended no task yet is enough."""
    found = evaluated({"nginx": Nginx(), "worker": Dify()}, {"worker": [b.TaskReceived("tasks.a")]})
    assert found["DifyTaskQueueGrowing"].sources == ("worker",)
    assert verdicts()["DifyTaskQueueGrowing"].startswith(
        "no source reports Celery tasks that a worker received; tail the log"
    )


def test_what_nginx_turns_away_is_no_failure_of_a_provider() -> None:
    for format in ("dify-timed", "error"):
        nginx = evaluated({"nginx": Nginx(format=format)}, {"nginx": [b.Request("GET", "/v1/info", "200")]})
        assert nginx["DifyProviderFailures"].why.startswith("no source reports errors of model providers")


def test_a_budget_needs_what_it_counts_and_the_checkpoint_its_state() -> None:
    tokens = {"s": [b.Usage(input_tokens=1, output_tokens=1)]}
    for unit, fires in (("tokens", True), ("USD", False)):
        budgets = (Budget("b", "day", unit, "5"),)
        found = evaluated({"s": Dify()}, tokens, budgets=budgets)
        assert (found["DifyTokenBudgetWarning"].why == "") is fires
    found = evaluated({"s": Dify()}, tokens, exporter=ExporterConfig(state=""))
    assert found["DifyTokenBudgetWarning"].why.endswith("add a [[budget]] to the configuration")
    assert found["DifyExporterCheckpointFailing"].why.startswith("no state folder is configured")


def test_the_sentence_counts() -> None:
    two = [alerts.Verdict("A"), alerts.Verdict("B", (), "no source reports tokens")]
    assert alerts.summary(two) == "1 of the 2 shipped alerts can fire with these sources"
