"""The demo feeds every panel of the dashboards but those of faults, which say so, and its receiver and proxy are real."""

import json
import os
import re
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from tests.drill.__main__ import greeting
from tests.drill.deployment import PAST, Deployment, deployed
from tests.system.programs import until
from tests.system.test_dashboards import PANELS, substituted

#: An hour of the demo in two minutes.
SPEED = float(os.environ.get("ALERT_SPEED", "30"))

#: Panels that are empty while Dify has no fault. An overloaded Dify fills them.
FAULTS_OF_DIFY = {
    "Apps whose runs fail",
    "Celery tasks that fail",
    "Errors in the logs",
    "Routes with the most failures",
}
#: These and the panels that are empty while the exporter has no fault.
FAULTS = FAULTS_OF_DIFY | {
    "Errors with files", "Observations folded into `other`", "Unparsed lines by reason",
    "Values that were not understood, per line",
}  # fmt: skip
#: Panels that compare with the week before.
LATER = {"Highest cost on this day of past weeks"}


#: Each of these sources has the tokens of the same chats.
TOKENS_OF = ("receiver", "proxy", "worker")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("demo"), SPEED, has_all_sources=True) as deployment:
        yield deployment


def empty_panels(demo: Deployment, may_be_empty: set[str]) -> set[str]:
    """A panel has data if one of its queries has: a comparison may lack the earlier span."""

    def has_data(expression: str) -> bool:
        answer = demo.prometheus.query(substituted(expression))
        return any(each["value"][1] != "NaN" for each in answer)

    empty = {panel["title"] for _, panel in PANELS if not any(has_data(each["expr"]) for each in panel["targets"])}
    print("empty:", missing := empty - may_be_empty)
    return missing


def test_no_panel_of_the_demo_is_empty(demo: Deployment) -> None:
    until("data in all panels", lambda: not empty_panels(demo, FAULTS | LATER), 100)


def test_tokens_and_cost_of_the_receiver_move_with_the_requests(demo: Deployment) -> None:
    def tokens() -> float:
        return demo.exporter.value("dify_tokens_used_total", source="receiver")

    before = tokens()
    until("more tokens", lambda: tokens() > before)

    def dialects() -> set[str]:
        """The receiver reports its items in a heartbeat every ten seconds."""
        return {labels["dialect"] for labels, value in demo.exporter.samples("dify_receiver_items_total") if value}

    assert until("a heartbeat", dialects) == {"phoenix"}


def test_receiver_and_proxy_tell_what_dify_tells(demo: Deployment) -> None:
    """Once no client sends any more, all three have the same tokens and cost."""

    def books() -> list[dict[str, float]]:
        """Tokens and cost by source; only the worker's log begins with an older chat."""
        found = []
        for name, past in (
            ("dify_tokens_used_total", PAST.input_tokens + PAST.output_tokens),
            ("dify_cost_total", float(PAST.price)),
        ):
            totals = dict.fromkeys(TOKENS_OF, 0.0) | {"worker": -past}
            for labels, value in demo.exporter.samples(name):
                totals[labels["source"]] += value
            found.append({source: round(total, 6) for source, total in totals.items()})
        return found

    def are_equal() -> bool:
        found = books()
        print(found)
        return all(min(totals.values()) == max(totals.values()) > 0 for totals in found)

    demo.pause.set()
    try:
        until("equal books", are_equal)
    finally:
        demo.pause.clear()


def test_the_greeting_names_addresses_that_answer(demo: Deployment) -> None:
    assert demo.receiver is not None
    text = greeting(demo)
    addresses = re.findall(r"https?://[^\s,]+", text)
    own = {demo.exporter.url, demo.prometheus.url, f"http://{demo.alertmanager}", demo.receiver.url, demo.proxy}
    assert all(any(url.startswith(each) for url in addresses) for each in own)
    for url in addresses:
        with urlopen(url, timeout=10) as answer:
            assert answer.status == 200, url


def test_an_alert_leads_to_its_graph_in_prometheus(demo: Deployment) -> None:
    """For this, Prometheus is started with its address as `--web.external-url`."""

    def links() -> list[str]:
        with urlopen(f"http://{demo.alertmanager}/api/v2/alerts", timeout=10) as answer:
            return [alert["generatorURL"] for alert in json.load(answer)]

    for url in until("the Watchdog", links):
        assert url.startswith(f"{demo.prometheus.url}/graph?")
        with urlopen(url, timeout=10) as answer:
            assert answer.status == 200


def test_an_overloaded_dify_fills_the_panels_of_its_faults(demo: Deployment) -> None:
    """This must be the last test, because it breaks the demo."""
    demo.behave("overloaded")
    until("data in the panels of faults", lambda: not empty_panels(demo, FAULTS - FAULTS_OF_DIFY | LATER))
