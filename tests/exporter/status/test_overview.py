"""The verdict: it is green only if nothing is wrong, and each fault has its own sentence."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import structs

from exporter.status import overview as o
from exporter.status.history import Totals
from exporter.status.overview import Overview, overview, worst_traffic
from exporter.status.page import page
from exporter.status.rows import BudgetRow, SourceRow
from exporter.status.traffic import TrafficRow
from tests.exporter.web.endpoint import status

RULES = Path(__file__).parents[3] / "rules" / "thresholds.yml"


def source(name: str = "nginx", up: bool = True, unparsed: int = 0) -> SourceRow:
    errors = {} if up else {"no_file": 3}
    return SourceRow(name, ("/a",), up, 1, 0, errors, Totals(100, unparsed), 1.0, None, (), {})


FINE = TrafficRow("nginx", 500, 1.7, 2, "timeout", 0.5)
FAILING = structs.replace(FINE, failed=310, reason="server_error")
BUDGET = BudgetRow("monthly", "month", "USD", 500.0, 100.0, 200.0, 0.0)


def verdict(**changes: Any) -> Overview:
    return overview(status(**{"sources": (source(),), "traffic": (FINE,), "span": 300.0, **changes}))


def test_everything_works() -> None:
    found = verdict(budgets=(BUDGET,))
    assert (found.level, found.headline) == ("good", "no problem found")
    (finding,) = found.findings
    assert finding.sentence == "The source is up, and 0.4 % of the requests failed in the last 5 min."


@pytest.mark.parametrize(
    ("changes", "level", "sentence"),
    [
        (
            {"traffic": (FAILING,)},
            "bad",
            "62 % of the requests in source nginx failed in the last 5 min: 310 of 500. The most frequent reason is server error.",
        ),
        (
            {"traffic": (FAILING,), "span": 0.0},
            "waiting",
            "62 % of the requests in source nginx failed since the first line: "
            "310 of 500. The most frequent reason is server error.",
        ),
        (
            {"traffic": (structs.replace(FAILING, requests=9, failed=9),)},
            "waiting",
            "100 % of the requests in source nginx failed in the last 5 min: 9 of 9. The most frequent reason is server error.",
        ),
        (
            {"traffic": tuple(structs.replace(FAILING, source=f"s{n}", failed=100 + 50 * n) for n in range(9))},
            "bad",
            "Requests failed in 9 sources in the last 5 min: 100 % in s8, 90 % in s7, 80 % in s6 and 6 more.",
        ),
        ({"sources": (source("api", up=False),)}, "bad", "Source api is down (no_file)."),
        (
            {"sources": (source(), *(source(f"s{n}", up=False) for n in range(40)))},
            "bad",
            "40 of 41 sources are down: s0, s1, s2 and 37 more.",
        ),
        ({"sources": ()}, "waiting", "The configuration has no source, so nothing is read."),
        (
            {"budgets": (structs.replace(BUDGET, spent=600.0),)},
            "bad",
            "Budget monthly is overspent: 120 % of 500.00 USD per month.",
        ),
        (
            {"budgets": (structs.replace(BUDGET, projected=550.0),)},
            "waiting",
            "Budget monthly will be overspent if spending continues at this rate: 110 % of 500.00 USD per month is projected.",
        ),
        (
            {"budgets": (structs.replace(BUDGET, spent=410.0, projected=None),)},
            "waiting",
            "Budget monthly is almost spent: 82 % of 500.00 USD per month.",
        ),
        (
            {"sources": (source(unparsed=30),)},
            "waiting",
            "30 % of the lines of source nginx do not match its format.",
        ),
        ({"traffic": ()}, "waiting", "No source has reported a request yet, so nothing can be said about Dify."),
        (
            {"ready": False, "progress": (1024, 4096)},
            "waiting",
            "The first pass has read 1.0 KiB of 4.0 KiB. Metrics are available when it is complete.",
        ),
        (
            {"reload_problems": ("x",), "now": 1_790_000_060.0},
            "bad",
            "The last reload failed: the new configuration was refused for the reasons below. "
            "The configuration that was loaded 1 min ago stays active.",
        ),
    ],
)
def test_each_fault_has_its_sentence(changes: dict[str, Any], level: str, sentence: str) -> None:
    found = verdict(**changes)
    assert (found.level, [finding.sentence for finding in found.findings]) == (level, [sentence])


def test_the_worst_is_first() -> None:
    sources = (source("api", up=False), source(unparsed=30))
    found = verdict(sources=sources, traffic=(FAILING,), ready=False)
    assert found.headline == "2 problems, 2 warnings"
    assert [finding.level for finding in found.findings] == ["bad", "bad", "waiting", "waiting"]


def test_the_figures_name_the_source_that_the_verdict_is_about() -> None:
    """A busy source without a failure, or without durations, does not hide the others."""
    busy = TrafficRow("busy", 9000, 30.0, 0, "", None)
    few = structs.replace(FAILING, source="few", requests=4, failed=4, p95=0.5)
    for traffic, expected in (
        ((busy, FINE), FINE), ((busy, few, FINE), few), ((busy, few, FAILING), FAILING), ((busy, busy), busy), ((), None)
    ):  # fmt: skip
        assert worst_traffic(status(traffic=traffic, span=300.0)) is expected
    plain = " ".join(re.sub("<[^>]*>", "", page(status(traffic=(busy, few, FAILING), span=300.0)).decode()).split())
    assert "Requests per second 30.0 source busy" in plain
    assert "Failed 62 % 310 of 500 in the last 5 min, source nginx" in plain
    assert "Duration, p95 ≈ 500 ms to the last byte, source few" in plain


def test_the_limits_are_those_of_the_alerts() -> None:
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    limits = {rule["record"].rpartition(":")[2]: float(rule["expr"][len("vector(") : -1]) for rule in rules}
    for name in (
        "failure_ratio", "minimum_requests", "minimum_failures", "unparsed_ratio", "minimum_lines",
        "budget_spent_ratio", "budget_projected_ratio",
    ):  # fmt: skip
        assert limits[name] == getattr(o, name.upper()), name
