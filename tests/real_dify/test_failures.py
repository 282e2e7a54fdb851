"""Failures in the logs of a real Dify (tests/real_dify), against what its model served and how its runs ended."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from parsers.batch import Batch, Failure
from parsers.dify import Dify
from parsers.parser import Parser
from parsers.plugin_daemon import PluginDaemon
from tests.real_dify import forms

BOOKS = json.loads((forms.HERE / "expected.json").read_text())["phases"]

PROVIDER = {"rate_limited", "provider_unauthorized", "provider_unavailable", "provider_error"}


def batch_of(phase: str, name: str) -> Batch:
    path = f"{phase}/{name}.log"
    log = forms.read(path if (forms.HERE / path).exists() else f"{path}.gz")
    parser: Parser = PluginDaemon() if name == "plugin-daemon" else Dify()
    return parser.parse(log, final=True)


def kinds_of(batches: Iterable[Batch]) -> Counter[str]:
    records = (record for batch in batches for record in batch.records)
    return Counter(record.kind for record in records if isinstance(record, Failure))


@pytest.fixture(scope="module")
def text() -> dict[str, Counter[str]]:
    return {name: kinds_of([batch_of("text", name)]) for name in ("api", "worker", "plugin-daemon")}


def failed_calls(model: dict[str, Any]) -> dict[str, int]:
    """The model's book, by the kinds that its answers are."""
    status = model["by_status"]
    return {
        "rate_limited": status["429"],
        "provider_unauthorized": status["401"],
        "provider_unavailable": status["500"] + status["cut"],
    }


def of_provider(kinds: Counter[str]) -> dict[str, int]:
    return {kind: count for kind, count in kinds.items() if kind in PROVIDER}


def test_each_failed_call_of_the_model_counts_once_in_the_api_or_the_worker(text: dict[str, Counter[str]]) -> None:
    assert of_provider(text["api"] + text["worker"]) == failed_calls(BOOKS["text"]["model"])
    assert all(
        text[name].keys() & PROVIDER == failed_calls(BOOKS["text"]["model"]).keys() for name in ("api", "worker")
    )


def test_and_once_in_the_plugin_daemon(text: dict[str, Counter[str]]) -> None:
    assert text["plugin-daemon"] == failed_calls(BOOKS["text"]["model"])


def test_consequences_are_levels_of_their_own(text: dict[str, Counter[str]]) -> None:
    """In the worker each failed run has a failed node. The api has other failed runs: those that nobody streamed."""
    failed = sum(run["count"] for run in BOOKS["text"]["worker_runs"] if run["truth"] == "failed")
    assert (text["worker"]["node_failed"], text["worker"]["run_failed"]) == (failed, failed)
    assert text["worker"].keys() == {"node_failed", "run_failed"} | failed_calls(BOOKS["text"]["model"]).keys()
    workflows, chats = 23, 14  # `Unknown Error when workflow entry running`, `Failed to handle response`
    assert (text["api"]["node_failed"], text["api"]["run_failed"]) == (workflows, workflows + chats)
    assert text["api"]["unhandled_exception"] == 1  # the MCP endpoint of a server that is not there


def test_the_incidents_have_their_causes() -> None:
    """The plugin daemon, the provider, PostgreSQL and Redis away in turn, and apps whose model is not there."""
    assert kinds_of([batch_of("incidents", "api")]) == {
        "provider_unavailable": 7, "node_failed": 6, "run_failed": 6, "unhandled_exception": 5, "other": 5,
    }  # fmt: skip
    assert kinds_of([batch_of("incidents", "worker")]) == {
        "provider_unavailable": 1, "node_failed": 6, "run_failed": 2, "task_failed": 3, "other": 3,
    }  # fmt: skip
    assert kinds_of([batch_of("incidents", "plugin-daemon")]) == {"provider_unavailable": 8, "upstream_timeout": 12}


def test_hardly_anything_is_other_and_nothing_is_unparsed() -> None:
    """The only errors of kind `other` are those where the plugin daemon was not reached: a text log has no reason."""
    names = [(phase, name) for phase in ("text", "incidents") for name in ("api", "worker", "beat", "plugin-daemon")]
    batches = [batch_of(phase, name) for phase, name in names]
    assert all(batch.unparsed == {} for batch in batches)
    kinds = kinds_of(batches)
    not_reached = f"{forms.DAEMON_NOT_REACHED}\n".encode()
    records = sum(forms.read(f"incidents/{name}.log").count(not_reached) for name in ("api", "worker"))
    assert kinds["other"] == records == 8
    assert kinds["other"] < kinds.total() / 10


def test_a_json_log_tells_why_the_plugin_daemon_was_not_reached() -> None:
    """It was down: each of the 8 failed requests was refused. A text log has the stack trace in lines of its own."""
    for name, count in (("api", 5), ("worker", 3)):
        log = forms.read(f"incidents/{name}.log")
        text = kinds_of([Dify().parse(log, final=True)])
        structured = kinds_of([Dify().parse(forms.rewritten(log, forms.structured), final=True)])
        assert text["other"] == structured["upstream_refused"] == count
        assert text - structured == {"other": count}
        assert structured - text == {"upstream_refused": count}
